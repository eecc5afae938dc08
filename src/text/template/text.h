// Values as text: Python's str() and repr().
#pragma once

#include <string>

#include "text/template/runtime.h"
#include "text/template/str.h"
#include "text/template/value.h"

namespace lathe::tmpl {

// str(value), as a print statement shows it. A container whose text holds anything of the user's is the
// user's as a whole.
void AppendText(Runtime& rt, StrBuilder* out, const Value& value);
// repr(value).
void AppendRepr(Runtime& rt, StrBuilder* out, const Value& value);
// str(value) as a string value; strings are returned as they are.
Value ToText(Runtime& rt, const Value& value);

std::string IntText(Int value);
// Shortest text that reads back as the same double: 1.0, 0.1, 1e+16, nan.
std::string FloatRepr(double value);

}  // namespace lathe::tmpl
