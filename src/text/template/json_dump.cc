// The tojson filter: Python's json.dumps.
#include <algorithm>
#include <cmath>

#include "text/template/filters.h"
#include "text/template/ops.h"
#include "text/template/text.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

struct JsonFormat {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;
  std::string indent;  // of one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

class Dumper {
 public:
  Dumper(Runtime& rt, const JsonFormat& format, StrBuilder* out) : rt_(rt), format_(format), out_(*out) {}

  void Dump(const Value& value) {
    if (!rt_.Step() || out_.overflow()) return;
    switch (value.kind()) {
      case Kind::kNone: Lit("null"); break;
      case Kind::kBool: Lit(value.boolean() ? "true" : "false"); break;
      case Kind::kInt: Lit(IntText(value.integer())); break;
      case Kind::kFloat: Lit(Number(value.real())); break;
      case Kind::kString: Quoted(value.str()); break;
      case Kind::kList:
      case Kind::kTuple: Array(value.list().items); break;
      case Kind::kDict: Object(value.dict().entries); break;
      default: rt_.Invalid("a %s cannot be written as JSON", TypeRepr(value).c_str());
    }
  }

 private:
  void Lit(std::string_view text) { out_.Append(text, false); }

  static std::string Number(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
    return FloatRepr(d);
  }

  void Line() {
    if (!format_.pretty) return;
    Lit("\n");
    out_.Fill(static_cast<size_t>(level_), format_.indent, false);
  }

  void Between(bool first) {
    if (!first) Lit(format_.item_separator);
    Line();
  }

  void Array(const std::vector<Value>& items) {
    if (items.empty()) return Lit("[]");
    Lit("[");
    ++level_;
    for (size_t i = 0; i < items.size() && !rt_.failed(); ++i) {
      Between(i == 0);
      Dump(items[i]);
    }
    --level_;
    Line();
    Lit("]");
  }

  void Object(const std::vector<std::pair<Value, Value>>& entries) {
    if (entries.empty()) return Lit("{}");
    std::vector<const std::pair<Value, Value>*> order;
    order.reserve(entries.size());
    for (const auto& entry : entries) order.push_back(&entry);
    if (format_.sort_keys)
      std::stable_sort(order.begin(), order.end(),
                       [&](const auto* a, const auto* b) { return Less(rt_, a->first, b->first); });
    Lit("{");
    ++level_;
    for (size_t i = 0; i < order.size() && !rt_.failed(); ++i) {
      Between(i == 0);
      Key(order[i]->first);
      Lit(format_.key_separator);
      Dump(order[i]->second);
    }
    --level_;
    Line();
    Lit("}");
  }

  void Key(const Value& key) {
    if (key.IsString()) return Quoted(key.str());
    if (!key.IsNumber() && !key.IsNone())
      return (void)rt_.Invalid("a %s cannot be a key in JSON", TypeRepr(key).c_str());
    Lit("\"");
    Dump(key);
    Lit("\"");
  }

  void Quoted(const Str& s) {
    rt_.StepBytes(s.size());
    Lit("\"");
    const std::string& text = s.text();
    for (size_t pos = 0; pos < text.size();) {
      const size_t begin = pos;
      const char32_t c = DecodeUtf8(text, &pos);
      const std::string escape = Escape(c);
      if (escape.empty())
        out_.Append(s, begin, pos);
      else
        out_.Append(escape, s.UserAt(begin));
    }
    Lit("\"");
  }

  std::string Escape(char32_t c) const {
    switch (c) {
      case '"': return "\\\"";
      case '\\': return "\\\\";
      case '\n': return "\\n";
      case '\r': return "\\r";
      case '\t': return "\\t";
      case '\f': return "\\f";
      case '\b': return "\\b";
      default: break;
    }
    const auto code = static_cast<unsigned>(c);
    if (c < 0x20 || (format_.ensure_ascii && c >= 0x7f && c < 0x10000)) return StrFormat("\\u%04x", code);
    if (!format_.ensure_ascii || c < 0x7f) return "";
    const unsigned rest = code - 0x10000;
    return StrFormat("\\u%04x\\u%04x", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
  }

  Runtime& rt_;
  const JsonFormat& format_;
  StrBuilder& out_;
  int level_ = 0;
};

bool ReadIndent(Runtime& rt, const Value& value, JsonFormat* format) {
  format->pretty = true;
  format->item_separator = ",";
  if (value.IsString()) {
    format->indent = value.str().text();
    return true;
  }
  if (!value.IsIntegral()) return rt.Invalid("tojson: indent must be an integer or a string"), false;
  constexpr Int kMaxIndent = 1024;
  if (value.integer() > kMaxIndent)
    return rt.Fail(StatusCode::kResourceExhausted, "tojson: an indent of more than 1024 is not supported"),
           false;
  format->indent = std::string(value.integer() < 0 ? 0 : static_cast<size_t>(value.integer()), ' ');
  return true;
}

bool ReadSeparators(Runtime& rt, const Value& value, JsonFormat* format) {
  std::vector<Value> pair;
  if (!Items(rt, value, &pair)) return false;
  if (pair.size() != 2 || !pair[0].IsString() || !pair[1].IsString())
    return rt.Invalid("tojson: separators must be two strings"), false;
  format->item_separator = pair[0].str().text();
  format->key_separator = pair[1].str().text();
  return true;
}

}  // namespace

Value ToJson(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  if (!p.ok()) return {};
  JsonFormat format;
  format.ensure_ascii = p.GetBool(0, false);
  format.sort_keys = p.GetBool(3, false);
  if (p.Given(1) && !ReadIndent(rt, p[1], &format)) return {};
  if (p.Given(2) && !ReadSeparators(rt, p[2], &format)) return {};
  StrBuilder out = rt.Builder();
  Dumper(rt, format, &out).Dump(value);
  out.Unify(0);  // JSON of the user's data is the user's, punctuation included
  return rt.failed() ? Value() : rt.MakeString(std::move(out));
}

}  // namespace lathe::tmpl
