// The files of deploy/kubernetes, put into the program at build time (cmake/embed.cmake).
#pragma once

#include <span>

#include "base/embedded_file.h"

namespace lathe::deploy {

std::span<const EmbeddedFile> ManifestFiles();

}  // namespace lathe::deploy
