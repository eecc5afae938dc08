#include "text/template/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "text/template/methods.h"
#include "text/template/ops.h"
#include "text/template/text.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

// Digits after the point that a double can need at most is 1074; nobody prints more than this.
constexpr int64_t kMaxPrecision = 400;
constexpr int64_t kMaxWidth = int64_t{1} << 30;

bool IsAsciiDigit(char c) { return c >= '0' && c <= '9'; }

// How one field is laid out, for both languages.
struct Spec {
  std::string fill = " ";
  char align = 0;  // '<' '>' '^' '=' or 0: the type's own
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  char group = 0;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

// A decimal number at `*pos` of at most kMaxWidth.
bool ReadNumber(Runtime& rt, std::string_view text, size_t* pos, int64_t* out) {
  *out = 0;
  for (; *pos < text.size() && IsAsciiDigit(text[*pos]); ++*pos) {
    *out = *out * 10 + (text[*pos] - '0');
    if (*out > kMaxWidth) return rt.Invalid("a field width or precision is too large"), false;
  }
  return true;
}

// Appends `body` (a piece of text, `chars` code points long) padded as `spec` says.
void Pad(Runtime& rt, StrBuilder* out, const Str& body, const Spec& spec, char own_align) {
  const char align = spec.align != 0 ? spec.align : own_align;
  const auto length = static_cast<int64_t>(body.chars());
  const int64_t missing = std::max<int64_t>(0, spec.width - length);
  if (!rt.Room(static_cast<size_t>(missing) * spec.fill.size())) return;
  const int64_t left = align == '>' ? missing : align == '^' ? missing / 2 : 0;
  out->Fill(static_cast<size_t>(left), spec.fill, false);
  out->Append(body);
  out->Fill(static_cast<size_t>(missing - left), spec.fill, false);
}

void PadNumber(Runtime& rt, StrBuilder* out, std::string_view sign, std::string digits, const Spec& spec) {
  const bool inner = spec.align == '=' || (spec.zero && spec.align == 0);
  if (!inner) {
    Pad(rt, out, Str(std::string(sign) + digits, false), spec, '>');
    return;
  }
  const auto length = static_cast<int64_t>(sign.size() + digits.size());
  const int64_t missing = std::max<int64_t>(0, spec.width - length);
  if (!rt.Room(static_cast<size_t>(missing))) return;
  out->Append(sign, false);
  out->Fill(static_cast<size_t>(missing), spec.zero && spec.align == 0 ? "0" : spec.fill, false);
  out->Append(digits, false);
}

void AddGroups(std::string* digits, char separator, size_t every) {
  size_t end = digits->find_first_not_of("0123456789abcdefABCDEF");
  if (end == std::string::npos) end = digits->size();
  for (size_t at = end; at > every; at -= every) digits->insert(at - every, 1, separator);
}

std::string SignText(bool negative, char sign) {
  if (negative) return "-";
  return sign == '+' ? "+" : sign == ' ' ? " " : "";
}

std::string BaseDigits(Int value, unsigned base, bool upper) {
  using Unsigned = unsigned __int128;
  Unsigned rest = value < 0 ? ~static_cast<Unsigned>(value) + 1 : static_cast<Unsigned>(value);
  const std::string_view letters = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string digits;
  do {
    digits.push_back(letters[static_cast<size_t>(rest % base)]);
    rest /= base;
  } while (rest != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

bool FormatInt(Runtime& rt, StrBuilder* out, Int value, const Spec& spec) {
  std::string digits, prefix;
  size_t every = 3;
  switch (spec.type) {
    case 'b':
    case 'o':
    case 'x':
    case 'X':
      digits = BaseDigits(value, spec.type == 'b' ? 2 : spec.type == 'o' ? 8 : 16, spec.type == 'X');
      if (spec.alternate) prefix = std::string("0") + spec.type;
      every = 4;
      break;
    default: digits = BaseDigits(value, 10, false);
  }
  if (spec.precision > static_cast<int64_t>(digits.size()))  // only "%" gives a precision here
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  if (spec.group != 0) AddGroups(&digits, spec.group, every);
  PadNumber(rt, out, SignText(value < 0, spec.sign) + prefix, std::move(digits), spec);
  return !rt.failed();
}

bool FormatFloat(Runtime& rt, StrBuilder* out, double value, Spec spec) {
  if (spec.precision > kMaxPrecision)
    return rt.Fail(StatusCode::kResourceExhausted, "a precision of more than %lld digits is not supported",
                   static_cast<long long>(kMaxPrecision)),
           false;
  const bool negative = std::signbit(value) && !std::isnan(value);
  double magnitude = std::abs(value);
  std::string digits;
  if (spec.type == '%') magnitude *= 100;
  const char type = spec.type == 'n' ? 'g' : spec.type == '%' ? 'f' : spec.type;
  const bool upper = type == 'E' || type == 'F' || type == 'G';
  if (!std::isfinite(magnitude)) {
    digits = std::isnan(magnitude) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
  } else if (type == 0 && spec.precision < 0) {
    digits = FloatRepr(magnitude);
  } else {
    const char printf_format[] = {'%', '#', '.', '*', type == 0 ? 'g' : type, 0};
    std::string plain_format = printf_format;
    if (!spec.alternate) plain_format.erase(1, 1);
    const int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
    char buffer[1024];
    std::snprintf(buffer, sizeof(buffer), plain_format.c_str(), precision, magnitude);
    digits = buffer;
    if (type == 0 && digits.find_first_of(".e") == std::string::npos) digits += ".0";
  }
  if (spec.type == '%') digits += "%";
  if (spec.group != 0) AddGroups(&digits, spec.group, 3);
  PadNumber(rt, out, SignText(negative, spec.sign), std::move(digits), spec);
  return !rt.failed();
}

bool FormatString(Runtime& rt, StrBuilder* out, const Value& text, const Spec& spec, char own_align) {
  if (!text.IsString()) return false;
  const size_t end =
      spec.precision < 0 ? text.str().size() : text.str().ByteOffset(static_cast<size_t>(spec.precision));
  const Value cut = rt.Substring(text, 0, end);
  if (cut.IsString()) Pad(rt, out, cut.str(), spec, own_align);
  return !rt.failed();
}

double AsDouble(const Value& v) { return v.Is(Kind::kFloat) ? v.real() : static_cast<double>(v.integer()); }

// --- "%" formatting

class PercentFormatter {
 public:
  PercentFormatter(Runtime& rt, const Value& format, const Value& values)
      : rt_(rt), format_(format.str()), text_(format_.text()), values_(values), out_(rt.Builder()) {
    if (values.Is(Kind::kTuple))
      positional_ = values.list().items;
    else
      positional_ = {values};
    mapping_ =
        values.Is(Kind::kDict) || values.Is(Kind::kList) || values.Is(Kind::kRange) || values.IsUndefined();
  }

  Value Run() {
    for (size_t pos = 0; pos < text_.size() && !rt_.failed();) {
      const size_t percent = std::min(text_.find('%', pos), text_.size());
      out_.Append(format_, pos, percent);
      pos = percent;
      if (pos == text_.size()) break;
      ++pos;
      if (!Field(&pos)) return {};
    }
    if (next_ < positional_.size() && !mapping_ && !rt_.failed())
      return rt_.Invalid("not all arguments were used by the format string");
    out_.SetMarkup(format_.markup());
    return rt_.failed() ? Value() : rt_.MakeString(std::move(out_));
  }

 private:
  bool Next(Value* out) {
    if (next_ >= positional_.size())
      return rt_.Invalid("the format string needs more arguments than the %zu given", positional_.size()),
             false;
    *out = positional_[next_++];
    return true;
  }

  bool Star(int64_t* out) {
    Value v;
    if (!Next(&v)) return false;
    if (!v.IsIntegral()) return rt_.Invalid("'*' in a format string needs an integer"), false;
    *out = static_cast<int64_t>(std::clamp<Int>(v.integer(), -kMaxWidth, kMaxWidth));
    return true;
  }

  bool Key(size_t* pos) {
    if (*pos >= text_.size() || text_[*pos] != '(') return true;
    size_t end = *pos + 1;
    for (int open = 1; end < text_.size(); ++end) {
      if (text_[end] == '(') ++open;
      if (text_[end] == ')' && --open == 0) break;
    }
    if (end >= text_.size()) return rt_.Invalid("a format key has no closing parenthesis"), false;
    if (!values_.Is(Kind::kDict)) return rt_.Invalid("the format string needs a mapping"), false;
    const std::string key = text_.substr(*pos + 1, end - *pos - 1);
    const Value* found = Find(values_.dict(), key);
    if (found == nullptr) return rt_.Invalid("the mapping has no key '%.80s'", key.c_str()), false;
    positional_ = {*found};
    next_ = 0;
    *pos = end + 1;
    return true;
  }

  bool Field(size_t* pos) {
    Spec spec;
    if (!Key(pos)) return false;
    for (; *pos < text_.size(); ++*pos) {
      const char c = text_[*pos];
      if (c == '-')
        spec.align = '<';
      else if (c == '0')
        spec.zero = true;
      else if (c == '#')
        spec.alternate = true;
      else if (c == '+')
        spec.sign = '+';
      else if (c == ' ')
        spec.sign = spec.sign == '+' ? '+' : ' ';
      else
        break;
    }
    if (!WidthOrPrecision(pos, &spec.width)) return false;
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (*pos < text_.size() && text_[*pos] == '.') {
      ++*pos;
      spec.precision = 0;
      if (!WidthOrPrecision(pos, &spec.precision)) return false;
      spec.precision = std::max<int64_t>(spec.precision, 0);
    }
    while (*pos < text_.size() && (text_[*pos] == 'h' || text_[*pos] == 'l' || text_[*pos] == 'L')) ++*pos;
    if (*pos >= text_.size()) return rt_.Invalid("the format string ends inside a field"), false;
    spec.type = text_[(*pos)++];
    return Convert(spec);
  }

  bool WidthOrPrecision(size_t* pos, int64_t* out) {
    if (*pos < text_.size() && text_[*pos] == '*') return ++*pos, Star(out);
    return ReadNumber(rt_, text_, pos, out);
  }

  bool Convert(Spec spec) {
    if (spec.type == '%') {
      out_.Append("%", false);
      return true;
    }
    Value v;
    if (!Next(&v)) return false;
    switch (spec.type) {
      case 's': return FormatString(rt_, &out_, Escaped(ToText(rt_, v)), spec, '>');
      case 'r': {
        StrBuilder repr = rt_.Builder();
        AppendRepr(rt_, &repr, v);
        return FormatString(rt_, &out_, Escaped(rt_.MakeString(std::move(repr))), spec, '>');
      }
      case 'c':
        if (v.IsString() && v.str().chars() == 1) return FormatString(rt_, &out_, v, spec, '>');
        if (v.IsIntegral() && v.integer() >= 0 && v.integer() < 0x110000)
          return FormatString(rt_, &out_, rt_.MakeString(ToUtf8(static_cast<char32_t>(v.integer()))), spec,
                              '>');
        return rt_.Invalid("%%c needs an integer or one character"), false;
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X': return Integer(v, spec);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (v.IsUndefined()) return rt_.FailUndefined(v), false;
        if (!v.IsNumber())
          return rt_.Invalid("%%%c needs a number, found %s", spec.type, TypeRepr(v).c_str()), false;
        return FormatFloat(rt_, &out_, AsDouble(v), spec);
      default: return rt_.Invalid("'%%%c' is not a format this knows", spec.type), false;
    }
  }

  // What goes into markup is escaped.
  Value Escaped(const Value& text) {
    if (!format_.markup() || !text.IsString()) return text;
    StrBuilder escaped = rt_.Builder();
    AppendEscaped(&escaped, text.str());
    return rt_.MakeString(std::move(escaped));
  }

  bool Integer(const Value& v, Spec spec) {
    if (v.IsUndefined()) return rt_.FailUndefined(v), false;
    const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    if (!v.IsIntegral() && !(decimal && v.Is(Kind::kFloat)))
      return rt_.Invalid("%%%c needs a number, found %s", spec.type, TypeRepr(v).c_str()), false;
    Int i = 0;
    if (v.IsIntegral())
      i = v.integer();
    else if (std::abs(v.real()) < 0x1p126)
      i = static_cast<Int>(v.real());
    else
      return rt_.Invalid("a float is too large for %%d"), false;
    if (spec.precision > kMaxPrecision) return rt_.Invalid("a precision is too large"), false;
    if (spec.align == '<') spec.zero = false;
    return FormatInt(rt_, &out_, i, spec);
  }

  Runtime& rt_;
  const Str& format_;
  const std::string& text_;
  const Value& values_;
  std::vector<Value> positional_;
  size_t next_ = 0;
  bool mapping_ = false;
  StrBuilder out_;
};

// --- "{}" formatting

bool ParseSpec(Runtime& rt, std::string_view text, Spec* spec) {
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  size_t pos = 0;
  if (!text.empty()) {
    size_t after = 0;
    DecodeUtf8(text, &after);
    if (after < text.size() && is_align(text[after])) {
      spec->fill = std::string(text.substr(0, after));
      spec->align = text[after];
      pos = after + 1;
    } else if (is_align(text[0])) {
      spec->align = text[0];
      pos = 1;
    }
  }
  const auto at = [&](char c) { return pos < text.size() && text[pos] == c; };
  if (at('+') || at('-') || at(' ')) spec->sign = text[pos++];
  if (at('#')) spec->alternate = true, ++pos;
  if (at('0')) spec->zero = true, ++pos;
  if (!ReadNumber(rt, text, &pos, &spec->width)) return false;
  if (at(',') || at('_')) spec->group = text[pos++];
  if (at('.')) {
    ++pos;
    if (pos >= text.size() || !IsAsciiDigit(text[pos]))
      return rt.Invalid("a format specification has no precision after '.'"), false;
    if (!ReadNumber(rt, text, &pos, &spec->precision)) return false;
  }
  if (pos < text.size()) spec->type = text[pos++];
  if (pos < text.size())
    return rt.Invalid("'%.80s' is not a format specification", std::string(text).c_str()), false;
  if (spec->zero && spec->group != 0 && spec->width > 0)
    return rt.Fail(StatusCode::kUnsupported, "zero padding with digit groups is not supported"), false;
  return true;
}

bool FormatValue(Runtime& rt, StrBuilder* out, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return AppendText(rt, out, value), !rt.failed();
  Spec spec;
  if (!ParseSpec(rt, spec_text, &spec)) return false;
  const auto unknown = [&] {
    rt.Invalid("format '%.80s' does not fit a %s", std::string(spec_text).c_str(), TypeRepr(value).c_str());
    return false;
  };
  const std::string_view float_types = "eEfFgGn%";
  if (value.IsString()) {
    if ((spec.type != 0 && spec.type != 's') || spec.sign != '-' || spec.align == '=' || spec.group != 0 ||
        spec.alternate)
      return unknown();
    if (spec.zero && spec.align == 0) {
      spec.fill = "0";
      spec.align = '<';
    }
    return FormatString(rt, out, value, spec, '<');
  }
  if (value.IsIntegral()) {
    if (spec.type == 'c') {
      if (value.integer() < 0 || value.integer() >= 0x110000) return unknown();
      return FormatString(rt, out, rt.MakeString(ToUtf8(static_cast<char32_t>(value.integer()))), spec, '<');
    }
    if (spec.type == 0 || std::string_view("bdoxXn").find(spec.type) != std::string_view::npos) {
      if (spec.precision >= 0) return unknown();
      return FormatInt(rt, out, value.integer(), spec);
    }
    if (float_types.find(spec.type) == std::string_view::npos) return unknown();
    return FormatFloat(rt, out, static_cast<double>(value.integer()), spec);
  }
  if (value.Is(Kind::kFloat)) {
    if (spec.type != 0 && float_types.find(spec.type) == std::string_view::npos) return unknown();
    return FormatFloat(rt, out, value.real(), spec);
  }
  return unknown();
}

class BraceFormatter {
 public:
  BraceFormatter(Runtime& rt, const Args& args) : rt_(rt), args_(args) {}

  // Formats `format` into `out`; `levels` of nested fields may still open.
  bool Run(const Value& format, StrBuilder* out, int levels) {
    const Str& s = format.str();
    const std::string& text = s.text();
    if (levels < 0) return rt_.Invalid("format fields are nested too deeply"), false;
    for (size_t pos = 0; pos < text.size();) {
      const size_t brace = std::min(text.find_first_of("{}", pos), text.size());
      out->Append(s, pos, brace);
      pos = brace;
      if (pos == text.size()) break;
      if (pos + 1 < text.size() && text[pos + 1] == text[pos]) {
        out->Append(s, pos, pos + 1);
        pos += 2;
        continue;
      }
      if (text[pos] == '}') return rt_.Invalid("a single '}' in a format string"), false;
      if (!rt_.Step() || !Field(format, &pos, out, levels)) return false;
    }
    return !rt_.failed();
  }

 private:
  bool Field(const Value& format, size_t* pos, StrBuilder* out, int levels) {
    const std::string& text = format.str().text();
    const size_t begin = *pos + 1;
    size_t end = begin;
    for (int open = 1; end < text.size(); ++end) {
      if (text[end] == '{') ++open;
      if (text[end] == '}' && --open == 0) break;
    }
    if (end >= text.size()) return rt_.Invalid("a format field has no closing '}'"), false;
    *pos = end + 1;
    size_t name_end = begin;
    while (name_end < end && text[name_end] != '!' && text[name_end] != ':') {
      if (text[name_end] == '[') name_end = std::min(text.find(']', name_end), end);
      if (name_end < end) ++name_end;
    }
    Value value;
    if (!FieldValue(text.substr(begin, name_end - begin), &value)) return false;
    size_t at = name_end;
    if (at < end && text[at] == '!') {
      if (at + 1 >= end || (at + 2 < end && text[at + 2] != ':'))
        return rt_.Invalid("'!' in a format field needs one letter"), false;
      if (!ConvertValue(text[at + 1], &value)) return false;
      at += 2;
    }
    const size_t spec_begin = std::min(at + 1, end);
    StrBuilder spec = rt_.Builder();
    if (!Run(rt_.Substring(format, spec_begin, end), &spec, levels - 1)) return false;
    if (!format.str().markup()) return FormatValue(rt_, out, value, spec.text());
    StrBuilder plain = rt_.Builder();
    if (!FormatValue(rt_, &plain, value, spec.text())) return false;
    plain.SetMarkup(value.IsString() && value.str().markup());
    const Value formatted = rt_.MakeString(std::move(plain));
    if (formatted.IsString()) AppendEscaped(out, formatted.str());
    return !rt_.failed();
  }

  bool ConvertValue(char conversion, Value* value) {
    if (conversion == 's') {
      *value = ToText(rt_, *value);
    } else if (conversion == 'r') {
      StrBuilder repr = rt_.Builder();
      AppendRepr(rt_, &repr, *value);
      *value = rt_.MakeString(std::move(repr));
    } else {
      rt_.Invalid("conversion '!%c' in a format field is not supported", conversion);
    }
    return !rt_.failed();
  }

  bool Number(std::string_view text, int64_t* out) {
    size_t pos = 0;
    return !text.empty() && std::all_of(text.begin(), text.end(), IsAsciiDigit) &&
           ReadNumber(rt_, text, &pos, out);
  }

  bool FieldValue(const std::string& name, Value* out) {
    const size_t head_end = std::min(name.find_first_of(".["), name.size());
    const std::string head = name.substr(0, head_end);
    int64_t index = 0;
    if (head.empty() || Number(head, &index)) {
      const Numbering want = head.empty() ? Numbering::kAutomatic : Numbering::kManual;
      if (numbering_ != Numbering::kOpen && numbering_ != want)
        return rt_.Invalid("a format string mixes numbered and unnumbered fields"), false;
      numbering_ = want;
      if (head.empty()) index = next_++;
      if (index >= static_cast<int64_t>(args_.positional.size()))
        return rt_.Invalid("the format string needs more arguments than the %zu given",
                           args_.positional.size()),
               false;
      *out = args_.positional[static_cast<size_t>(index)];
    } else {
      const auto it = std::find_if(args_.named.begin(), args_.named.end(),
                                   [&](const auto& named) { return named.first == head; });
      if (it == args_.named.end())
        return rt_.Invalid("the format string needs argument '%.80s'", head.c_str()), false;
      *out = it->second;
    }
    for (size_t pos = head_end; pos < name.size() && !rt_.failed();) {
      const bool attribute = name[pos] == '.';
      if (!attribute && name[pos] != '[') return rt_.Invalid("a format field has text after ']'"), false;
      const size_t end =
          attribute ? std::min(name.find_first_of(".[", pos + 1), name.size()) : name.find(']', pos);
      if (end == std::string::npos || end == pos + 1)
        return rt_.Invalid("a format field has an empty or open element"), false;
      const std::string part = name.substr(pos + 1, end - pos - 1);
      if (attribute)
        *out = GetAttribute(rt_, *out, rt_.MakeString(part));
      else
        *out = GetItem(rt_, *out, Number(part, &index) ? Value::Integer(index) : rt_.MakeString(part));
      pos = attribute ? end : end + 1;
    }
    return !rt_.failed();
  }

  enum class Numbering { kOpen, kAutomatic, kManual };
  Runtime& rt_;
  const Args& args_;
  Numbering numbering_ = Numbering::kOpen;
  int64_t next_ = 0;
};

}  // namespace

Value PercentFormat(Runtime& rt, const Value& format, const Value& values) {
  return PercentFormatter(rt, format, values).Run();
}

Value BraceFormat(Runtime& rt, const Value& format, const Args& args) {
  StrBuilder out = rt.Builder();
  constexpr int kSpecLevels = 2;  // a field's specification may hold fields itself
  if (!BraceFormatter(rt, args).Run(format, &out, kSpecLevels)) return {};
  out.SetMarkup(format.str().markup());
  return rt.MakeString(std::move(out));
}

double RoundTo(double value, int64_t digits) {
  constexpr int64_t kMostDigits = 323, kLeastDigits = -309;
  if (!std::isfinite(value) || digits > kMostDigits) return value;
  if (digits < kLeastDigits) return std::copysign(0.0, value);
  char buffer[1024];
  if (digits >= 0) {
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(digits), value);
    return std::strtod(buffer, nullptr);
  }
  // All binary digits of a double of at least 1 fit into 60 decimal places.
  std::snprintf(buffer, sizeof(buffer), "%.60f", std::abs(value));
  const std::string text = buffer;
  const size_t point = text.find('.');
  const auto cut = static_cast<size_t>(-digits);
  if (cut > point) return std::copysign(0.0, value);
  std::string head = "0" + text.substr(0, point - cut);
  std::string tail = text.substr(point - cut, cut) + text.substr(point + 1);
  const std::string half = "5" + std::string(tail.size() - 1, '0');
  if (tail > half || (tail == half && (head.back() - '0') % 2 == 1)) {
    size_t i = head.size();
    while (head[i - 1] == '9') head[--i] = '0';
    ++head[i - 1];
  }
  head.append(cut, '0');
  return std::copysign(std::strtod(head.c_str(), nullptr), value);
}

}  // namespace lathe::tmpl
