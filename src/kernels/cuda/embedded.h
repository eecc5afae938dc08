// The CUDA sources of src/, put into the program at build time (cmake/embed.cmake).
#pragma once

#include <span>

#include "base/embedded_file.h"

namespace lathe::cuda {

std::span<const EmbeddedFile> KernelFiles();

}  // namespace lathe::cuda
