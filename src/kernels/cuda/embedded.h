// The CUDA sources of src/, put into the program at build time (cmake/embed.cmake).
#pragma once

#include <span>
#include <string_view>

namespace lathe::cuda {

struct EmbeddedFile {
  std::string_view name;  // "gemv.cu", "common.cuh"
  std::string_view bytes;
};

std::span<const EmbeddedFile> KernelFiles();

}  // namespace lathe::cuda
