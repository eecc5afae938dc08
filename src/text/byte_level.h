// The byte-level alphabet of GPT-2: every byte has a printable stand-in code point, so that a vocabulary of
// byte strings can be written as text. Printable Latin-1 stands for itself, the rest for U+0100 and up.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lathe::text {

// Appends the stand-in letters of `bytes`.
void AppendByteLetters(std::string_view bytes, std::string* out);

// The byte that `code_point` stands for, or -1.
int ByteOfLetter(char32_t code_point);

// Appends the bytes that `letters` stand for. False, with `out` as before, when one of them is no stand-in.
bool AppendLetterBytes(std::string_view letters, std::string* out);

// The byte of a byte-fallback piece "<0xNN>", or -1.
int ByteOfPiece(std::string_view piece);

}  // namespace lathe::text
