// The workers of other projects, put into the program at build time (cmake/embed.cmake).
#pragma once

#include <span>
#include <string_view>

namespace lathe::cli {

struct EmbeddedFile {
  std::string_view name;  // "transformers_worker.py"
  std::string_view bytes;
};

std::span<const EmbeddedFile> PeerFiles();

}  // namespace lathe::cli
