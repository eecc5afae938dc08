// Methods of strings, and the attributes of the other types.
#pragma once

#include <string_view>

#include "text/template/runtime.h"
#include "text/template/value.h"

namespace lathe::tmpl {

// The method of Python's str of this name; nullptr if there is none.
const Builtin* FindStringMethod(std::string_view name);

// Appends `s` with HTML's special characters escaped, unless it is markup already.
void AppendEscaped(StrBuilder* out, const Str& s);
// A copy of a string value that is (or is no longer) markup.
Value WithMarkup(Runtime& rt, const Value& s, bool markup);

// Position of `what` at or behind `from`, in linear time; npos for none.
size_t FindText(std::string_view text, std::string_view what, size_t from = 0);
// The last position of `what`.
size_t FindTextBackward(Runtime& rt, std::string_view text, std::string_view what);

// Text operations shared by methods and filters. `s` is a string value.
Value StripText(Runtime& rt, const Value& s, const Value* chars, bool left, bool right);
Value ReplaceText(Runtime& rt, const Value& s, const Value& from, const Value& to, int64_t count);
Value UpperText(Runtime& rt, const Value& s);
Value LowerCaseText(Runtime& rt, const Value& s);
Value CapitalizeText(Runtime& rt, const Value& s);
Value CenterText(Runtime& rt, const Value& s, int64_t width, std::string_view fill, char align);
Value SplitText(Runtime& rt, const Value& s, const Value* separator, int64_t max_splits, bool from_right);
// Byte ranges of the lines of `text`, without (or with) their ends.
std::vector<std::pair<size_t, size_t>> LineRanges(std::string_view text, bool keep_ends);
// separator.join(items): all must be strings.
Value JoinStrings(Runtime& rt, const Value& separator, const std::vector<Value>& items);

}  // namespace lathe::tmpl
