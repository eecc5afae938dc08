// The filters: value|name(arguments).
#pragma once

#include <string_view>

#include "text/template/runtime.h"
#include "text/template/value.h"

namespace lathe::tmpl {

// nullptr if there is none of this name.
const Builtin* FindFilter(std::string_view name);

// Filters of sequences, kept in filters_sequence.cc.
const Builtin* FindSequenceFilter(std::string_view name);

// value|tojson(ensure_ascii, indent, separators, sort_keys): json.dumps as Hugging Face configures it.
Value ToJson(Runtime& rt, const Value& value, const Args& args);

// value|int(default, base) and value|float(default)
Value IntFilter(Runtime& rt, const Value& value, const Args& args);
Value FloatFilter(Runtime& rt, const Value& value, const Args& args);
// value|round(precision, method)
Value RoundFilter(Runtime& rt, const Value& value, const Args& args);
Value AbsFilter(Runtime& rt, const Value& value, const Args& args);

}  // namespace lathe::tmpl
