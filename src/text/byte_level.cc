#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace lathe::text {
namespace {

constexpr bool StandsForItself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Tables {
  std::array<uint16_t, 256> letter{};
  std::array<int16_t, 0x144> byte{};
};

constexpr Tables MakeTables() {
  Tables t;
  for (auto& b : t.byte) b = -1;
  int next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const int letter = StandsForItself(b) ? b : next++;
    t.letter[static_cast<size_t>(b)] = static_cast<uint16_t>(letter);
    t.byte[static_cast<size_t>(letter)] = static_cast<int16_t>(b);
  }
  return t;
}

constexpr Tables kTables = MakeTables();

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

void AppendByteLetters(std::string_view bytes, std::string* out) {
  for (const char c : bytes) AppendUtf8(kTables.letter[static_cast<uint8_t>(c)], out);
}

int ByteOfLetter(char32_t code_point) {
  return code_point < kTables.byte.size() ? kTables.byte[code_point] : -1;
}

bool AppendLetterBytes(std::string_view letters, std::string* out) {
  const size_t before = out->size();
  for (size_t pos = 0; pos < letters.size();) {
    const Utf8Step step = NextUtf8(letters, pos);
    const int byte = step.valid ? ByteOfLetter(step.code_point) : -1;
    if (byte < 0) {
      out->resize(before);
      return false;
    }
    out->push_back(static_cast<char>(byte));
    pos += step.length;
  }
  return true;
}

int ByteOfPiece(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  const int high = HexDigit(piece[3]);
  const int low = HexDigit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace lathe::text
