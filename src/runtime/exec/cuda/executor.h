// Runs a plan on one CUDA device: weights, KV pages and buffers in device memory, one stream, one upload and
// one download a step. docs/contracts/cuda.md ("Steps") has what holds between host and device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "formats/engine_file.h"
#include "kernels/cuda/gemm.h"
#include "plan/plan.h"
#include "platform/cuda/driver.h"
#include "runtime/exec/executor.h"
#include "runtime/step/step.h"

namespace lathe {

struct CudaExecutorOptions {
  const cuda::Driver* driver = nullptr;  // null: the machine's
  int device = 0;                        // ordinal
  int max_step_rows = 0;                 // 0: kCudaStepRows, less where memory is short
  int max_sequences = 256;               // of a step; also its logit rows
  int max_positions = 0;  // longest sequence wanted; 0: model_positions, less where memory is short
  int model_positions = 0;
  uint64_t kernel_bytes = 0;   // of the engine's compiled kernels
  uint64_t kv_bytes = 0;       // 0: memory_fraction of what is free beside the rest
  double memory_fraction = 0;  // 0: 0.9
  int n_host_pages = 0;        // for pages that moves name, in pinned memory
  RopeSource rope = {};
  bool deterministic = false;
  bool graphs = true;
  bool run_ahead = true;  // StepExecutor::runs_ahead
  int load_threads = 0;   // that read weights; 0: up to 8
  // Bytes of weights uploaded; called by loading threads, one at a time.
  std::function<void(uint64_t done, uint64_t total)> progress = {};
};

// Rows of a step unless told otherwise. Matmuls of an 8B model run at their full rate from about 1,000 rows
// on; twice as many make a step that long that everybody who decodes beside it notices, and cost memory.
inline constexpr int kCudaStepRows = 4096;

// Memory that a plan takes, the device's but for host_kv_bytes, before anything is allocated and without a
// device (lathe plan).
struct CudaMemoryPlan {
  uint64_t weight_bytes = 0;
  uint64_t buffer_bytes = 0;     // activations and logits
  uint64_t workspace_bytes = 0;  // parts of attention, widened pages, upload and download
  uint64_t kv_bytes = 0;
  uint64_t kv_bytes_per_page = 0;  // all layers
  uint64_t host_kv_bytes = 0;
  uint64_t loaded_bytes = 0;   // of CUDA: loaded kernels, captured graphs
  uint64_t context_bytes = 0;  // of CUDA, before anything: taken when the device is opened
  uint64_t fixed_bytes() const { return weight_bytes + buffer_bytes + workspace_bytes + loaded_bytes; }
};

// What an executor is opened for, after everything that was left to choose is chosen.
struct CudaSizes {
  int max_step_rows = 0, max_sequences = 0, max_positions = 0, n_pages = 0;
  CudaMemoryPlan memory;
};
// `free_bytes`: of the device once it is open. kInvalidArgument for a context that the model does not have;
// kResourceExhausted when it does not fit, with what would.
Expected<CudaSizes> SizeCudaExecutor(const Plan& plan, const CudaExecutorOptions& options,
                                     const cuda::GemmChip& chip, uint64_t free_bytes);

// The same for a chip of the plan's kind with `free_bytes` before it is open; 0: the device of the options,
// with what it has free.
Expected<CudaSizes> PlanCudaExecutor(const Plan& plan, const CudaExecutorOptions& options,
                                     uint64_t free_bytes);

// Whether the device and its driver run what the engine holds: kMismatch with both names and the command that
// mends it. Reads manifest and kernel list only.
Status CheckCudaTarget(const EngineReader& engine, const cuda::DeviceInfo& device, int driver_version);

// Opens the device, sizes everything, uploads the weights. `engine` is not needed afterwards. Environment:
// LATHE_PROFILE=1 prints where the time goes (steps are slower), LATHE_CUDA_MEMORY=1 what each part of
// opening takes, LATHE_CUDA_SYNC=1 waits for each op, so that a fault names it, LATHE_RUN_AHEAD=1 or 0
// overrides run_ahead, LATHE_STEP_TIMEOUT and LATHE_FAULT as docs/contracts/cuda.md says. The executor may be
// called from any one thread at a time. A step that failed leaves it dead: every later one fails with the
// same Status, and nothing is launched.
Expected<std::unique_ptr<StepExecutor>> OpenCudaExecutor(const EngineReader& engine, Plan plan,
                                                         const CudaExecutorOptions& options);

}  // namespace lathe
