// Documents made from the table of parameters.
#pragma once

#include <string>

#include "serve/openai/param_table.h"

namespace lathe::serve {

// The OpenAPI 3.1 document of every route of the server, those of metrics and health included.
std::string OpenApiText(const ParamTable& table);

// docs/api-limits.md: every parameter with its endpoints, type, range, default and meaning.
std::string ParamDoc(const ParamTable& table);

}  // namespace lathe::serve
