// The files of page/, put into the program at build time (cmake/embed.cmake).
#pragma once

#include <span>

#include "base/embedded_file.h"

namespace lathe::serve {

std::span<const EmbeddedFile> PlaygroundFiles();

}  // namespace lathe::serve
