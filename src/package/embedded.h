// What this lathe is made of, put into it at build time (cmake/components.cmake): components.json, and the
// licence texts under licences/.
#pragma once

#include <span>
#include <string_view>

namespace lathe::package {

struct EmbeddedFile {
  std::string_view name;  // "licences/OpenSSL.txt"
  std::string_view bytes;
};

std::span<const EmbeddedFile> ComponentFiles();

}  // namespace lathe::package
