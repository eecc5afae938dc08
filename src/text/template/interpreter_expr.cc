// The interpreter's expressions and calls.
#include <algorithm>
#include <optional>
#include <utility>

#include "text/template/interpreter.h"
#include "text/template/text.h"

namespace lathe::tmpl {

Value Interpreter::Eval(const Expr& expr) {
  const Level level(*this);
  if (!rt_.Step()) return {};
  rt_.set_line(expr.line);
  switch (expr.kind) {
    case ExprKind::kConst: return static_cast<const ConstExpr&>(expr).value;
    case ExprKind::kName: return EvalName(static_cast<const NameExpr&>(expr));
    case ExprKind::kList:
    case ExprKind::kTuple: return EvalList(static_cast<const ItemsExpr&>(expr));
    case ExprKind::kDict: return EvalDict(static_cast<const DictExpr&>(expr));
    case ExprKind::kNot: {
      const Value value = Eval(*static_cast<const UnaryExpr&>(expr).operand);
      return Value::Bool(!Truthy(value));
    }
    case ExprKind::kNegate: return Negate(rt_, Eval(*static_cast<const UnaryExpr&>(expr).operand));
    case ExprKind::kPositive: return Positive(rt_, Eval(*static_cast<const UnaryExpr&>(expr).operand));
    case ExprKind::kMath: return EvalMath(static_cast<const MathExpr&>(expr));
    case ExprKind::kConcat: return EvalConcat(static_cast<const ItemsExpr&>(expr));
    case ExprKind::kLogic: return EvalLogic(static_cast<const LogicExpr&>(expr));
    case ExprKind::kCompare: return EvalCompare(static_cast<const CompareExpr&>(expr));
    case ExprKind::kCondition: return EvalCondition(static_cast<const ConditionExpr&>(expr));
    case ExprKind::kPostfix: return EvalPostfix(static_cast<const PostfixExpr&>(expr), nullptr, nullptr);
  }
  return {};
}

Value Interpreter::EvalName(const NameExpr& expr) {
  const Value& value = Slot(expr.place);
  if (!value.Is(Kind::kMissing)) return value;
  return rt_.MakeUndefined("'" + expr.name.substr(0, 80) + "' is undefined");
}

Value Interpreter::EvalList(const ItemsExpr& expr) {
  std::vector<Value> items;
  items.reserve(expr.items.size());
  for (const ExprPtr& item : expr.items) {
    items.push_back(Eval(*item));
    if (rt_.failed()) return {};
  }
  return expr.kind == ExprKind::kList ? rt_.MakeList(std::move(items)) : rt_.MakeTuple(std::move(items));
}

Value Interpreter::EvalDict(const DictExpr& expr) {
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key_expr, value_expr] : expr.entries) {
    const Value key = Eval(*key_expr);
    if (rt_.failed()) return {};
    const Value value = Eval(*value_expr);
    if (rt_.failed()) return {};
    Set(rt_, &entries, key, value);
  }
  return rt_.failed() ? Value() : rt_.MakeDict(std::move(entries));
}

Value Interpreter::EvalMath(const MathExpr& expr) {
  Value value = Eval(*expr.first);
  // Long sums of strings, which is what templates are made of, are collected in one buffer.
  std::optional<StrBuilder> text;
  for (const auto& [op, operand] : expr.rest) {
    if (rt_.failed()) return {};
    const Value right = Eval(*operand);
    if (rt_.failed()) return {};
    rt_.set_line(expr.line);
    const auto plain = [](const Value& v) { return v.IsString() && !v.str().markup(); };
    if (op == BinaryOp::kAdd && plain(right) && (text.has_value() || plain(value))) {
      if (!text.has_value()) {
        text.emplace(rt_.Builder());
        text->Append(value.str());
      }
      text->Append(right.str());
      if (text->overflow()) return rt_.MakeString(*std::move(text));
      continue;
    }
    if (text.has_value()) {
      value = rt_.MakeString(*std::move(text));
      text.reset();
    }
    value = Binary(rt_, op, value, right);
  }
  return text.has_value() ? rt_.MakeString(*std::move(text)) : value;
}

Value Interpreter::EvalConcat(const ItemsExpr& expr) {
  StrBuilder text = rt_.Builder();
  for (const ExprPtr& item : expr.items) {
    const Value value = Eval(*item);
    if (rt_.failed()) return {};
    AppendText(rt_, &text, value);
  }
  return rt_.failed() ? Value() : rt_.MakeString(std::move(text));
}

