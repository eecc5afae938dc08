// Code points: UTF-8 in and out, and the character classes and case mappings of Python's str.
//
// Everything here is a pure function. Strings handed in are valid UTF-8 (Sanitize makes them so).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lathe::tmpl {

// The code point at `*pos` (which must be inside `text`); moves `*pos` behind it.
char32_t DecodeUtf8(std::string_view text, size_t* pos);

// The code point that ends just before `*pos` (> 0); moves `*pos` to its first byte.
char32_t DecodeUtf8Backward(std::string_view text, size_t* pos);

void AppendUtf8(std::string* out, char32_t c);
std::string ToUtf8(char32_t c);

size_t CountChars(std::string_view text);

// `text` with every byte that is not part of valid UTF-8 replaced by U+FFFD.
std::string Sanitize(std::string_view text);

bool IsSpace(char32_t c);
bool IsPrintable(char32_t c);
bool IsAlpha(char32_t c);
bool IsDecimal(char32_t c);
bool IsDigit(char32_t c);
bool IsNumeric(char32_t c);
bool IsUpper(char32_t c);
bool IsLower(char32_t c);
bool IsTitle(char32_t c);
inline bool IsAlnum(char32_t c) { return IsAlpha(c) || IsNumeric(c); }
// May begin / continue an identifier.
bool IsNameStart(char32_t c);
bool IsNameChar(char32_t c);

// Case mappings as UTF-8; one code point can become several. ToLowerAt needs the whole text because a
// capital sigma at the end of a word becomes a final sigma.
std::string ToUpper(char32_t c);
std::string ToTitle(char32_t c);
std::string ToLowerAt(std::string_view text, size_t pos);
std::string LowerText(std::string_view text);

}  // namespace lathe::tmpl
