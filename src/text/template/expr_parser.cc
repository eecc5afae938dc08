#include "text/template/expr_parser.h"

#include <cstdarg>
#include <cstdio>

namespace lathe::tmpl {
namespace {

// The suffix list of `base`, made a postfix expression if it is none yet. An expression in parentheses that
// is itself a postfix one may be extended: the meaning is the same.
std::vector<Suffix>& Suffixes(ExprPtr* base, uint32_t line) {
  if ((*base)->kind != ExprKind::kPostfix) *base = std::make_unique<PostfixExpr>(line, std::move(*base));
  return static_cast<PostfixExpr*>(base->get())->suffixes;
}

}  // namespace

ExprParser::Level::Level(ExprParser& parser) : parser_(parser) {
  if (++parser_.depth_ > parser_.max_depth_)
    parser_.Fail(StatusCode::kResourceExhausted, "the template is nested deeper than %d levels",
                 parser_.max_depth_);
}

void ExprParser::Fail(StatusCode code, const char* format, ...) {
  if (failed()) return;
  char buffer[300];
  va_list args;
  va_start(args, format);
  std::vsnprintf(buffer, sizeof(buffer), format, args);
  va_end(args);
  status_ = Error(code, "chat template line %u: %s", Current().line, buffer);
}

void ExprParser::FailSyntax(const char* format, ...) {
  char buffer[300];
  va_list args;
  va_start(args, format);
  std::vsnprintf(buffer, sizeof(buffer), format, args);
  va_end(args);
  Fail(StatusCode::kInvalidArgument, "%s", buffer);
}

Token ExprParser::Next() {
  Token token = Current();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool ExprParser::SkipName(std::string_view name) {
  if (!Current().IsName(name)) return false;
  Next();
  return true;
}

bool ExprParser::SkipOp(std::string_view op) {
  if (!Current().IsOp(op)) return false;
  Next();
  return true;
}

bool ExprParser::Expect(TokenKind kind, const char* what) {
  if (failed()) return false;
  if (Current().kind != kind) {
    FailSyntax("expected %s, found %s", what, Describe(Current()).c_str());
    return false;
  }
  Next();
  return true;
}

bool ExprParser::ExpectOp(std::string_view op) {
  if (failed()) return false;
  if (!Current().IsOp(op)) {
    FailSyntax("expected '%s', found %s", std::string(op).c_str(), Describe(Current()).c_str());
    return false;
  }
  Next();
  return true;
}

std::string ExprParser::ExpectName() {
  std::string name = Current().kind == TokenKind::kName ? Current().text : "";
  Expect(TokenKind::kName, "a name");
  return name;
}

ExprPtr ExprParser::ParseExpression(bool with_condition) {
  const Level level(*this);
  if (failed()) return nullptr;
  return with_condition ? ParseCondition() : ParseLogic(true);
}

ExprPtr ExprParser::ParseCondition() {
  constexpr int kMaxChained = 8;
  ExprPtr left = ParseLogic(true);
  for (int chained = 0; !failed() && Current().IsName("if"); ++chained) {
    if (chained == kMaxChained) FailSyntax("too many conditions without 'else' in a row");
    auto condition = std::make_unique<ConditionExpr>(Next().line);
    condition->then = std::move(left);
    condition->test = ParseLogic(true);
    if (!failed() && SkipName("else")) condition->otherwise = ParseExpression();
    left = std::move(condition);
  }
  return left;
}

ExprPtr ExprParser::ParseLogic(bool is_or) {
  const uint32_t line = Current().line;
  ExprPtr first = is_or ? ParseLogic(false) : ParseNot();
  if (failed() || !Current().IsName(is_or ? "or" : "and")) return first;
  auto logic = std::make_unique<LogicExpr>(line, is_or);
  logic->items.push_back(std::move(first));
  while (!failed() && SkipName(is_or ? "or" : "and"))
    logic->items.push_back(is_or ? ParseLogic(false) : ParseNot());
  return logic;
}

ExprPtr ExprParser::ParseNot() {
  if (failed()) return nullptr;
  if (!Current().IsName("not")) return ParseCompare();
  const Level level(*this);
  const uint32_t line = Next().line;
  ExprPtr operand = ParseNot();
  return std::make_unique<UnaryExpr>(ExprKind::kNot, line, std::move(operand));
}

bool ExprParser::ParseCompareOp(CompareOp* op) {
  constexpr std::pair<std::string_view, CompareOp> kOps[] = {{"==", CompareOp::kEq}, {"!=", CompareOp::kNe},
                                                             {"<", CompareOp::kLt},  {"<=", CompareOp::kLe},
                                                             {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  for (const auto& [text, value] : kOps) {
    if (!SkipOp(text)) continue;
    *op = value;
    return true;
  }
  if (SkipName("in")) {
    *op = CompareOp::kIn;
    return true;
  }
  if (!Current().IsName("not") || !Ahead().IsName("in")) return false;
  Next();
  Next();
  *op = CompareOp::kNotIn;
  return true;
}

ExprPtr ExprParser::ParseCompare() {
  const uint32_t line = Current().line;
  ExprPtr first = ParseSum();
  CompareOp op{};
  if (failed() || !ParseCompareOp(&op)) return first;
  auto compare = std::make_unique<CompareExpr>(line);
  compare->first = std::move(first);
  do {
    compare->rest.emplace_back(op, ParseSum());
  } while (!failed() && ParseCompareOp(&op));
  return compare;
}

ExprPtr ExprParser::ParseSum() {
  const uint32_t line = Current().line;
  ExprPtr first = ParseConcat();
  if (failed() || !(Current().IsOp("+") || Current().IsOp("-"))) return first;
  auto math = std::make_unique<MathExpr>(line);
  math->first = std::move(first);
  while (!failed() && (Current().IsOp("+") || Current().IsOp("-"))) {
    const BinaryOp op = Next().text == "+" ? BinaryOp::kAdd : BinaryOp::kSub;
    math->rest.emplace_back(op, ParseConcat());
  }
  return math;
}

ExprPtr ExprParser::ParseConcat() {
  const uint32_t line = Current().line;
  ExprPtr first = ParseProduct();
  if (failed() || !Current().IsOp("~")) return first;
  auto concat = std::make_unique<ItemsExpr>(ExprKind::kConcat, line);
  concat->items.push_back(std::move(first));
  while (!failed() && SkipOp("~")) concat->items.push_back(ParseProduct());
  return concat;
}

ExprPtr ExprParser::ParseProduct() {
  const auto read_op = [&](BinaryOp* op) {
    if (SkipOp("*"))
      *op = BinaryOp::kMul;
    else if (SkipOp("/"))
      *op = BinaryOp::kDiv;
    else if (SkipOp("//"))
      *op = BinaryOp::kFloorDiv;
    else if (SkipOp("%"))
      *op = BinaryOp::kMod;
    else
      return false;
    return true;
  };
  const uint32_t line = Current().line;
  ExprPtr first = ParsePower();
  BinaryOp op{};
  if (failed() || !read_op(&op)) return first;
  auto math = std::make_unique<MathExpr>(line);
  math->first = std::move(first);
  do {
    math->rest.emplace_back(op, ParsePower());
  } while (!failed() && read_op(&op));
  return math;
}

ExprPtr ExprParser::ParsePower() {
  const uint32_t line = Current().line;
  ExprPtr first = ParseUnary(true);
  if (failed() || !Current().IsOp("**")) return first;
  auto math = std::make_unique<MathExpr>(line);
  math->first = std::move(first);
  // From left to right, as the reference parses it (Python would go from right to left).
  while (!failed() && SkipOp("**")) math->rest.emplace_back(BinaryOp::kPow, ParseUnary(true));
  return math;
}

ExprPtr ExprParser::ParseUnary(bool with_filter) {
  if (failed()) return nullptr;
  ExprPtr node;
  if (Current().IsOp("-") || Current().IsOp("+")) {
    const Level level(*this);
    const Token token = Next();
    ExprPtr operand = ParseUnary(false);
    node = std::make_unique<UnaryExpr>(token.text == "-" ? ExprKind::kNegate : ExprKind::kPositive,
                                       token.line, std::move(operand));
  } else {
    node = ParsePrimary();
  }
  if (failed()) return nullptr;
  node = ParsePostfix(std::move(node));
  return with_filter && !failed() ? ParseFilters(std::move(node)) : std::move(node);
}

ExprPtr ExprParser::ParsePrimary() {
  if (failed()) return nullptr;
  const uint32_t line = Current().line;
  switch (Current().kind) {
    case TokenKind::kName: return ParseName();
    case TokenKind::kString: {
      std::string text;
      while (Current().kind == TokenKind::kString) text += Next().text;
      return std::make_unique<ConstExpr>(line, LiteralString(std::move(text)));
    }
    case TokenKind::kInteger: return std::make_unique<ConstExpr>(line, Value::Integer(Next().integer));
    case TokenKind::kFloat: return std::make_unique<ConstExpr>(line, Value::Real(Next().real));
    default: break;
  }
  if (SkipOp("(")) {
    ExprPtr inner = ParseTuple(true, true);
    ExpectOp(")");
    return inner;
  }
  if (Current().IsOp("[")) return ParseList();
  if (Current().IsOp("{")) return ParseDict();
  FailSyntax("expected an expression, found %s", Describe(Current()).c_str());
  return nullptr;
}

ExprPtr ExprParser::ParseName() {
  const Token token = Next();
  const std::string& name = token.text;
  if (name == "true" || name == "True") return std::make_unique<ConstExpr>(token.line, Value::Bool(true));
  if (name == "false" || name == "False") return std::make_unique<ConstExpr>(token.line, Value::Bool(false));
  if (name == "none" || name == "None") return std::make_unique<ConstExpr>(token.line, Value::None());
  return std::make_unique<NameExpr>(token.line, name);
}

bool ExprParser::AtTupleEnd() const {
  const Token& token = Current();
  return token.kind == TokenKind::kVariableEnd || token.kind == TokenKind::kBlockEnd || token.IsOp(")");
}

ExprPtr ExprParser::ParseTuple(bool with_condition, bool parenthesized) {
  const uint32_t line = Current().line;
  auto tuple = std::make_unique<ItemsExpr>(ExprKind::kTuple, line);
  bool is_tuple = false;
  while (!failed()) {
    if (!tuple->items.empty() && !ExpectOp(",")) break;
    if (AtTupleEnd()) break;
    tuple->items.push_back(ParseExpression(with_condition));
    if (!Current().IsOp(",")) break;
    is_tuple = true;
  }
  if (failed()) return nullptr;
  if (!is_tuple) {
    if (!tuple->items.empty()) return std::move(tuple->items.front());
    if (!parenthesized) {
      FailSyntax("expected an expression, found %s", Describe(Current()).c_str());
      return nullptr;
    }
  }
  return tuple;
}

Target ExprParser::ParseTargetItem(bool allow_namespace) {
  const Level level(*this);
  Target target;
  target.line = Current().line;
  if (failed()) return target;
  if (SkipOp("(")) {
    target.kind = Target::Kind::kTuple;
    bool is_tuple = false;
    while (!failed() && !Current().IsOp(")")) {
      target.items.push_back(ParseTargetItem(false));
      if (!SkipOp(",")) break;
      is_tuple = true;
    }
    ExpectOp(")");
    if (failed() || is_tuple || target.items.empty()) return target;
    Target only = std::move(target.items.front());
    return only;
  }
  if (Current().kind != TokenKind::kName) {
    FailSyntax("expected a name to assign to, found %s", Describe(Current()).c_str());
    return target;
  }
  target.name = Current().text;
  for (const char* word : {"true", "false", "none", "True", "False", "None"})
    if (target.name == word) FailSyntax("'%s' cannot be assigned to", word);
  Next();
  if (!allow_namespace || !SkipOp(".")) return target;
  target.kind = Target::Kind::kNamespaceAttribute;
  target.attribute = LiteralString(ExpectName());
  return target;
}

Target ExprParser::ParseTarget(bool allow_namespace) {
  Target first = ParseTargetItem(allow_namespace);
  if (failed() || !Current().IsOp(",")) return first;
  Target tuple;
  tuple.kind = Target::Kind::kTuple;
  tuple.line = first.line;
  tuple.items.push_back(std::move(first));
  while (!failed() && SkipOp(",")) {
    if (AtTupleEnd()) break;
    tuple.items.push_back(ParseTargetItem(allow_namespace));
  }
  return tuple;
}

ExprPtr ExprParser::ParseList() {
  auto list = std::make_unique<ItemsExpr>(ExprKind::kList, Next().line);
  while (!failed() && !Current().IsOp("]")) {
    if (!list->items.empty() && !ExpectOp(",")) break;
    if (Current().IsOp("]")) break;
    list->items.push_back(ParseExpression());
  }
  ExpectOp("]");
  return list;
}

ExprPtr ExprParser::ParseDict() {
  auto dict = std::make_unique<DictExpr>(Next().line);
  while (!failed() && !Current().IsOp("}")) {
    if (!dict->entries.empty() && !ExpectOp(",")) break;
    if (Current().IsOp("}")) break;
    ExprPtr key = ParseExpression();
    if (!ExpectOp(":")) break;
    dict->entries.emplace_back(std::move(key), ParseExpression());
  }
  ExpectOp("}");
  return dict;
}

ExprPtr ExprParser::ParsePostfix(ExprPtr base) {
  while (!failed()) {
    Suffix suffix;
    suffix.line = Current().line;
    if (Current().IsOp(".") || Current().IsOp("[")) {
      if (!ParseSubscript(&suffix)) break;
    } else if (Current().IsOp("(")) {
      suffix.kind = Suffix::Kind::kCall;
      if (!ParseArguments(&suffix.args)) break;
    } else {
      break;
    }
    Suffixes(&base, suffix.line).push_back(std::move(suffix));
  }
  return base;
}

ExprPtr ExprParser::ParseFilters(ExprPtr base) {
  while (!failed()) {
    Suffix suffix;
    suffix.line = Current().line;
    if (SkipOp("|")) {
      if (!ParseFilter(&suffix)) break;
    } else if (SkipName("is")) {
      if (!ParseTest(&suffix)) break;
    } else if (Current().IsOp("(")) {
      suffix.kind = Suffix::Kind::kCall;
      if (!ParseArguments(&suffix.args)) break;
    } else {
      break;
    }
    Suffixes(&base, suffix.line).push_back(std::move(suffix));
  }
  return base;
}

bool ExprParser::ParseSubscript(Suffix* suffix) {
  if (SkipOp(".")) {
    const Token token = Next();
    if (token.kind == TokenKind::kName) {
      suffix->kind = Suffix::Kind::kAttribute;
      suffix->name = LiteralString(token.text);
    } else if (token.kind == TokenKind::kInteger) {
      suffix->kind = Suffix::Kind::kItem;
      suffix->item = std::make_unique<ConstExpr>(token.line, Value::Integer(token.integer));
    } else {
      FailSyntax("expected a name or a number behind '.', found %s", Describe(token).c_str());
    }
    return !failed();
  }
  Next();  // "["
  suffix->kind = Suffix::Kind::kItem;
  const uint32_t line = Current().line;
  auto tuple = std::make_unique<ItemsExpr>(ExprKind::kTuple, line);
  while (!failed() && !Current().IsOp("]")) {
    if (!tuple->items.empty() && !ExpectOp(",")) break;
    ExprPtr index = ParseIndex(suffix);
    if (suffix->kind == Suffix::Kind::kSlice) {
      if (!tuple->items.empty() || !Current().IsOp("]")) FailSyntax("a slice must stand alone in '[]'");
      break;
    }
    tuple->items.push_back(std::move(index));
  }
  if (!ExpectOp("]")) return false;
  if (suffix->kind == Suffix::Kind::kSlice) return true;
  if (tuple->items.size() == 1)
    suffix->item = std::move(tuple->items.front());
  else
    suffix->item = std::move(tuple);
  return true;
}

// An index, or a slice put into `suffix` (null is returned then).
ExprPtr ExprParser::ParseIndex(Suffix* suffix) {
  ExprPtr start;
  if (!Current().IsOp(":")) {
    start = ParseExpression();
    if (failed() || !Current().IsOp(":")) return start;
  }
  Next();  // ":"
  const auto open = [&] { return !Current().IsOp(":") && !Current().IsOp("]") && !Current().IsOp(","); };
  suffix->kind = Suffix::Kind::kSlice;
  suffix->start = std::move(start);
  if (open()) suffix->stop = ParseExpression();
  if (!failed() && SkipOp(":") && open()) suffix->step = ParseExpression();
  return nullptr;
}

bool ExprParser::ParseArguments(CallArgs* args) {
  ExpectOp("(");
  bool need_comma = false;
  while (!failed() && !Current().IsOp(")")) {
    if (need_comma && !ExpectOp(",")) break;
    if (need_comma && Current().IsOp(")")) break;
    if (!ParseArgument(args)) break;
    need_comma = true;
  }
  return ExpectOp(")");
}

bool ExprParser::ParseArgument(CallArgs* args) {
  const auto require = [&](bool in_order) {
    if (!in_order) FailSyntax("arguments of a call are in the wrong order");
  };
  if (SkipOp("*")) {
    require(args->star == nullptr && args->double_star == nullptr);
    args->star = ParseExpression();
  } else if (SkipOp("**")) {
    require(args->double_star == nullptr);
    args->double_star = ParseExpression();
  } else if (Current().kind == TokenKind::kName && Ahead().IsOp("=")) {
    require(args->double_star == nullptr);
    std::string name = Next().text;
    Next();
    for (const auto& [other, value] : args->named)
      if (other == name) FailSyntax("argument '%s' is given twice", name.c_str());
    args->named.emplace_back(std::move(name), ParseExpression());
  } else {
    require(args->star == nullptr && args->double_star == nullptr && args->named.empty());
    args->positional.push_back(ParseExpression());
  }
  return !failed();
}

std::string ExprParser::DottedName() {
  std::string name = ExpectName();
  while (!failed() && SkipOp(".")) name += "." + ExpectName();
  return name;
}

bool ExprParser::ParseFilter(Suffix* suffix) {
  suffix->kind = Suffix::Kind::kFilter;
  suffix->name = LiteralString(DottedName());
  return !failed() && (!Current().IsOp("(") || ParseArguments(&suffix->args));
}

bool ExprParser::ParseTest(Suffix* suffix) {
  suffix->kind = Suffix::Kind::kTest;
  suffix->negated = SkipName("not");
  suffix->name = LiteralString(DottedName());
  if (failed()) return false;
  const Token& token = Current();
  if (token.IsOp("(")) return ParseArguments(&suffix->args);
  const bool starts_argument = token.kind == TokenKind::kName || token.kind == TokenKind::kString ||
                               token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat ||
                               token.IsOp("[") || token.IsOp("{");
  if (!starts_argument || token.IsName("else") || token.IsName("or") || token.IsName("and")) return true;
  if (token.IsName("is")) {
    FailSyntax("tests with 'is' cannot be chained");
    return false;
  }
  const Level level(*this);
  ExprPtr argument = ParsePrimary();
  if (!failed()) argument = ParsePostfix(std::move(argument));
  suffix->args.positional.push_back(std::move(argument));
  return !failed();
}

std::unique_ptr<PostfixExpr> ExprParser::ParseBareFilters(bool inline_start) {
  auto filters = std::make_unique<PostfixExpr>(Current().line, nullptr);
  while (!failed() && (inline_start || Current().IsOp("|"))) {
    if (!inline_start) Next();
    inline_start = false;
    Suffix suffix;
    suffix.line = Current().line;
    ParseFilter(&suffix);
    filters->suffixes.push_back(std::move(suffix));
  }
  return filters;
}

}  // namespace lathe::tmpl
