// State of one render that every operation needs: the first error, the counters behind the limits, and the
// makers of values (which charge the memory budget and bound the nesting).
//
// Errors are sticky: Fail() records the first fault and gives back an undefined value; whoever evaluates
// something checks failed() before using the result for anything but building more values. All operations
// tolerate undefined values, so a late check costs time and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/template/render_options.h"
#include "text/template/value.h"

namespace lathe::tmpl {

class Runtime {
 public:
  explicit Runtime(const RenderOptions& options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const RenderOptions& options() const { return options_; }

  // --- errors
  bool failed() const { return !status_.ok(); }
  const Status& status() const { return status_; }
  // Records the fault (unless one is recorded), with the current template line in front.
  [[gnu::format(printf, 3, 4)]] Value Fail(StatusCode code, const char* format, ...);
  // The template asked for something that has no meaning (a TypeError, ValueError, ... of the reference).
  [[gnu::format(printf, 2, 3)]] Value Invalid(const char* format, ...);
  // An operation on an undefined value.
  Value FailUndefined(const Value& undefined);
  // Records `status` as it is.
  Value FailWith(Status status);
  // Takes back the recorded error unless it is a limit (those stay).
  Status TakeError();
  void set_line(uint32_t line) { line_ = line; }
  uint32_t line() const { return line_; }

  // --- limits
  // Counts work; false when the render must stop.
  bool Step(uint64_t n = 1) {
    steps_ += n;
    if (steps_ >= next_check_) CheckLimits();
    return !failed();
  }
  // Work proportional to `bytes` copied or compared.
  bool StepBytes(size_t bytes) { return Step(1 + bytes / kBytesPerStep); }
  // Fails when `bytes` more would break the memory limit.
  bool Room(size_t bytes);

  // --- makers
  StrBuilder Builder() { return StrBuilder(budget_.Left()); }
  Value MakeString(std::string_view text, bool user = false);
  Value MakeString(StrBuilder&& builder);
  // Bytes [begin, end) of `s`.
  Value Substring(const Value& s, size_t begin, size_t end);
  Value MakeList(std::vector<Value> items);
  Value MakeTuple(std::vector<Value> items);
  Value MakePair(const Value& first, const Value& second);
  Value MakeDict(std::vector<std::pair<Value, Value>> entries);  // keys are distinct and hashable
  Value MakeView(const Value& dict, DictView::Part part);
  Value MakeIterator(std::vector<Value> items, std::string_view name = "generator");
  Value MakeMethod(const Value& self, const Builtin* builtin);
  Value MakeNamespace();
  Value MakeUndefined(std::string message);
  Value UndefinedElement(const Value& object, const Value& key);
  Value UndefinedAttribute(const Value& object, std::string_view name);
  Charge MakeCharge(size_t bytes) { return Charge(&budget_, bytes); }
  // Depth of a value around one of `inner`; fails beyond the limit.
  int Nested(int inner);

 private:
  static constexpr uint64_t kBytesPerStep = 64;
  static constexpr uint64_t kStepsPerClockRead = 512;

  void CheckLimits();
  Value Sequence(Kind kind, std::vector<Value> items);

  const RenderOptions& options_;
  Budget budget_;
  Status status_;
  bool limit_broken_ = false;
  uint32_t line_ = 0;
  uint64_t steps_ = 0;
  uint64_t next_check_ = 0;
  double deadline_ = 0;
  // Namespaces can refer to each other in circles: they are emptied when the render ends.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

// Binds the arguments of a call to the parameters of a built-in, as Python does: too many, unknown, doubled
// or missing ones fail the render.
class Params {
 public:
  // The first `required` of `names` must be given.
  Params(Runtime& rt, std::string_view callee, const Args& args,
         std::initializer_list<std::string_view> names, size_t required = 0);
  // False after a failed binding (the render has failed).
  bool ok() const { return ok_; }
  // Null when not given.
  const Value* Get(size_t i) const { return values_[i]; }
  const Value& operator[](size_t i) const { return *values_[i]; }
  bool Given(size_t i) const { return values_[i] != nullptr && !values_[i]->IsNone(); }

  // Typed, with a value for "not given" (None also counts as not given for `Int`).
  bool GetInt(size_t i, int64_t fallback, int64_t* out) const;
  bool GetBool(size_t i, bool fallback) const;
  // Requires a string.
  bool GetString(size_t i, Value fallback, Value* out) const;

 private:
  static constexpr size_t kMaxParams = 8;
  Runtime& rt_;
  std::string_view callee_;
  const Value* values_[kMaxParams] = {};
  bool ok_ = true;
};

}  // namespace lathe::tmpl
