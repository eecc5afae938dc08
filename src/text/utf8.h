// UTF-8: stepping over code points and over the places where bytes are not UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::text {

inline constexpr std::string_view kReplacementChar = "\xEF\xBF\xBD";  // U+FFFD

// What stands at one position of a byte string.
struct Utf8Step {
  char32_t code_point = 0xFFFD;
  uint8_t length = 0;  // bytes to step over; 0 only at the end of the text
  bool valid = false;
  // Not valid, but the text ended where more bytes could have made it so.
  bool incomplete = false;
};

// The code point at `pos`, or the longest prefix of one that is broken off there (the "maximal subpart" of
// the Unicode standard, which is what Python's and Rust's lossy decoders replace by one U+FFFD).
Utf8Step NextUtf8(std::string_view text, size_t pos);

bool IsValidUtf8(std::string_view text);

// `text` with every maximal subpart of an ill-formed sequence replaced by U+FFFD.
std::string ToValidUtf8(std::string_view text);

// Appends the UTF-8 form of a scalar value (U+FFFD for a surrogate or a value beyond U+10FFFF).
void AppendUtf8(char32_t code_point, std::string* out);

// Bytes of the code point that starts with `lead`, in text known to be valid.
inline size_t Utf8Length(char lead) {
  const auto b = static_cast<uint8_t>(lead);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

inline bool IsUtf8Continuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

}  // namespace lathe::text
