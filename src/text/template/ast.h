// A parsed template. Chains of operators and of suffixes (a.b[c]|d) are flat lists, so the depth of the tree
// is the depth of the nesting in the source, which the parser bounds.
//
// The binder (scope.h) fills in where each name lives: `hops` functions outwards, in slot `slot` of that
// function's activation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/template/ops.h"
#include "text/template/value.h"

namespace lathe::tmpl {

struct Place {
  int hops = 0;
  int slot = -1;
};

// --- expressions

enum class ExprKind : uint8_t {
  kConst,
  kName,
  kList,
  kTuple,
  kDict,
  kNot,
  kNegate,
  kPositive,
  kMath,
  kConcat,
  kLogic,
  kCompare,
  kCondition,
  kPostfix
};

struct Expr {
  Expr(ExprKind k, uint32_t l) : kind(k), line(l) {}
  virtual ~Expr() = default;
  const ExprKind kind;
  const uint32_t line;
};
using ExprPtr = std::unique_ptr<Expr>;

struct ConstExpr : Expr {
  ConstExpr(uint32_t line, Value v) : Expr(ExprKind::kConst, line), value(std::move(v)) {}
  Value value;
};

struct NameExpr : Expr {
  NameExpr(uint32_t line, std::string n) : Expr(ExprKind::kName, line), name(std::move(n)) {}
  std::string name;
  Place place;
};

// kList, kTuple, and the operands of kConcat.
struct ItemsExpr : Expr {
  using Expr::Expr;
  std::vector<ExprPtr> items;
};

struct DictExpr : Expr {
  explicit DictExpr(uint32_t line) : Expr(ExprKind::kDict, line) {}
  std::vector<std::pair<ExprPtr, ExprPtr>> entries;
};

// kNot, kNegate, kPositive.
struct UnaryExpr : Expr {
  UnaryExpr(ExprKind kind, uint32_t line, ExprPtr o) : Expr(kind, line), operand(std::move(o)) {}
  ExprPtr operand;
};

// first op operand op operand ..., from left to right.
struct MathExpr : Expr {
  explicit MathExpr(uint32_t line) : Expr(ExprKind::kMath, line) {}
  ExprPtr first;
  std::vector<std::pair<BinaryOp, ExprPtr>> rest;
};

// a and b and c, or a or b or c.
struct LogicExpr : Expr {
  LogicExpr(uint32_t line, bool o) : Expr(ExprKind::kLogic, line), is_or(o) {}
  bool is_or;
  std::vector<ExprPtr> items;
};

// a < b == c ...: neighbours compared, each evaluated once.
struct CompareExpr : Expr {
  explicit CompareExpr(uint32_t line) : Expr(ExprKind::kCompare, line) {}
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};

// then if test else otherwise (`otherwise` may be missing).
struct ConditionExpr : Expr {
  explicit ConditionExpr(uint32_t line) : Expr(ExprKind::kCondition, line) {}
  ExprPtr test, then, otherwise;
};

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, double_star;
};

using TestFunction = bool (*)(Runtime& rt, const Value& value, const Args& args);

struct Suffix {
  enum class Kind : uint8_t { kAttribute, kItem, kSlice, kCall, kFilter, kTest };
  Kind kind;
  uint32_t line = 0;
  Value name;                 // attribute, filter or test
  ExprPtr item;               // kItem
  ExprPtr start, stop, step;  // kSlice; null: not given
  CallArgs args;              // kCall, kFilter, kTest
  bool negated = false;       // kTest
  const Builtin* filter = nullptr;
  TestFunction test = nullptr;
};

struct PostfixExpr : Expr {
  PostfixExpr(uint32_t line, ExprPtr b) : Expr(ExprKind::kPostfix, line), base(std::move(b)) {}
  ExprPtr base;  // null in a filter block: the block's text
  std::vector<Suffix> suffixes;
};

// --- targets of assignments

struct Target {
  enum class Kind : uint8_t { kName, kNamespaceAttribute, kTuple };
  Kind kind = Kind::kName;
  uint32_t line = 0;
  std::string name;
  Value attribute;            // kNamespaceAttribute
  Place place;                // of the name, or of the namespace
  std::vector<Target> items;  // kTuple
};

// --- statements

enum class StmtKind : uint8_t {
  kOutput,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kGeneration,
  kBreak,
  kContinue
};

struct Stmt {
  Stmt(StmtKind k, uint32_t l) : kind(k), line(l) {}
  virtual ~Stmt() = default;
  const StmtKind kind;
  const uint32_t line;
};
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

// What happens to a slot when a scope is entered.
struct SlotLoad {
  enum class Kind : uint8_t { kMissing, kGlobal, kAlias };
  Kind kind;
  int slot;
  int global = -1;  // kGlobal: index into the template's names
  Place from;       // kAlias
};

struct Scope {
  std::vector<SlotLoad> loads;
};

struct OutputStmt : Stmt {
  explicit OutputStmt(uint32_t line) : Stmt(StmtKind::kOutput, line) {}
  std::vector<ExprPtr> items;
};

struct IfStmt : Stmt {
  explicit IfStmt(uint32_t line) : Stmt(StmtKind::kIf, line) {}
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body otherwise;
};

struct ForStmt : Stmt {
  explicit ForStmt(uint32_t line) : Stmt(StmtKind::kFor, line) {}
  Target target;
  Target test_target;  // the same names, in the scope of the test
  ExprPtr iterable, test;
  Body body, otherwise;
  Scope scope, test_scope, else_scope;
  int loop_slot = -1;
};

struct SetStmt : Stmt {
  explicit SetStmt(uint32_t line) : Stmt(StmtKind::kSet, line) {}
  Target target;
  ExprPtr value;
};

struct SetBlockStmt : Stmt {
  explicit SetBlockStmt(uint32_t line) : Stmt(StmtKind::kSetBlock, line) {}
  Target target;
  std::unique_ptr<PostfixExpr> filter;  // may be null
  Body body;
  Scope scope;
};

// A macro, or the body of a call or generation block (a macro without a name).
struct MacroStmt : Stmt {
  struct Parameter {
    std::string name;
    ExprPtr fallback;  // may be null
    int slot = -1;
  };
  MacroStmt(StmtKind kind, uint32_t line) : Stmt(kind, line) {}
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  Scope scope;
  int own_slot = -1;      // of the macro itself, where it is defined
  int slots = 0;          // size of its activation
  bool captured = false;  // a macro is defined inside, so activations must outlive the call
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
  int caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;
  ExprPtr call;  // kCallBlock: what is called with the block as caller
};

struct FilterBlockStmt : Stmt {
  explicit FilterBlockStmt(uint32_t line) : Stmt(StmtKind::kFilterBlock, line) {}
  std::unique_ptr<PostfixExpr> filter;
  Body body;
  Scope scope;
};

struct WithStmt : Stmt {
  explicit WithStmt(uint32_t line) : Stmt(StmtKind::kWith, line) {}
  std::vector<std::pair<Target, ExprPtr>> values;
  Body body;
  Scope scope;
};

struct TemplateAst {
  Body body;
  Scope scope;
  int slots = 0;
  std::vector<std::string> globals;  // names looked up in the context and among the built-ins
};

}  // namespace lathe::tmpl
