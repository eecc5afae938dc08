// A folder from which `docker build` makes the same image: Dockerfile, .dockerignore, README.md and the root
// file system in rootfs/.
#pragma once

#include <functional>
#include <string>

#include "package/contents.h"

namespace lathe::package {

// Writes into `folder`, which must exist and be empty. `wrote` is told of every piece of content.
Status WriteContext(const std::string& folder, const Contents& contents,
                    const std::optional<EngineInside>& engine, const PackageOptions& options,
                    const std::function<void(uint64_t bytes)>& wrote);

}  // namespace lathe::package
