// Loading compiled kernels and launching them.
#pragma once

#include <string>

#include "platform/cuda/driver.h"

namespace lathe::cuda {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

struct LaunchShape {
  Dim3 grid, block;
  int dynamic_shared = 0;  // bytes
  Dim3 cluster;            // 1,1,1: none
  // Lets this kernel start while the one before it on the stream drains (programmatic dependent launch): the
  // kernel must then wait by griddepcontrol.wait before it touches what the one before writes.
  bool overlap_previous = false;
};

// A kernel in a loaded module. Copyable; valid as long as its module.
struct Kernel {
  const Device* device = nullptr;
  abi::Function function = nullptr;
  std::string name;
};

// `cubin` as the compiler gave it; the driver copies it.
Expected<Module> LoadModule(const Device& device, const void* cubin);
// Also raises the kernel's limit of dynamic shared memory to `dynamic_shared` bytes.
Expected<Kernel> GetKernel(const Module& module, const std::string& name, int dynamic_shared);
Expected<int> OccupancyBlocks(const Kernel& kernel, int threads, int dynamic_shared);

// `arguments`: pointers to each parameter, in order. Copied before this returns.
Status Launch(const Kernel& kernel, const LaunchShape& shape, abi::Stream stream, void** arguments);

// Launches with the parameter values themselves; each must have exactly the kernel's parameter type.
template <typename... Args>
Status LaunchWith(const Kernel& kernel, const LaunchShape& shape, abi::Stream stream, const Args&... args) {
  void* arguments[] = {const_cast<void*>(static_cast<const void*>(&args))...};
  return Launch(kernel, shape, stream, arguments);
}

}  // namespace lathe::cuda
