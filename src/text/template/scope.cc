#include "text/template/scope.h"

#include <map>
#include <set>

#include "text/template/filters.h"
#include "text/template/tests.h"

namespace lathe::tmpl {
namespace {

// A function of the compiled template: the template itself, a macro, the body of a call block.
struct Fn {
  int depth = 0;
  bool has_inner = false;
  // Scopes of one level that are not alive together share the slots of equal names.
  std::map<std::pair<int, std::string>, int> slot_of;

  int Slot(int level, const std::string& name) {
    return slot_of.try_emplace({level, name}, static_cast<int>(slot_of.size())).first->second;
  }
};

struct Ref {
  const Fn* fn = nullptr;
  int slot = -1;
};

// The names known to one scope and where each comes from.
class Symbols {
 public:
  Symbols(Fn* fn, const Symbols* parent, int level) : fn_(fn), parent_(parent), level_(level) {}
  // A scope inside `parent`, in the same function.
  explicit Symbols(const Symbols* parent) : Symbols(parent->fn_, parent, parent->level_ + 1) {}

  Fn* fn() const { return fn_; }
  int level() const { return level_; }

  const Ref* Find(const std::string& name) const {
    const auto it = refs_.find(name);
    if (it != refs_.end()) return &it->second;
    return parent_ == nullptr ? nullptr : parent_->Find(name);
  }

  void Load(const std::string& name) {
    if (Find(name) == nullptr) Define(name, {Source::kContext, {}, name});
  }

  void Store(const std::string& name) {
    if (stores_.insert(name).second) store_log_.push_back(name);
    if (refs_.contains(name)) return;
    const Ref* outer = parent_ == nullptr ? nullptr : parent_->Find(name);
    if (outer != nullptr)
      Define(name, {Source::kOuter, *outer, name});
    else
      Define(name, {Source::kNothing, {}, name});
  }

  void DeclareParameter(const std::string& name) {
    if (stores_.insert(name).second) store_log_.push_back(name);
    Define(name, {Source::kParameter, {}, name});
  }

  // A name first stored in a branch of an `if` may keep the value it had outside.
  size_t BeginBranches() const { return store_log_.size(); }
  void EndBranches(size_t begin) {
    for (size_t i = begin; i < store_log_.size(); ++i) {
      const std::string& name = store_log_[i];
      const Ref* outer = parent_ == nullptr ? nullptr : parent_->Find(name);
      if (outer != nullptr)
        sources_[refs_.at(name).slot] = {Source::kOuter, *outer, name};
      else
        sources_[refs_.at(name).slot] = {Source::kContext, {}, name};
    }
  }

  struct Source {
    enum Kind { kParameter, kContext, kOuter, kNothing } kind;
    Ref outer;
    std::string name;
  };
  const std::map<int, Source>& sources() const { return sources_; }

 private:
  void Define(const std::string& name, Source source) {
    const int slot = fn_->Slot(level_, name);
    refs_[name] = {fn_, slot};
    sources_[slot] = std::move(source);
  }

  Fn* fn_;
  const Symbols* parent_;
  int level_;
  std::map<std::string, Ref> refs_;
  std::map<int, Source> sources_;
  std::set<std::string> stores_;
  std::vector<std::string> store_log_;
};

// Calls visit(NameExpr&), filter(Suffix&, in_condition) for everything in an expression.
template <typename Names, typename Calls>
class Walker {
 public:
  Walker(Names names, Calls calls) : names_(names), calls_(calls) {}

