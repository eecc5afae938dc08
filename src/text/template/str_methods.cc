// Methods of strings.
#include <algorithm>
#include <iterator>

#include "text/template/format.h"
#include "text/template/methods.h"
#include "text/template/ops.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

Value Strip(Runtime& rt, const Value& self, const Args& args, bool left, bool right) {
  const Params p(rt, "strip", args, {"chars"});
  return p.ok() ? StripText(rt, self, p.Get(0), left, right) : Value();
}
Value StrStrip(Runtime& rt, const Value& self, const Args& args) { return Strip(rt, self, args, true, true); }
Value StrLstrip(Runtime& rt, const Value& self, const Args& args) {
  return Strip(rt, self, args, true, false);
}
Value StrRstrip(Runtime& rt, const Value& self, const Args& args) {
  return Strip(rt, self, args, false, true);
}

Value Split(Runtime& rt, const Value& self, const Args& args, bool from_right) {
  const Params p(rt, "split", args, {"sep", "maxsplit"});
  int64_t max_splits = -1;
  if (!p.ok() || !p.GetInt(1, -1, &max_splits)) return {};
  return SplitText(rt, self, p.Get(0), max_splits, from_right);
}
Value StrSplit(Runtime& rt, const Value& self, const Args& args) { return Split(rt, self, args, false); }
Value StrRsplit(Runtime& rt, const Value& self, const Args& args) { return Split(rt, self, args, true); }

Value StrSplitlines(Runtime& rt, const Value& self, const Args& args) {
  const Params p(rt, "splitlines", args, {"keepends"});
  if (!p.ok() || !rt.StepBytes(self.str().size())) return {};
  std::vector<Value> lines;
  for (const auto& [begin, end] : LineRanges(self.str().text(), p.GetBool(0, false))) {
    if (rt.failed()) return {};
    lines.push_back(rt.Substring(self, begin, end));
  }
  return rt.MakeList(std::move(lines));
}

Value Partition(Runtime& rt, const Value& self, const Args& args, bool from_right) {
  const Params p(rt, "partition", args, {"sep"}, 1);
  Value sep;
  if (!p.ok() || !p.GetString(0, Value(), &sep)) return {};
  if (!sep.IsString() || sep.str().empty()) return rt.Invalid("partition() needs a separator");
  const std::string& text = self.str().text();
  const size_t at =
      from_right ? FindTextBackward(rt, text, sep.str().text()) : FindText(text, sep.str().text());
  const Value nothing = rt.Substring(self, 0, 0);
  if (at == std::string::npos)
    return from_right ? rt.MakeTuple({nothing, nothing, self}) : rt.MakeTuple({self, nothing, nothing});
  const size_t end = at + sep.str().size();
  return rt.MakeTuple(
      {rt.Substring(self, 0, at), rt.Substring(self, at, end), rt.Substring(self, end, text.size())});
}
Value StrPartition(Runtime& rt, const Value& self, const Args& args) {
  return Partition(rt, self, args, false);
}
Value StrRpartition(Runtime& rt, const Value& self, const Args& args) {
  return Partition(rt, self, args, true);
}

// The bytes that optional (start, end) arguments select.
struct Window {
  size_t begin = 0, end = 0;
  bool valid = true;  // false: start lies behind the end, nothing matches
};

bool GetWindow(Runtime& rt, const Str& s, const Params& p, Window* out) {
  const auto chars = static_cast<int64_t>(s.chars());
  int64_t start = 0, end = chars;
  if (!p.GetInt(1, 0, &start) || !p.GetInt(2, chars, &end)) return false;
  if (end > chars) end = chars;
  if (end < 0) end = std::max<int64_t>(0, end + chars);
  if (start < 0) start = std::max<int64_t>(0, start + chars);
  out->valid = start <= end;
  if (!out->valid) return true;
  rt.StepBytes(s.size());
  out->begin = s.ByteOffset(static_cast<size_t>(start));
  out->end = s.ByteOffset(static_cast<size_t>(end));
  return true;
}

Value Affix(Runtime& rt, const Value& self, const Args& args, const char* name, bool prefix) {
  const Params p(rt, name, args, {"prefix", "start", "end"}, 1);
  Window w;
  if (!p.ok() || !GetWindow(rt, self.str(), p, &w)) return {};
  const std::string_view text = std::string_view(self.str().text()).substr(w.begin, w.end - w.begin);
  const auto matches = [&](const Value& v) {
    if (!v.IsString()) {
      rt.Invalid("%s() needs a string or a tuple of strings, found %s", name, TypeRepr(v).c_str());
      return false;
    }
    const std::string_view affix = v.str().text();
    return w.valid && (prefix ? text.starts_with(affix) : text.ends_with(affix));
  };
  if (!p[0].Is(Kind::kTuple)) return Value::Bool(matches(p[0]));
  for (const Value& v : p[0].list().items)
    if (matches(v)) return Value::Bool(true);
  return Value::Bool(false);
}
Value StrStartswith(Runtime& rt, const Value& self, const Args& args) {
  return Affix(rt, self, args, "startswith", true);
}
Value StrEndswith(Runtime& rt, const Value& self, const Args& args) {
  return Affix(rt, self, args, "endswith", false);
}

