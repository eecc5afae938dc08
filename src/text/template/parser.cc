#include "text/template/parser.h"

#include <algorithm>
#include <initializer_list>

#include "text/template/expr_parser.h"
#include "text/template/lexer.h"
#include "text/template/scope.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

using EndTags = std::initializer_list<std::string_view>;

class Parser {
 public:
  Parser(std::vector<Token> tokens, int max_depth) : in_(std::move(tokens), max_depth) {}

  Expected<TemplateAst> Run() {
    TemplateAst ast;
    ParseBody({}, &ast.body);
    if (in_.failed()) return in_.status();
    return ast;
  }

 private:
  // Statements and text up to one of `ends` (whose name stays current), or to the end of the template.
  void ParseBody(EndTags ends, Body* body) {
    const ExprParser::Level level(in_);
    OutputStmt* output = nullptr;
    const auto text_here = [&]() -> OutputStmt& {
      if (output == nullptr) {
        auto stmt = std::make_unique<OutputStmt>(in_.Current().line);
        output = stmt.get();
        body->push_back(std::move(stmt));
      }
      return *output;
    };
    while (!in_.failed() && in_.Current().kind != TokenKind::kEnd) {
      Token token = in_.Next();
      if (token.kind == TokenKind::kData) {
        auto& items = text_here().items;
        items.push_back(std::make_unique<ConstExpr>(token.line, LiteralString(std::move(token.text))));
      } else if (token.kind == TokenKind::kVariableBegin) {
        auto& items = text_here().items;
        items.push_back(in_.ParseTuple());
        in_.Expect(TokenKind::kVariableEnd, "'}}'");
      } else {
        output = nullptr;
        if (AtEndTag(ends)) return;
        ParseStatement(body);
        in_.Expect(TokenKind::kBlockEnd, "'%}'");
      }
    }
    if (!in_.failed() && ends.size() > 0)
      in_.FailSyntax("the template ends where '%s' was expected", std::string(*(ends.end() - 1)).c_str());
  }

  bool AtEndTag(EndTags ends) const {
    return std::any_of(ends.begin(), ends.end(), [&](std::string_view e) { return in_.Current().IsName(e); });
  }

  // "%}" body "{% end": the end's name is left current.
  void ParseBlock(EndTags ends, Body* body) {
    in_.SkipOp(":");
    if (in_.Expect(TokenKind::kBlockEnd, "'%}'")) ParseBody(ends, body);
  }
  // The same, and the end's name is skipped.
  void ParseWhole(std::string_view end, Body* body) {
    ParseBlock({end}, body);
    if (!in_.failed()) in_.Next();
  }

  void ParseStatement(Body* body) {
    const Token& token = in_.Current();
    if (token.kind != TokenKind::kName) {
      in_.FailSyntax("expected the name of a statement, found %s", Describe(token).c_str());
      return;
    }
    struct Entry {
      std::string_view name;
      StmtPtr (Parser::*parse)();
    };
    constexpr Entry kStatements[] = {{"if", &Parser::ParseIf},
                                     {"for", &Parser::ParseFor},
                                     {"set", &Parser::ParseSet},
                                     {"macro", &Parser::ParseMacro},
                                     {"call", &Parser::ParseCallBlock},
                                     {"filter", &Parser::ParseFilterBlock},
                                     {"with", &Parser::ParseWith},
                                     {"print", &Parser::ParsePrint},
                                     {"generation", &Parser::ParseGeneration},
                                     {"break", &Parser::ParseLoopControl},
                                     {"continue", &Parser::ParseLoopControl}};
    for (const Entry& entry : kStatements) {
      if (token.text != entry.name) continue;
      body->push_back((this->*entry.parse)());
      return;
    }
    for (const char* word : {"include", "import", "from", "extends", "block", "autoescape"}) {
      if (token.text != word) continue;
      in_.Fail(StatusCode::kUnsupported,
               "the statement '%s' is not supported: a chat template must stand alone", word);
      return;
    }
    in_.FailSyntax("unknown statement '%s'", token.text.substr(0, 80).c_str());
  }

