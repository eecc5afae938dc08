#include "serve/openai/json_text.h"

#include <charconv>
#include <cmath>

#include "text/utf8.h"

namespace lathe::serve {
namespace {

void AppendEscaped(char c, std::string* out) {
  switch (c) {
    case '"': *out += "\\\""; return;
    case '\\': *out += "\\\\"; return;
    case '\b': *out += "\\b"; return;
    case '\f': *out += "\\f"; return;
    case '\n': *out += "\\n"; return;
    case '\r': *out += "\\r"; return;
    case '\t': *out += "\\t"; return;
    default: break;
  }
  constexpr char kHex[] = "0123456789abcdef";
  *out += "\\u00";
  *out += kHex[static_cast<unsigned char>(c) >> 4];
  *out += kHex[c & 15];
}

bool NeedsEscape(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'; }

bool IsAscii(std::string_view text) {
  unsigned char all = 0;
  for (const char c : text) all |= static_cast<unsigned char>(c);
  return all < 0x80;
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* out) {
  if (!IsAscii(text) && !text::IsValidUtf8(text)) return AppendJsonString(text::ToValidUtf8(text), out);
  *out += '"';
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!NeedsEscape(text[i])) continue;
    out->append(text, begin, i - begin);
    AppendEscaped(text[i], out);
    begin = i + 1;
  }
  out->append(text, begin);
  *out += '"';
}

void AppendJsonStringOrNull(std::string_view text, std::string* out) {
  if (text.empty())
    *out += "null";
  else
    AppendJsonString(text, out);
}

void AppendInt(int64_t value, std::string* out) {
  char digits[24];
  out->append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
}

void AppendFloat(float value, std::string* out) {
  if (std::isnan(value)) {
    *out += "null";
    return;
  }
  if (std::isinf(value)) {
    *out += value < 0 ? "-9999.0" : "9999.0";
    return;
  }
  char digits[48];
  const std::string_view text(
      digits, static_cast<size_t>(std::to_chars(digits, digits + sizeof(digits), value).ptr - digits));
  *out += text;
  if (text.find_first_of(".e") == std::string_view::npos) *out += ".0";
}

void AppendIds(std::span<const TokenId> ids, std::string* out) {
  *out += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) *out += ',';
    AppendInt(ids[i], out);
  }
  *out += ']';
}

void AppendBytes(std::string_view bytes, std::string* out) {
  *out += '[';
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) *out += ',';
    AppendInt(static_cast<unsigned char>(bytes[i]), out);
  }
  *out += ']';
}

std::string EncodeBase64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kDigits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

}  // namespace lathe::serve
