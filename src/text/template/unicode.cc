#include "text/template/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "text/template/special_casing.h"

namespace lathe::tmpl {
namespace {

constexpr char32_t kReplacement = 0xfffd;
constexpr char32_t kCapitalSigma = 0x3a3;
constexpr char32_t kFinalSigma = 0x3c2;
constexpr char32_t kCapitalIWithDot = 0x130;

utf8proc_category_t Category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

const SpecialCase* FindSpecial(char32_t c) {
  const auto* it = std::lower_bound(std::begin(kSpecialCases), std::end(kSpecialCases), c,
                                    [](const SpecialCase& s, char32_t key) { return s.from < key; });
  return it != std::end(kSpecialCases) && it->from == c ? it : nullptr;
}

std::string Join(const char32_t (&mapped)[3]) {
  std::string out;
  for (const char32_t c : mapped)
    if (c != 0) AppendUtf8(&out, c);
  return out;
}

bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c) || IsTitle(c); }

// Marks, modifiers and apostrophes do not end a word for the final-sigma rule.
bool IsCaseIgnorable(char32_t c) {
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: break;
  }
  constexpr char32_t kMidWord[] = {'\'',   '.',    ':',    0xb7,   0x387,  0x55f,  0x5f4,  0x2018, 0x2019,
                                   0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
  return std::find(std::begin(kMidWord), std::end(kMidWord), c) != std::end(kMidWord);
}

bool SigmaIsFinal(std::string_view text, size_t begin, size_t end) {
  bool cased_before = false;
  for (size_t p = begin; p > 0;) {
    const char32_t c = DecodeUtf8Backward(text, &p);
    if (IsCaseIgnorable(c)) continue;
    cased_before = IsCased(c);
    break;
  }
  if (!cased_before) return false;
  for (size_t p = end; p < text.size();) {
    const char32_t c = DecodeUtf8(text, &p);
    if (IsCaseIgnorable(c)) continue;
    return !IsCased(c);
  }
  return true;
}

}  // namespace

char32_t DecodeUtf8(std::string_view text, size_t* pos) {
  const auto first = static_cast<unsigned char>(text[*pos]);
  if (first < 0x80) {
    ++*pos;
    return first;
  }
  utf8proc_int32_t c = -1;
  const auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + *pos,
                                  static_cast<utf8proc_ssize_t>(text.size() - *pos), &c);
  if (n <= 0) {
    ++*pos;
    return kReplacement;
  }
  *pos += static_cast<size_t>(n);
  return static_cast<char32_t>(c);
}

char32_t DecodeUtf8Backward(std::string_view text, size_t* pos) {
  size_t start = *pos - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0u) == 0x80u) --start;
  *pos = start;
  size_t forward = start;
  return DecodeUtf8(text, &forward);
}

void AppendUtf8(std::string* out, char32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

std::string ToUtf8(char32_t c) {
  std::string out;
  AppendUtf8(&out, c);
  return out;
}

size_t CountChars(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
}

std::string Sanitize(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = DecodeUtf8(text, &pos);
    if (c == kReplacement && pos - begin == 1)
      AppendUtf8(&out, c);
    else
      out.append(text, begin, pos - begin);
  }
  return out;
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
  if (c == 0x85 || c == 0x2028 || c == 0x2029) return true;
  return Category(c) == UTF8PROC_CATEGORY_ZS;
}

bool IsPrintable(char32_t c) {
  if (c < 0x80) return c >= ' ' && c < 0x7f;
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

bool IsAlpha(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsDecimal(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_ND; }

bool IsDigit(char32_t c) {
  if (IsDecimal(c)) return true;
  return c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247c) ||
         (c >= 0x2488 && c <= 0x2490) || (c >= 0x2776 && c <= 0x277e);
}

bool IsNumeric(char32_t c) {
  const auto category = Category(c);
  if (category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
      category == UTF8PROC_CATEGORY_NO)
    return true;
  constexpr char32_t kHanNumbers[] = {0x3007, 0x4e00, 0x4e03, 0x4e07, 0x4e09, 0x4e5d, 0x4e8c, 0x4e94, 0x4ebf,
                                      0x516b, 0x516d, 0x5341, 0x5343, 0x56db, 0x767e, 0x842c, 0x96f6};
  return std::binary_search(std::begin(kHanNumbers), std::end(kHanNumbers), c);
}

bool IsUpper(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return Category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216f) || (c >= 0x24b6 && c <= 0x24cf);
}

bool IsLower(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return Category(c) == UTF8PROC_CATEGORY_LL || c == 0xaa || c == 0xba || (c >= 0x2170 && c <= 0x217f) ||
         (c >= 0x24d0 && c <= 0x24e9);
}

bool IsTitle(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_LT; }

bool IsNameStart(char32_t c) {
  if (c < 0x80) return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return IsAlpha(c) || Category(c) == UTF8PROC_CATEGORY_NL;
}

bool IsNameChar(char32_t c) {
  if (IsNameStart(c)) return true;
  if (c < 0x80) return c >= '0' && c <= '9';
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return c == 0xb7;
  }
}

std::string ToUpper(char32_t c) {
  if (c < 0x80) return std::string(1, static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c));
  if (const SpecialCase* special = FindSpecial(c)) return Join(special->upper);
  return ToUtf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

std::string ToTitle(char32_t c) {
  if (c < 0x80) return ToUpper(c);
  if (const SpecialCase* special = FindSpecial(c)) return Join(special->title);
  return ToUtf8(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
}

std::string ToLowerAt(std::string_view text, size_t pos) {
  const size_t begin = pos;
  const char32_t c = DecodeUtf8(text, &pos);
  if (c < 0x80) return std::string(1, static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  if (c == kCapitalSigma && SigmaIsFinal(text, begin, pos)) return ToUtf8(kFinalSigma);
  if (c == kCapitalIWithDot) return "i\xcc\x87";
  return ToUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

std::string LowerText(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    out += ToLowerAt(text, pos);
    DecodeUtf8(text, &pos);
  }
  return out;
}

}  // namespace lathe::tmpl
