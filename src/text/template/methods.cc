// Attributes and methods of everything that is not a string.
#include "text/template/methods.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "text/template/ast.h"
#include "text/template/ops.h"

namespace lathe::tmpl {
namespace {

Value SequenceCount(Runtime& rt, const Value& self, const Args& args) {
  const Params p(rt, "count", args, {"value"}, 1);
  if (!p.ok()) return {};
  Int n = 0;
  for (const Value& item : self.list().items) n += Equal(rt, item, p[0]) ? 1 : 0;
  return Value::Integer(n);
}

Value SequenceIndex(Runtime& rt, const Value& self, const Args& args) {
  const Params p(rt, "index", args, {"value", "start", "stop"}, 1);
  const auto& items = self.list().items;
  const auto n = static_cast<int64_t>(items.size());
  int64_t start = 0, stop = n;
  if (!p.ok() || !p.GetInt(1, 0, &start) || !p.GetInt(2, n, &stop)) return {};
  if (start < 0) start = std::max<int64_t>(0, start + n);
  if (stop < 0) stop += n;
  for (int64_t i = start; i < std::min(stop, n); ++i)
    if (Equal(rt, items[static_cast<size_t>(i)], p[0])) return Value::Integer(i);
  return rt.Invalid("the value is not in the list");
}

Value Copy(Runtime& rt, const Value& self, const Args& args) {
  return Params(rt, "copy", args, {}).ok() ? self : Value();  // nothing can change it
}

Value DictGet(Runtime& rt, const Value& self, const Args& args) {
  if (!args.named.empty()) return rt.Invalid("get() takes no keyword arguments");
  const Params p(rt, "get", args, {"key", "default"}, 1);
  if (!p.ok()) return {};
  HashValue(rt, p[0]);
  const Value* found = rt.failed() ? nullptr : Find(rt, self.dict(), p[0]);
  if (found != nullptr) return *found;
  return p.Get(1) == nullptr ? Value::None() : p[1];
}

template <DictView::Part kPart>
Value DictPart(Runtime& rt, const Value& self, const Args& args) {
  return Params(rt, "items", args, {}).ok() ? rt.MakeView(self, kPart) : Value();
}

Value LoopCycle(Runtime& rt, const Value& self, const Args& args) {
  if (args.positional.empty() || !args.named.empty()) return rt.Invalid("cycle() needs items");
  return args.positional[static_cast<size_t>(self.loop().index0) % args.positional.size()];
}

Value LoopChanged(Runtime& rt, const Value& self, const Args& args) {
  Loop& loop = self.loop();
  bool same = loop.has_last_changed && loop.last_changed.size() == args.positional.size();
  for (size_t i = 0; same && i < args.positional.size(); ++i)
    same = Equal(rt, loop.last_changed[i], args.positional[i]);
  loop.has_last_changed = true;
  // A finished loop keeps nothing: it could refer to itself and live for ever.
  if (!loop.finished) loop.last_changed = args.positional;
  return Value::Bool(!same);
}

Value CyclerNext(Runtime& rt, const Value& self, const Args& args) {
  if (!Params(rt, "next", args, {}).ok()) return {};
  Cycler& c = self.cycler();
  const Value current = c.items[c.position];
  c.position = (c.position + 1) % c.items.size();
  return current;
}

Value CyclerReset(Runtime& rt, const Value& self, const Args& args) {
  if (!Params(rt, "reset", args, {}).ok()) return {};
  self.cycler().position = 0;
  return Value::None();
}

Value FloatIsInteger(Runtime&, const Value& self, const Args&) {
  return Value::Bool(std::isfinite(self.real()) && self.real() == std::floor(self.real()));
}

constexpr Builtin kSequenceCount = {"count", SequenceCount};
constexpr Builtin kSequenceIndex = {"index", SequenceIndex};
constexpr Builtin kCopy = {"copy", Copy};
constexpr Builtin kGet = {"get", DictGet};
constexpr Builtin kItems = {"items", DictPart<DictView::Part::kItems>};
constexpr Builtin kKeys = {"keys", DictPart<DictView::Part::kKeys>};
constexpr Builtin kValues = {"values", DictPart<DictView::Part::kValues>};
constexpr Builtin kCycle = {"cycle", LoopCycle};
constexpr Builtin kChanged = {"changed", LoopChanged};
constexpr Builtin kNext = {"next", CyclerNext};
constexpr Builtin kReset = {"reset", CyclerReset};
constexpr Builtin kIsInteger = {"is_integer", FloatIsInteger};

// What the sandbox of the reference lets nobody touch.
Value Unsafe(Runtime& rt, const Value& object, std::string_view name) {
  return rt.MakeUndefined("access to attribute '" + std::string(name.substr(0, 80)) + "' of '" +
                          std::string(TypeName(object)) + "' object is unsafe");
}

template <size_t N>
bool OneOf(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Value ListAttribute(Runtime& rt, const Value& object, std::string_view name) {
  constexpr std::array<std::string_view, 8> kMutators = {"append", "clear",  "extend",  "insert",
                                                         "pop",    "remove", "reverse", "sort"};
  if (name == "count") return rt.MakeMethod(object, &kSequenceCount);
  if (name == "index") return rt.MakeMethod(object, &kSequenceIndex);
  if (object.Is(Kind::kTuple)) {
    if (!object.list().named_group) return {};
    return name == "grouper" ? object.list().items[0] : name == "list" ? object.list().items[1] : Value();
  }
  if (name == "copy") return rt.MakeMethod(object, &kCopy);
  return OneOf(name, kMutators) ? Unsafe(rt, object, name) : Value();
}

Value DictAttribute(Runtime& rt, const Value& object, std::string_view name) {
  constexpr std::array<std::string_view, 6> kMutators = {"clear",   "fromkeys",   "pop",
                                                         "popitem", "setdefault", "update"};
  if (name == "get") return rt.MakeMethod(object, &kGet);
  if (name == "items") return rt.MakeMethod(object, &kItems);
  if (name == "keys") return rt.MakeMethod(object, &kKeys);
  if (name == "values") return rt.MakeMethod(object, &kValues);
  if (name == "copy") return rt.MakeMethod(object, &kCopy);
  return OneOf(name, kMutators) ? Unsafe(rt, object, name) : Value();
}

Value LoopAttribute(Runtime& rt, const Value& object, std::string_view name) {
  Loop& loop = object.loop();
  const auto next_exists = [&] {
    const auto next = static_cast<size_t>(loop.index0 + 1);
    return next < loop.items.size() || (loop.fetch && loop.fetch());
  };
  if (name == "index0") return Value::Integer(loop.index0);
  if (name == "index") return Value::Integer(loop.index0 + 1);
  if (name == "first") return Value::Bool(loop.index0 == 0);
  if (name == "last") return Value::Bool(!next_exists());
  if (name == "length") return Value::Integer(LoopLength(rt, loop));
  if (name == "revindex") return Value::Integer(LoopLength(rt, loop) - loop.index0);
  if (name == "revindex0") return Value::Integer(LoopLength(rt, loop) - loop.index0 - 1);
  if (name == "depth") return Value::Integer(1);
  if (name == "depth0") return Value::Integer(0);
  if (name == "cycle") return rt.MakeMethod(object, &kCycle);
  if (name == "changed") return rt.MakeMethod(object, &kChanged);
  if (name == "previtem") {
    if (loop.index0 == 0) return rt.MakeUndefined("there is no previous item");
    return loop.items[static_cast<size_t>(loop.index0 - 1)];
  }
  if (name == "nextitem") {
    if (!next_exists()) return rt.MakeUndefined("there is no next item");
    return loop.items[static_cast<size_t>(loop.index0 + 1)];
  }
  return {};
}

Value MacroAttribute(Runtime& rt, const Value& object, std::string_view name) {
  const MacroStmt& macro = *object.macro().definition;
  if (name == "name") return macro.name.empty() ? Value::None() : rt.MakeString(macro.name);
  if (name == "catch_kwargs") return Value::Bool(macro.uses_kwargs);
  if (name == "catch_varargs") return Value::Bool(macro.uses_varargs);
  if (name == "caller") return Value::Bool(macro.uses_caller);
  if (name != "arguments") return {};
  std::vector<Value> names;
  for (const auto& parameter : macro.parameters) names.push_back(rt.MakeString(parameter.name));
  return rt.MakeTuple(std::move(names));
}

Value RangeAttribute(const Value& object, std::string_view name) {
  const Range& r = object.range();
  if (name == "start") return Value::Integer(r.start);
  if (name == "stop") return Value::Integer(r.stop);
  if (name == "step") return Value::Integer(r.step);
  return {};
}

}  // namespace

Value LookUpAttribute(Runtime& rt, const Value& object, std::string_view name) {
  if (name.starts_with("__") && name.ends_with("__") && !object.Is(Kind::kNamespace))
    return Unsafe(rt, object, name);
  switch (object.kind()) {
    case Kind::kString: {
      const Builtin* method = FindStringMethod(name);
      return method == nullptr ? Value() : rt.MakeMethod(object, method);
    }
    case Kind::kList:
    case Kind::kTuple: return ListAttribute(rt, object, name);
    case Kind::kDict: return DictAttribute(rt, object, name);
    case Kind::kRange: return RangeAttribute(object, name);
    case Kind::kLoop: return LoopAttribute(rt, object, name);
    case Kind::kMacro: return MacroAttribute(rt, object, name);
    case Kind::kFloat: return name == "is_integer" ? rt.MakeMethod(object, &kIsInteger) : Value();
    case Kind::kNamespace:
      for (const auto& [key, value] : object.name_space().attributes)
        if (key.str().text() == name) return name.starts_with("_") ? Unsafe(rt, object, name) : value;
      return {};
    case Kind::kCycler:
      if (name == "next") return rt.MakeMethod(object, &kNext);
      if (name == "reset") return rt.MakeMethod(object, &kReset);
      return name == "current" ? object.cycler().items[object.cycler().position] : Value();
    case Kind::kJoiner:
      return name == "sep"    ? object.joiner().separator
             : name == "used" ? Value::Bool(object.joiner().used)
                              : Value();
    default: return {};
  }
}

}  // namespace lathe::tmpl