  void Walk(Expr* expr, bool soft) {
    if (expr == nullptr) return;
    switch (expr->kind) {
      case ExprKind::kConst: break;
      case ExprKind::kName: names_(static_cast<NameExpr&>(*expr)); break;
      case ExprKind::kList:
      case ExprKind::kTuple:
      case ExprKind::kConcat:
        for (auto& item : static_cast<ItemsExpr*>(expr)->items) Walk(item.get(), soft);
        break;
      case ExprKind::kDict:
        for (auto& [key, value] : static_cast<DictExpr*>(expr)->entries) {
          Walk(key.get(), soft);
          Walk(value.get(), soft);
        }
        break;
      case ExprKind::kNot:
      case ExprKind::kNegate:
      case ExprKind::kPositive: Walk(static_cast<UnaryExpr*>(expr)->operand.get(), soft); break;
      case ExprKind::kMath: {
        auto* math = static_cast<MathExpr*>(expr);
        Walk(math->first.get(), soft);
        for (auto& [op, operand] : math->rest) Walk(operand.get(), soft);
        break;
      }
      case ExprKind::kLogic:
        for (auto& item : static_cast<LogicExpr*>(expr)->items) Walk(item.get(), soft);
        break;
      case ExprKind::kCompare: {
        auto* compare = static_cast<CompareExpr*>(expr);
        Walk(compare->first.get(), soft);
        for (auto& [op, operand] : compare->rest) Walk(operand.get(), soft);
        break;
      }
      case ExprKind::kCondition: {
        auto* condition = static_cast<ConditionExpr*>(expr);
        Walk(condition->test.get(), true);
        Walk(condition->then.get(), true);
        Walk(condition->otherwise.get(), true);
        break;
      }
      case ExprKind::kPostfix: WalkPostfix(static_cast<PostfixExpr*>(expr), soft); break;
    }
  }

 private:
  void WalkPostfix(PostfixExpr* postfix, bool soft) {
    Walk(postfix->base.get(), soft);
    for (Suffix& suffix : postfix->suffixes) {
      calls_(suffix, soft);
      for (Expr* part : {suffix.item.get(), suffix.start.get(), suffix.stop.get(), suffix.step.get(),
                         suffix.args.star.get(), suffix.args.double_star.get()})
        Walk(part, soft);
      for (auto& argument : suffix.args.positional) Walk(argument.get(), soft);
      for (auto& [name, argument] : suffix.args.named) Walk(argument.get(), soft);
    }
  }

  Names names_;
  Calls calls_;
};

class Binder {
 public:
  explicit Binder(TemplateAst* ast) : ast_(*ast) {}

  Status Run() {
    Fn root;
    Symbols symbols(&root, nullptr, 0);
    Analyze(ast_.body, &symbols);
    BindBody(&ast_.body, symbols, false);
    ast_.scope = ScopeOf(symbols);
    ast_.slots = static_cast<int>(root.slot_of.size());
    return status_;
  }

 private:
  void Fail(uint32_t line, const std::string& what) {
    if (status_.ok())
      status_ = Error(StatusCode::kInvalidArgument, "chat template line %u: %s", line, what.c_str());
  }

  // --- first pass over a scope: which names it knows

  void LoadNames(Expr* expr, Symbols* symbols) {
    Walker([&](NameExpr& name) { symbols->Load(name.name); }, [](Suffix&, bool) {}).Walk(expr, false);
  }

  void StoreTarget(const Target& target, Symbols* symbols) {
    if (target.kind == Target::Kind::kName)
      symbols->Store(target.name);
    else if (target.kind == Target::Kind::kNamespaceAttribute)
      symbols->Load(target.name);
    for (const Target& item : target.items) StoreTarget(item, symbols);
  }

  void DeclareTarget(const Target& target, Symbols* symbols) {
    if (target.kind == Target::Kind::kName) symbols->DeclareParameter(target.name);
    for (const Target& item : target.items) DeclareTarget(item, symbols);
  }

  void Analyze(const Body& body, Symbols* symbols) {
    for (const StmtPtr& stmt : body) AnalyzeStatement(stmt.get(), symbols);
  }

