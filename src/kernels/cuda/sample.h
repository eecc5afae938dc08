// Sampling on the device: one token from each row of logits, as kernels/api/sample.h says.
#pragma once

#include <vector>

#include "kernels/cuda/kernel_source.h"
#include "kernels/cuda/src/sample_abi.h"
#include "platform/cuda/launch.h"

namespace lathe::cuda {

// How a row is shared among blocks: a cluster of them, each with its part in shared memory, where clusters
// are (sm_90 and later); else one block, and the row in a scratch buffer.
struct SampleTactic {
  int vocab = 0;
  int blocks = 1;
};
SampleTactic SampleTacticOf(int vocab, int sm);
KernelSource SampleKernel(const SampleTactic& tactic);
// Rows of logits are this many floats apart (a multiple of 4).
int64_t LogitStride(int vocab);
// Of SampleLaunch::scratch.
int64_t SampleScratchFloats(const SampleTactic& tactic, int max_rows);
// only_greedy: every row has temperature 0 and neither counts, biases, mask nor logprobs; then more rows run
// at once.
Status LaunchSample(const Kernel& kernel, const SampleTactic& tactic, const SampleLaunch& launch, int rows,
                    bool only_greedy, abi::Stream stream, bool overlap_previous);

std::vector<KernelSource> SampleKernels(int sm);

}  // namespace lathe::cuda
