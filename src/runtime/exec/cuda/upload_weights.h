// Weights from the engine file straight to device memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"
#include "platform/cuda/driver.h"

namespace lathe::cuda {

// Bytes [offset, offset + bytes) of the file `path` to `to`. Each thread reads a chunk into pinned memory
// while its chunk before travels. `progress` is called by these threads, one at a time; may be empty.
// threads 0: up to 8 of the usable ones. kIo names the place in the file that cannot be read.
Status UploadWeights(const Device& device, const std::string& path, uint64_t offset, uint64_t bytes,
                     abi::DevicePtr to, int threads,
                     const std::function<void(uint64_t done, uint64_t total)>& progress);

}  // namespace lathe::cuda
