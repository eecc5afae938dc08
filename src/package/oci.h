// An OCI image layout: a folder of blobs named by their SHA-256, with a manifest, a configuration and an
// index. (https://github.com/opencontainers/image-spec, image-layout.md)
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "package/contents.h"

namespace lathe::package {

struct OciResult {
  std::string digest;          // of the manifest, "sha256:..."
  uint64_t runtime_bytes = 0;  // as stored: all but the engine's layer
  uint64_t engine_bytes = 0;
};

// Layers: the runtime, gzip; the engine, as it is; the SBOM, gzip. Writes into `folder`, which must exist and
// be empty. `wrote` is told of every piece of content.
Expected<OciResult> WriteOci(const std::string& folder, const Contents& contents,
                             const std::optional<EngineInside>& engine, const PackageOptions& options,
                             const std::function<void(uint64_t bytes)>& wrote);

}  // namespace lathe::package
