// Filters of text and of single values.
#include "text/template/filters.h"

#include <algorithm>
#include <iterator>

#include "text/template/format.h"
#include "text/template/methods.h"
#include "text/template/ops.h"
#include "text/template/text.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

Value Trim(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "trim", args, {"chars"});
  const Value text = ToText(rt, value);
  return p.ok() && text.IsString() ? StripText(rt, text, p.Get(0), true, true) : Value();
}

template <Value (*kMap)(Runtime&, const Value&)>
Value MapText(Runtime& rt, const Value& value, const Args& args) {
  const Value text = ToText(rt, value);
  return Params(rt, "filter", args, {}).ok() && text.IsString() ? kMap(rt, text) : Value();
}

// A capital behind every blank, dash or opening bracket; lower case elsewhere.
Value TitleText(Runtime& rt, const Value& text) {
  const Str& s = text.str();
  if (!rt.StepBytes(s.size())) return {};
  StrBuilder out = rt.Builder();
  bool word_begins = true;
  size_t word = 0;  // behind the first letter of the current word: lower case looks at the rest alone
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    const char32_t c = DecodeUtf8(s.text(), &pos);
    const bool separator = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || IsSpace(c);
    if (separator) {
      out.Append(s, begin, pos);
    } else if (word_begins) {
      word = pos;
      out.Append(ToUpper(c), s.UserAt(begin));
    } else {
      const std::string_view rest = std::string_view(s.text()).substr(word);
      out.Append(ToLowerAt(rest, begin - word), s.UserAt(begin));
    }
    word_begins = separator;
  }
  return rt.MakeString(std::move(out));
}

Value String(Runtime& rt, const Value& value, const Args& args) {
  return Params(rt, "string", args, {}).ok() ? ToText(rt, value) : Value();
}

Value Replace(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "replace", args, {"old", "new", "count"}, 2);
  int64_t count = -1;
  if (!p.ok() || !p.GetInt(2, -1, &count)) return {};
  const Value text = ToText(rt, value), from = ToText(rt, p[0]), to = ToText(rt, p[1]);
  return rt.failed() ? Value() : ReplaceText(rt, WithMarkup(rt, text, false), from, to, count);
}

Value Center(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "center", args, {"width"});
  int64_t width = 80;
  const Value text = ToText(rt, value);
  if (!p.ok() || !p.GetInt(0, 80, &width) || rt.failed()) return {};
  return CenterText(rt, text, width, " ", '^');
}

Value Escape(Runtime& rt, const Value& value, const Args& args) {
  const Value text = ToText(rt, value);
  if (!Params(rt, "escape", args, {}).ok() || rt.failed()) return {};
  StrBuilder out = rt.Builder();
  AppendEscaped(&out, text.str());
  out.SetMarkup(true);
  return rt.MakeString(std::move(out));
}

Value ForceEscape(Runtime& rt, const Value& value, const Args& args) {
  const Value text = ToText(rt, value);
  return rt.failed() ? Value() : Escape(rt, WithMarkup(rt, text, false), args);
}

Value Safe(Runtime& rt, const Value& value, const Args& args) {
  const Value text = ToText(rt, value);
  return Params(rt, "safe", args, {}).ok() && !rt.failed() ? WithMarkup(rt, text, true) : Value();
}

Value Indent(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "indent", args, {"width", "first", "blank"});
  if (!p.ok()) return {};
  if (value.IsUndefined()) return rt.FailUndefined(value);
  if (!value.IsString()) return rt.Invalid("indent needs a string, found %s", TypeRepr(value).c_str());
  Value indention;
  if (p.Given(0) && p[0].IsString()) {
    indention = p[0];
  } else {
    int64_t width = 4;
    if (!p.GetInt(0, 4, &width)) return {};
    indention = Binary(rt, BinaryOp::kMul, rt.MakeString(" "), Value::Integer(width));
  }
  const Value text = Binary(rt, BinaryOp::kAdd, value, rt.MakeString("\n"));
  if (rt.failed()) return {};
  const bool blank = p.GetBool(2, false);
  StrBuilder out = rt.Builder();
  out.SetMarkup(value.str().markup());
  if (p.GetBool(1, false)) out.Append(indention.str());
  bool first = true;
  for (const auto& [begin, end] : LineRanges(text.str().text(), false)) {
    if (!rt.Step()) return {};
    if (!first) {
      out.Append("\n", value.str().any_user());
      if (blank || begin < end) out.Append(indention.str());
    }
    out.Append(text.str(), begin, end);
    first = false;
  }
  return rt.MakeString(std::move(out));
}

Value Truncate(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "truncate", args, {"length", "killwords", "end", "leeway"});
  int64_t length = 255, leeway = 5;
  Value end;
  if (!p.ok() || !p.GetInt(0, 255, &length) || !p.GetString(2, LiteralString("..."), &end) ||
      !p.GetInt(3, 5, &leeway))
    return {};
  const auto end_chars = static_cast<int64_t>(end.str().chars());
  if (length < end_chars || leeway < 0) return rt.Invalid("truncate: the length is too small");
  const Int chars = Length(rt, value);
  if (rt.failed() || chars <= length + leeway) return value;
  const Value kept = GetSlice(rt, value, Value::None(), Value::Integer(length - end_chars), Value::None());
  if (rt.failed()) return {};
  if (!kept.IsString()) return rt.Invalid("truncate needs a string, found %s", TypeRepr(value).c_str());
  const size_t space = p.GetBool(1, false) ? std::string::npos : kept.str().text().rfind(' ');
  const Value head = space == std::string::npos ? kept : rt.Substring(kept, 0, space);
  return Binary(rt, BinaryOp::kAdd, head, end);
}

