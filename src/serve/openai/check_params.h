// The validator that the table of parameters drives.
#pragma once

#include "base/json.h"
#include "serve/openai/api_error.h"
#include "serve/openai/param_table.h"

namespace lathe::serve {

// Checks every field of an object, nested ones included, and that none is missing. The first fault, with the
// parameter's path ("messages[2].content") in `param`. Recursion is as deep as the table's paths.
Fault CheckParams(const Json& body, Endpoint endpoint, const ParamTable& table);

}  // namespace lathe::serve
