// Filters of numbers.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "text/template/filters.h"
#include "text/template/format.h"
#include "text/template/ops.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

enum class Parsed : uint8_t { kOk, kBad, kTooLarge };

std::string_view TrimSpaces(std::string_view text) {
  size_t begin = 0, end = text.size();
  while (begin < end) {
    size_t next = begin;
    if (!IsSpace(DecodeUtf8(text, &next))) break;
    begin = next;
  }
  while (end > begin) {
    size_t previous = end;
    if (!IsSpace(DecodeUtf8Backward(text, &previous))) break;
    end = previous;
  }
  return text.substr(begin, end - begin);
}

int DigitValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 32);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

// Python's int(text, base).
Parsed ParseInt(std::string_view text, int base, Int* out) {
  text = TrimSpaces(text);
  const bool negative = text.starts_with("-");
  if (negative || text.starts_with("+")) text.remove_prefix(1);
  if (text.size() > 2 && text[0] == '0') {
    const char marker = static_cast<char>(text[1] | 32);
    const int marked = marker == 'x' ? 16 : marker == 'o' ? 8 : marker == 'b' ? 2 : 0;
    if (marked != 0 && (base == 0 || base == marked)) {
      base = marked;
      text.remove_prefix(2);
      if (text.starts_with("_")) text.remove_prefix(1);
    }
  }
  if (base == 0) {
    base = 10;
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != std::string_view::npos)
      return Parsed::kBad;
  }
  bool after_digit = false, too_large = false;
  Int value = 0;
  for (const char c : text) {
    if (c == '_') {
      if (!after_digit) return Parsed::kBad;
      after_digit = false;
      continue;
    }
    const int digit = DigitValue(c);
    if (digit >= base) return Parsed::kBad;
    after_digit = true;
    too_large = too_large || __builtin_mul_overflow(value, static_cast<Int>(base), &value) ||
                __builtin_add_overflow(value, static_cast<Int>(digit), &value);
  }
  if (!after_digit) return Parsed::kBad;
  *out = negative ? -value : value;
  return too_large ? Parsed::kTooLarge : Parsed::kOk;
}

// Python's float(text).
bool ParseFloat(std::string_view text, double* out) {
  text = TrimSpaces(text);
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '_') {
      const bool between =
          i > 0 && i + 1 < text.size() && DigitValue(text[i - 1]) < 10 && DigitValue(text[i + 1]) < 10;
      if (!between) return false;
      continue;
    }
    plain.push_back(c);
  }
  std::string word = plain;
  std::transform(word.begin(), word.end(), word.begin(),
                 [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  if (word.starts_with("+") || word.starts_with("-")) word.erase(0, 1);
  const bool named = word == "inf" || word == "infinity" || word == "nan";
  if (!named && (word.empty() || word.find_first_not_of("0123456789.e+-") != std::string::npos)) return false;
  char* end = nullptr;
  *out = std::strtod(plain.c_str(), &end);
  return end == plain.c_str() + plain.size();
}

bool FloatToInt(double d, Int* out) {
  if (!(std::abs(d) < 0x1p126)) return false;
  *out = static_cast<Int>(d);
  return true;
}

// Rounds to a multiple of a power of ten, ties to even.
Int RoundInt(Int value, int64_t digits) {
  Int unit = 1;
  for (int64_t i = 0; i < digits; ++i)
    if (__builtin_mul_overflow(unit, Int{10}, &unit)) return 0;
  Int rest = value % unit;
  if (rest < 0) rest += unit;
  const Int down = value - rest;
  const bool up = rest > unit - rest || (rest == unit - rest && (down / unit) % 2 != 0);
  return up ? down + unit : down;
}

double ToReal(const Value& v) { return v.Is(Kind::kFloat) ? v.real() : static_cast<double>(v.integer()); }

}  // namespace

Value IntFilter(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "int", args, {"default", "base"});
  int64_t base = 10;
  if (!p.ok() || !p.GetInt(1, 10, &base)) return {};
  const Value fallback = p.Get(0) == nullptr ? Value::Integer(0) : p[0];
  if (value.IsUndefined()) return rt.FailUndefined(value);
  if (value.IsIntegral()) return Value::Integer(value.integer());
  Int out = 0;
  if (value.Is(Kind::kFloat)) {
    if (std::isnan(value.real())) return fallback;
    if (FloatToInt(value.real(), &out)) return Value::Integer(out);
    return rt.Invalid("a float is too large for an integer");
  }
  if (!value.IsString()) return fallback;
  rt.StepBytes(value.str().size());
  if (base != 0 && (base < 2 || base > 36)) return fallback;
  const Parsed parsed = ParseInt(value.str().text(), static_cast<int>(base), &out);
  if (parsed == Parsed::kTooLarge)
    return rt.Fail(StatusCode::kResourceExhausted, "an integer has more than 127 bits");
  if (parsed == Parsed::kOk) return Value::Integer(out);
  double real = 0;
  if (!ParseFloat(value.str().text(), &real) || !FloatToInt(real, &out)) return fallback;
  return Value::Integer(out);
}

Value FloatFilter(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "float", args, {"default"});
  if (!p.ok()) return {};
  if (value.IsUndefined()) return rt.FailUndefined(value);
  if (value.IsNumber()) return Value::Real(ToReal(value));
  double out = 0;
  if (value.IsString() && ParseFloat(value.str().text(), &out)) return Value::Real(out);
  return p.Get(0) == nullptr ? Value::Real(0) : p[0];
}

Value AbsFilter(Runtime& rt, const Value& value, const Args& args) {
  if (!Params(rt, "abs", args, {}).ok()) return {};
  if (value.Is(Kind::kFloat)) return Value::Real(std::abs(value.real()));
  if (!value.IsIntegral()) return rt.Invalid("abs does not work on a %s", TypeRepr(value).c_str());
  return value.integer() < 0 ? Negate(rt, value) : Value::Integer(value.integer());
}

Value RoundFilter(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "round", args, {"precision", "method"});
  int64_t precision = 0;
  Value method;
  if (!p.ok() || !p.GetInt(0, 0, &precision) || !p.GetString(1, LiteralString("common"), &method)) return {};
  const std::string& how = method.str().text();
  if (how != "common" && how != "ceil" && how != "floor")
    return rt.Invalid("round: the method must be common, ceil or floor");
  if (!value.IsNumber()) return rt.Invalid("round does not work on a %s", TypeRepr(value).c_str());
  if (how == "common") {
    if (value.Is(Kind::kFloat)) return Value::Real(RoundTo(value.real(), precision));
    if (precision >= 0) return Value::Integer(value.integer());
    return Value::Integer(RoundInt(value.integer(), std::min<int64_t>(-precision, 64)));
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = ToReal(value) * scale;
  if (!std::isfinite(scaled)) return rt.Invalid("round: the number is not finite");
  // The reference rounds to an integer, which has no negative zero.
  return Value::Real(((how == "ceil" ? std::ceil(scaled) : std::floor(scaled)) + 0.0) / scale);
}

}  // namespace lathe::tmpl
