// Names of repositories where paths of models are expected: "ORG/NAME" becomes the engine of that repository
// that fits this machine, or its weights, in the cache that huggingface_hub uses too.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/status.h"
#include "hub/pull.h"

namespace lathe {

struct FetchOptions {
  std::string model = {};                 // a path, or ORG/NAME[@REVISION]
  std::optional<std::string> dtype = {};  // an engine's must be this one
  std::string target = "auto";            // compiler/target.h
  int device = -1;
  hub::Want want = hub::Want::kEither;
};

// Told and asked on the caller's thread; each may be empty.
struct FetchEvents {
  std::function<bool(const hub::DownloadProgress&)> progress;  // false: stop
  std::function<void(const std::string&)> warning;
  std::function<bool()> cancelled = {};  // ten times a second, also while a hub is silent; true: stop
};

// How well an engine fits this machine: made by this version of lathe, for its GPU or else its processor's
// instruction sets, of the asked type; better when it was measured on the same model of machine.
hub::Fitness FitnessHere(const std::string& target, const std::optional<std::string>& dtype, int device);

// Whether `model` is to be looked for on the hub: nothing of that name is here, nor is the folder it begins
// with, and it has the form of a repository's name.
bool NamesRepository(const std::string& model);

// The path that `model` stands for: itself, or where its repository's engine or weights are now. Errors:
// those of hub::Pull and hub::ConfigFromEnvironment; kCancelled. Thread-safe.
Expected<std::string> FetchModel(const FetchOptions& options, const FetchEvents& events);

}  // namespace lathe
