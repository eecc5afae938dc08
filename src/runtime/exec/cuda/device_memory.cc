#include "runtime/exec/cuda/device_memory.h"

#include <numeric>
#include <utility>

namespace lathe::cuda {

Status DeviceMemory::Take(const Device& device, int64_t bytes, bool zero, const Stream& stream,
                          abi::DevicePtr* address) {
  if (bytes == 0) return Status::Ok();
  LATHE_ASSIGN_OR_RETURN(DeviceBuffer buffer, DeviceBuffer::Allocate(device, bytes));
  *address = buffer.address();
  buffers_.push_back(std::move(buffer));
  return zero ? Fill(device, *address, 0, bytes, stream.get()) : Status::Ok();
}

Expected<DeviceMemory> DeviceMemory::Allocate(const Device& device, const Plan& plan, const CudaSizes& sizes,
                                              const StepCaps& caps, const Stream& stream) {
  DeviceMemory memory;
  ProgramMemory& p = memory.program_;
  const auto take = [&](int64_t bytes, bool zero, abi::DevicePtr* address) {
    return memory.Take(device, bytes, zero, stream, address);
  };
  // Kernels read vectors in pieces of 16 values: up to 64 bytes past the last weight.
  constexpr int64_t kSlack = 256;
  LATHE_RETURN_IF_ERROR(take(static_cast<int64_t>(sizes.memory.weight_bytes) + kSlack, false, &p.weights));
  const std::vector<int64_t> offsets = BufferOffsets(plan, caps);
  abi::DevicePtr activations = 0;
  LATHE_RETURN_IF_ERROR(take(offsets.back(), true, &activations));
  for (size_t i = 0; i < plan.buffers.size(); ++i)
    p.buffers.push_back(activations + static_cast<uint64_t>(offsets[i]));
  const WorkspaceBytes w = WorkspacesOf(plan, caps, ChipOf(device.info()));
  for (const auto& [bytes, address] : {std::pair{w.decode_out, &p.decode_out},
                                       {w.decode_state, &p.decode_state},
                                       {w.decode_counters, &p.decode_counters},
                                       {w.prompt_out, &p.prompt_out},
                                       {w.prompt_state, &p.prompt_state},
                                       {w.prompt_counters, &p.prompt_counters},
                                       {w.widened, &p.widened},
                                       {w.identity, &p.identity},
                                       {w.cos, &p.cos},
                                       {w.sin, &p.sin},
                                       {w.inv_freq, &p.inv_freq},
                                       {w.sample_scratch, &p.sample_scratch},
                                       {w.upload, &p.upload},
                                       {w.download, &p.sampled}})
    LATHE_RETURN_IF_ERROR(take(bytes, true, address));
  p.top = p.sampled + static_cast<uint64_t>(TopAt(caps));
  p.n_pages = sizes.n_pages;
  LATHE_RETURN_IF_ERROR(take(static_cast<int64_t>(sizes.memory.kv_bytes), false, &p.kv));
  if (p.identity != 0) {
    std::vector<int> identity(static_cast<size_t>(caps.widen_pages));
    std::iota(identity.begin(), identity.end(), 0);
    LATHE_RETURN_IF_ERROR(CopyToDevice(device, p.identity, identity.data(), w.identity, stream.get()));
    LATHE_RETURN_IF_ERROR(Synchronize(stream));
  }
  return memory;
}

}  // namespace lathe::cuda
