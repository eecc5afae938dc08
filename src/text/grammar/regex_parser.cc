#include "text/grammar/regex_parser.h"

#include <algorithm>

#include "text/grammar/front_ends.h"
#include "text/utf8.h"

namespace lathe::grammar {
namespace {

constexpr uint64_t kMaxCount = 1'000'000'000;

// What "." leaves out: the line terminators of ECMAScript.
CodeSet LineEnds() { return CodeSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}); }

// \S is without every white space of Unicode, \s only that of ASCII: whichever dialect reads the output
// agrees.
CodeSet UnicodeSpace() {
  return CodeSet({{'\t', '\r'},
                  {0x1C, 0x20},
                  {0x85, 0x85},
                  {0xA0, 0xA0},
                  {0x1680, 0x1680},
                  {0x2000, 0x200A},
                  {0x2028, 0x2029},
                  {0x202F, 0x202F},
                  {0x205F, 0x205F},
                  {0x3000, 0x3000},
                  {0xFEFF, 0xFEFF}});
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Exactly `digits` hex digits, or any up to '}' for 0. -1: something else.
int64_t ReadHex(std::string_view text, size_t* pos, int digits) {
  int64_t value = 0;
  int n = 0;
  for (; *pos < text.size() && (digits == 0 ? text[*pos] != '}' : n < digits); ++n, ++*pos) {
    const int h = HexValue(text[*pos]);
    if (h < 0 || n >= 8) return -1;
    value = value * 16 + h;
  }
  if (digits == 0) {
    if (*pos >= text.size() || n == 0) return -1;
    ++*pos;
  } else if (n != digits) {
    return -1;
  }
  return value;
}

struct Escape {
  CodeSet set;        // of a class; empty:
  uint32_t code = 0;  // one character
};

// An escape that stands for characters, *pos behind the backslash. kUnsupported for other escapes.
Expected<Escape> ReadEscape(std::string_view text, size_t* pos) {
  const auto unknown = [&](const std::string& what) {
    return Error(StatusCode::kUnsupported, "escape '\\%s' is not supported", what.c_str());
  };
  if (*pos >= text.size()) return Error(StatusCode::kInvalidArgument, "a backslash at the end");
  const char c = text[(*pos)++];
  switch (c) {
    case 'd': return Escape{CodeSet::Digits()};
    case 'D': return Escape{CodeSet::Digits().Not()};
    case 'w': return Escape{CodeSet::WordChars()};
    case 'W': return Escape{CodeSet::WordChars().Not()};
    case 's': return Escape{CodeSet::WhiteSpace()};
    case 'S': return Escape{UnicodeSpace().Not()};
    case 'n': return Escape{{}, '\n'};
    case 'r': return Escape{{}, '\r'};
    case 't': return Escape{{}, '\t'};
    case 'f': return Escape{{}, '\f'};
    case 'v': return Escape{{}, '\v'};
    case '0':
      if (*pos < text.size() && text[*pos] >= '0' && text[*pos] <= '9')
        return unknown("0" + std::string(1, text[*pos]));
      return Escape{{}, 0};
    case 'x':
    case 'u':
    case 'U': {
      const bool braces = *pos < text.size() && text[*pos] == '{';
      if (braces) ++*pos;
      int64_t value = ReadHex(text, pos, braces ? 0 : c == 'x' ? 2 : c == 'u' ? 4 : 8);
      if (value >= 0xD800 && value < 0xDC00 && text.substr(*pos, 2) == "\\u") {
        size_t low_pos = *pos + 2;
        const int64_t low = ReadHex(text, &low_pos, 4);
        if (low >= 0xDC00 && low < 0xE000) {
          value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
          *pos = low_pos;
        }
      }
      if (value < 0 || value > int64_t{kMaxCodePoint} || (value >= 0xD800 && value < 0xE000)) {
        return Error(StatusCode::kInvalidArgument, "escape '\\%c' without the hex digits of a character", c);
      }
      return Escape{{}, static_cast<uint32_t>(value)};
    }
    default: break;
  }
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9'))
    return unknown(std::string(1, c));
  --*pos;
  const text::Utf8Step step = text::NextUtf8(text, *pos);
  *pos += step.length;
  return Escape{{}, static_cast<uint32_t>(step.code_point)};
}

}  // namespace

