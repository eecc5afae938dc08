// A Truss (https://truss.baseten.co): config.yaml, model/model.py over the Python package `lathe`, the engine
// in data/, and the package itself in packages/ where it is given.
#pragma once

#include <optional>

#include "package/contents.h"

namespace lathe::package {

// The tree of the directory. Errors: kNotFound, kInvalidArgument for a --python-package that is none;
// kUnsupported for an engine whose chip no accelerator of Truss has.
Expected<Rootfs> GatherTruss(const PackageOptions& options, const std::optional<EngineInside>& engine);

}  // namespace lathe::package