Value RemoveAffix(Runtime& rt, const Value& self, const Args& args, bool prefix) {
  const Params p(rt, prefix ? "removeprefix" : "removesuffix", args, {"affix"}, 1);
  Value affix;
  if (!p.ok() || !p.GetString(0, Value(), &affix)) return {};
  if (!affix.IsString()) return rt.Invalid("removing a prefix or suffix needs a string");
  const std::string& text = self.str().text();
  const std::string& a = affix.str().text();
  if (prefix) return text.starts_with(a) ? rt.Substring(self, a.size(), text.size()) : self;
  return text.ends_with(a) ? rt.Substring(self, 0, text.size() - a.size()) : self;
}
Value StrRemoveprefix(Runtime& rt, const Value& self, const Args& args) {
  return RemoveAffix(rt, self, args, true);
}
Value StrRemovesuffix(Runtime& rt, const Value& self, const Args& args) {
  return RemoveAffix(rt, self, args, false);
}

Value FindIn(Runtime& rt, const Value& self, const Args& args, bool from_right, bool must) {
  const Params p(rt, must ? "index" : "find", args, {"sub", "start", "end"}, 1);
  Value sub;
  Window w;
  if (!p.ok() || !p.GetString(0, Value(), &sub) || !GetWindow(rt, self.str(), p, &w)) return {};
  if (!sub.IsString()) return rt.Invalid("find() needs a string");
  const std::string_view text = std::string_view(self.str().text()).substr(w.begin, w.end - w.begin);
  const std::string& what = sub.str().text();
  const size_t at = !w.valid     ? std::string::npos
                    : from_right ? FindTextBackward(rt, text, what)
                                 : FindText(text, what);
  if (at == std::string::npos) return must ? rt.Invalid("the substring was not found") : Value::Integer(-1);
  return Value::Integer(static_cast<Int>(self.str().CharIndex(w.begin + at)));
}
Value StrFind(Runtime& rt, const Value& self, const Args& args) {
  return FindIn(rt, self, args, false, false);
}
Value StrRfind(Runtime& rt, const Value& self, const Args& args) {
  return FindIn(rt, self, args, true, false);
}
Value StrIndex(Runtime& rt, const Value& self, const Args& args) {
  return FindIn(rt, self, args, false, true);
}
Value StrRindex(Runtime& rt, const Value& self, const Args& args) {
  return FindIn(rt, self, args, true, true);
}

Value StrCount(Runtime& rt, const Value& self, const Args& args) {
  const Params p(rt, "count", args, {"sub", "start", "end"}, 1);
  Value sub;
  Window w;
  if (!p.ok() || !p.GetString(0, Value(), &sub) || !GetWindow(rt, self.str(), p, &w)) return {};
  if (!sub.IsString()) return rt.Invalid("count() needs a string");
  if (!w.valid) return Value::Integer(0);
  const std::string_view text = std::string_view(self.str().text()).substr(w.begin, w.end - w.begin);
  const std::string& what = sub.str().text();
  if (what.empty()) return Value::Integer(static_cast<Int>(CountChars(text)) + 1);
  Int n = 0;
  for (size_t at = FindText(text, what); at != std::string::npos; at = FindText(text, what, at + what.size()))
    ++n;
  return Value::Integer(n);
}

Value StrReplace(Runtime& rt, const Value& self, const Args& args) {
  if (!args.named.empty()) return rt.Invalid("str.replace() takes no keyword arguments");
  const Params p(rt, "replace", args, {"old", "new", "count"}, 2);
  int64_t count = -1;
  if (!p.ok() || !p.GetInt(2, -1, &count)) return {};
  return ReplaceText(rt, self, p[0], p[1], count);
}

Value StrUpper(Runtime& rt, const Value& self, const Args& args) {
  return Params(rt, "upper", args, {}).ok() ? UpperText(rt, self) : Value();
}
Value StrLower(Runtime& rt, const Value& self, const Args& args) {
  return Params(rt, "lower", args, {}).ok() ? LowerCaseText(rt, self) : Value();
}
Value StrCapitalize(Runtime& rt, const Value& self, const Args& args) {
  return Params(rt, "capitalize", args, {}).ok() ? CapitalizeText(rt, self) : Value();
}