Expected<char32_t> ReadEscapedCharacter(std::string_view text, size_t* pos) {
  ++*pos;
  LATHE_ASSIGN_OR_RETURN(const Escape escape, ReadEscape(text, pos));
  if (!escape.set.empty()) {
    return Error(StatusCode::kInvalidArgument, "an escape for a class of characters inside a literal");
  }
  return static_cast<char32_t>(escape.code);
}

bool ParseBounds(std::string_view text, size_t* pos, uint32_t* min, uint32_t* max, Status* fault) {
  size_t p = *pos;
  const auto number = [&](uint64_t* out) {
    const size_t begin = p;
    for (*out = 0; p < text.size() && text[p] >= '0' && text[p] <= '9'; ++p) {
      *out = std::min<uint64_t>(*out * 10 + static_cast<uint64_t>(text[p] - '0'), kMaxCount + 1);
    }
    return p > begin;
  };
  uint64_t low = 0, high = 0;
  const bool has_low = number(&low);
  bool bounded = true;
  if (p < text.size() && text[p] == ',') {
    ++p;
    bounded = number(&high);
    if (!has_low && !bounded) return false;
  } else {
    if (!has_low) return false;
    high = low;
  }
  if (p >= text.size() || text[p] != '}') return false;
  *pos = p + 1;
  if (low > kMaxCount || high > kMaxCount) {
    *fault = Error(StatusCode::kInvalidArgument, "a repetition beyond 1000000000 times");
  } else if (bounded && low > high) {
    *fault = Error(StatusCode::kInvalidArgument, "a repetition of at least %zu and at most %zu times",
                   static_cast<size_t>(low), static_cast<size_t>(high));
  }
  *min = static_cast<uint32_t>(low);
  *max = bounded ? static_cast<uint32_t>(high) : kUnbounded;
  return true;
}

Status RegexParser::Fault(StatusCode code, size_t at, const std::string& what) const {
  return Error(code, "regular expression, offset %zu: %s", at, what.c_str());
}

Expected<ExprId> RegexParser::Parse() {
  LATHE_ASSIGN_OR_RETURN(const ExprId e, ParseAlternatives(0));
  if (!AtEnd()) return Fault(StatusCode::kInvalidArgument, pos_, "')' without '('");
  return e;
}

Expected<ExprId> RegexParser::ParseAlternatives(int depth) {
  const int limit = pool_->budget()->limits().depth;
  if (depth > limit) {
    return Fault(StatusCode::kResourceExhausted, pos_,
                 "groups nested deeper than the " + std::to_string(limit) + " allowed");
  }
  std::vector<ExprId> items;
  for (;;) {
    LATHE_ASSIGN_OR_RETURN(const ExprId item, ParseSequence(depth));
    items.push_back(item);
    if (AtEnd() || Peek() != '|') return pool_->Alt(items);
    ++pos_;
  }
}

Expected<ExprId> RegexParser::ParseSequence(int depth) {
  std::vector<ExprId> items;
  while (!AtEnd() && Peek() != '|' && Peek() != ')') {
    LATHE_RETURN_IF_ERROR(pool_->status());
    const char c = Peek();
    if (c == '^' || c == '$') {
      ++(c == '^' ? begin_anchors_ : end_anchors_);
      ++pos_;
      items.push_back(pool_->Token(c == '^' ? kBeginToken : kEndToken));
      continue;
    }
    LATHE_ASSIGN_OR_RETURN(const ExprId atom, ParseAtom(depth));
    LATHE_ASSIGN_OR_RETURN(const ExprId item, ParseQuantifiers(atom));
    items.push_back(item);
  }
  return pool_->Seq(items);
}

Expected<ExprId> RegexParser::ParseAtom(int depth) {
  const char c = Peek();
  switch (c) {
    case '(': return ParseGroup(depth);
    case '[': {
      const size_t at = pos_;
      auto set = ParseClass(text_, &pos_);
      if (!set.ok()) return Fault(set.status().code(), at, set.status().message());
      return pool_->Class(*std::move(set), spelling_);
    }
    case '\\': return ParseEscape();
    case '.': ++pos_; return pool_->Class(LineEnds().Not(), spelling_);
    case '*':
    case '+':
    case '?':
      return Fault(StatusCode::kInvalidArgument, pos_, std::string("nothing for '") + c + "' to repeat");
    default: break;
  }
  const text::Utf8Step step = text::NextUtf8(text_, pos_);
  pos_ += step.length;
  const auto code = static_cast<uint32_t>(step.code_point);
  return pool_->Class(CodeSet({{code, code}}), spelling_);
}

