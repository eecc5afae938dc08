#include "text/template/value.h"

#include <algorithm>

namespace lathe::tmpl {

int DepthOf(const Value& value) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kTuple: return value.list().depth;
    case Kind::kDict: return value.dict().depth;
    case Kind::kDictView: return DepthOf(value.dict_view().dict) + 1;
    case Kind::kIterator: return value.iterator().depth;
    case Kind::kLoop: return value.loop().depth;
    case Kind::kFunction: return value.function().depth;
    case Kind::kCycler: return value.cycler().depth;
    case Kind::kJoiner: return value.joiner().depth;
    default: return 0;
  }
}

int DepthOf(const std::vector<Value>& values) {
  int depth = 0;
  for (const Value& v : values) depth = std::max(depth, DepthOf(v));
  return depth;
}

std::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return "str";
    case Kind::kList: return "list";
    case Kind::kTuple: return "tuple";
    case Kind::kDict: return "dict";
    case Kind::kDictView:
      switch (value.dict_view().part) {
        case DictView::Part::kKeys: return "dict_keys";
        case DictView::Part::kValues: return "dict_values";
        case DictView::Part::kItems: return "dict_items";
      }
      return "dict view";
    case Kind::kRange: return "range";
    case Kind::kIterator: return value.iterator().name;
    case Kind::kNamespace: return "Namespace";
    case Kind::kLoop: return "LoopContext";
    case Kind::kMacro: return "Macro";
    case Kind::kFunction: return "builtin_function_or_method";
    case Kind::kCycler: return "Cycler";
    case Kind::kJoiner: return "Joiner";
  }
  return "object";
}

std::string TypeRepr(const Value& value) {
  if (value.IsNone()) return "None";
  return std::string(TypeName(value)) + " object";
}

Value LiteralString(std::string text) {
  return Value::Object(Kind::kString, std::make_shared<Str>(std::move(text), false));
}

}  // namespace lathe::tmpl
