// The files of deploy/kubernetes, put into the program at build time (cmake/embed.cmake).
#pragma once

#include <span>
#include <string_view>

namespace lathe::deploy {

struct EmbeddedFile {
  std::string_view name;  // "base/deployment.yaml"
  std::string_view bytes;
};

std::span<const EmbeddedFile> ManifestFiles();

}  // namespace lathe::deploy