Expected<ExprId> RegexParser::ParseGroup(int depth) {
  const size_t at = pos_++;
  if (!AtEnd() && Peek() == '?') {
    const std::string_view rest = text_.substr(pos_);
    if (rest.starts_with("?:")) {
      pos_ += 2;
    } else if ((rest.starts_with("?<") && !rest.starts_with("?<=") && !rest.starts_with("?<!")) ||
               rest.starts_with("?P<")) {
      const size_t end = rest.find('>');
      if (end == std::string_view::npos)
        return Fault(StatusCode::kInvalidArgument, at, "a group name without '>'");
      pos_ += end + 1;
    } else {
      return Fault(StatusCode::kUnsupported, at,
                   "'(" + std::string(rest.substr(0, 2)) + "' (look-around and flags are not supported)");
    }
  }
  LATHE_ASSIGN_OR_RETURN(const ExprId e, ParseAlternatives(depth + 1));
  if (AtEnd()) return Fault(StatusCode::kInvalidArgument, at, "'(' without ')'");
  ++pos_;
  return e;
}

Expected<ExprId> RegexParser::ParseEscape() {
  const size_t at = pos_++;
  auto escape = ReadEscape(text_, &pos_);
  if (!escape.ok()) return Fault(escape.status().code(), at, escape.status().message());
  CodeSet set = escape->set.empty() ? CodeSet({{escape->code, escape->code}}) : std::move(escape->set);
  return pool_->Class(std::move(set), spelling_);
}

Expected<ExprId> RegexParser::ParseQuantifiers(ExprId atom) {
  for (int n = 0; !AtEnd(); ++n) {
    const size_t at = pos_;
    uint32_t min = 0, max = kUnbounded;
    if (Peek() == '*') {
      ++pos_;
    } else if (Peek() == '+') {
      min = 1;
      ++pos_;
    } else if (Peek() == '?') {
      max = 1;
      ++pos_;
    } else if (Peek() == '{') {
      size_t p = pos_ + 1;
      Status fault;
      if (!ParseBounds(text_, &p, &min, &max, &fault)) break;  // a brace like any other character
      if (!fault.ok()) return Fault(fault.code(), at, fault.message());
      pos_ = p;
    } else {
      break;
    }
    if (n > 0) return Fault(StatusCode::kInvalidArgument, at, "a repetition of a repetition; use a group");
    atom = pool_->Repeat(atom, min, max);
    if (!AtEnd() && Peek() == '?') ++pos_;  // lazy: the language is the same
    if (!AtEnd() && Peek() == '+') {
      return Fault(StatusCode::kUnsupported, pos_, "possessive repetitions are not supported");
    }
  }
  return atom;
}

Expected<CodeSet> RegexParser::ParseClass(std::string_view text, size_t* pos) {
  const auto fault = [](const char* what) { return Error(StatusCode::kInvalidArgument, "%s", what); };
  size_t p = *pos + 1;
  const bool negated = p < text.size() && text[p] == '^';
  if (negated) ++p;
  CodeSet set;
  std::vector<CodeRange> ranges;
  // One item: a class (then *single is false) or a character.
  const auto item = [&](bool* single) -> Expected<uint32_t> {
    *single = true;
    if (text[p] == '\\') {
      ++p;
      if (p < text.size() && text[p] == 'b') {
        ++p;
        return uint32_t{'\b'};
      }
      LATHE_ASSIGN_OR_RETURN(const Escape e, ReadEscape(text, &p));
      *single = e.set.empty();
      if (!*single) ranges.insert(ranges.end(), e.set.ranges().begin(), e.set.ranges().end());
      return e.code;
    }
    if (text.substr(p, 2) == "[:") {
      return Error(StatusCode::kUnsupported, "POSIX classes such as [:alpha:] are not supported");
    }
    const text::Utf8Step step = text::NextUtf8(text, p);
    p += step.length;
    return static_cast<uint32_t>(step.code_point);
  };
  if (p < text.size() && text[p] == ']') return fault("an empty class; write '\\]' for the character");
  while (p < text.size() && text[p] != ']') {
    bool single = true;
    LATHE_ASSIGN_OR_RETURN(const uint32_t lo, item(&single));
    if (!single) continue;
    uint32_t hi = lo;
    if (p + 1 < text.size() && text[p] == '-' && text[p + 1] != ']') {
      ++p;
      LATHE_ASSIGN_OR_RETURN(hi, item(&single));
      if (!single) return fault("a range that ends in a class");
      if (hi < lo) return fault("a range whose end comes before its begin");
    }
    ranges.push_back({lo, hi});
  }
  if (p >= text.size()) return fault("'[' without ']'");
  *pos = p + 1;
  set = CodeSet(std::move(ranges));
  return negated ? set.Not() : set;
}

