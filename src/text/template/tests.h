// The tests: value is name(arguments).
#pragma once

#include <string_view>

#include "text/template/ast.h"

namespace lathe::tmpl {

// nullptr if there is none of this name.
TestFunction FindTest(std::string_view name);

}  // namespace lathe::tmpl
