// The names every template knows without being given them.
#pragma once

#include <string_view>

#include "text/template/runtime.h"
#include "text/template/value.h"

namespace lathe::tmpl {

// range, dict, namespace, joiner, cycler, raise_exception, strftime_now; nullptr for other names.
const Builtin* FindGlobal(std::string_view name);

}  // namespace lathe::tmpl
