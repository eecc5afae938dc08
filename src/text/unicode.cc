#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

// Code points below this are their own NFC, and below 0x80 their own everything.
constexpr char32_t kFirstNfcVariable = 0x300;

bool AlreadyNormal(std::string_view text, NormalForm form) {
  const char32_t limit = form == NormalForm::kNfc ? kFirstNfcVariable : 0x80;
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = NextUtf8(text, pos);
    if (step.code_point >= limit) return false;
    pos += step.length;
  }
  return true;
}

uint16_t CombiningClass(int32_t c) {
  return static_cast<uint16_t>(utf8proc_get_property(c)->combining_class);
}

void SortCombiningRuns(std::vector<int32_t>* code_points) {
  for (auto it = code_points->begin(); it != code_points->end();) {
    if (CombiningClass(*it) == 0) {
      ++it;
      continue;
    }
    const auto end = std::find_if(it, code_points->end(), [](int32_t c) { return CombiningClass(c) == 0; });
    std::stable_sort(it, end, [](int32_t a, int32_t b) { return CombiningClass(a) < CombiningClass(b); });
    it = end;
  }
}

}  // namespace

bool IsWhitespace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsWordChar(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  switch (utf8proc_category(static_cast<int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
  }
  // Joiners, and the symbols that are Alphabetic: circled, squared and boxed letters.
  return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

std::string Normalize(std::string_view text, NormalForm form) {
  if (AlreadyNormal(text, form)) return std::string(text);
  const bool compat = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0));
  std::vector<int32_t> code_points;
  code_points.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = NextUtf8(text, pos);
    pos += step.length;
    // No code point of Unicode decomposes into more than 18.
    int32_t parts[32];
    int boundary = 0;
    const auto n =
        utf8proc_decompose_char(static_cast<int32_t>(step.code_point), parts, 32, options, &boundary);
    LATHE_CHECK(n >= 0 && n <= 32);
    code_points.insert(code_points.end(), parts, parts + n);
  }
  SortCombiningRuns(&code_points);
  size_t length = code_points.size();
  if (compose) {
    const auto n =
        utf8proc_normalize_utf32(code_points.data(), static_cast<utf8proc_ssize_t>(length),
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    LATHE_CHECK(n >= 0);
    length = static_cast<size_t>(n);
  }
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < length; ++i) AppendUtf8(static_cast<char32_t>(code_points[i]), &out);
  return out;
}

std::string Lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = NextUtf8(text, pos);
    pos += step.length;
    if (step.code_point == 0x130) {
      out += "i\xCC\x87";  // the one code point whose lower case is two
    } else {
      AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<int32_t>(step.code_point))), &out);
    }
  }
  return out;
}

std::string StripAccents(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Step step = NextUtf8(text, pos);
    if (utf8proc_category(static_cast<int32_t>(step.code_point)) != UTF8PROC_CATEGORY_MN)
      out += text.substr(pos, step.length);
    pos += step.length;
  }
  return out;
}

size_t GraphemeEnd(std::string_view text, size_t pos) {
  Utf8Step step = NextUtf8(text, pos);
  int32_t state = 0;
  for (pos += step.length; pos < text.size(); pos += step.length) {
    const auto previous = static_cast<int32_t>(step.code_point);
    step = NextUtf8(text, pos);
    if (utf8proc_grapheme_break_stateful(previous, static_cast<int32_t>(step.code_point), &state)) break;
  }
  return pos;
}

std::string_view StripWhitespace(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Utf8Step step = NextUtf8(text, 0);
    if (!IsWhitespace(step.code_point)) break;
    text.remove_prefix(step.length);
  }
  while (right && !text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && IsUtf8Continuation(text[begin])) --begin;
    if (!IsWhitespace(NextUtf8(text, begin).code_point)) break;
    text = text.substr(0, begin);
  }
  return text;
}

}  // namespace lathe::text
