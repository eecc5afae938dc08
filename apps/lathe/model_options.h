// From the MODEL argument (an engine file, or a model's directory) to a running engine.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flags.h"
#include "lathe/engine.h"

namespace lathe::cli {

struct ModelOptions {
  std::string path;
  std::optional<std::string> dtype;  // of a directory's engine
  std::string target = "auto";       // likewise (compiler/target.h)
  EngineOptions engine;

  // MODEL, --dtype, --target, --threads, --kv-bytes, --host-kv-memory, --context, and those of a GPU.
  void Declare(Command& command);
  // Where `path` names a repository of the hub: fetches it, with a bar, and becomes the path it is at.
  // Errors: FetchModel's.
  Status Fetch();
  // As a command line has them: for a process of our own that opens the same model.
  std::vector<std::string> ToArgs() const;
};

// Fetches first when `options.path` names a repository, builds into the cache first when `options.path` is a
// directory without a fitting engine, with progress on stderr. Errors: the build's and Engine::Load's.
Expected<std::unique_ptr<Engine>> OpenModel(const ModelOptions& options);

}  // namespace lathe::cli
