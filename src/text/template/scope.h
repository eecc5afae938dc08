// Where names live. The reference compiles a template to Python functions, and which variable a name means
// follows from a static analysis of scopes; templates in the wild depend on its corners (a variable set in a
// loop is gone after it, but one set in an `if` stays; a name set later in a scope hides the context's from
// loops before it). The binder makes the same analysis, so every name becomes a slot of an activation.
#pragma once

#include "base/status.h"
#include "text/template/ast.h"

namespace lathe::tmpl {

// Fills in all places, scopes and filter and test functions of `ast`. Errors (kInvalidArgument): an unknown
// filter or test where the reference refuses it (that is, not inside an `if`), a misplaced `caller`.
Status Bind(TemplateAst* ast);

}  // namespace lathe::tmpl