  // Bodies with a scope of their own are left to it.
  void AnalyzeStatement(Stmt* stmt, Symbols* symbols) {
    switch (stmt->kind) {
      case StmtKind::kOutput:
        for (auto& item : static_cast<OutputStmt*>(stmt)->items) LoadNames(item.get(), symbols);
        break;
      case StmtKind::kIf: {
        auto* node = static_cast<IfStmt*>(stmt);
        LoadNames(node->branches.front().first.get(), symbols);
        const size_t begin = symbols->BeginBranches();
        for (size_t i = 0; i < node->branches.size(); ++i) {
          if (i > 0) LoadNames(node->branches[i].first.get(), symbols);
          Analyze(node->branches[i].second, symbols);
        }
        Analyze(node->otherwise, symbols);
        symbols->EndBranches(begin);
        break;
      }
      case StmtKind::kFor: LoadNames(static_cast<ForStmt*>(stmt)->iterable.get(), symbols); break;
      case StmtKind::kSet: {
        auto* node = static_cast<SetStmt*>(stmt);
        LoadNames(node->value.get(), symbols);
        StoreTarget(node->target, symbols);
        break;
      }
      case StmtKind::kSetBlock: StoreTarget(static_cast<SetBlockStmt*>(stmt)->target, symbols); break;
      case StmtKind::kMacro: symbols->Store(static_cast<MacroStmt*>(stmt)->name); break;
      case StmtKind::kCallBlock: LoadNames(static_cast<MacroStmt*>(stmt)->call.get(), symbols); break;
      case StmtKind::kFilterBlock:
        LoadNames(static_cast<FilterBlockStmt*>(stmt)->filter.get(), symbols);
        break;
      case StmtKind::kWith:
        for (auto& [target, value] : static_cast<WithStmt*>(stmt)->values) LoadNames(value.get(), symbols);
        break;
      case StmtKind::kGeneration:
      case StmtKind::kBreak:
      case StmtKind::kContinue: break;
    }
  }

  // --- second pass: names to places, scopes inside

  Place PlaceOf(const std::string& name, uint32_t line, const Symbols& symbols) {
    const Ref* ref = symbols.Find(name);
    if (ref == nullptr) {
      Fail(line, "the name '" + name + "' is not known to its scope");
      return {};
    }
    return {symbols.fn()->depth - ref->fn->depth, ref->slot};
  }

  void BindExpr(Expr* expr, const Symbols& symbols, bool soft) {
    Walker([&](NameExpr& name) { name.place = PlaceOf(name.name, name.line, symbols); },
           [&](Suffix& suffix, bool in_condition) { BindCall(&suffix, in_condition); })
        .Walk(expr, soft);
  }

  void BindCall(Suffix* suffix, bool in_condition) {
    const bool is_filter = suffix->kind == Suffix::Kind::kFilter;
    if (!is_filter && suffix->kind != Suffix::Kind::kTest) return;
    const std::string& name = suffix->name.str().text();
    if (is_filter)
      suffix->filter = FindFilter(name);
    else
      suffix->test = FindTest(name);
    if (suffix->filter == nullptr && suffix->test == nullptr && !in_condition)
      Fail(suffix->line, (is_filter ? "no filter named '" : "no test named '") + name.substr(0, 80) + "'");
  }

  void BindTarget(Target* target, const Symbols& symbols) {
    if (target->kind != Target::Kind::kTuple) target->place = PlaceOf(target->name, target->line, symbols);
    for (Target& item : target->items) BindTarget(&item, symbols);
  }

  Scope ScopeOf(const Symbols& symbols) {
    Scope scope;
    for (const auto& [slot, source] : symbols.sources()) {
      SlotLoad load{SlotLoad::Kind::kMissing, slot, -1, {}};
      if (source.kind == Symbols::Source::kParameter) continue;
      if (source.kind == Symbols::Source::kContext) {
        load.kind = SlotLoad::Kind::kGlobal;
        load.global = GlobalIndex(source.name);
      } else if (source.kind == Symbols::Source::kOuter) {
        load.kind = SlotLoad::Kind::kAlias;
        load.from = {symbols.fn()->depth - source.outer.fn->depth, source.outer.slot};
      }
      scope.loads.push_back(load);
    }
    return scope;
  }

  int GlobalIndex(const std::string& name) {
    const auto [it, added] = globals_.try_emplace(name, static_cast<int>(ast_.globals.size()));
    if (added) ast_.globals.push_back(name);
    return it->second;
  }

  void BindBody(Body* body, const Symbols& symbols, bool soft) {
    for (StmtPtr& stmt : *body) BindStatement(stmt.get(), symbols, soft);
  }

