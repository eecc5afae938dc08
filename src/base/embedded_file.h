// A file that was put into the program at build time (lathe_embed of cmake/lathe.cmake).
#pragma once

#include <string_view>

namespace lathe {

struct EmbeddedFile {
  std::string_view name;  // its path below the folder that was put in: "base/deployment.yaml"
  std::string_view bytes;
};

}  // namespace lathe
