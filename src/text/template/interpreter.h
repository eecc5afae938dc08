// Runs a parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/template/ast.h"
#include "text/template/runtime.h"

namespace lathe::tmpl {

// The variables of one running function.
struct Activation {
  Activation* outer = nullptr;  // of the function it was defined in
  std::vector<Value> slots;
  Charge charge;
};

class Interpreter {
 public:
  // `context` is an object. All must outlive the interpreter.
  Interpreter(const TemplateAst& ast, const Json& context, Runtime& rt);
  ~Interpreter();

  // Renders into `out`; false when the render failed (see the runtime's status).
  bool Run(StrBuilder* out);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  // Statements and expressions inside one another, over all macro calls: bounds the C++ stack.
  static constexpr int kMaxEvalDepth = 700;
  class Level {
   public:
    explicit Level(Interpreter& self) : self_(self) {
      if (++self_.depth_ > kMaxEvalDepth) self_.FailTooDeep();
    }
    ~Level() { --self_.depth_; }

   private:
    Interpreter& self_;
  };
  // Collects what is printed while alive.
  class Capture {
   public:
    explicit Capture(Interpreter& self)
        : self_(self), builder_(self.rt_.Builder()), outer_(std::exchange(self.out_, &builder_)) {}
    ~Capture() { self_.out_ = outer_; }
    Value Take() { return self_.rt_.MakeString(std::move(builder_)); }

   private:
    Interpreter& self_;
    StrBuilder builder_;
    StrBuilder* outer_;
  };
  void FailTooDeep();

  // --- statements
  Flow ExecBody(const Body& body);
  Flow Exec(const Stmt& stmt);
  void ExecOutput(const OutputStmt& stmt);
  Flow ExecIf(const IfStmt& stmt);
  Flow ExecFor(const ForStmt& stmt);
  Flow LoopOver(const ForStmt& stmt, const Value& loop_value, bool* completed);
  bool FetchTested(const ForStmt& stmt, const std::vector<Value>& source, size_t* at, Loop* loop);
  Flow ExecSetBlock(const SetBlockStmt& stmt);
  Flow ExecFilterBlock(const FilterBlockStmt& stmt);
  Flow ExecWith(const WithStmt& stmt);
  void ExecCallBlock(const MacroStmt& stmt);
  void Print(const Value& value);
  void AppendBlockResult(const Value& value);
  void EnterScope(const Scope& scope);
  bool Assign(const Target& target, const Value& value);
  bool CheckNamespaces(const Target& target);
  void AssignAttribute(const Target& target, const Value& value);
  Value MakeMacro(const MacroStmt& stmt);

  // --- expressions
  Value Eval(const Expr& expr);
  Value EvalList(const ItemsExpr& expr);
  Value EvalDict(const DictExpr& expr);
  Value EvalMath(const MathExpr& expr);
  Value EvalConcat(const ItemsExpr& expr);
  Value EvalLogic(const LogicExpr& expr);
  Value EvalCompare(const CompareExpr& expr);
  Value EvalCondition(const ConditionExpr& expr);
  // `caller`: handed to the last call of the chain (a call block).
  Value EvalPostfix(const PostfixExpr& expr, const Value* piped, const Value* caller);
  Value EvalSuffix(const Value& value, const Suffix& suffix, const Value* caller);
  Value EvalOptional(const ExprPtr& expr);
  bool EvalArgs(const CallArgs& args, Args* out);
  Value EvalName(const NameExpr& expr);
  Value Call(const Value& callee, Args&& args);
  Value CallMacro(const Macro& macro, Args&& args);
  bool BindArguments(const MacroStmt& macro, Args* args, Activation* activation);

  // --- variables
  Value& Slot(const Place& place);
  const Value& Global(int index);
  Value FromJson(const Json& json, bool user, int depth);

  const TemplateAst& ast_;
  const Json& context_;
  Runtime& rt_;
  std::vector<Value> globals_;
  std::vector<bool> global_known_;
  std::vector<std::unique_ptr<Activation>> kept_;  // that macros may still refer to
  Activation* frame_ = nullptr;
  StrBuilder* out_ = nullptr;  // where prints go: whole_output_ or a capture's
  StrBuilder* whole_output_ = nullptr;
  int calls_ = 0;
  int depth_ = 0;
};

}  // namespace lathe::tmpl
