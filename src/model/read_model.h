// From a Hugging Face directory to a ModelSpec.
#pragma once

#include <string>

#include "base/json.h"
#include "base/status.h"
#include "formats/hf_config.h"
#include "model/spec.h"

namespace lathe {

// Reads config.json and generation_config.json (optional) of `dir`; no weights are touched.
//
// Errors: kNotFound without config.json; kUnsupported for an unknown architecture, a quantised checkpoint, a
// feature lathe lacks, or any key neither used nor known to be without effect (all of them listed);
// kInvalidArgument for values that are missing, ill-typed or contradict each other.
Expected<ModelSpec> ReadModelSpec(const std::string& dir);

// The same from parsed JSON. `where` names the config in messages.
Expected<ModelSpec> ReadModelSpec(const Json& config, const GenerationDefaults& generation,
                                  const std::string& where);

}  // namespace lathe
