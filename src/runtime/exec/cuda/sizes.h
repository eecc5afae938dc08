// How large everything of an executor is, from the plan and the options: arithmetic without a device.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/sample.h"
#include "plan/plan.h"
#include "runtime/exec/cuda/executor.h"
#include "runtime/exec/cuda/step_input.h"

namespace lathe::cuda {

// What a step may have, at these sizes.
StepCaps CapsOf(const Plan& plan, const CudaSizes& sizes, const CudaExecutorOptions& options,
                const GemmChip& chip);

// Bytes of each allocation beside weights and KV pages; 0: not needed.
struct WorkspaceBytes {
  int64_t decode_out = 0, decode_state = 0, decode_counters = 0;
  int64_t prompt_out = 0, prompt_state = 0, prompt_counters = 0;
  int64_t widened = 0, identity = 0;  // fp8 KV: widened pages, and their page table 0, 1, 2, …
  int64_t cos = 0, sin = 0, inv_freq = 0;
  int64_t sample_scratch = 0;
  int64_t upload = 0, download = 0;
  int64_t total() const;
};
WorkspaceBytes WorkspacesOf(const Plan& plan, const StepCaps& caps, const GemmChip& chip);

// Where each buffer of the plan begins, and (last) how many bytes they take.
std::vector<int64_t> BufferOffsets(const Plan& plan, const StepCaps& caps);
int BufferRows(const BufferDef& buffer, const StepCaps& caps);

// The download: sampled rows, then top logprobs.
inline int64_t TopAt(const StepCaps& caps) { return int64_t{caps.max_logit_rows} * sizeof(SampledRow); }

// Numbers of decoding rows for which a graph is kept, ascending; the last is `most`.
std::vector<int> DecodeBuckets(int most);

}  // namespace lathe::cuda
