// Tokens to tree.
#pragma once

#include <string_view>

#include "base/status.h"
#include "text/template/ast.h"

namespace lathe::tmpl {

// Parses and binds (scope.h) a template. `max_depth` bounds the nesting of statements and expressions.
// Errors name the line: kInvalidArgument for bad syntax, kUnsupported for include, import, extends, block,
// autoescape and recursive loops, kResourceExhausted for too deep nesting.
Expected<TemplateAst> ParseTemplate(std::string_view source, int max_depth);

}  // namespace lathe::tmpl