// Case mappings that depend on the letters before.
Value MapWords(Runtime& rt, const Value& self, const Args& args, bool title) {
  if (!Params(rt, title ? "title" : "swapcase", args, {}).ok()) return {};
  const Str& s = self.str();
  if (!rt.StepBytes(s.size())) return {};
  StrBuilder out = rt.Builder();
  bool after_cased = false;
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    const char32_t c = DecodeUtf8(s.text(), &pos);
    const bool lower = title ? after_cased : IsUpper(c);
    const std::string mapped = lower        ? ToLowerAt(s.text(), begin)
                               : title      ? ToTitle(c)
                               : IsLower(c) ? ToUpper(c)
                                            : ToUtf8(c);
    out.Append(mapped, s.UserAt(begin));
    after_cased = IsUpper(c) || IsLower(c) || IsTitle(c);
  }
  out.SetMarkup(s.markup());
  return rt.MakeString(std::move(out));
}
Value StrTitle(Runtime& rt, const Value& self, const Args& args) { return MapWords(rt, self, args, true); }
Value StrSwapcase(Runtime& rt, const Value& self, const Args& args) {
  return MapWords(rt, self, args, false);
}

Value StrJoin(Runtime& rt, const Value& self, const Args& args) {
  const Params p(rt, "join", args, {"iterable"}, 1);
  std::vector<Value> items;
  if (!p.ok() || !Items(rt, p[0], &items)) return {};
  return JoinStrings(rt, self, items);
}

Value StrFormat_(Runtime& rt, const Value& self, const Args& args) { return BraceFormat(rt, self, args); }

Value Justify(Runtime& rt, const Value& self, const Args& args, const char* name, char align) {
  const Params p(rt, name, args, {"width", "fillchar"}, 1);
  int64_t width = 0;
  Value fill;
  if (!p.ok() || !p.GetInt(0, 0, &width) || !p.GetString(1, LiteralString(" "), &fill)) return {};
  if (fill.str().chars() != 1) return rt.Invalid("%s() needs one fill character", name);
  return CenterText(rt, self, width, fill.str().text(), align);
}
Value StrCenter(Runtime& rt, const Value& self, const Args& args) {
  return Justify(rt, self, args, "center", '^');
}
Value StrLjust(Runtime& rt, const Value& self, const Args& args) {
  return Justify(rt, self, args, "ljust", '<');
}
Value StrRjust(Runtime& rt, const Value& self, const Args& args) {
  return Justify(rt, self, args, "rjust", '>');
}

Value StrZfill(Runtime& rt, const Value& self, const Args& args) {
  const Params p(rt, "zfill", args, {"width"}, 1);
  int64_t width = 0;
  if (!p.ok() || !p.GetInt(0, 0, &width)) return {};
  const Str& s = self.str();
  const bool sign = !s.empty() && (s.text()[0] == '+' || s.text()[0] == '-');
  if (!sign) return CenterText(rt, self, width, "0", '>');
  const Value digits = CenterText(rt, rt.Substring(self, 1, s.size()), width - 1, "0", '>');
  return Binary(rt, BinaryOp::kAdd, rt.Substring(self, 0, 1), digits);
}

Value StrExpandtabs(Runtime& rt, const Value& self, const Args& args) {
  const Params p(rt, "expandtabs", args, {"tabsize"});
  int64_t size = 8;
  if (!p.ok() || !p.GetInt(0, 8, &size)) return {};
  const Str& s = self.str();
  if (!rt.StepBytes(s.size())) return {};
  StrBuilder out = rt.Builder();
  int64_t column = 0;
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    const char32_t c = DecodeUtf8(s.text(), &pos);
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      out.Fill(static_cast<size_t>(spaces), " ", s.UserAt(begin));
      column += spaces;
    } else {
      out.Append(s, begin, pos);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return rt.MakeString(std::move(out));
}

template <bool (*kTest)(char32_t)>
Value AllChars(Runtime& rt, const Value& self, const Args& args) {
  if (!Params(rt, "is...", args, {}).ok()) return {};
  const std::string& text = self.str().text();
  rt.StepBytes(text.size());
  for (size_t pos = 0; pos < text.size();)
    if (!kTest(DecodeUtf8(text, &pos))) return Value::Bool(false);
  return Value::Bool(!text.empty());
}

bool IsAscii(char32_t c) { return c < 0x80; }

