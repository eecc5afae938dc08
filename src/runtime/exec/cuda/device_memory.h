// Everything an executor allocates on the device, at once when it opens.
#pragma once

#include "runtime/exec/cuda/program.h"
#include "runtime/exec/cuda/sizes.h"

namespace lathe::cuda {

class DeviceMemory {
 public:
  // Counters are zero, activations too; KV pages are as they were found. kResourceExhausted when another
  // process took memory meanwhile.
  static Expected<DeviceMemory> Allocate(const Device& device, const Plan& plan, const CudaSizes& sizes,
                                         const StepCaps& caps, const Stream& stream);
  const ProgramMemory& program() const { return program_; }
  abi::DevicePtr download() const { return program_.sampled; }

 private:
  Status Take(const Device& device, int64_t bytes, bool zero, const Stream& stream, abi::DevicePtr* address);

  std::vector<DeviceBuffer> buffers_;
  ProgramMemory program_;
};

}  // namespace lathe::cuda