  void BindStatement(Stmt* stmt, const Symbols& symbols, bool soft) {
    switch (stmt->kind) {
      case StmtKind::kOutput:
        for (auto& item : static_cast<OutputStmt*>(stmt)->items) BindExpr(item.get(), symbols, soft);
        break;
      case StmtKind::kIf: {
        auto* node = static_cast<IfStmt*>(stmt);
        for (auto& [test, body] : node->branches) {
          BindExpr(test.get(), symbols, true);
          BindBody(&body, symbols, true);
        }
        BindBody(&node->otherwise, symbols, true);
        break;
      }
      case StmtKind::kFor: BindFor(static_cast<ForStmt*>(stmt), symbols, soft); break;
      case StmtKind::kSet: {
        auto* node = static_cast<SetStmt*>(stmt);
        BindExpr(node->value.get(), symbols, soft);
        BindTarget(&node->target, symbols);
        break;
      }
      case StmtKind::kSetBlock: {
        auto* node = static_cast<SetBlockStmt*>(stmt);
        BindTarget(&node->target, symbols);
        Symbols inner(&symbols);
        BindInner(&node->body, &inner, &node->scope);
        BindExpr(node->filter.get(), inner, false);
        break;
      }
      case StmtKind::kFilterBlock: {
        auto* node = static_cast<FilterBlockStmt*>(stmt);
        Symbols inner(&symbols);
        Analyze(node->body, &inner);
        LoadNames(node->filter.get(), &inner);
        BindBody(&node->body, inner, false);
        BindExpr(node->filter.get(), inner, false);
        node->scope = ScopeOf(inner);
        break;
      }
      case StmtKind::kWith: {
        auto* node = static_cast<WithStmt*>(stmt);
        Symbols inner(&symbols);
        for (auto& [target, value] : node->values) {
          BindExpr(value.get(), symbols, soft);
          DeclareTarget(target, &inner);
        }
        BindInner(&node->body, &inner, &node->scope);
        for (auto& [target, value] : node->values) BindTarget(&target, inner);
        break;
      }
      case StmtKind::kMacro: {
        auto* node = static_cast<MacroStmt*>(stmt);
        node->own_slot = PlaceOf(node->name, node->line, symbols).slot;
        BindMacro(node, symbols);
        break;
      }
      case StmtKind::kCallBlock: {
        auto* node = static_cast<MacroStmt*>(stmt);
        BindExpr(node->call.get(), symbols, soft);
        BindMacro(node, symbols);
        break;
      }
      case StmtKind::kGeneration: BindMacro(static_cast<MacroStmt*>(stmt), symbols); break;
      case StmtKind::kBreak:
      case StmtKind::kContinue: break;
    }
  }

  void BindInner(Body* body, Symbols* inner, Scope* scope) {
    Analyze(*body, inner);
    BindBody(body, *inner, false);
    *scope = ScopeOf(*inner);
  }

  void BindFor(ForStmt* node, const Symbols& symbols, bool soft) {
    BindExpr(node->iterable.get(), symbols, soft);
    Symbols body(&symbols);
    body.DeclareParameter("loop");
    DeclareTarget(node->target, &body);
    BindInner(&node->body, &body, &node->scope);
    BindTarget(&node->target, body);
    node->loop_slot = PlaceOf("loop", node->line, body).slot;
    Symbols otherwise(&symbols);
    BindInner(&node->otherwise, &otherwise, &node->else_scope);
    if (node->test == nullptr) return;
    // Alive together with the body's scope (the next item is tested while one is worked on): own slots.
    Symbols test(symbols.fn(), &symbols, --test_level_);
    DeclareTarget(node->test_target, &test);
    LoadNames(node->test.get(), &test);
    BindExpr(node->test.get(), test, false);
    BindTarget(&node->test_target, test);
    node->test_scope = ScopeOf(test);
  }

