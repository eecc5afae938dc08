// The software bill of materials of an image: SPDX 2.3, JSON. (https://spdx.github.io/spdx-spec/v2.3)
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "package/components.h"

namespace lathe::package {

struct SbomInput {
  std::string image_name;             // "tales-16m"
  std::string lathe_sha256;           // of the program
  std::vector<Component> components;  // all but lathe itself; the order is kept
  std::string created;                // RFC 3339
};

// The same input gives the same text. The document's namespace ends in a hash of its content.
Json BuildSbom(const SbomInput& input);

}  // namespace lathe::package