Value Interpreter::EvalLogic(const LogicExpr& expr) {
  Value value;
  for (const ExprPtr& item : expr.items) {
    value = Eval(*item);
    if (rt_.failed()) return {};
    if (Truthy(value) == expr.is_or) break;
  }
  return value;
}

Value Interpreter::EvalCompare(const CompareExpr& expr) {
  Value left = Eval(*expr.first);
  for (const auto& [op, operand] : expr.rest) {
    if (rt_.failed()) return {};
    Value right = Eval(*operand);
    if (rt_.failed()) return {};
    rt_.set_line(expr.line);
    if (!CompareValues(rt_, op, left, right)) return Value::Bool(false);
    left = std::move(right);
  }
  return Value::Bool(true);
}

Value Interpreter::EvalCondition(const ConditionExpr& expr) {
  const Value test = Eval(*expr.test);
  if (rt_.failed()) return {};
  if (Truthy(test)) return Eval(*expr.then);
  if (expr.otherwise != nullptr) return Eval(*expr.otherwise);
  return rt_.MakeUndefined("the inline if-expression evaluated to false and no else section was defined");
}

Value Interpreter::EvalPostfix(const PostfixExpr& expr, const Value* piped, const Value* caller) {
  Value value = piped != nullptr ? *piped : Eval(*expr.base);
  for (size_t i = 0; i < expr.suffixes.size(); ++i) {
    if (!rt_.Step()) return {};
    const bool last = i + 1 == expr.suffixes.size();
    value = EvalSuffix(value, expr.suffixes[i], last ? caller : nullptr);
  }
  return rt_.failed() ? Value() : value;
}

Value Interpreter::EvalOptional(const ExprPtr& expr) { return expr == nullptr ? Value::None() : Eval(*expr); }

Value Interpreter::EvalSuffix(const Value& value, const Suffix& suffix, const Value* caller) {
  const std::string_view name = suffix.name.IsString() ? std::string_view(suffix.name.str().text()) : "";
  Args args;
  if (!EvalArgs(suffix.args, &args)) return {};
  rt_.set_line(suffix.line);
  switch (suffix.kind) {
    case Suffix::Kind::kAttribute: return GetAttribute(rt_, value, suffix.name);
    case Suffix::Kind::kItem: {
      const Value key = Eval(*suffix.item);
      return rt_.failed() ? Value() : GetItem(rt_, value, key);
    }
    case Suffix::Kind::kSlice: {
      const Value start = EvalOptional(suffix.start), stop = EvalOptional(suffix.stop),
                  step = EvalOptional(suffix.step);
      return rt_.failed() ? Value() : GetSlice(rt_, value, start, stop, step);
    }
    case Suffix::Kind::kCall:
      if (caller != nullptr) args.named.emplace_back("caller", *caller);
      return Call(value, std::move(args));
    case Suffix::Kind::kFilter:
      if (suffix.filter == nullptr) return rt_.Invalid("no filter named '%.80s'", std::string(name).c_str());
      return suffix.filter->function(rt_, value, args);
    case Suffix::Kind::kTest: {
      if (suffix.test == nullptr) return rt_.Invalid("no test named '%.80s'", std::string(name).c_str());
      return Value::Bool(suffix.test(rt_, value, args) != suffix.negated);
    }
  }
  return {};
}

bool Interpreter::EvalArgs(const CallArgs& args, Args* out) {
  for (const ExprPtr& expr : args.positional) {
    out->positional.push_back(Eval(*expr));
    if (rt_.failed()) return false;
  }
  for (const auto& [name, expr] : args.named) {
    out->named.emplace_back(name, Eval(*expr));
    if (rt_.failed()) return false;
  }
  if (args.star != nullptr) {
    std::vector<Value> more;
    const Value star = Eval(*args.star);
    if (rt_.failed() || !Items(rt_, star, &more)) return false;
    out->positional.insert(out->positional.end(), more.begin(), more.end());
  }
  if (args.double_star == nullptr) return true;
  const Value mapping = Eval(*args.double_star);
  if (rt_.failed()) return false;
  if (!mapping.Is(Kind::kDict))
    return rt_.Invalid("'**' needs a mapping, found %s", TypeRepr(mapping).c_str()), false;
  for (const auto& [key, value] : mapping.dict().entries) {
    if (!key.IsString()) return rt_.Invalid("'**' needs names as keys"), false;
    for (const auto& [name, other] : args.named)
      if (name == key.str().text())
        return rt_.Invalid("argument '%.80s' is given twice", name.c_str()), false;
    out->named.emplace_back(key.str().text(), value);
  }
  return true;
}

