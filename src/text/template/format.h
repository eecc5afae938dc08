// Python's two ways to fill a string with values: "%s" % x and "{}".format(x).
#pragma once

#include "text/template/runtime.h"
#include "text/template/value.h"

namespace lathe::tmpl {

// format % values, where `values` is a tuple (positional), a dict (for %(name)s) or one value. Widths and
// precisions are bounded by the memory limit.
Value PercentFormat(Runtime& rt, const Value& format, const Value& values);

// format.format(*positional, **named)
Value BraceFormat(Runtime& rt, const Value& format, const Args& args);

// Python's round(value, digits): to the nearest, ties to even in the exact decimal value.
double RoundTo(double value, int64_t digits);

}  // namespace lathe::tmpl