  StmtPtr ParseIf() {
    auto stmt = std::make_unique<IfStmt>(in_.Next().line);
    while (!in_.failed()) {
      ExprPtr test = in_.ParseTuple(false);
      stmt->branches.emplace_back(std::move(test), Body());
      ParseBlock({"elif", "else", "endif"}, &stmt->branches.back().second);
      if (in_.failed()) break;
      const Token end = in_.Next();
      if (end.text == "elif") continue;
      if (end.text == "else") ParseWhole("endif", &stmt->otherwise);
      break;
    }
    return stmt;
  }

  StmtPtr ParseFor() {
    auto stmt = std::make_unique<ForStmt>(in_.Next().line);
    stmt->target = in_.ParseTarget(false);
    RefuseLoop(stmt->target);
    if (!in_.failed() && !in_.SkipName("in"))
      in_.FailSyntax("expected 'in', found %s", Describe(in_.Current()).c_str());
    if (in_.failed()) return stmt;
    stmt->iterable = in_.ParseTuple(false);
    if (!in_.failed() && in_.SkipName("if")) {
      stmt->test = in_.ParseExpression();
      stmt->test_target = stmt->target;
    }
    if (!in_.failed() && in_.Current().IsName("recursive"))
      in_.Fail(StatusCode::kUnsupported, "recursive loops are not supported");
    ++loops_;
    ParseBlock({"else", "endfor"}, &stmt->body);
    --loops_;
    if (in_.failed()) return stmt;
    if (in_.Next().text == "else") {
      for_else_ += 1;
      ParseWhole("endfor", &stmt->otherwise);
      for_else_ -= 1;
    }
    return stmt;
  }

  // `loop` belongs to the loop statement everywhere inside one.
  void RefuseLoop(const Target& target) {
    if (target.kind == Target::Kind::kName && target.name == "loop")
      in_.FailSyntax("the variable 'loop' of a for statement cannot be assigned to");
    for (const Target& item : target.items) RefuseLoop(item);
  }

  StmtPtr ParseSet() {
    const uint32_t line = in_.Next().line;
    Target target = in_.ParseTarget(true);
    if (all_loops_ + loops_ + for_else_ > 0) RefuseLoop(target);
    if (in_.failed()) return nullptr;
    if (in_.SkipOp("=")) {
      auto stmt = std::make_unique<SetStmt>(line);
      stmt->target = std::move(target);
      stmt->value = in_.ParseTuple();
      return stmt;
    }
    auto stmt = std::make_unique<SetBlockStmt>(line);
    stmt->target = std::move(target);
    if (in_.Current().IsOp("|")) stmt->filter = in_.ParseBareFilters(false);
    ParseWhole("endset", &stmt->body);
    return stmt;
  }

  void ParseSignature(MacroStmt* macro) {
    in_.ExpectOp("(");
    while (!in_.failed() && !in_.Current().IsOp(")")) {
      if (!macro->parameters.empty() && !in_.ExpectOp(",")) break;
      MacroStmt::Parameter parameter;
      parameter.name = in_.ExpectName();
      for (const char* word : {"true", "false", "none", "True", "False", "None"})
        if (parameter.name == word) in_.FailSyntax("'%s' cannot be a parameter", word);
      for (const auto& other : macro->parameters)
        if (other.name == parameter.name)
          in_.FailSyntax("parameter '%s' is given twice", parameter.name.c_str());
      if (in_.SkipOp("="))
        parameter.fallback = in_.ParseExpression();
      else if (!macro->parameters.empty() && macro->parameters.back().fallback != nullptr)
        in_.FailSyntax("parameter '%s' without a default follows one with a default", parameter.name.c_str());
      macro->parameters.push_back(std::move(parameter));
    }
    in_.ExpectOp(")");
  }

