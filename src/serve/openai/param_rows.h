// The rows of the table of parameters.
#pragma once

#include <vector>

#include "serve/openai/param_table.h"

namespace lathe::serve {

std::vector<ParamSpec> MakeParamRows(const ApiLimits& limits);

}  // namespace lathe::serve