namespace {

// From the automaton of texts written BEGIN text END to that of the texts alone.
Expected<Dfa> ResolveAnchors(const Dfa& marked, ExprPool* pool) {
  const uint32_t begin = kTokenSymbol + RegexParser::kBeginToken, end = kTokenSymbol + RegexParser::kEndToken;
  Nfa nfa;
  for (uint32_t s = 0; s < marked.states() + 2; ++s) nfa.AddState();
  const uint32_t accept = marked.states() + 1;
  nfa.set_accept(accept);
  // An end may be asked for more than once: any number of marks stands for it.
  const auto behind = [&](uint32_t s, uint32_t mark) {
    const auto row = marked.EdgesOf(s);
    const auto it = std::find_if(row.begin(), row.end(), [mark](const Dfa::Edge& e) { return e.lo == mark; });
    return it == row.end() ? UINT32_MAX : it->to;
  };
  const auto run = [&](uint32_t s, uint32_t mark, auto visit) {
    uint32_t at = behind(s, mark);
    for (uint32_t n = 0; at != UINT32_MAX && n < marked.states(); ++n, at = behind(at, mark)) visit(at);
  };
  run(0, begin, [&](uint32_t to) { nfa.AddEmpty(0, to + 1); });
  for (uint32_t s = 0; s < marked.states(); ++s) {
    bool ends = false;
    run(s, end, [&](uint32_t to) { ends |= marked.accept[to]; });
    if (ends) nfa.AddEmpty(s + 1, accept);
    for (const Dfa::Edge& e : marked.EdgesOf(s)) {
      if (e.hi <= kMaxCodePoint) nfa.AddEdge(s + 1, e.lo, e.hi, e.to + 1);
    }
  }
  return Determinize(nfa, pool->budget());
}

}  // namespace

Expected<ExprId> ParseRegex(std::string_view pattern, RegexMatch match, Spelling spelling, ExprPool* pool) {
  RegexParser parser(pattern, spelling, pool);
  LATHE_ASSIGN_OR_RETURN(ExprId e, parser.Parse());
  const ExprId any = pool->Repeat(pool->Class(CodeSet::All(), spelling), 0, kUnbounded);
  const bool search = match == RegexMatch::kSearch;
  // The usual anchors, at the ends of the whole, are taken off here.
  bool open_begin = search, open_end = search;
  int begins = parser.begin_anchors(), ends = parser.end_anchors();
  std::vector<ExprId> items = {e};
  if (pool->at(e).kind == ExprPool::Kind::kSeq) {
    const auto kids = pool->KidsOf(pool->at(e));
    items.assign(kids.begin(), kids.end());
  }
  const auto is_anchor = [&](ExprId id, int32_t token) {
    return pool->at(id).kind == ExprPool::Kind::kToken && pool->at(id).a == static_cast<uint32_t>(token);
  };
  if (begins == 1 && !items.empty() && is_anchor(items.front(), RegexParser::kBeginToken)) {
    items.erase(items.begin());
    begins = 0;
    open_begin = false;
  }
  if (ends == 1 && !items.empty() && is_anchor(items.back(), RegexParser::kEndToken)) {
    items.pop_back();
    ends = 0;
    open_end = false;
  }
  if (begins + ends == 0) {
    if (open_begin) items.insert(items.begin(), any);
    if (open_end) items.push_back(any);
    return pool->Seq(items);
  }
  // Anchors elsewhere: over texts with their ends marked, an anchor is a symbol like any other.
  const ExprId begin = pool->Token(RegexParser::kBeginToken), end = pool->Token(RegexParser::kEndToken);
  const ExprId before = search ? pool->Seq({begin, any}) : begin;
  const ExprId after = search ? pool->Seq({any, end}) : end;
  e = pool->Seq({pool->Optional(before), e, pool->Optional(after)});
  LATHE_ASSIGN_OR_RETURN(const Dfa marked, CodePointDfa(pool, e));
  LATHE_ASSIGN_OR_RETURN(Dfa plain, ResolveAnchors(marked, pool));
  return pool->OfDfa(std::move(plain), spelling);
}

}  // namespace lathe::grammar