Value StrIsascii(Runtime& rt, const Value& self, const Args& args) {
  return self.str().empty() ? Value::Bool(true) : AllChars<IsAscii>(rt, self, args);
}
Value StrIsprintable(Runtime& rt, const Value& self, const Args& args) {
  return self.str().empty() ? Value::Bool(true) : AllChars<IsPrintable>(rt, self, args);
}

// All cased characters of one case, and at least one.
Value OneCase(Runtime& rt, const Value& self, const Args& args, bool upper) {
  if (!Params(rt, "is...", args, {}).ok()) return {};
  const std::string& text = self.str().text();
  rt.StepBytes(text.size());
  bool any = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = DecodeUtf8(text, &pos);
    if (IsTitle(c) || (upper ? IsLower(c) : IsUpper(c))) return Value::Bool(false);
    any = any || (upper ? IsUpper(c) : IsLower(c));
  }
  return Value::Bool(any);
}
Value StrIsupper(Runtime& rt, const Value& self, const Args& args) { return OneCase(rt, self, args, true); }
Value StrIslower(Runtime& rt, const Value& self, const Args& args) { return OneCase(rt, self, args, false); }

Value StrIstitle(Runtime& rt, const Value& self, const Args& args) {
  if (!Params(rt, "istitle", args, {}).ok()) return {};
  const std::string& text = self.str().text();
  rt.StepBytes(text.size());
  bool any = false, after_cased = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = DecodeUtf8(text, &pos);
    const bool upper = IsUpper(c) || IsTitle(c);
    if ((upper && after_cased) || (IsLower(c) && !after_cased)) return Value::Bool(false);
    after_cased = upper || IsLower(c);
    any = any || after_cased;
  }
  return Value::Bool(any);
}

Value StrIsidentifier(Runtime& rt, const Value& self, const Args& args) {
  if (!Params(rt, "isidentifier", args, {}).ok()) return {};
  const std::string& text = self.str().text();
  for (size_t pos = 0; pos < text.size();) {
    const bool first = pos == 0;
    const char32_t c = DecodeUtf8(text, &pos);
    if (!(first ? IsNameStart(c) : IsNameChar(c))) return Value::Bool(false);
  }
  return Value::Bool(!text.empty());
}

Value UnsupportedMethod(Runtime& rt, const Value&, const Args&) {
  return rt.Fail(StatusCode::kUnsupported, "this method of strings is not supported in chat templates");
}

constexpr Builtin kMethods[] = {
    {"capitalize", StrCapitalize},
    {"casefold", UnsupportedMethod},
    {"center", StrCenter},
    {"count", StrCount},
    {"encode", UnsupportedMethod},
    {"endswith", StrEndswith},
    {"expandtabs", StrExpandtabs},
    {"find", StrFind},
    {"format", StrFormat_},
    {"format_map", UnsupportedMethod},
    {"index", StrIndex},
    {"isalnum", AllChars<IsAlnum>},
    {"isalpha", AllChars<IsAlpha>},
    {"isascii", StrIsascii},
    {"isdecimal", AllChars<IsDecimal>},
    {"isdigit", AllChars<IsDigit>},
    {"isidentifier", StrIsidentifier},
    {"islower", StrIslower},
    {"isnumeric", AllChars<IsNumeric>},
    {"isprintable", StrIsprintable},
    {"isspace", AllChars<IsSpace>},
    {"istitle", StrIstitle},
    {"isupper", StrIsupper},
    {"join", StrJoin},
    {"ljust", StrLjust},
    {"lower", StrLower},
    {"lstrip", StrLstrip},
    {"maketrans", UnsupportedMethod},
    {"partition", StrPartition},
    {"removeprefix", StrRemoveprefix},
    {"removesuffix", StrRemovesuffix},
    {"replace", StrReplace},
    {"rfind", StrRfind},
    {"rindex", StrRindex},
    {"rjust", StrRjust},
    {"rpartition", StrRpartition},
    {"rsplit", StrRsplit},
    {"rstrip", StrRstrip},
    {"split", StrSplit},
    {"splitlines", StrSplitlines},
    {"startswith", StrStartswith},
    {"strip", StrStrip},
    {"swapcase", StrSwapcase},
    {"title", StrTitle},
    {"translate", UnsupportedMethod},
    {"upper", StrUpper},
    {"zfill", StrZfill},
};

}  // namespace

const Builtin* FindStringMethod(std::string_view name) {
  const auto* it = std::lower_bound(std::begin(kMethods), std::end(kMethods), name,
                                    [](const Builtin& b, std::string_view key) { return b.name < key; });
  return it != std::end(kMethods) && it->name == name ? it : nullptr;
}

}  // namespace lathe::tmpl
