// Values of the template language: Python's data model, cut down to what chat templates handle.
//
// A Value is small and cheap to copy; strings and containers are shared and never change after they are
// built (as in the sandbox that the reference runs templates in), except namespaces, iterators, cyclers and
// joiners, which carry state. Values of one render are used by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lathe/status.h"
#include "text/template/budget.h"
#include "text/template/str.h"

namespace lathe::tmpl {

// Python's integers have no bound; these hold 127 bits and report overflow.
using Int = __int128;

enum class Kind : uint8_t {
  kMissing,    // a variable never set; reading it gives kUndefined
  kUndefined,  // what a missing variable or attribute reads as
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kDictView,
  kRange,
  kIterator,
  kNamespace,
  kLoop,
  kMacro,
  kFunction,
  kCycler,
  kJoiner,
};

class Value;
class Runtime;
struct Args;
struct MacroStmt;
struct Activation;

// A built-in function, method or filter: `self` is the bound object or the filtered value.
struct Builtin {
  std::string_view name;
  Value (*function)(Runtime& rt, const Value& self, const Args& args);
};

// Why a value is undefined: the sentence an operation on it fails with.
struct UndefinedInfo {
  std::string message;
  Charge charge;
};

struct List;
struct Dict;
struct DictView;
struct Range;
struct Iterator;
struct Namespace;
struct Loop;
struct Macro;
struct Function;
struct Cycler;
struct Joiner;

class Value {
 public:
  Value() = default;
  static Value None() { return Value(Kind::kNone); }
  static Value Bool(bool b) {
    Value v(Kind::kBool);
    v.int_ = b ? 1 : 0;
    return v;
  }
  static Value Integer(Int i) {
    Value v(Kind::kInt);
    v.int_ = i;
    return v;
  }
  static Value Real(double d) {
    Value v(Kind::kFloat);
    v.real_ = d;
    return v;
  }
  template <typename T>
  static Value Object(Kind kind, std::shared_ptr<T> object) {
    Value v(kind);
    v.object_ = std::move(object);
    return v;
  }

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsUndefined() const { return kind_ == Kind::kUndefined || kind_ == Kind::kMissing; }
  bool IsNone() const { return kind_ == Kind::kNone; }
  bool IsString() const { return kind_ == Kind::kString; }
  // bool counts as a number, as in Python.
  bool IsIntegral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool IsNumber() const { return IsIntegral() || kind_ == Kind::kFloat; }
  bool IsSequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }

  // Each is valid for its kind only.
  bool boolean() const { return int_ != 0; }
  Int integer() const { return int_; }  // kInt and kBool
  double real() const { return real_; }
  const Str& str() const { return *Get<Str>(); }
  List& list() const { return *Get<List>(); }  // kList and kTuple
  Dict& dict() const { return *Get<Dict>(); }
  DictView& dict_view() const { return *Get<DictView>(); }
  Range& range() const { return *Get<Range>(); }
  Iterator& iterator() const { return *Get<Iterator>(); }
  Namespace& name_space() const { return *Get<Namespace>(); }
  Loop& loop() const { return *Get<Loop>(); }
  Macro& macro() const { return *Get<Macro>(); }
  Function& function() const { return *Get<Function>(); }
  Cycler& cycler() const { return *Get<Cycler>(); }
  Joiner& joiner() const { return *Get<Joiner>(); }
  // Null when nothing is known.
  const UndefinedInfo* undefined() const { return Get<UndefinedInfo>(); }
  const void* identity() const { return object_.get(); }

 private:
  explicit Value(Kind kind) : kind_(kind) {}
  template <typename T>
  T* Get() const {
    return static_cast<T*>(object_.get());
  }

  Kind kind_ = Kind::kMissing;
  union {
    Int int_ = 0;
    double real_;
  };
  std::shared_ptr<void> object_;
};

// The keyword and positional arguments of a call.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// `depth`, here and below: 1 + the deepest element; bounded, so that walking a value never overflows the
// stack (see Runtime::Nested).

struct List {
  std::vector<Value> items;
  bool named_group = false;  // a (grouper, list) pair of groupby: has these two attributes
  int depth = 1;
  Charge charge;
};

// Keeps insertion order. Keys are hashable values.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_multimap<size_t, size_t> index;  // hash to entry, once there are many
  int depth = 1;
  Charge charge;
};

struct DictView {
  enum class Part : uint8_t { kKeys, kValues, kItems };
  Value dict;
  Part part = Part::kKeys;
};

struct Range {
  Int start = 0, stop = 0, step = 1;
  Int size() const {
    if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
    return start > stop ? (start - stop - 1) / -step + 1 : 0;
  }
};

// What Python's generators are to templates: items that can be gone through once. The items are computed
// when the iterator is made; an error met while doing so is kept and raised when that item is reached.
struct Iterator {
  std::vector<Value> items;
  size_t next = 0;
  Status error;
  std::string_view name = "generator";
  int depth = 1;
  Charge charge;
};

struct Namespace {
  std::vector<std::pair<Value, Value>> attributes;
  Charge charge;
};

// The `loop` variable. Items passing the loop's `if` are found one at a time.
struct Loop {
  std::vector<Value> items;     // what passed so far
  std::function<bool()> fetch;  // appends the next item; false at the end. Empty when all are there.
  Int index0 = -1;
  std::vector<Value> last_changed;
  bool has_last_changed = false;
  bool finished = false;
  int depth = 1;
  Charge charge;
};

struct Macro {
  const MacroStmt* definition = nullptr;
  Activation* scope = nullptr;  // owned by the interpreter
  Charge charge;
};

struct Function {
  Value self;
  const Builtin* builtin = nullptr;
  int depth = 1;
  Charge charge;
};

struct Cycler {
  std::vector<Value> items;
  size_t position = 0;
  int depth = 1;
  Charge charge;
};

struct Joiner {
  Value separator;
  bool used = false;
  int depth = 1;
};

// Nesting depth of a value; 0 for what holds no other value.
int DepthOf(const Value& value);
int DepthOf(const std::vector<Value>& values);

// "dict object", "None", "str object": how messages name a value's type.
std::string TypeRepr(const Value& value);
// "dict", "NoneType", "str".
std::string_view TypeName(const Value& value);

// A string of a parsed template, charged to no render.
Value LiteralString(std::string text);

}  // namespace lathe::tmpl
