#include "text/regex_dialect.h"

namespace lathe::text {
namespace {

// Contents of a class. PCRE2's own \s also takes U+180E, and its \w lacks marks and connectors.
constexpr std::string_view kSpace = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kWord = R"(\p{L}\p{M}\p{N}\p{Pc})";

class Rewriter {
 public:
  explicit Rewriter(std::string_view pattern) : pattern_(pattern) {}

  Expected<std::string> Run() {
    if (pattern_.starts_with("(*")) return Refuse("a verb", 0);
    while (pos_ < pattern_.size()) LATHE_RETURN_IF_ERROR(Step());
    return std::move(out_);
  }

 private:
  Status Refuse(const char* what, size_t at) const {
    return Error(StatusCode::kUnsupported, "tokenizer: %s at byte %zu of the regular expression '%.120s'",
                 what, at, std::string(pattern_).c_str());
  }

  char Peek(size_t ahead) const { return pos_ + ahead < pattern_.size() ? pattern_[pos_ + ahead] : '\0'; }

  void Copy(size_t n) {
    out_ += pattern_.substr(pos_, n);
    pos_ += n;
  }

  Status Step() {
    const char c = pattern_[pos_];
    if (c == '\\') return Escape();
    if (!in_class_) {
      if (c == '[') return OpenClass();
      Copy(1);
      return Status::Ok();
    }
    if (c == '[' && Peek(1) == ':') {
      const size_t end = pattern_.find(":]", pos_ + 2);
      if (end == std::string_view::npos) return Refuse("an unfinished [: :]", pos_);
      Copy(end + 2 - pos_);
      return Status::Ok();
    }
    if (c == '[') return Refuse("a nested character class", pos_);
    if (c == '&' && Peek(1) == '&') return Refuse("an intersection of character classes", pos_);
    if (c == ']') in_class_ = false;
    Copy(1);
    return Status::Ok();
  }

  Status OpenClass() {
    in_class_ = true;
    Copy(Peek(1) == '^' ? 2 : 1);
    if (Peek(0) == ']') return Refuse("a character class that starts with ]", pos_);
    return Status::Ok();
  }

  void Class(std::string_view content, bool negated) {
    if (!in_class_) out_ += negated ? "[^" : "[";
    out_ += content;
    if (!in_class_) out_ += "]";
    pos_ += 2;
  }

  Status Escape() {
    const char kind = Peek(1);
    // A negated set inside a class has no spelling as a set: PCRE2's own comes closest.
    const bool inside = in_class_;
    if (kind == 's' || (kind == 'S' && !inside)) {
      Class(kSpace, kind == 'S');
    } else if (kind == 'w' || (kind == 'W' && !inside)) {
      Class(kWord, kind == 'W');
    } else if (kind == 'h') {
      Class("0-9a-fA-F", false);
    } else if (kind == 'H' || kind == 'Q' || kind == 'E') {
      return Refuse("an escape whose meaning differs between dialects", pos_);
    } else if (kind == 'u') {
      if (pos_ + 6 > pattern_.size()) return Refuse("an unfinished \\u", pos_);
      out_ += "\\x{";
      out_ += pattern_.substr(pos_ + 2, 4);
      out_ += "}";
      pos_ += 6;
    } else {
      Copy(pos_ + 2 <= pattern_.size() ? 2 : 1);
    }
    return Status::Ok();
  }

  std::string_view pattern_;
  std::string out_;
  size_t pos_ = 0;
  bool in_class_ = false;
};

}  // namespace

Expected<std::string> ToPcreDialect(std::string_view pattern) { return Rewriter(pattern).Run(); }

}  // namespace lathe::text
