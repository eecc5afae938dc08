// What an engine is built for.
#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "kernels/api/kernel.h"
#include "platform/cuda/driver.h"
#include "platform/cuda/nvrtc.h"

namespace lathe {

// What CUDA targets are built with; null: what this machine has (platform/cuda).
struct CudaTools {
  const cuda::Driver* driver = nullptr;
  const cuda::Nvrtc* nvrtc = nullptr;
  int device = -1;  // the GPU that is meant by "cuda" and "auto"; -1: the first that can be used

  Expected<const cuda::Driver*> LoadDriver() const;
  Expected<const cuda::Nvrtc*> LoadNvrtc() const;
};

struct BuildTarget {
  Isa isa = Isa::kPortable;
  // A CUDA device of this compute capability (90); 0: a CPU.
  int sm = 0;
  // The device of this machine that is one.
  std::optional<cuda::DeviceInfo> device = {};
  bool runs_here = true;

  bool on_cuda() const { return sm > 0; }
  // "avx512", "sm_90a"
  std::string Chip() const;
  // As the engine's identity has it: "cpu:avx512", "cuda:sm_90a".
  std::string Name() const;
};

// "cpu": the best of this machine; "cpu:<isa>"; "cuda": the GPU here that `tools` name; "cuda:sm_90a",
// "cuda:sm_90" and without "cuda:" any chip that kernels are written for; "auto": cuda, or cpu where there is
// no GPU to use. Errors: kInvalidArgument for anything else; for "cuda" what Driver::Load says, or
// kUnsupported with why each GPU cannot be used.
Expected<BuildTarget> ParseTarget(const std::string& target, const CudaTools& tools = {});

}  // namespace lathe
