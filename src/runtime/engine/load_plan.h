// The memory that loading an engine would take, without loading it (lathe plan).
#pragma once

#include <cstdint>
#include <string>

#include "lathe/engine.h"

namespace lathe {

struct LoadPlan {
  std::string target;  // of the engine
  int max_step_tokens = 0, max_sequences = 0, max_context = 0;
  int n_pages = 0, page_size = 0;
  uint64_t weight_bytes = 0;
  uint64_t buffer_bytes = 0;     // activations, logits
  uint64_t workspace_bytes = 0;  // on a GPU: parts of attention, uploads and downloads
  uint64_t cuda_bytes = 0;       // on a GPU: CUDA's context, loaded kernels, graphs
  uint64_t kv_bytes = 0;
  uint64_t kv_bytes_per_token = 0;
  uint64_t total() const { return weight_bytes + buffer_bytes + workspace_bytes + cuda_bytes + kv_bytes; }
};

// What Engine::Load(path, options) would choose and take. `gpu_bytes`: free memory of the GPU to plan for,
// where the engine is for one, before lathe starts; 0: as much as options.device has free now. Errors: those
// of Load that need no weights (an engine that does not fit among them), but the target is not compared with
// this machine.
Expected<LoadPlan> PlanLoad(const std::string& path, const EngineOptions& options, uint64_t gpu_bytes);

}  // namespace lathe
