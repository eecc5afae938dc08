// From what a user calls a model (an engine file, or a model's directory) to a running engine: what the
// command line, the server and the Python package do alike.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "compiler/compile.h"
#include "lathe/engine.h"

namespace lathe {

struct OpenOptions {
  std::string model;
  std::optional<std::string> dtype;  // of a directory's engine
  std::string target = "auto";       // likewise (compiler/target.h)
  EngineOptions engine;
};

// What happens meanwhile, told on the caller's thread; each may be empty.
struct OpenEvents {
  std::function<void(const BuildProgress&)> build;
  std::function<bool()> cancelled;                         // see BuildOptions
  std::function<void()> resolved;                          // the build, if there was one, is over
  std::function<void(const std::string&)> warning;         // of the build, a sentence each
  std::function<void(const BuildReport&)> built;           // only when something was built
  std::function<void(const std::string& why)> rebuilding;  // a cached engine did not fit, and is built again
};

struct OpenedModel {
  std::unique_ptr<Engine> engine;
  std::string path;  // of the engine file
};

// Ranges of what `options` set for the engine and its build; before anything is read or built. Errors:
// kInvalidArgument, beginning with the field's name.
Status CheckOpenOptions(const OpenOptions& options);

// Builds into the cache first when `options.model` is a directory without a fitting engine there. Errors:
// CheckOpenOptions's, ResolveEngine's and Engine::Load's. Thread-safe.
Expected<OpenedModel> OpenModel(const OpenOptions& options, const OpenEvents& events);

}  // namespace lathe
