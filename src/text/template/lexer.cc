#include "text/template/lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

std::string NormalizeNewlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out.push_back(text[i]);
    } else {
      out.push_back('\n');
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    }
  }
  return out;
}

bool AsciiDigit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeNewlines(source)) {
    if (!source_.empty() && source_.back() == '\n') source_.pop_back();
  }

  Expected<std::vector<Token>> Run() {
    while (pos_ < source_.size()) LATHE_RETURN_IF_ERROR(Root());
    Push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[gnu::format(printf, 2, 3)]] Status Fail(const char* format, ...) const {
    char buffer[200];
    va_list args;
    va_start(args, format);
    std::vsnprintf(buffer, sizeof(buffer), format, args);
    va_end(args);
    return Error(StatusCode::kInvalidArgument, "chat template line %u: %s", line_, buffer);
  }

  void Push(TokenKind kind, std::string text) {
    Token token;
    token.kind = kind;
    token.line = line_;
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
  }

  bool At(size_t pos, std::string_view what) const {
    return std::string_view(source_).substr(std::min(pos, source_.size()), what.size()) == what;
  }
  size_t SkipSpaces(size_t pos) const {
    while (pos < source_.size()) {
      size_t next = pos;
      if (!IsSpace(DecodeUtf8(source_, &next))) break;
      pos = next;
    }
    return pos;
  }
  // Moves to `end`, counting lines and noting whether a new line starts there.
  void Advance(size_t end) {
    line_ += static_cast<uint32_t>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(pos_),
                                              source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    if (end > pos_) line_starting_ = source_[end - 1] == '\n';
    pos_ = end;
  }

  // The text up to the next tag, cut as the tag's sign ('-', '+' or 0) asks.
  void Data(size_t tag, char sign, bool strips_blanks) {
    std::string_view text = std::string_view(source_).substr(pos_, tag - pos_);
    if (sign == '-') {
      size_t end = text.size();
      while (end > 0) {
        size_t previous = end;
        if (!IsSpace(DecodeUtf8Backward(text, &previous))) break;
        end = previous;
      }
      text = text.substr(0, end);
    } else if (sign != '+' && strips_blanks) {
      const size_t newline = text.rfind('\n');
      const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line_begin > 0 || line_starting_) && SkipSpaces(pos_ + line_begin) >= tag)
        text = text.substr(0, line_begin);
    }
    if (!text.empty()) Push(TokenKind::kData, std::string(text));
  }

  // If `{% raw %}` begins at `tag`, the position behind it, else npos.
  size_t RawBegin(size_t tag) const {
    size_t pos = tag + 2;
    if (At(pos, "-") || At(pos, "+")) ++pos;
    pos = SkipSpaces(pos);
    if (!At(pos, "raw")) return std::string::npos;
    pos = SkipSpaces(pos + 3);
    if (At(pos, "-%}")) return SkipSpaces(pos + 3);
    return At(pos, "%}") ? pos + 2 : std::string::npos;
  }

  Status Root() {
    size_t tag = pos_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos) break;
      const char second = tag + 1 < source_.size() ? source_[tag + 1] : 0;
      if (second == '{' || second == '%' || second == '#') break;
    }
    if (tag == std::string::npos) {
      Push(TokenKind::kData, source_.substr(pos_));
      Advance(source_.size());
      return Status::Ok();
    }
    const char second = source_[tag + 1];
    const char third = tag + 2 < source_.size() ? source_[tag + 2] : 0;
    const char sign = third == '-' || third == '+' ? third : 0;
    Data(tag, sign, second != '{');
    const size_t raw = second == '%' ? RawBegin(tag) : std::string::npos;
    Advance(tag);
    if (raw != std::string::npos) {
      Advance(raw);
      return Raw();
    }
    Advance(tag + 2 + (sign != 0 ? 1 : 0));
    if (second == '#') return Comment();
    const bool block = second == '%';
    Push(block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    return Tag(block);
  }

  // If the end of a block or comment (`close`: "%}" or "#}") is at `pos`, the position behind it.
  size_t BlockEnd(size_t pos, std::string_view close) const {
    if (At(pos, "+") && At(pos + 1, close)) return pos + 1 + close.size();
    if (At(pos, "-") && At(pos + 1, close)) return SkipSpaces(pos + 1 + close.size());
    if (!At(pos, close)) return std::string::npos;
    pos += close.size();
    return At(pos, "\n") ? pos + 1 : pos;
  }

  Status Comment() {
    for (size_t p = pos_; p < source_.size(); ++p) {
      const size_t end = BlockEnd(p, "#}");
      if (end == std::string::npos) continue;
      Advance(end);
      return Status::Ok();
    }
    // Nothing at all behind the opening mark passes, as in the reference.
    return pos_ >= source_.size() ? Status::Ok() : Fail("a comment is not closed with '#}'");
  }

  Status Raw() {
    for (size_t p = source_.find("{%", pos_); p != std::string::npos; p = source_.find("{%", p + 1)) {
      size_t at = p + 2;
      const char sign = At(at, "-") || At(at, "+") ? source_[at] : 0;
      if (sign != 0) ++at;
      at = SkipSpaces(at);
      if (!At(at, "endraw")) continue;
      const size_t end = BlockEnd(SkipSpaces(at + 6), "%}");
      if (end == std::string::npos) continue;
      Data(p, sign, true);
      Advance(end);
      return Status::Ok();
    }
    return pos_ >= source_.size() ? Status::Ok() : Fail("a raw block is not closed with 'endraw'");
  }

  // The tokens inside {{ }} or {% %}.
  Status Tag(bool block) {
    std::vector<char> open;
    while (pos_ < source_.size()) {
      if (open.empty()) {
        size_t end = std::string::npos;
        if (block)
          end = BlockEnd(pos_, "%}");
        else if (At(pos_, "-}}"))
          end = SkipSpaces(pos_ + 3);
        else if (At(pos_, "}}"))
          end = pos_ + 2;
        if (end != std::string::npos) {
          Push(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
          Advance(end);
          return Status::Ok();
        }
      }
      LATHE_RETURN_IF_ERROR(One(&open));
    }
    return Status::Ok();  // the parser reports the missing end
  }

  Status One(std::vector<char>* open) {
    const char c = source_[pos_];
    size_t next = pos_;
    const char32_t code = DecodeUtf8(source_, &next);
    if (IsSpace(code)) {
      Advance(SkipSpaces(pos_));
      return Status::Ok();
    }
    if (AsciiDigit(c)) return Number();
    if (IsNameStart(code)) {
      size_t end = next;
      while (end < source_.size()) {
        size_t after = end;
        if (!IsNameChar(DecodeUtf8(source_, &after))) break;
        end = after;
      }
      Push(TokenKind::kName, source_.substr(pos_, end - pos_));
      Advance(end);
      return Status::Ok();
    }
    if (c == '"' || c == '\'') return String();
    return Operator(open);
  }

  // Digits with single underscores between them, from `pos`; the position behind.
  template <typename IsDigit>
  size_t Digits(size_t pos, IsDigit is_digit) const {
    while (pos < source_.size()) {
      if (is_digit(source_[pos]))
        ++pos;
      else if (source_[pos] == '_' && pos + 1 < source_.size() && is_digit(source_[pos + 1]))
        pos += 2;
      else
        break;
    }
    return pos;
  }

  // The end of a float literal at pos_, or npos.
  size_t FloatEnd() const {
    if (pos_ > 0 && source_[pos_ - 1] == '.') return std::string::npos;  // x.0.1 is two subscripts
    const size_t whole = Digits(pos_, AsciiDigit);
    size_t end = whole;
    if (At(end, ".") && end + 1 < source_.size() && AsciiDigit(source_[end + 1]))
      end = Digits(end + 1, AsciiDigit);
    if (At(end, "e") || At(end, "E")) {
      size_t exponent = end + 1;
      if (At(exponent, "+") || At(exponent, "-")) ++exponent;
      if (exponent < source_.size() && AsciiDigit(source_[exponent])) return Digits(exponent, AsciiDigit);
    }
    return end > whole ? end : std::string::npos;
  }

  Status Number() {
    const auto clean = [&](size_t begin, size_t end) {
      std::string digits = source_.substr(begin, end - begin);
      std::erase(digits, '_');
      return digits;
    };
    if (const size_t end = FloatEnd(); end != std::string::npos) {
      Push(TokenKind::kFloat, "");
      tokens_.back().real = std::strtod(clean(pos_, end).c_str(), nullptr);
      Advance(end);
      return Status::Ok();
    }
    const auto is_hex = [](char c) { return AsciiDigit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f'); };
    const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
    const auto is_binary = [](char c) { return c == '0' || c == '1'; };
    const char marker = pos_ + 1 < source_.size() && source_[pos_] == '0'
                            ? static_cast<char>(source_[pos_ + 1] | 32)
                            : char{0};
    size_t begin = pos_ + 2, end = begin;
    int base = 10;
    if (marker == 'x')
      end = Digits(begin, is_hex), base = 16;
    else if (marker == 'o')
      end = Digits(begin, is_octal), base = 8;
    else if (marker == 'b')
      end = Digits(begin, is_binary), base = 2;
    if (end == begin) {
      begin = pos_;
      base = 10;
      end = source_[pos_] == '0' ? Digits(pos_, [](char c) { return c == '0'; }) : Digits(pos_, AsciiDigit);
    }
    Int value = 0;
    for (const char c : clean(begin, end)) {
      const int digit = AsciiDigit(c) ? c - '0' : (c | 32) - 'a' + 10;
      if (__builtin_mul_overflow(value, static_cast<Int>(base), &value) ||
          __builtin_add_overflow(value, static_cast<Int>(digit), &value))
        return Fail("an integer literal has more than 127 bits");
    }
    Push(TokenKind::kInteger, "");
    tokens_.back().integer = value;
    Advance(end);
    return Status::Ok();
  }

  Status String() {
    const char quote = source_[pos_];
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Fail("a string is not closed");
    std::string value;
    LATHE_RETURN_IF_ERROR(Unescape(std::string_view(source_).substr(pos_ + 1, end - pos_ - 1), &value));
    Push(TokenKind::kString, std::move(value));
    Advance(end + 1);
    return Status::Ok();
  }

  Status Unescape(std::string_view text, std::string* out) const {
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out->push_back(text[i]);
        continue;
      }
      ++i;  // a backslash is never last: it would have escaped the quote
      constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
      const char c = text[i];
      if (const size_t known = kLetters.find(c); known != std::string_view::npos) {
        out->push_back(kMeanings[known]);
      } else if (c == '\n') {
        continue;
      } else if (c >= '0' && c <= '7') {
        unsigned code = 0;
        size_t n = 0;
        for (; n < 3 && i + n < text.size() && text[i + n] >= '0' && text[i + n] <= '7'; ++n)
          code = code * 8 + static_cast<unsigned>(text[i + n] - '0');
        i += n - 1;
        AppendUtf8(out, code);
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t width = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        uint32_t code = 0;
        const char* begin = text.data() + i + 1;
        const char* stop = begin + std::min(width, text.size() - i - 1);
        const auto parsed = std::from_chars(begin, stop, code, 16);
        if (parsed.ptr != begin + width) return Fail("a \\%c escape needs %zu hexadecimal digits", c, width);
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
          return Fail("a \\%c escape is not a Unicode character", c);
        AppendUtf8(out, code);
        i += width;
      } else if (c == 'N') {
        return Fail("named characters (\\N) are not supported");
      } else if (static_cast<unsigned char>(c) >= 0x80) {
        // The reference writes such a character as an escape of its own before it reads the escapes.
        size_t next = i;
        const auto code = static_cast<unsigned>(DecodeUtf8(text, &next));
        *out += code < 0x100     ? StrFormat("\\x%02x", code)
                : code < 0x10000 ? StrFormat("\\u%04x", code)
                                 : StrFormat("\\U%08x", code);
        i = next - 1;
      } else {
        out->push_back('\\');
        out->push_back(c);
      }
    }
    return Status::Ok();
  }

  Status Operator(std::vector<char>* open) {
    constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view kOne = "+-/*%~[](){}><=.:|,;";
    std::string op;
    for (const std::string_view two : kTwo)
      if (At(pos_, two)) op = two;
    if (op.empty() && kOne.find(source_[pos_]) != std::string_view::npos) op = source_[pos_];
    if (op.empty()) {
      size_t end = pos_;
      DecodeUtf8(source_, &end);
      return Fail("unexpected character '%s'", source_.substr(pos_, end - pos_).c_str());
    }
    if (op == "{" || op == "(" || op == "[") {
      open->push_back(op == "{" ? '}' : op == "(" ? ')' : ']');
    } else if (op == "}" || op == ")" || op == "]") {
      if (open->empty() || open->back() != op[0]) return Fail("unexpected '%s'", op.c_str());
      open->pop_back();
    }
    const size_t end = pos_ + op.size();
    Push(TokenKind::kOperator, std::move(op));
    Advance(end);
    return Status::Ok();
  }

  std::string source_;
  size_t pos_ = 0;
  uint32_t line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Expected<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

std::string Describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData: return "template text";
    case TokenKind::kVariableBegin: return "'{{'";
    case TokenKind::kVariableEnd: return "'}}'";
    case TokenKind::kBlockBegin: return "'{%'";
    case TokenKind::kBlockEnd: return "'%}'";
    case TokenKind::kName:
    case TokenKind::kOperator: return "'" + token.text.substr(0, 80) + "'";
    case TokenKind::kString: return "a string";
    case TokenKind::kInteger: return "an integer";
    case TokenKind::kFloat: return "a number";
    case TokenKind::kEnd: return "the end of the template";
  }
  return "a token";
}

}  // namespace lathe::tmpl