  // The body of something that becomes a function: loops around it are out of reach.
  void ParseFunctionBody(std::string_view end, Body* body) {
    const int loops = std::exchange(loops_, 0);
    const int for_else = std::exchange(for_else_, 0);
    all_loops_ += loops + for_else;
    ParseWhole(end, body);
    all_loops_ -= loops + for_else;
    loops_ = loops;
    for_else_ = for_else;
  }

  StmtPtr ParseMacro() {
    auto macro = std::make_unique<MacroStmt>(StmtKind::kMacro, in_.Next().line);
    macro->name = in_.ExpectName();
    for (const char* word : {"true", "false", "none", "True", "False", "None"})
      if (macro->name == word) in_.FailSyntax("'%s' cannot name a macro", word);
    ParseSignature(macro.get());
    ParseFunctionBody("endmacro", &macro->body);
    return macro;
  }

  StmtPtr ParseCallBlock() {
    auto block = std::make_unique<MacroStmt>(StmtKind::kCallBlock, in_.Next().line);
    if (in_.Current().IsOp("(")) ParseSignature(block.get());
    block->call = in_.ParseExpression();
    const bool is_call =
        !in_.failed() && block->call->kind == ExprKind::kPostfix &&
        static_cast<PostfixExpr*>(block->call.get())->suffixes.back().kind == Suffix::Kind::kCall;
    if (!in_.failed() && !is_call) in_.FailSyntax("a call block needs a call");
    ParseFunctionBody("endcall", &block->body);
    return block;
  }

  StmtPtr ParseGeneration() {
    auto block = std::make_unique<MacroStmt>(StmtKind::kGeneration, in_.Next().line);
    ParseFunctionBody("endgeneration", &block->body);
    return block;
  }

  StmtPtr ParseFilterBlock() {
    auto stmt = std::make_unique<FilterBlockStmt>(in_.Next().line);
    stmt->filter = in_.ParseBareFilters(true);
    ParseWhole("endfilter", &stmt->body);
    return stmt;
  }

  StmtPtr ParseWith() {
    auto stmt = std::make_unique<WithStmt>(in_.Next().line);
    while (!in_.failed() && in_.Current().kind != TokenKind::kBlockEnd) {
      if (!stmt->values.empty() && !in_.ExpectOp(",")) break;
      Target target = in_.ParseTarget(false);
      if (!in_.ExpectOp("=")) break;
      stmt->values.emplace_back(std::move(target), in_.ParseExpression());
    }
    ParseWhole("endwith", &stmt->body);
    return stmt;
  }

  StmtPtr ParsePrint() {
    auto stmt = std::make_unique<OutputStmt>(in_.Next().line);
    while (!in_.failed() && in_.Current().kind != TokenKind::kBlockEnd) {
      if (!stmt->items.empty() && !in_.ExpectOp(",")) break;
      stmt->items.push_back(in_.ParseExpression());
    }
    return stmt;
  }

  StmtPtr ParseLoopControl() {
    const Token token = in_.Next();
    if (loops_ == 0) in_.FailSyntax("'%s' stands outside a loop", token.text.c_str());
    return std::make_unique<Stmt>(token.text == "break" ? StmtKind::kBreak : StmtKind::kContinue, token.line);
  }

  ExprParser in_;
  int loops_ = 0;      // loops whose body we are in, within the current function
  int for_else_ = 0;   // else branches of loops, likewise
  int all_loops_ = 0;  // both, around the current function
};

}  // namespace

Expected<TemplateAst> ParseTemplate(std::string_view source, int max_depth) {
  LATHE_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(Sanitize(source)));
  LATHE_ASSIGN_OR_RETURN(TemplateAst ast, Parser(std::move(tokens), max_depth).Run());
  LATHE_RETURN_IF_ERROR(Bind(&ast));
  return ast;
}

}  // namespace lathe::tmpl
