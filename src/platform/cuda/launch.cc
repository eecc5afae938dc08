#include "platform/cuda/launch.h"

namespace lathe::cuda {

Expected<Module> LoadModule(const Device& device, const void* cubin) {
  LATHE_RETURN_IF_ERROR(device.Bind());
  abi::Module handle = nullptr;
  LATHE_RETURN_IF_ERROR(device.Check(device.api().module_load_data(&handle, cubin), "cuModuleLoadData"));
  return Module(&device, handle);
}

Expected<Kernel> GetKernel(const Module& module, const std::string& name, int dynamic_shared) {
  const Device& device = *module.device();
  Kernel kernel{&device, nullptr, name};
  LATHE_RETURN_IF_ERROR(
      device
          .Check(device.api().module_get_function(&kernel.function, module.get(), name.c_str()),
                 "cuModuleGetFunction")
          .WithContext(name));
  if (dynamic_shared > 0) {
    LATHE_RETURN_IF_ERROR(
        device
            .Check(device.api().func_set_attribute(kernel.function, abi::kMaxDynamicSharedSizeBytes,
                                                   dynamic_shared),
                   "cuFuncSetAttribute")
            .WithContext(StrFormat("%s (%d bytes of shared memory)", name.c_str(), dynamic_shared)));
  }
  return kernel;
}

Expected<int> OccupancyBlocks(const Kernel& kernel, int threads, int dynamic_shared) {
  int blocks = 0;
  LATHE_RETURN_IF_ERROR(
      kernel.device->Check(kernel.device->api().occupancy_max_blocks(&blocks, kernel.function, threads,
                                                                     static_cast<size_t>(dynamic_shared)),
                           "cuOccupancyMaxActiveBlocksPerMultiprocessor"));
  return blocks;
}

Status Launch(const Kernel& kernel, const LaunchShape& shape, abi::Stream stream, void** arguments) {
  abi::LaunchAttribute attributes[2];
  unsigned n = 0;
  if (shape.cluster.x * shape.cluster.y * shape.cluster.z > 1) {
    attributes[n].id = abi::kAttributeClusterDimension;
    attributes[n].value.cluster = {shape.cluster.x, shape.cluster.y, shape.cluster.z};
    ++n;
  }
  if (shape.overlap_previous) {
    attributes[n].id = abi::kAttributeProgrammaticStreamSerialization;
    attributes[n].value.flag = 1;
    ++n;
  }
  const abi::LaunchConfig config = {shape.grid.x,
                                    shape.grid.y,
                                    shape.grid.z,
                                    shape.block.x,
                                    shape.block.y,
                                    shape.block.z,
                                    static_cast<unsigned>(shape.dynamic_shared),
                                    stream,
                                    attributes,
                                    n};
  const abi::Result result =
      kernel.device->api().launch_kernel_ex(&config, kernel.function, arguments, nullptr);
  if (result == abi::kSuccess) return Status::Ok();
  return kernel.device->Check(result, "cuLaunchKernelEx").WithContext(kernel.name);
}

}  // namespace lathe::cuda
