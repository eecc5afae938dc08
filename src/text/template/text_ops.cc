// Operations on text that methods and filters share. All carry the marks of origin along.
#include <algorithm>
#include <cstring>

#include "text/template/methods.h"
#include "text/template/ops.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

// Appends a case mapping of [begin, end) with the origin of its first byte, or the bytes themselves.
void AppendMapped(StrBuilder* out, const Str& s, size_t begin, const std::string& mapped) {
  out->Append(mapped, s.UserAt(begin));
}

template <typename Map>
Value MapChars(Runtime& rt, const Value& value, Map map) {
  const Str& s = value.str();
  if (!rt.StepBytes(s.size())) return {};
  StrBuilder out = rt.Builder();
  for (size_t pos = 0; pos < s.size();) {
    const size_t begin = pos;
    const char32_t c = DecodeUtf8(s.text(), &pos);
    AppendMapped(&out, s, begin, map(begin, c));
  }
  out.SetMarkup(s.markup());
  return rt.MakeString(std::move(out));
}

// Appends pieces of `s` between separators to a list of values.
class Pieces {
 public:
  Pieces(Runtime& rt, const Value& s) : rt_(rt), s_(s) {}
  void Add(size_t begin, size_t end) { out_.push_back(rt_.Substring(s_, begin, end)); }
  // True when no more may be made.
  bool Stop() const { return rt_.failed(); }
  bool Full(int64_t max_splits) const {
    return max_splits >= 0 && out_.size() >= static_cast<size_t>(max_splits);
  }
  Value Finish(bool reverse) {
    if (reverse) std::reverse(out_.begin(), out_.end());
    return rt_.MakeList(std::move(out_));
  }

 private:
  Runtime& rt_;
  const Value& s_;
  std::vector<Value> out_;
};

Value SplitAtSpaces(Runtime& rt, const Value& s, int64_t max_splits, bool from_right) {
  const std::string& text = s.str().text();
  Pieces pieces(rt, s);
  const auto skip = [&](size_t pos, bool space) {  // forward over spaces, or over non-spaces
    while (pos < text.size()) {
      size_t next = pos;
      if (IsSpace(DecodeUtf8(text, &next)) != space) break;
      pos = next;
    }
    return pos;
  };
  const auto skip_back = [&](size_t pos, bool space) {
    while (pos > 0) {
      size_t previous = pos;
      if (IsSpace(DecodeUtf8Backward(text, &previous)) != space) break;
      pos = previous;
    }
    return pos;
  };
  if (from_right) {
    for (size_t end = skip_back(text.size(), true); end > 0 && !pieces.Stop();) {
      const size_t begin = pieces.Full(max_splits) ? 0 : skip_back(end, false);
      pieces.Add(begin, end);
      end = skip_back(begin, true);
    }
    return pieces.Finish(true);
  }
  for (size_t begin = skip(0, true); begin < text.size() && !pieces.Stop();) {
    const size_t end = pieces.Full(max_splits) ? text.size() : skip(begin, false);
    pieces.Add(begin, end);
    begin = skip(end, true);
  }
  return pieces.Finish(false);
}

}  // namespace

void AppendEscaped(StrBuilder* out, const Str& s) {
  if (s.markup()) return out->Append(s);
  for (size_t pos = 0; pos < s.size();) {
    const size_t at = std::min(s.text().find_first_of("&<>'\"", pos), s.size());
    out->Append(s, pos, at);
    if (at == s.size()) break;
    const char c = s.text()[at];
    out->Append(c == '&'    ? "&amp;"
                : c == '<'  ? "&lt;"
                : c == '>'  ? "&gt;"
                : c == '\'' ? "&#39;"
                            : "&#34;",
                s.UserAt(at));
    pos = at + 1;
  }
}

Value WithMarkup(Runtime& rt, const Value& s, bool markup) {
  if (s.str().markup() == markup) return s;
  StrBuilder out = rt.Builder();
  out.Append(s.str());
  out.SetMarkup(markup);
  return rt.MakeString(std::move(out));
}

