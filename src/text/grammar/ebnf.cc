#include <algorithm>
#include <unordered_map>

#include "text/grammar/front_ends.h"
#include "text/grammar/regex_parser.h"
#include "text/utf8.h"

namespace lathe::grammar {
namespace {

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNameChar(char c) { return IsNameStart(c) || (c >= '0' && c <= '9') || c == '-'; }

class EbnfParser {
 public:
  EbnfParser(std::string_view source, const GrammarVocab& vocab, ExprPool* pool)
      : text_(source), vocab_(vocab), pool_(pool) {}

  Expected<ExprId> Parse() {
    for (SkipSpace(); pos_ < text_.size(); SkipSpace()) LATHE_RETURN_IF_ERROR(ParseRule());
    for (const auto& [name, use] : uses_) {
      if (!pool_->HasBody(use.rule)) {
        return Fault(use.at, "rule '" + name + "' is used but not defined");
      }
    }
    const auto root = uses_.find("root");
    if (root == uses_.end()) {
      return Error(StatusCode::kInvalidArgument, "the grammar has no rule 'root', where every output starts");
    }
    return pool_->Rule(root->second.rule);
  }

 private:
  struct Use {
    RuleId rule;
    size_t at;
  };

  Status Fault(size_t at, const std::string& what, StatusCode code = StatusCode::kInvalidArgument) const {
    const std::string_view before = text_.substr(0, at);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t start = before.rfind('\n') + 1;  // npos + 1 is 0
    return Error(code, "grammar, line %d, column %zu: %s", static_cast<int>(line), at - start + 1,
                 what.c_str());
  }

  void SkipSpace() {
    for (; pos_ < text_.size(); ++pos_) {
      const char c = text_[pos_];
      if (c == '#') {
        pos_ = std::min(text_.find('\n', pos_), text_.size() - 1);
      } else if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
        return;
      }
    }
  }

  std::string_view ReadName() {
    const size_t begin = pos_;
    while (pos_ < text_.size() && IsNameChar(text_[pos_])) ++pos_;
    return text_.substr(begin, pos_ - begin);
  }

  RuleId RuleOf(std::string_view name, size_t at) {
    const auto [it, fresh] = uses_.try_emplace(std::string(name), Use{0, at});
    if (fresh) it->second.rule = pool_->AddRule(it->first);
    return it->second.rule;
  }

  // Whether "name ::=" stands here, which ends the rule before.
  bool AtRule() {
    const size_t begin = pos_;
    const bool has_name = pos_ < text_.size() && IsNameStart(text_[pos_]) && !ReadName().empty();
    SkipSpace();
    const bool is_rule = has_name && text_.substr(pos_, 3) == "::=";
    pos_ = begin;
    return is_rule;
  }

  Status ParseRule() {
    const size_t at = pos_;
    if (!AtRule()) return Fault(at, "expected a rule, name ::= ...");
    const std::string name(ReadName());
    const RuleId rule = RuleOf(name, at);
    LATHE_RETURN_IF_ERROR(pool_->status());
    if (pool_->HasBody(rule)) return Fault(at, "rule '" + name + "' is defined twice");
    SkipSpace();
    pos_ += 3;
    LATHE_ASSIGN_OR_RETURN(const ExprId body, ParseAlternatives(0));
    pool_->SetBody(rule, body);
    SkipSpace();
    if (pos_ < text_.size() && !AtRule())
      return Fault(pos_, "unexpected '" + std::string(1, text_[pos_]) + "'");
    return pool_->status();
  }

  Expected<ExprId> ParseAlternatives(int depth) {
    const int limit = pool_->budget()->limits().depth;
    if (depth > limit) {
      return Fault(pos_, "groups nested deeper than the " + std::to_string(limit) + " allowed",
                   StatusCode::kResourceExhausted);
    }
    std::vector<ExprId> items;
    for (;;) {
      LATHE_ASSIGN_OR_RETURN(const ExprId item, ParseSequence(depth));
      items.push_back(item);
      if (pos_ >= text_.size() || text_[pos_] != '|') return pool_->Alt(items);
      ++pos_;
    }
  }

  Expected<ExprId> ParseSequence(int depth) {
    std::vector<ExprId> items;
    for (SkipSpace(); pos_ < text_.size() && text_[pos_] != '|' && text_[pos_] != ')'; SkipSpace()) {
      LATHE_RETURN_IF_ERROR(pool_->status());
      if (AtRule()) break;
      LATHE_ASSIGN_OR_RETURN(ExprId item, ParseAtom(depth));
      for (SkipSpace(); pos_ < text_.size(); SkipSpace()) {
        const char c = text_[pos_];
        if (c == '*' || c == '+' || c == '?') {
          ++pos_;
          item = pool_->Repeat(item, c == '+' ? 1 : 0, c == '?' ? 1 : kUnbounded);
        } else if (c == '{') {
          LATHE_ASSIGN_OR_RETURN(item, ParseBraces(item));
        } else {
          break;
        }
      }
      items.push_back(item);
    }
    return pool_->Seq(items);
  }

