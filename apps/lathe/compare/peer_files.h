// The workers of other projects, put into the program at build time (cmake/embed.cmake).
#pragma once

#include <span>

#include "base/embedded_file.h"

namespace lathe::cli {

std::span<const EmbeddedFile> PeerFiles();

}  // namespace lathe::cli
