// The expression half of the parser.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/template/ast.h"
#include "text/template/lexer.h"

namespace lathe::tmpl {

// A cursor over the tokens of a template, and the grammar of expressions on it. Faults are sticky: the first
// is kept, and every rule gives up (returning null) once there is one.
class ExprParser {
 public:
  ExprParser(std::vector<Token> tokens, int max_depth) : tokens_(std::move(tokens)), max_depth_(max_depth) {}

  bool failed() const { return !status_.ok(); }
  const Status& status() const { return status_; }

  const Token& Current() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  Token Next();
  bool SkipName(std::string_view name);
  bool SkipOp(std::string_view op);
  bool Expect(TokenKind kind, const char* what);
  bool ExpectOp(std::string_view op);
  // A name token's text; fails otherwise.
  std::string ExpectName();
  [[gnu::format(printf, 3, 4)]] void Fail(StatusCode code, const char* format, ...);
  [[gnu::format(printf, 2, 3)]] void FailSyntax(const char* format, ...);

  ExprPtr ParseExpression(bool with_condition = true);
  // An expression, or several with commas between: a tuple.
  ExprPtr ParseTuple(bool with_condition = true, bool parenthesized = false);
  // The target of an assignment or a loop.
  Target ParseTarget(bool allow_namespace);
  // name(args)|name... behind a "filter" word (`inline_start`) or a "|".
  std::unique_ptr<PostfixExpr> ParseBareFilters(bool inline_start);

  // Counts one level of nesting while alive.
  class Level {
   public:
    explicit Level(ExprParser& parser);
    ~Level() { --parser_.depth_; }

   private:
    ExprParser& parser_;
  };

 private:
  ExprPtr ParseCondition();
  ExprPtr ParseLogic(bool is_or);
  ExprPtr ParseNot();
  ExprPtr ParseCompare();
  bool ParseCompareOp(CompareOp* op);
  ExprPtr ParseSum();
  ExprPtr ParseConcat();
  ExprPtr ParseProduct();
  ExprPtr ParsePower();
  ExprPtr ParseUnary(bool with_filter);
  ExprPtr ParsePrimary();
  ExprPtr ParseName();
  ExprPtr ParseList();
  ExprPtr ParseDict();
  Target ParseTargetItem(bool allow_namespace);
  bool AtTupleEnd() const;

  ExprPtr ParsePostfix(ExprPtr base);
  ExprPtr ParseFilters(ExprPtr base);
  bool ParseSubscript(Suffix* suffix);
  ExprPtr ParseIndex(Suffix* suffix);
  bool ParseArguments(CallArgs* args);
  bool ParseArgument(CallArgs* args);
  bool ParseFilter(Suffix* suffix);
  bool ParseTest(Suffix* suffix);
  std::string DottedName();

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  const int max_depth_;
  Status status_;
};

}  // namespace lathe::tmpl