  Expected<ExprId> ParseBraces(ExprId item) {
    const size_t at = pos_;
    uint32_t min = 0, max = 0;
    Status fault;
    size_t p = pos_ + 1;
    if (!ParseBounds(text_, &p, &min, &max, &fault)) return Fault(at, "expected {m}, {m,}, {,n} or {m,n}");
    if (!fault.ok()) return Fault(at, fault.message());
    pos_ = p;
    return pool_->Repeat(item, min, max);
  }

  Expected<ExprId> ParseAtom(int depth) {
    const size_t at = pos_;
    const char c = text_[pos_];
    if (c == '"' || c == '\'') {
      LATHE_ASSIGN_OR_RETURN(const std::string literal, ReadString());
      return pool_->String(literal);
    }
    if (c == '[') {
      auto set = RegexParser::ParseClass(text_, &pos_);
      if (!set.ok()) return Fault(at, set.status().message(), set.status().code());
      return pool_->Class(*std::move(set), Spelling::kPlain);
    }
    if (c == '.') {
      ++pos_;
      return pool_->Class(CodeSet({{'\n', '\n'}}).Not(), Spelling::kPlain);
    }
    if (c == '(') {
      ++pos_;
      LATHE_ASSIGN_OR_RETURN(const ExprId group, ParseAlternatives(depth + 1));
      if (pos_ >= text_.size()) return Fault(at, "'(' without ')'");
      ++pos_;
      return group;
    }
    if (c == '%') return ParseDirective();
    if (IsNameStart(c)) return pool_->Rule(RuleOf(ReadName(), at));
    return Fault(at, "unexpected '" + std::string(1, c) + "'");
  }

  // A literal between quotes of either kind, with the escapes of regular expressions.
  Expected<std::string> ReadString() {
    const size_t at = pos_;
    const char quote = text_[pos_++];
    std::string out;
    while (pos_ < text_.size() && text_[pos_] != quote && text_[pos_] != '\n') {
      if (text_[pos_] != '\\') {
        out += text_[pos_++];
        continue;
      }
      auto code = ReadEscapedCharacter(text_, &pos_);
      if (!code.ok()) return Fault(at, code.status().message(), code.status().code());
      text::AppendUtf8(*code, &out);
    }
    if (pos_ >= text_.size() || text_[pos_] != quote) return Fault(at, "a literal without its closing quote");
    ++pos_;
    return out;
  }

  Expected<ExprId> ParseDirective() {
    const size_t at = pos_++;
    const std::string name(ReadName());
    SkipSpace();
    if (name == "token" && pos_ < text_.size() && text_[pos_] == '"') {
      LATHE_ASSIGN_OR_RETURN(const std::string token, ReadString());
      const TokenId id = vocab_.Named(token);
      if (id < 0) return Fault(at, "the vocabulary has no added token '" + token + "'");
      return pool_->Token(id);
    }
    if (name == "regex" && pos_ < text_.size() && text_[pos_] == '/') return ParseRegexDirective(at);
    if (name == "json" && pos_ < text_.size() && text_[pos_] == '{') return ParseJsonDirective(at);
    return Fault(at, "expected %token \"...\", %regex /.../ or %json {...}, found '%" + name + "'");
  }

  Expected<ExprId> ParseRegexDirective(size_t at) {
    std::string pattern;
    bool in_class = false;
    for (++pos_; pos_ < text_.size() && (in_class || text_[pos_] != '/'); ++pos_) {
      if (text_[pos_] == '[') in_class = true;
      if (text_[pos_] == ']') in_class = false;
      if (text_[pos_] == '\\' && pos_ + 1 < text_.size()) pattern += text_[pos_++];
      pattern += text_[pos_];
    }
    if (pos_ >= text_.size()) return Fault(at, "a %regex without its closing '/'");
    ++pos_;
    auto e = ParseRegex(pattern, RegexMatch::kWhole, Spelling::kPlain, pool_);
    if (!e.ok()) return Fault(at, e.status().message(), e.status().code());
    return e;
  }

  Expected<ExprId> ParseJsonDirective(size_t at) {
    const size_t begin = pos_;
    int open = 0;
    for (bool in_string = false; pos_ < text_.size(); ++pos_) {
      const char c = text_[pos_];
      if (c == '\\' && in_string) ++pos_;
      if (c == '"') in_string = !in_string;
      if (in_string) continue;
      if (c == '{') ++open;
      if (c == '}' && --open == 0) break;
    }
    if (pos_ >= text_.size()) return Fault(at, "a %json schema without its closing '}'");
    ++pos_;
    auto e = SchemaExpr(text_.substr(begin, pos_ - begin), "schema", pool_);
    if (!e.ok()) return Fault(at, e.status().message(), e.status().code());
    return e;
  }

  std::string_view text_;
  const GrammarVocab& vocab_;
  ExprPool* pool_;
  size_t pos_ = 0;
  std::unordered_map<std::string, Use> uses_;
};

}  // namespace

Expected<ExprId> ParseEbnf(std::string_view source, const GrammarVocab& vocab, ExprPool* pool) {
  return EbnfParser(source, vocab, pool).Parse();
}

}  // namespace lathe::grammar