Value Wordcount(Runtime& rt, const Value& value, const Args& args) {
  const Value text = ToText(rt, value);
  if (!Params(rt, "wordcount", args, {}).ok() || rt.failed()) return {};
  Int words = 0;
  bool inside = false;
  for (size_t pos = 0; pos < text.str().size();) {
    const char32_t c = DecodeUtf8(text.str().text(), &pos);
    const bool letter = c == '_' || IsAlnum(c);
    words += letter && !inside ? 1 : 0;
    inside = letter;
  }
  return Value::Integer(words);
}

Value Format(Runtime& rt, const Value& value, const Args& args) {
  const Value text = ToText(rt, value);
  if (rt.failed()) return {};
  if (!args.named.empty() && !args.positional.empty())
    return rt.Invalid("format takes either positional or keyword arguments");
  if (args.named.empty()) return PercentFormat(rt, text, rt.MakeTuple(args.positional));
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, v] : args.named) entries.emplace_back(rt.MakeString(name), v);
  return PercentFormat(rt, text, rt.MakeDict(std::move(entries)));
}

Value Default(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "default", args, {"default_value", "boolean"});
  if (!p.ok()) return {};
  const bool use_default = value.IsUndefined() || (p.GetBool(1, false) && !Truthy(value));
  if (!use_default) return value;
  return p.Get(0) == nullptr ? rt.MakeString("") : p[0];
}

Value Attr(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "attr", args, {"name"}, 1);
  if (!p.ok()) return {};
  if (value.IsUndefined()) return rt.FailUndefined(value);
  if (!p[0].IsString()) return rt.Invalid("attr needs the name of an attribute");
  const Value found = LookUpAttribute(rt, value, p[0].str().text());
  return found.Is(Kind::kMissing) ? rt.UndefinedAttribute(value, p[0].str().text()) : found;
}

void Quote(StrBuilder* out, const Str& s, bool query) {
  for (size_t i = 0; i < s.size(); ++i) {
    const auto c = static_cast<unsigned char>(s.text()[i]);
    const bool plain =
        (c < 0x80 && IsAlnum(c)) || c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !query);
    if (plain)
      out->Append(s, i, i + 1);
    else if (c == ' ' && query)
      out->Append("+", s.UserAt(i));
    else
      out->Append(StrFormat("%%%02X", static_cast<unsigned>(c)), s.UserAt(i));
  }
}

Value Urlencode(Runtime& rt, const Value& value, const Args& args) {
  if (!Params(rt, "urlencode", args, {}).ok()) return {};
  StrBuilder out = rt.Builder();
  if (value.IsString() || !IsIterable(value)) {
    const Value text = ToText(rt, value);
    if (rt.failed() || !rt.StepBytes(text.str().size())) return {};
    Quote(&out, text.str(), false);
    return rt.MakeString(std::move(out));
  }
  std::vector<Value> pairs;
  const Value source = value.Is(Kind::kDict) ? rt.MakeView(value, DictView::Part::kItems) : value;
  if (!Items(rt, source, &pairs)) return {};
  for (size_t i = 0; i < pairs.size(); ++i) {
    std::vector<Value> pair;
    if (!Items(rt, pairs[i], &pair)) return {};
    if (pair.size() != 2) return rt.Invalid("urlencode needs pairs");
    const Value key = ToText(rt, pair[0]), text = ToText(rt, pair[1]);
    if (rt.failed() || !rt.StepBytes(key.str().size() + text.str().size())) return {};
    if (i > 0) out.Append("&", false);
    Quote(&out, key.str(), true);
    out.Append("=", false);
    Quote(&out, text.str(), true);
  }
  return rt.MakeString(std::move(out));
}

Value UnsupportedFilter(Runtime& rt, const Value&, const Args&) {
  return rt.Fail(StatusCode::kUnsupported, "this filter is not supported in chat templates");
}

constexpr Builtin kFilters[] = {
    {"abs", AbsFilter},
    {"attr", Attr},
    {"capitalize", MapText<CapitalizeText>},
    {"center", Center},
    {"d", Default},
    {"default", Default},
    {"e", Escape},
    {"escape", Escape},
    {"filesizeformat", UnsupportedFilter},
    {"float", FloatFilter},
    {"forceescape", ForceEscape},
    {"format", Format},
    {"indent", Indent},
    {"int", IntFilter},
    {"lower", MapText<LowerCaseText>},
    {"pprint", UnsupportedFilter},
    {"random", UnsupportedFilter},
    {"replace", Replace},
    {"round", RoundFilter},
    {"safe", Safe},
    {"string", String},
    {"striptags", UnsupportedFilter},
    {"title", MapText<TitleText>},
    {"tojson", ToJson},
    {"trim", Trim},
    {"truncate", Truncate},
    {"upper", MapText<UpperText>},
    {"urlencode", Urlencode},
    {"urlize", UnsupportedFilter},
    {"wordcount", Wordcount},
    {"wordwrap", UnsupportedFilter},
    {"xmlattr", UnsupportedFilter},
};

}  // namespace

const Builtin* FindFilter(std::string_view name) {
  const auto* it = std::find_if(std::begin(kFilters), std::end(kFilters),
                                [&](const Builtin& b) { return b.name == name; });
  return it == std::end(kFilters) ? FindSequenceFilter(name) : it;
}

}  // namespace lathe::tmpl
