#include "text/template/runtime.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "base/check.h"
#include "base/clock.h"
#include "text/template/ops.h"
#include "text/template/text.h"

namespace lathe::tmpl {
namespace {

constexpr size_t kMaxMessage = 400;
// What a container costs beyond its elements.
constexpr size_t kObjectOverhead = 128;
constexpr size_t kIndexEntryBytes = 48;
// Dicts with more entries than this get a hash index.
constexpr size_t kIndexFrom = 12;

std::string Format(const char* format, va_list args) {
  char buffer[kMaxMessage];
  const int n = std::vsnprintf(buffer, sizeof(buffer), format, args);
  if (n < 0) return format;
  return {buffer, std::min(static_cast<size_t>(n), sizeof(buffer) - 1)};
}

}  // namespace

Runtime::Runtime(const RenderOptions& options) : options_(options) {
  budget_.limit = options.limits.max_memory_bytes;
  if (options.limits.max_seconds > 0) deadline_ = NowSeconds() + options.limits.max_seconds;
  next_check_ = std::min(options.limits.max_steps, kStepsPerClockRead);
}

Runtime::~Runtime() {
  for (const auto& ns : namespaces_) ns->attributes.clear();
}

Value Runtime::FailWith(Status status) {
  if (status_.ok()) status_ = std::move(status);
  return Value::Object(Kind::kUndefined, std::shared_ptr<UndefinedInfo>());
}

Value Runtime::Fail(StatusCode code, const char* format, ...) {
  va_list args;
  va_start(args, format);
  const std::string message = Format(format, args);
  va_end(args);
  return FailWith(Error(code, "chat template line %u: %s", line_, message.c_str()));
}

Value Runtime::Invalid(const char* format, ...) {
  va_list args;
  va_start(args, format);
  const std::string message = Format(format, args);
  va_end(args);
  return Fail(StatusCode::kInvalidArgument, "%s", message.c_str());
}

Value Runtime::FailUndefined(const Value& undefined) {
  const UndefinedInfo* info = undefined.undefined();
  return Invalid("%s", info == nullptr ? "the value is undefined" : info->message.c_str());
}

Status Runtime::TakeError() {
  if (limit_broken_) return Status::Ok();
  return std::exchange(status_, Status::Ok());
}

void Runtime::CheckLimits() {
  if (steps_ >= options_.limits.max_steps) {
    Fail(StatusCode::kResourceExhausted, "the template took more than its limit of %llu steps",
         static_cast<unsigned long long>(options_.limits.max_steps));
    limit_broken_ = true;
    return;
  }
  if (deadline_ > 0 && NowSeconds() > deadline_) {
    Fail(StatusCode::kDeadlineExceeded, "the template ran longer than its limit of %.0f ms",
         options_.limits.max_seconds * 1e3);
    limit_broken_ = true;
    return;
  }
  next_check_ = std::min(options_.limits.max_steps, steps_ + kStepsPerClockRead);
}

bool Runtime::Room(size_t bytes) {
  if (bytes <= budget_.Left()) return !failed();
  Fail(StatusCode::kResourceExhausted, "the template needs more than its limit of %zu MiB of memory",
       budget_.limit >> 20);
  limit_broken_ = true;
  return false;
}

int Runtime::Nested(int inner) {
  if (inner >= options_.limits.max_depth) {
    Fail(StatusCode::kResourceExhausted, "values are nested deeper than the limit of %d levels",
         options_.limits.max_depth);
    limit_broken_ = true;
  }
  return inner + 1;
}

Value Runtime::MakeString(std::string_view text, bool user) {
  if (!StepBytes(text.size()) || !Room(text.size())) return {};
  return Value::Object(Kind::kString, std::make_shared<Str>(std::string(text), user, &budget_));
}

Value Runtime::MakeString(StrBuilder&& builder) {
  if (builder.overflow()) {
    Room(SIZE_MAX);
    return {};
  }
  if (!StepBytes(builder.size())) return {};
  return Value::Object(Kind::kString, std::make_shared<Str>(std::move(builder).Build(&budget_)));
}

Value Runtime::Substring(const Value& s, size_t begin, size_t end) {
  if (begin == 0 && end == s.str().size()) return s;
  StrBuilder builder = Builder();
  builder.Append(s.str(), begin, end);
  builder.SetMarkup(s.str().markup());
  return MakeString(std::move(builder));
}

Value Runtime::Sequence(Kind kind, std::vector<Value> items) {
  const size_t bytes = items.size() * sizeof(Value) + kObjectOverhead;
  if (!Step(1 + items.size() / 8) || !Room(bytes)) return {};
  auto list = std::make_shared<List>();
  list->depth = Nested(DepthOf(items));
  list->items = std::move(items);
  list->charge = MakeCharge(bytes);
  return Value::Object(kind, std::move(list));
}

Value Runtime::MakeList(std::vector<Value> items) { return Sequence(Kind::kList, std::move(items)); }
Value Runtime::MakeTuple(std::vector<Value> items) { return Sequence(Kind::kTuple, std::move(items)); }
Value Runtime::MakePair(const Value& first, const Value& second) { return MakeTuple({first, second}); }

Value Runtime::MakeDict(std::vector<std::pair<Value, Value>> entries) {
  const bool indexed = entries.size() > kIndexFrom;
  const size_t per_entry = 2 * sizeof(Value) + (indexed ? kIndexEntryBytes : 0);
  const size_t bytes = entries.size() * per_entry + kObjectOverhead;
  if (!Step(1 + entries.size() / 4) || !Room(bytes)) return {};
  auto dict = std::make_shared<Dict>();
  int inner = 0;
  for (const auto& [key, value] : entries) inner = std::max({inner, DepthOf(key), DepthOf(value)});
  dict->depth = Nested(inner);
  dict->entries = std::move(entries);
  dict->charge = MakeCharge(bytes);
  if (indexed)
    for (size_t i = 0; i < dict->entries.size(); ++i)
      dict->index.emplace(HashValue(*this, dict->entries[i].first), i);
  return Value::Object(Kind::kDict, std::move(dict));
}

Value Runtime::MakeView(const Value& dict, DictView::Part part) {
  auto view = std::make_shared<DictView>();
  view->dict = dict;
  view->part = part;
  return Value::Object(Kind::kDictView, std::move(view));
}

Value Runtime::MakeIterator(std::vector<Value> items, std::string_view name) {
  const size_t bytes = items.size() * sizeof(Value) + kObjectOverhead;
  if (!Step(1 + items.size() / 8) || !Room(bytes)) return {};
  auto it = std::make_shared<Iterator>();
  it->depth = Nested(DepthOf(items));
  it->items = std::move(items);
  it->name = name;
  it->charge = MakeCharge(bytes);
  return Value::Object(Kind::kIterator, std::move(it));
}

Value Runtime::MakeMethod(const Value& self, const Builtin* builtin) {
  if (!Room(kObjectOverhead)) return {};
  auto function = std::make_shared<Function>();
  function->depth = Nested(DepthOf(self));
  function->self = self;
  function->builtin = builtin;
  function->charge = MakeCharge(kObjectOverhead);
  return Value::Object(Kind::kFunction, std::move(function));
}

Value Runtime::MakeNamespace() {
  if (!Step() || !Room(kObjectOverhead)) return {};
  auto ns = std::make_shared<Namespace>();
  ns->charge = MakeCharge(kObjectOverhead);
  namespaces_.push_back(ns);
  return Value::Object(Kind::kNamespace, std::move(ns));
}

Value Runtime::MakeUndefined(std::string message) {
  if (!Room(message.size() + kObjectOverhead)) return {};
  auto info = std::make_shared<UndefinedInfo>();
  info->charge = MakeCharge(message.size() + kObjectOverhead);
  info->message = std::move(message);
  return Value::Object(Kind::kUndefined, std::move(info));
}

Value Runtime::UndefinedAttribute(const Value& object, std::string_view name) {
  constexpr size_t kShown = 80;
  std::string message = "'";
  message += TypeRepr(object);
  message += "' has no attribute '";
  message += name.substr(0, kShown);
  message += "'";
  return MakeUndefined(std::move(message));
}

Value Runtime::UndefinedElement(const Value& object, const Value& key) {
  if (key.IsString()) return UndefinedAttribute(object, key.str().text());
  StrBuilder shown(kMaxMessage / 2);
  AppendRepr(*this, &shown, key);
  return MakeUndefined(TypeRepr(object) + " has no element " + shown.text());
}

Params::Params(Runtime& rt, std::string_view callee, const Args& args,
               std::initializer_list<std::string_view> names, size_t required)
    : rt_(rt), callee_(callee) {
  LATHE_CHECK_LE(names.size(), kMaxParams);
  const std::string name(callee);
  if (args.positional.size() > names.size()) {
    rt.Invalid("%s() takes at most %zu arguments, %zu were given", name.c_str(), names.size(),
               args.positional.size());
    ok_ = false;
    return;
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [key, value] : args.named) {
    const auto* it = std::find(names.begin(), names.end(), key);
    const auto i = static_cast<size_t>(it - names.begin());
    if (it == names.end() || values_[i] != nullptr) {
      rt.Invalid(it == names.end() ? "%s() has no argument '%.80s'" : "%s() got argument '%.80s' twice",
                 name.c_str(), key.c_str());
      ok_ = false;
      return;
    }
    values_[i] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] != nullptr) continue;
    rt.Invalid("%s() needs argument '%s'", name.c_str(), std::string(names.begin()[i]).c_str());
    ok_ = false;
    return;
  }
}

bool Params::GetInt(size_t i, int64_t fallback, int64_t* out) const {
  *out = fallback;
  if (!Given(i)) return true;
  const Value& v = *values_[i];
  if (v.IsUndefined()) {
    rt_.FailUndefined(v);
    return false;
  }
  if (!v.IsIntegral()) {
    rt_.Invalid("%s() needs an integer, found %s", std::string(callee_).c_str(), TypeRepr(v).c_str());
    return false;
  }
  *out = static_cast<int64_t>(std::clamp<Int>(v.integer(), INT64_MIN, INT64_MAX));
  return true;
}

bool Params::GetBool(size_t i, bool fallback) const {
  return values_[i] == nullptr ? fallback : Truthy(*values_[i]);
}

bool Params::GetString(size_t i, Value fallback, Value* out) const {
  *out = std::move(fallback);
  if (!Given(i)) return true;
  if (!values_[i]->IsString()) {
    rt_.Invalid("%s() needs a string, found %s", std::string(callee_).c_str(), TypeRepr(*values_[i]).c_str());
    return false;
  }
  *out = *values_[i];
  return true;
}

}  // namespace lathe::tmpl
