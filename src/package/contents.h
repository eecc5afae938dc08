// What goes into an image, put together before anything is written.
#pragma once

#include <memory>
#include <optional>

#include "formats/engine_file.h"
#include "package/components.h"
#include "package/image.h"
#include "package/package.h"
#include "package/rootfs.h"

namespace lathe::package {

inline constexpr char kSbomPath[] = "/usr/share/doc/lathe/sbom.spdx.json";

// The engine to be packaged.
struct EngineInside {
  EngineIdentity identity;
  std::string file_name;  // "tales.lathe", of safe characters
  Source source;
  std::shared_ptr<std::string> digest;  // filled when `source` has been read
};

// Opens and describes options.engine; nothing when a model is to be pulled.
Expected<std::optional<EngineInside>> OpenEngine(const PackageOptions& options);

// "cpu:avx512, measured on Intel(R) Xeon(R)"
std::string FitsMachine(const EngineIdentity& identity);

struct Contents {
  std::string name;  // "tales-16m"
  Rootfs runtime;    // lathe, libraries, certificates, licences
  Rootfs engine;     // the engine alone; empty when one is pulled
  ImageConfig config;
  std::vector<Component> components;  // but for the engine, whose digest is known when it has been read
  std::string lathe_sha256;
};

Expected<Contents> GatherContents(const PackageOptions& options, const std::optional<EngineInside>& engine);

// The SBOM's text. The engine must have been read.
std::string SbomText(const Contents& contents, const std::optional<EngineInside>& engine);

}  // namespace lathe::package
