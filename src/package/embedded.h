// What this lathe is made of, put into it at build time (cmake/components.cmake): components.json, and the
// licence texts under licences/.
#pragma once

#include <span>

#include "base/embedded_file.h"

namespace lathe::package {

std::span<const EmbeddedFile> ComponentFiles();

}  // namespace lathe::package
