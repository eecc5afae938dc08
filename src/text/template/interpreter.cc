#include "text/template/interpreter.h"

#include <algorithm>
#include <utility>

#include "text/template/globals.h"
#include "text/template/text.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
Interpreter::Interpreter(const TemplateAst& ast, const Json& context, Runtime& rt)
    : ast_(ast),
      context_(context),
      rt_(rt),
      globals_(ast.globals.size()),
      global_known_(ast.globals.size(), false) {}

Interpreter::~Interpreter() = default;

void Interpreter::FailTooDeep() {
  rt_.Fail(StatusCode::kResourceExhausted, "the template is nested deeper than %d levels at run time",
           kMaxEvalDepth);
}

bool Interpreter::Run(StrBuilder* out) {
  Activation root;
  root.slots.resize(static_cast<size_t>(ast_.slots));
  frame_ = &root;
  out_ = whole_output_ = out;
  EnterScope(ast_.scope);
  ExecBody(ast_.body);
  return !rt_.failed();
}

// --- statements

Interpreter::Flow Interpreter::ExecBody(const Body& body) {
  for (const StmtPtr& stmt : body) {
    const Flow flow = Exec(*stmt);
    if (rt_.failed()) return Flow::kBreak;
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::Exec(const Stmt& stmt) {
  const Level level(*this);
  rt_.set_line(stmt.line);
  if (!rt_.Step()) return Flow::kBreak;
  switch (stmt.kind) {
    case StmtKind::kOutput: ExecOutput(static_cast<const OutputStmt&>(stmt)); return Flow::kNext;
    case StmtKind::kIf: return ExecIf(static_cast<const IfStmt&>(stmt));
    case StmtKind::kFor: return ExecFor(static_cast<const ForStmt&>(stmt));
    case StmtKind::kSet: {
      const auto& set = static_cast<const SetStmt&>(stmt);
      if (!CheckNamespaces(set.target)) return Flow::kBreak;
      const Value value = Eval(*set.value);
      if (!rt_.failed()) Assign(set.target, value);
      return Flow::kNext;
    }
    case StmtKind::kSetBlock: return ExecSetBlock(static_cast<const SetBlockStmt&>(stmt));
    case StmtKind::kMacro: {
      const auto& macro = static_cast<const MacroStmt&>(stmt);
      frame_->slots[static_cast<size_t>(macro.own_slot)] = MakeMacro(macro);
      return Flow::kNext;
    }
    case StmtKind::kCallBlock: ExecCallBlock(static_cast<const MacroStmt&>(stmt)); return Flow::kNext;
    case StmtKind::kFilterBlock: return ExecFilterBlock(static_cast<const FilterBlockStmt&>(stmt));
    case StmtKind::kWith: return ExecWith(static_cast<const WithStmt&>(stmt));
    case StmtKind::kGeneration: {
      const Value body = MakeMacro(static_cast<const MacroStmt&>(stmt));
      if (!rt_.failed()) AppendBlockResult(CallMacro(body.macro(), {}));
      return Flow::kNext;
    }
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

void Interpreter::ExecOutput(const OutputStmt& stmt) {
  for (const ExprPtr& item : stmt.items) {
    const Value value = Eval(*item);
    if (rt_.failed()) return;
    Print(value);
  }
}

void Interpreter::Print(const Value& value) {
  AppendText(rt_, out_, value);
  if (!out_->overflow()) return;
  if (out_ != whole_output_)
    rt_.Room(SIZE_MAX);  // a captured block is bounded by the memory that is left
  else
    rt_.Fail(StatusCode::kResourceExhausted, "the output is larger than its limit of %zu bytes",
             out_->max_bytes());
}

Interpreter::Flow Interpreter::ExecIf(const IfStmt& stmt) {
  for (const auto& [test, body] : stmt.branches) {
    const Value value = Eval(*test);
    if (rt_.failed()) return Flow::kBreak;
    if (Truthy(value)) return ExecBody(body);
  }
  return ExecBody(stmt.otherwise);
}

// Appends the next item that passes the test to the loop's; false at the end.
bool Interpreter::FetchTested(const ForStmt& stmt, const std::vector<Value>& source, size_t* at, Loop* loop) {
  while (*at < source.size() && !rt_.failed()) {
    const Value& item = source[(*at)++];
    if (!Assign(stmt.test_target, item)) return false;
    const Value test = Eval(*stmt.test);
    if (rt_.failed()) return false;
    if (!Truthy(test)) continue;
    loop->items.push_back(item);
    return true;
  }
  return false;
}

Interpreter::Flow Interpreter::ExecFor(const ForStmt& stmt) {
  const Value iterable = Eval(*stmt.iterable);
  std::vector<Value> source;
  Status pending;
  if (rt_.failed() || !Items(rt_, iterable, &source, &pending)) return Flow::kBreak;
  auto loop = std::make_shared<Loop>();
  loop->depth = rt_.Nested(DepthOf(source));
  loop->charge = rt_.MakeCharge(source.size() * sizeof(Value) + sizeof(Loop));
  size_t at = 0;
  if (stmt.test != nullptr) {
    EnterScope(stmt.test_scope);
    loop->fetch = [&,
                   frame = frame_] {  // may be called from a macro: the test is evaluated here all the same
      Activation* const caller = std::exchange(frame_, frame);
      const bool found = FetchTested(stmt, source, &at, loop.get());
      frame_ = caller;
      return found;
    };
  } else {
    loop->items = std::move(source);
  }
  bool completed = false;
  const Flow flow = LoopOver(stmt, Value::Object(Kind::kLoop, loop), &completed);
  loop->fetch = nullptr;
  loop->finished = true;
  loop->last_changed.clear();
  if (rt_.failed()) return Flow::kBreak;
  if (flow != Flow::kBreak && !pending.ok()) {
    rt_.FailWith(std::move(pending));
    return Flow::kBreak;
  }
  if (completed || stmt.otherwise.empty()) return Flow::kNext;
  EnterScope(stmt.else_scope);
  return ExecBody(stmt.otherwise);
}

// Returns kBreak when the loop was left early. The `else` branch runs unless some pass came to the end of the
// body, which is what the reference does too.
Interpreter::Flow Interpreter::LoopOver(const ForStmt& stmt, const Value& loop_value, bool* completed) {
  Loop& loop = loop_value.loop();
  for (size_t i = 0; rt_.Step(); ++i) {
    if (i >= loop.items.size() && !(loop.fetch && loop.fetch())) break;
    if (rt_.failed()) break;
    loop.index0 = static_cast<Int>(i);
    frame_->slots[static_cast<size_t>(stmt.loop_slot)] = loop_value;
    const Value item = loop.items[i];
    if (!Assign(stmt.target, item)) break;
    EnterScope(stmt.scope);
    const Flow flow = ExecBody(stmt.body);
    if (flow == Flow::kBreak) return Flow::kBreak;
    if (flow == Flow::kNext) *completed = true;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecSetBlock(const SetBlockStmt& stmt) {
  EnterScope(stmt.scope);
  Value text;
  {
    Capture capture(*this);
    const Flow flow = ExecBody(stmt.body);
    if (rt_.failed() || flow != Flow::kNext) return flow;
    text = capture.Take();
  }
  if (stmt.filter != nullptr) text = EvalPostfix(*stmt.filter, &text, nullptr);
  if (!rt_.failed()) Assign(stmt.target, text);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecFilterBlock(const FilterBlockStmt& stmt) {
  EnterScope(stmt.scope);
  Value text;
  {
    Capture capture(*this);
    const Flow flow = ExecBody(stmt.body);
    if (rt_.failed() || flow != Flow::kNext) return flow;
    text = capture.Take();
  }
  AppendBlockResult(EvalPostfix(*stmt.filter, &text, nullptr));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecWith(const WithStmt& stmt) {
  EnterScope(stmt.scope);
  for (const auto& [target, expr] : stmt.values) {
    const Value value = Eval(*expr);
    if (rt_.failed() || !Assign(target, value)) return Flow::kBreak;
  }
  return ExecBody(stmt.body);
}

void Interpreter::ExecCallBlock(const MacroStmt& stmt) {
  const Value caller = MakeMacro(stmt);
  if (rt_.failed()) return;
  AppendBlockResult(EvalPostfix(static_cast<const PostfixExpr&>(*stmt.call), nullptr, &caller));
}

// The reference joins what blocks give as it is, so anything but a string is a fault.
void Interpreter::AppendBlockResult(const Value& value) {
  if (rt_.failed()) return;
  if (value.IsString())
    Print(value);
  else
    rt_.Invalid("a block must give a string, found %s", TypeRepr(value).c_str());
}

void Interpreter::EnterScope(const Scope& scope) {
  for (const SlotLoad& load : scope.loads) {
    Value& slot = frame_->slots[static_cast<size_t>(load.slot)];
    switch (load.kind) {
      case SlotLoad::Kind::kMissing: slot = Value(); break;
      case SlotLoad::Kind::kGlobal: slot = Global(load.global); break;
      case SlotLoad::Kind::kAlias: slot = Slot(load.from); break;
    }
  }
}

// The reference looks at all namespaces of a target before it evaluates the value.
bool Interpreter::CheckNamespaces(const Target& target) {
  for (const Target& item : target.items)
    if (!CheckNamespaces(item)) return false;
  if (target.kind != Target::Kind::kNamespaceAttribute) return true;
  if (Slot(target.place).Is(Kind::kNamespace)) return true;
  rt_.Invalid("cannot assign an attribute of '%.80s': it is not a namespace", target.name.c_str());
  return false;
}

bool Interpreter::Assign(const Target& target, const Value& value) {
  switch (target.kind) {
    case Target::Kind::kName: Slot(target.place) = value; return true;
    case Target::Kind::kNamespaceAttribute: AssignAttribute(target, value); return !rt_.failed();
    case Target::Kind::kTuple: break;
  }
  std::vector<Value> items;
  if (!Items(rt_, value, &items)) return false;
  if (items.size() != target.items.size()) {
    rt_.Invalid("%zu values cannot be unpacked into %zu names", items.size(), target.items.size());
    return false;
  }
  for (size_t i = 0; i < items.size(); ++i)
    if (!Assign(target.items[i], items[i])) return false;
  return true;
}

void Interpreter::AssignAttribute(const Target& target, const Value& value) {
  Namespace& ns = Slot(target.place).name_space();
  for (auto& [name, old] : ns.attributes) {
    if (name.str().text() != target.attribute.str().text()) continue;
    old = value;
    return;
  }
  constexpr size_t kEntryBytes = 2 * sizeof(Value);
  if (!rt_.Room(kEntryBytes)) return;
  ns.charge = rt_.MakeCharge((ns.attributes.size() + 1) * kEntryBytes);
  ns.attributes.emplace_back(target.attribute, value);
}

Value Interpreter::MakeMacro(const MacroStmt& stmt) {
  if (!rt_.Step() || !rt_.Room(sizeof(Macro))) return {};
  auto macro = std::make_shared<Macro>();
  macro->definition = &stmt;
  macro->scope = frame_;
  macro->charge = rt_.MakeCharge(sizeof(Macro));
  return Value::Object(Kind::kMacro, std::move(macro));
}

// --- variables

Value& Interpreter::Slot(const Place& place) {
  Activation* activation = frame_;
  for (int i = 0; i < place.hops; ++i) activation = activation->outer;
  return activation->slots[static_cast<size_t>(place.slot)];
}

const Value& Interpreter::Global(int index) {
  const auto i = static_cast<size_t>(index);
  if (global_known_[i]) return globals_[i];
  global_known_[i] = true;
  const std::string& name = ast_.globals[i];
  const auto it = context_.find(name);
  if (it != context_.end()) {
    const auto& own = rt_.options().template_variables;
    globals_[i] = FromJson(*it, std::find(own.begin(), own.end(), name) == own.end(), 0);
  } else if (const Builtin* builtin = FindGlobal(name)) {
    globals_[i] = rt_.MakeMethod(Value::None(), builtin);
  }
  return globals_[i];
}

Value Interpreter::FromJson(const Json& json, bool user, int depth) {
  rt_.Nested(depth);
  if (!rt_.Step()) return {};
  switch (json.type()) {
    case Json::value_t::null: return Value::None();
    case Json::value_t::boolean: return Value::Bool(json.get<bool>());
    case Json::value_t::number_integer: return Value::Integer(json.get<int64_t>());
    case Json::value_t::number_unsigned: return Value::Integer(json.get<uint64_t>());
    case Json::value_t::number_float: return Value::Real(json.get<double>());
    case Json::value_t::string: return rt_.MakeString(Sanitize(json.get_ref<const std::string&>()), user);
    case Json::value_t::array: {
      std::vector<Value> items;
      if (!rt_.Room(json.size() * sizeof(Value))) return {};
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(FromJson(item, user, depth + 1));
      return rt_.MakeList(std::move(items));
    }
    case Json::value_t::object: {
      std::vector<std::pair<Value, Value>> entries;
      if (!rt_.Room(json.size() * 2 * sizeof(Value))) return {};
      entries.reserve(json.size());
      for (const auto& [key, value] : json.items())
        entries.emplace_back(rt_.MakeString(Sanitize(key), user), FromJson(value, user, depth + 1));
      return rt_.MakeDict(std::move(entries));
    }
    default: return rt_.Invalid("the context holds a value that is not JSON");
  }
}

}  // namespace lathe::tmpl