size_t FindText(std::string_view text, std::string_view what, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (what.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, what.data(), what.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t FindTextBackward(Runtime& rt, std::string_view text, std::string_view what) {
  constexpr size_t kShort = 64;  // beyond, the worst case is worth counting
  const size_t rows = what.size() / kShort;
  if (rows > 0 && !rt.Step(rows * (text.size() / kShort + 1))) return std::string_view::npos;
  return text.rfind(what);
}

Value SplitText(Runtime& rt, const Value& s, const Value* separator, int64_t max_splits, bool from_right) {
  const std::string_view text = s.str().text();
  if (!rt.StepBytes(text.size())) return {};
  if (separator == nullptr || separator->IsNone()) return SplitAtSpaces(rt, s, max_splits, from_right);
  if (!separator->IsString()) return rt.Invalid("split() needs a string separator");
  const std::string& cut = separator->str().text();
  if (cut.empty()) return rt.Invalid("split() needs a separator that is not empty");
  Pieces pieces(rt, s);
  if (from_right) {
    size_t end = text.size();
    while (!pieces.Full(max_splits) && !pieces.Stop() && end >= cut.size()) {
      const size_t at = FindTextBackward(rt, text.substr(0, end), cut);
      if (at == std::string::npos) break;
      pieces.Add(at + cut.size(), end);
      end = at;
    }
    pieces.Add(0, end);
    return pieces.Finish(true);
  }
  size_t begin = 0;
  while (!pieces.Full(max_splits) && !pieces.Stop()) {
    const size_t at = FindText(text, cut, begin);
    if (at == std::string::npos) break;
    pieces.Add(begin, at);
    begin = at + cut.size();
  }
  pieces.Add(begin, text.size());
  return pieces.Finish(false);
}

Value StripText(Runtime& rt, const Value& s, const Value* chars, bool left, bool right) {
  const std::string& text = s.str().text();
  const bool spaces = chars == nullptr || chars->IsNone();
  if (!spaces && !chars->IsString()) return rt.Invalid("strip() needs a string of characters");
  const auto strips = [&](char32_t c) {
    if (spaces) return IsSpace(c);
    return rt.StepBytes(chars->str().size()) && chars->str().text().find(ToUtf8(c)) != std::string::npos;
  };
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    size_t next = begin;
    if (!strips(DecodeUtf8(text, &next))) break;
    begin = next;
  }
  while (right && end > begin) {
    size_t previous = end;
    if (!strips(DecodeUtf8Backward(text, &previous))) break;
    end = previous;
  }
  rt.StepBytes(text.size() - (end - begin));
  return rt.Substring(s, begin, end);
}

Value ReplaceText(Runtime& rt, const Value& s, const Value& from, const Value& to, int64_t count) {
  if (!from.IsString() || !to.IsString()) return rt.Invalid("replace() needs two strings");
  const Str& str = s.str();
  const std::string& text = str.text();
  const std::string& old = from.str().text();
  if (!rt.StepBytes(text.size())) return {};
  StrBuilder out = rt.Builder();
  out.SetMarkup(str.markup());
  const auto append_new = [&] {
    if (str.markup())
      AppendEscaped(&out, to.str());
    else
      out.Append(to.str());
  };
  size_t pos = 0;
  for (int64_t done = 0; (count < 0 || done < count) && !out.overflow(); ++done) {
    if (old.empty()) {  // before every character and at the end
      append_new();
      if (pos >= text.size()) return rt.MakeString(std::move(out));
      size_t next = pos;
      DecodeUtf8(text, &next);
      out.Append(str, pos, next);
      pos = next;
      continue;
    }
    const size_t at = FindText(text, old, pos);
    if (at == std::string::npos) break;
    out.Append(str, pos, at);
    append_new();
    pos = at + old.size();
  }
  out.Append(str, pos, text.size());
  return rt.MakeString(std::move(out));
}

Value UpperText(Runtime& rt, const Value& s) {
  return MapChars(rt, s, [](size_t, char32_t c) { return ToUpper(c); });
}

Value LowerCaseText(Runtime& rt, const Value& s) {
  const std::string& text = s.str().text();
  return MapChars(rt, s, [&](size_t at, char32_t) { return ToLowerAt(text, at); });
}

Value CapitalizeText(Runtime& rt, const Value& s) {
  const std::string& text = s.str().text();
  return MapChars(rt, s, [&](size_t at, char32_t c) { return at == 0 ? ToTitle(c) : ToLowerAt(text, at); });
}

Value CenterText(Runtime& rt, const Value& s, int64_t width, std::string_view fill, char align) {
  const auto length = static_cast<int64_t>(s.str().chars());
  if (width <= length) return s;
  const int64_t missing = width - length;
  if (missing > int64_t{1} << 40 || !rt.Room(static_cast<size_t>(missing) * fill.size()))
    return rt.Room(SIZE_MAX), Value();
  const int64_t left = align == '<' ? 0 : align == '>' ? missing : missing / 2 + (missing & width & 1);
  StrBuilder out = rt.Builder();
  out.SetMarkup(s.str().markup());
  out.Fill(static_cast<size_t>(left), fill, false);
  out.Append(s.str());
  out.Fill(static_cast<size_t>(missing - left), fill, false);
  return rt.MakeString(std::move(out));
}

std::vector<std::pair<size_t, size_t>> LineRanges(std::string_view text, bool keep_ends) {
  std::vector<std::pair<size_t, size_t>> lines;
  for (size_t begin = 0; begin < text.size();) {
    size_t pos = begin;
    size_t end = text.size();
    while (pos < text.size()) {
      const size_t at = pos;
      const char32_t c = DecodeUtf8(text, &pos);
      const bool breaks =
          (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
      if (!breaks) continue;
      if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
      end = at;
      break;
    }
    lines.emplace_back(begin, keep_ends ? pos : end);
    begin = pos;
  }
  return lines;
}

Value JoinStrings(Runtime& rt, const Value& separator, const std::vector<Value>& items) {
  StrBuilder out = rt.Builder();
  const bool markup = separator.str().markup();
  out.SetMarkup(markup);
  for (size_t i = 0; i < items.size(); ++i) {
    if (!rt.Step()) return {};
    if (!items[i].IsString())
      return rt.Invalid("join() needs strings, found %s at position %zu", TypeRepr(items[i]).c_str(), i);
    if (i > 0) out.Append(separator.str());
    if (markup)
      AppendEscaped(&out, items[i].str());
    else
      out.Append(items[i].str());
  }
  return rt.MakeString(std::move(out));
}

}  // namespace lathe::tmpl
