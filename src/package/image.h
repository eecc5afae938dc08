// What an image says about itself: how it is run and labelled. Written as the configuration of an OCI image
// (https://github.com/opencontainers/image-spec, config.md) and as a Dockerfile.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace lathe::package {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// Of nobody in particular; distroless images have the same.
inline constexpr int kUserId = 65532;

struct ImageConfig {
  std::string architecture;  // "amd64", "arm64"
  Pairs environment;         // in order
  std::vector<std::string> entrypoint, command, health_command;
  int port = 8000;
  int health_start_seconds = 60;  // so long a health check may fail before it counts
  std::vector<std::string> volumes;
  Pairs labels;         // ascending by name
  std::string created;  // RFC 3339
};

// One line of an image's history per layer.
struct LayerNote {
  std::string diff_id;  // sha256 of the uncompressed archive, hex
  std::string comment;
};

Json OciConfig(const ImageConfig& config, const std::vector<LayerNote>& layers);

// Of a Dockerfile whose context has the root file system in the folder `rootfs`.
std::string Dockerfile(const ImageConfig& config, const std::string& rootfs);

// "1970-01-01T00:00:00Z"
std::string Rfc3339(uint64_t seconds);

}  // namespace lathe::package
