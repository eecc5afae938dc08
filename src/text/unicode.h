// Properties and normal forms of Unicode text, over utf8proc. Thread-safe, stateless.
#pragma once

#include <string>
#include <string_view>

namespace lathe::text {

// The White_Space property.
bool IsWhitespace(char32_t c);

// \w of UTS #18: Alphabetic, marks, decimal digits, connector punctuation, joiners.
bool IsWordChar(char32_t c);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// Normal form of valid UTF-8. Time O(n log n) also for hostile runs of combining marks (utf8proc's own
// reordering is quadratic in the length of such a run).
std::string Normalize(std::string_view text, NormalForm form);

// Each code point replaced by its full lower-case mapping, without context (no final sigma).
std::string Lowercase(std::string_view text);

// Without code points of category Mn.
std::string StripAccents(std::string_view text);

// End of the grapheme cluster that starts at `pos` (UAX #29, extended).
size_t GraphemeEnd(std::string_view text, size_t pos);

// White_Space taken off the ends.
std::string_view StripWhitespace(std::string_view text, bool left, bool right);

}  // namespace lathe::text
