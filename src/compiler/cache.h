// Engines built on the way: `lathe run DIR` finds the one it built last time.
#pragma once

#include <string>

#include "base/status.h"
#include "compiler/compile.h"

namespace lathe {

// Where cached engines lie: $XDG_CACHE_HOME/lathe, else ~/.cache/lathe. kInvalidArgument when neither is set.
Expected<std::string> CacheDir();

// The file a directory's engine has in the cache: the model's name for people, and a hash over everything
// that decides its content (ModelHash, options, this machine or its GPU, lathe's version). Errors: those of
// ModelHash and ParseTarget.
Expected<std::string> CachedEnginePath(const std::string& dir, const BuildOptions& options);

// The engine for `path`: an engine file as it is, a directory's from the cache, built when none is there that
// fits. options.output is ignored. Two processes that want the same engine build it once (a lock file beside
// it; the progress callback says "waiting for another build"). `report` (may be nullptr) is filled when a
// build took place; its path is empty otherwise. Target "auto": where a GPU is there but no compiler for it,
// or the model is none that runs on it, the engine is one for the CPU, and a warning in `report` says so,
// built or not. Errors: kNotFound when there is nothing at `path`;
// kInvalidArgument for a cache directory that others can write; those of BuildEngine. Thread-safe.
Expected<std::string> ResolveEngine(const std::string& path, const BuildOptions& options,
                                    BuildReport* report);

}  // namespace lathe
