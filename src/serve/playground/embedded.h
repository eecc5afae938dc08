// The files of page/, put into the program at build time (cmake/embed.cmake).
#pragma once

#include <span>
#include <string_view>

namespace lathe::serve {

struct EmbeddedFile {
  std::string_view name;  // "app.js"
  std::string_view bytes;
};

std::span<const EmbeddedFile> PlaygroundFiles();

}  // namespace lathe::serve
