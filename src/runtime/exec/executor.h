// Runs a plan on the CPU: owns a rank's buffers, KV pools and thread team, and does one step at a time.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "formats/engine_file.h"
#include "plan/plan.h"
#include "runtime/step/step.h"

namespace lathe {

// Where the angles of the rotary embedding come from. The model's numbers, handed in by whoever loads the
// engine: the executor knows plans, not models.
struct RopeSource {
  std::vector<float> inv_freq = {};  // (rotary_dim / 2)
  float attention_factor = 1;        // multiplies cos and sin
  int dynamic_from = 0;              // > 0: sequences longer than this use inv_freq_for(their rope_length)
  std::function<std::vector<float>(int)> inv_freq_for = {};
};

struct ExecutorOptions {
  int threads = 0;    // 0: usable CPUs
  int first_cpu = 0;  // for ranks that share a machine
  int max_step_rows = 512;
  int max_logit_rows = 256;
  int n_pages = 0;       // of the KV pool
  int n_host_pages = 0;  // for pages that moves name: plain memory, as on a device
  int max_positions = 0;
  RopeSource rope = {};
};

// Memory a plan takes at these options, before anything is allocated (lathe inspect --plan).
struct MemoryPlan {
  uint64_t weight_bytes = 0;  // mapped, shared between processes
  uint64_t buffer_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t host_kv_bytes = 0;
  uint64_t kv_bytes_per_page = 0;  // all layers of the rank
};
MemoryPlan PlanMemory(const Plan& plan, const ExecutorOptions& options);

// Whether this machine runs the instruction set the engine was built for: kMismatch with both names and the
// command that mends it. Reads the manifest only (requirement R9: before a weight is read).
Status CheckCpuTarget(const EngineReader& engine);

// One rank. `engine` must outlive it (weights are used where they are mapped). `comm` is null for a single
// rank. Opens in milliseconds: nothing is copied. The first Execute starts the thread team on the calling
// thread, which must then make all further calls.
Expected<std::unique_ptr<StepExecutor>> OpenCpuExecutor(const EngineReader& engine, Plan plan,
                                                        const ExecutorOptions& options, Communicator* comm);

}  // namespace lathe
