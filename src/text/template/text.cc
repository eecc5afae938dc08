#include "text/template/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/template/ast.h"
#include "text/template/ops.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

// repr() of circular namespaces would never end.
constexpr int kMaxReprDepth = 96;

class Writer {
 public:
  Writer(Runtime& rt, StrBuilder* out) : rt_(rt), out_(*out) {}

  void Repr(const Value& value) {
    if (!rt_.Step() || out_.overflow()) return;
    if (++depth_ > kMaxReprDepth) {
      rt_.Fail(StatusCode::kResourceExhausted, "a value nested deeper than %d levels cannot be printed",
               kMaxReprDepth);
      --depth_;
      return;
    }
    Write(value);
    --depth_;
  }

 private:
  void Lit(std::string_view text) { out_.Append(text, false); }

  void Write(const Value& value) {
    switch (value.kind()) {
      case Kind::kMissing:
      case Kind::kUndefined: Lit("Undefined"); break;
      case Kind::kNone: Lit("None"); break;
      case Kind::kBool: Lit(value.boolean() ? "True" : "False"); break;
      case Kind::kInt: Lit(IntText(value.integer())); break;
      case Kind::kFloat: Lit(FloatRepr(value.real())); break;
      case Kind::kString: Quoted(value.str()); break;
      case Kind::kList: Sequence("[", value.list().items, "]"); break;
      case Kind::kTuple:
        Sequence("(", value.list().items, value.list().items.size() == 1 ? ",)" : ")");
        break;
      case Kind::kDict: Mapping(value.dict().entries); break;
      case Kind::kDictView: View(value.dict_view()); break;
      case Kind::kRange: WriteRange(value.range()); break;
      case Kind::kNamespace:
        Lit("<Namespace ");
        Mapping(value.name_space().attributes);
        Lit(">");
        break;
      case Kind::kLoop:
        Lit("<LoopContext " + IntText(value.loop().index0 + 1) + "/" +
            IntText(LoopLength(rt_, value.loop())) + ">");
        break;
      case Kind::kMacro: {
        const std::string& name = value.macro().definition->name;
        Lit(name.empty() ? "<Macro anonymous>" : "<Macro '" + name + "'>");
        break;
      }
      case Kind::kFunction:
        Lit("<built-in function " + std::string(value.function().builtin->name) + ">");
        break;
      case Kind::kIterator:
      case Kind::kCycler:
      case Kind::kJoiner: Lit("<" + std::string(TypeName(value)) + " object>"); break;
    }
  }

  void Quoted(const Str& s) {
    if (s.markup()) Lit("Markup(");
    const std::string& text = s.text();
    const bool double_quotes = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
    const std::string_view quote = double_quotes ? "\"" : "'";
    Lit(quote);
    for (size_t pos = 0; pos < text.size();) {
      const size_t begin = pos;
      const char32_t c = DecodeUtf8(text, &pos);
      const bool user = s.UserAt(begin);
      if (c == '\\' || (c < 0x80 && static_cast<char>(c) == quote[0])) {
        out_.Append("\\", user);
        out_.Append(s, begin, pos);
      } else if (c == '\n') {
        out_.Append("\\n", user);
      } else if (c == '\r') {
        out_.Append("\\r", user);
      } else if (c == '\t') {
        out_.Append("\\t", user);
      } else if (!IsPrintable(c)) {
        const auto code = static_cast<unsigned>(c);
        out_.Append(c < 0x100     ? StrFormat("\\x%02x", code)
                    : c < 0x10000 ? StrFormat("\\u%04x", code)
                                  : StrFormat("\\U%08x", code),
                    user);
      } else {
        out_.Append(s, begin, pos);
      }
    }
    rt_.StepBytes(text.size());
    Lit(quote);
    if (s.markup()) Lit(")");
  }

  void Sequence(std::string_view open, const std::vector<Value>& items, std::string_view close) {
    Lit(open);
    for (size_t i = 0; i < items.size() && !rt_.failed(); ++i) {
      if (i > 0) Lit(", ");
      Repr(items[i]);
    }
    Lit(close);
  }

  void Mapping(const std::vector<std::pair<Value, Value>>& entries) {
    Lit("{");
    for (size_t i = 0; i < entries.size() && !rt_.failed(); ++i) {
      if (i > 0) Lit(", ");
      Repr(entries[i].first);
      Lit(": ");
      Repr(entries[i].second);
    }
    Lit("}");
  }

  void View(const DictView& view) {
    const auto& entries = view.dict.dict().entries;
    Lit(view.part == DictView::Part::kKeys     ? "dict_keys(["
        : view.part == DictView::Part::kValues ? "dict_values(["
                                               : "dict_items([");
    for (size_t i = 0; i < entries.size() && !rt_.failed(); ++i) {
      if (i > 0) Lit(", ");
      const auto& [key, value] = entries[i];
      if (view.part == DictView::Part::kItems) Lit("(");
      if (view.part != DictView::Part::kValues) Repr(key);
      if (view.part == DictView::Part::kItems) Lit(", ");
      if (view.part != DictView::Part::kKeys) Repr(value);
      if (view.part == DictView::Part::kItems) Lit(")");
    }
    Lit("])");
  }

  void WriteRange(const Range& range) {
    Lit("range(" + IntText(range.start) + ", " + IntText(range.stop) +
        (range.step == 1 ? ")" : ", " + IntText(range.step) + ")"));
  }

  Runtime& rt_;
  StrBuilder& out_;
  int depth_ = 0;
};

}  // namespace

void AppendRepr(Runtime& rt, StrBuilder* out, const Value& value) {
  const size_t begin = out->size();
  Writer(rt, out).Repr(value);
  out->Unify(begin);
}

void AppendText(Runtime& rt, StrBuilder* out, const Value& value) {
  if (value.IsString()) {
    rt.StepBytes(value.str().size());
    out->Append(value.str());
  } else if (!value.IsUndefined()) {
    AppendRepr(rt, out, value);
  }
}

Value ToText(Runtime& rt, const Value& value) {
  if (value.IsString()) return value;
  StrBuilder out = rt.Builder();
  AppendText(rt, &out, value);
  return rt.MakeString(std::move(out));
}

std::string IntText(Int value) {
  using Unsigned = unsigned __int128;
  Unsigned rest = value < 0 ? ~static_cast<Unsigned>(value) + 1 : static_cast<Unsigned>(value);
  std::string digits;
  do {
    digits.push_back(static_cast<char>('0' + static_cast<int>(rest % 10)));
    rest /= 10;
  } while (rest != 0);
  if (value < 0) digits.push_back('-');
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string FloatRepr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // Shortest digits in scientific form: [-]d[.ddd]e[+-]xx.
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const char* exponent_begin = text.data() + e + 1;
  if (*exponent_begin == '+') ++exponent_begin;
  std::from_chars(exponent_begin, end, exponent);
  std::string digits;
  for (const char c : text.substr(0, e))
    if (c >= '0' && c <= '9') digits.push_back(c);
  std::string out = text[0] == '-' ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out += "." + digits.substr(1);
    return out + StrFormat("e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

}  // namespace lathe::tmpl