  void BindMacro(MacroStmt* node, const Symbols& symbols) {
    symbols.fn()->has_inner = true;
    Fn fn;
    fn.depth = symbols.fn()->depth + 1;
    Symbols inner(&fn, &symbols, symbols.level() + 1);
    bool own_caller = false, own_kwargs = false, own_varargs = false;
    for (const auto& parameter : node->parameters) {
      inner.DeclareParameter(parameter.name);
      own_caller = own_caller || parameter.name == "caller";
      own_kwargs = own_kwargs || parameter.name == "kwargs";
      own_varargs = own_varargs || parameter.name == "varargs";
      if (parameter.name == "caller" && parameter.fallback == nullptr && Mentions(node->body, "caller"))
        Fail(node->line, "the parameter 'caller' must be left out or be given a default");
    }
    node->uses_caller = Mentions(node->body, "caller");
    node->uses_kwargs = !own_kwargs && Mentions(node->body, "kwargs");
    node->uses_varargs = !own_varargs && Mentions(node->body, "varargs");
    if (node->uses_caller && !own_caller) inner.DeclareParameter("caller");
    if (node->uses_kwargs) inner.DeclareParameter("kwargs");
    if (node->uses_varargs) inner.DeclareParameter("varargs");
    for (auto& parameter : node->parameters) LoadNames(parameter.fallback.get(), &inner);
    Analyze(node->body, &inner);
    for (auto& parameter : node->parameters) {
      BindExpr(parameter.fallback.get(), inner, false);
      parameter.slot = PlaceOf(parameter.name, node->line, inner).slot;
    }
    BindBody(&node->body, inner, false);
    if (node->uses_caller && !own_caller) node->caller_slot = PlaceOf("caller", node->line, inner).slot;
    if (node->uses_kwargs) node->kwargs_slot = PlaceOf("kwargs", node->line, inner).slot;
    if (node->uses_varargs) node->varargs_slot = PlaceOf("varargs", node->line, inner).slot;
    node->scope = ScopeOf(inner);
    node->slots = static_cast<int>(fn.slot_of.size());
    node->captured = fn.has_inner;
  }

  // Is `name` read anywhere in the body, scopes inside included?
  bool Mentions(const Body& body, const std::string& name) {
    for (const StmtPtr& stmt : body)
      if (Mentions(stmt.get(), name)) return true;
    return false;
  }

  bool Mentions(Expr* expr, const std::string& name) {
    bool found = false;
    Walker([&](NameExpr& n) { found = found || n.name == name; }, [](Suffix&, bool) {}).Walk(expr, false);
    return found;
  }

  bool Mentions(Stmt* stmt, const std::string& name) {
    switch (stmt->kind) {
      case StmtKind::kOutput:
        for (auto& item : static_cast<OutputStmt*>(stmt)->items)
          if (Mentions(item.get(), name)) return true;
        return false;
      case StmtKind::kIf: {
        auto* node = static_cast<IfStmt*>(stmt);
        for (auto& [test, body] : node->branches)
          if (Mentions(test.get(), name) || Mentions(body, name)) return true;
        return Mentions(node->otherwise, name);
      }
      case StmtKind::kFor: {
        auto* node = static_cast<ForStmt*>(stmt);
        return Mentions(node->iterable.get(), name) || Mentions(node->test.get(), name) ||
               Mentions(node->body, name) || Mentions(node->otherwise, name);
      }
      case StmtKind::kSet: return Mentions(static_cast<SetStmt*>(stmt)->value.get(), name);
      case StmtKind::kSetBlock: {
        auto* node = static_cast<SetBlockStmt*>(stmt);
        return Mentions(node->filter.get(), name) || Mentions(node->body, name);
      }
      case StmtKind::kFilterBlock: {
        auto* node = static_cast<FilterBlockStmt*>(stmt);
        return Mentions(node->filter.get(), name) || Mentions(node->body, name);
      }
      case StmtKind::kWith: {
        auto* node = static_cast<WithStmt*>(stmt);
        for (auto& [target, value] : node->values)
          if (Mentions(value.get(), name)) return true;
        return Mentions(node->body, name);
      }
      case StmtKind::kMacro:
      case StmtKind::kCallBlock:
      case StmtKind::kGeneration: {
        auto* node = static_cast<MacroStmt*>(stmt);
        for (auto& parameter : node->parameters)
          if (Mentions(parameter.fallback.get(), name)) return true;
        return Mentions(node->call.get(), name) || Mentions(node->body, name);
      }
      case StmtKind::kBreak:
      case StmtKind::kContinue: return false;
    }
    return false;
  }

  TemplateAst& ast_;
  std::map<std::string, int> globals_;
  int test_level_ = 0;
  Status status_;
};

}  // namespace

Status Bind(TemplateAst* ast) { return Binder(ast).Run(); }

}  // namespace lathe::tmpl