Value Interpreter::Call(const Value& callee, Args&& args) {
  switch (callee.kind()) {
    case Kind::kFunction: return callee.function().builtin->function(rt_, callee.function().self, args);
    case Kind::kMacro: return CallMacro(callee.macro(), std::move(args));
    case Kind::kJoiner: {
      if (!Params(rt_, "joiner", args, {}).ok()) return {};
      const bool first = !std::exchange(callee.joiner().used, true);
      return first ? rt_.MakeString("") : callee.joiner().separator;
    }
    case Kind::kMissing:
    case Kind::kUndefined: return rt_.FailUndefined(callee);
    case Kind::kLoop: return rt_.Invalid("only a recursive loop can be called");
    default: return rt_.Invalid("a %s cannot be called", TypeRepr(callee).c_str());
  }
}

Value Interpreter::CallMacro(const Macro& macro, Args&& args) {
  const MacroStmt& definition = *macro.definition;
  const Level level(*this);
  if (calls_ >= rt_.options().limits.max_depth)
    return rt_.Fail(StatusCode::kResourceExhausted,
                    "macros call each other deeper than the limit of %d levels",
                    rt_.options().limits.max_depth);
  const size_t bytes = static_cast<size_t>(definition.slots) * sizeof(Value) + sizeof(Activation);
  if (!rt_.Step() || !rt_.Room(bytes)) return {};
  auto activation = std::make_unique<Activation>();
  activation->outer = macro.scope;
  activation->slots.resize(static_cast<size_t>(definition.slots));
  activation->charge = rt_.MakeCharge(bytes);
  if (!BindArguments(definition, &args, activation.get())) return {};
  Activation* const own = activation.get();
  Activation* const caller = std::exchange(frame_, own);
  if (definition.captured) kept_.push_back(std::move(activation));
  ++calls_;
  Value text;
  {
    Capture capture(*this);
    EnterScope(definition.scope);
    for (const auto& parameter : definition.parameters) {
      Value& slot = own->slots[static_cast<size_t>(parameter.slot)];
      if (!slot.Is(Kind::kMissing) || rt_.failed()) continue;
      slot = parameter.fallback != nullptr
                 ? Eval(*parameter.fallback)
                 : rt_.MakeUndefined("parameter '" + parameter.name + "' was not provided");
    }
    if (!rt_.failed()) ExecBody(definition.body);
    if (!rt_.failed()) text = capture.Take();
  }
  --calls_;
  frame_ = caller;
  return text;
}

// Fills the parameters of an activation; those not given stay missing.
bool Interpreter::BindArguments(const MacroStmt& macro, Args* args, Activation* activation) {
  const auto slot = [&](int index) -> Value& { return activation->slots[static_cast<size_t>(index)]; };
  const auto take = [&](const std::string& name, Value* out) {
    const auto it = std::find_if(args->named.begin(), args->named.end(),
                                 [&](const auto& named) { return named.first == name; });
    if (it == args->named.end()) return false;
    *out = std::move(it->second);
    args->named.erase(it);
    return true;
  };
  const size_t declared = macro.parameters.size();
  const size_t given = std::min(args->positional.size(), declared);
  for (size_t i = 0; i < given; ++i) slot(macro.parameters[i].slot) = args->positional[i];
  for (size_t i = given; i < declared; ++i) take(macro.parameters[i].name, &slot(macro.parameters[i].slot));
  if (macro.caller_slot >= 0) {
    Value& caller = slot(macro.caller_slot);
    if (!take("caller", &caller) || caller.IsNone()) caller = rt_.MakeUndefined("No caller defined");
  }
  const char* name = macro.name.empty() ? "caller" : macro.name.c_str();
  if (macro.kwargs_slot >= 0) {
    std::vector<std::pair<Value, Value>> entries;
    for (auto& [key, value] : args->named) entries.emplace_back(rt_.MakeString(key), std::move(value));
    slot(macro.kwargs_slot) = rt_.MakeDict(std::move(entries));
  } else if (!args->named.empty()) {
    rt_.Invalid("macro '%s' has no argument '%.80s'", name, args->named.front().first.c_str());
  }
  if (macro.varargs_slot >= 0) {
    slot(macro.varargs_slot) = rt_.MakeTuple(
        {args->positional.begin() + static_cast<std::ptrdiff_t>(given), args->positional.end()});
  } else if (args->positional.size() > declared) {
    rt_.Invalid("macro '%s' takes at most %zu arguments", name, declared);
  }
  return !rt_.failed();
}

}  // namespace lathe::tmpl
