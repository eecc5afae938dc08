#include "text/template/tests.h"

#include <cmath>

#include "text/template/filters.h"
#include "text/template/methods.h"
#include "text/template/ops.h"
#include "text/template/text.h"

namespace lathe::tmpl {
namespace {

template <bool (*kPredicate)(const Value&)>
bool Simple(Runtime& rt, const Value& value, const Args& args) {
  return Params(rt, "test", args, {}).ok() && kPredicate(value);
}

bool IsDefined(const Value& v) { return !v.IsUndefined(); }
bool IsUndefinedValue(const Value& v) { return v.IsUndefined(); }
bool IsNoneValue(const Value& v) { return v.IsNone(); }
bool IsBoolean(const Value& v) { return v.Is(Kind::kBool); }
bool IsTrue(const Value& v) { return v.Is(Kind::kBool) && v.boolean(); }
bool IsFalse(const Value& v) { return v.Is(Kind::kBool) && !v.boolean(); }
bool IsInteger(const Value& v) { return v.Is(Kind::kInt); }
bool IsFloat(const Value& v) { return v.Is(Kind::kFloat); }
bool IsNumberValue(const Value& v) { return v.IsNumber(); }
bool IsStringValue(const Value& v) { return v.IsString(); }
bool IsMapping(const Value& v) { return v.Is(Kind::kDict); }
bool IsIterableValue(const Value& v) { return IsIterable(v); }
// Has a length and elements by number or key.
bool IsSequenceValue(const Value& v) { return HasLength(v) && !v.Is(Kind::kDictView) && !v.Is(Kind::kLoop); }
bool IsCallable(const Value& v) {
  return v.Is(Kind::kFunction) || v.Is(Kind::kMacro) || v.Is(Kind::kJoiner) || v.Is(Kind::kLoop) ||
         v.IsUndefined();
}
bool IsEscaped(const Value& v) { return v.IsString() && v.str().markup(); }

bool StringTest(Runtime& rt, const Value& value, const char* method) {
  const Value text = ToText(rt, value);
  return text.IsString() && Truthy(FindStringMethod(method)->function(rt, text, {}));
}
bool TestLower(Runtime& rt, const Value& value, const Args&) { return StringTest(rt, value, "islower"); }
bool TestUpper(Runtime& rt, const Value& value, const Args&) { return StringTest(rt, value, "isupper"); }

bool Remainder(Runtime& rt, const Value& value, const Value& divisor, Int expected) {
  const Value rest = Binary(rt, BinaryOp::kMod, value, divisor);
  return !rt.failed() && Equal(rt, rest, Value::Integer(expected));
}
bool TestOdd(Runtime& rt, const Value& value, const Args& args) {
  return Params(rt, "odd", args, {}).ok() && Remainder(rt, value, Value::Integer(2), 1);
}
bool TestEven(Runtime& rt, const Value& value, const Args& args) {
  return Params(rt, "even", args, {}).ok() && Remainder(rt, value, Value::Integer(2), 0);
}
bool TestDivisibleby(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "divisibleby", args, {"num"}, 1);
  return p.ok() && Remainder(rt, value, p[0], 0);
}

template <CompareOp kOp>
bool Comparison(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "comparison", args, {"other"}, 1);
  return p.ok() && CompareValues(rt, kOp, value, p[0]);
}

bool TestSameas(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "sameas", args, {"other"}, 1);
  return p.ok() && Same(value, p[0]);
}
bool TestIn(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "in", args, {"seq"}, 1);
  return p.ok() && Contains(rt, value, p[0]);
}
bool TestFilter(Runtime& rt, const Value& value, const Args& args) {
  return Params(rt, "filter", args, {}).ok() && value.IsString() && FindFilter(value.str().text()) != nullptr;
}
bool TestTest(Runtime& rt, const Value& value, const Args& args) {
  return Params(rt, "test", args, {}).ok() && value.IsString() && FindTest(value.str().text()) != nullptr;
}

struct Entry {
  std::string_view name;
  TestFunction function;
};

constexpr Entry kTests[] = {
    {"odd", TestOdd},
    {"even", TestEven},
    {"divisibleby", TestDivisibleby},
    {"defined", Simple<IsDefined>},
    {"undefined", Simple<IsUndefinedValue>},
    {"filter", TestFilter},
    {"test", TestTest},
    {"none", Simple<IsNoneValue>},
    {"boolean", Simple<IsBoolean>},
    {"false", Simple<IsFalse>},
    {"true", Simple<IsTrue>},
    {"integer", Simple<IsInteger>},
    {"float", Simple<IsFloat>},
    {"lower", TestLower},
    {"upper", TestUpper},
    {"string", Simple<IsStringValue>},
    {"mapping", Simple<IsMapping>},
    {"number", Simple<IsNumberValue>},
    {"sequence", Simple<IsSequenceValue>},
    {"iterable", Simple<IsIterableValue>},
    {"callable", Simple<IsCallable>},
    {"sameas", TestSameas},
    {"escaped", Simple<IsEscaped>},
    {"in", TestIn},
    {"==", Comparison<CompareOp::kEq>},
    {"eq", Comparison<CompareOp::kEq>},
    {"equalto", Comparison<CompareOp::kEq>},
    {"!=", Comparison<CompareOp::kNe>},
    {"ne", Comparison<CompareOp::kNe>},
    {">", Comparison<CompareOp::kGt>},
    {"gt", Comparison<CompareOp::kGt>},
    {"greaterthan", Comparison<CompareOp::kGt>},
    {"ge", Comparison<CompareOp::kGe>},
    {">=", Comparison<CompareOp::kGe>},
    {"<", Comparison<CompareOp::kLt>},
    {"lt", Comparison<CompareOp::kLt>},
    {"lessthan", Comparison<CompareOp::kLt>},
    {"<=", Comparison<CompareOp::kLe>},
    {"le", Comparison<CompareOp::kLe>},
};

}  // namespace

TestFunction FindTest(std::string_view name) {
  for (const Entry& entry : kTests)
    if (entry.name == name) return entry.function;
  return nullptr;
}

}  // namespace lathe::tmpl
