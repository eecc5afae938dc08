#include "text/template/ops.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "text/template/methods.h"
#include "text/template/text.h"
#include "text/template/unicode.h"

namespace lathe::tmpl {
namespace {

constexpr double kIntBound = 0x1p126;

double ToDouble(const Value& v) { return v.Is(Kind::kFloat) ? v.real() : static_cast<double>(v.integer()); }

bool NumbersEqual(const Value& a, const Value& b) {
  if (a.IsIntegral() && b.IsIntegral()) return a.integer() == b.integer();
  if (a.Is(Kind::kFloat) && b.Is(Kind::kFloat)) return a.real() == b.real();
  const double d = a.Is(Kind::kFloat) ? a.real() : b.real();
  const Int i = a.Is(Kind::kFloat) ? b.integer() : a.integer();
  return std::abs(d) < kIntBound && d == std::floor(d) && static_cast<Int>(d) == i;
}

bool SequencesEqual(Runtime& rt, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!rt.Step() || !Equal(rt, a[i], b[i])) return false;
  return true;
}

bool DictsEqual(Runtime& rt, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = rt.Step() ? Find(rt, b, key) : nullptr;
    if (other == nullptr || !Equal(rt, value, *other)) return false;
  }
  return true;
}

Value ListElement(const std::vector<Value>& items, Int index) {
  const auto n = static_cast<Int>(items.size());
  if (index < 0) index += n;
  return index < 0 || index >= n ? Value() : items[static_cast<size_t>(index)];
}

// object[key] or kMissing where Python raises LookupError or TypeError.
Value Subscript(Runtime& rt, const Value& object, const Value& key) {
  switch (object.kind()) {
    case Kind::kList:
    case Kind::kTuple: return key.IsIntegral() ? ListElement(object.list().items, key.integer()) : Value();
    case Kind::kDict: {
      if (!Hashable(key)) return {};
      const Value* found = Find(rt, object.dict(), key);
      return found == nullptr ? Value() : *found;
    }
    case Kind::kString: {
      if (!key.IsIntegral()) return {};
      const Str& s = object.str();
      Int index = key.integer();
      if (index < 0) index += static_cast<Int>(s.chars());
      if (index < 0 || index >= static_cast<Int>(s.chars())) return {};
      rt.StepBytes(s.chars() == s.size() ? 0 : s.size());
      const size_t begin = s.ByteOffset(static_cast<size_t>(index));
      size_t end = begin;
      DecodeUtf8(s.text(), &end);
      return rt.Substring(object, begin, end);
    }
    case Kind::kRange: {
      if (!key.IsIntegral()) return {};
      const Range& r = object.range();
      Int index = key.integer();
      if (index < 0) index += r.size();
      if (index < 0 || index >= r.size()) return {};
      return Value::Integer(r.start + index * r.step);
    }
    default: return {};
  }
}

// Resolved slice bounds over a sequence of `length`, as Python's slice.indices().
struct Bounds {
  Int start, stop, step, count;
};

bool SliceBound(Runtime& rt, const Value& v, Int fallback, Int* out) {
  *out = fallback;
  if (v.IsNone()) return true;
  if (v.IsUndefined()) return rt.FailUndefined(v), false;
  if (!v.IsIntegral()) return rt.Invalid("slice indices must be integers or none"), false;
  *out = v.integer();
  return true;
}

bool ResolveSlice(Runtime& rt, Int length, const Value& start, const Value& stop, const Value& step,
                  Bounds* out) {
  if (!SliceBound(rt, step, 1, &out->step)) return false;
  if (out->step == 0) return rt.Invalid("slice step cannot be zero"), false;
  const bool down = out->step < 0;
  const auto clamp = [&](Int v) {
    if (v < 0) v += length;
    return std::clamp<Int>(v, down ? -1 : 0, down ? length - 1 : length);
  };
  Int value = 0;
  if (!SliceBound(rt, start, 0, &value)) return false;
  out->start = start.IsNone() ? (down ? length - 1 : 0) : clamp(value);
  if (!SliceBound(rt, stop, 0, &value)) return false;
  out->stop = stop.IsNone() ? (down ? -1 : length) : clamp(value);
  // A step beyond the length moves past the end at once.
  out->step = std::clamp<Int>(out->step, -length - 1, length + 1);
  out->count = Range{out->start, out->stop, out->step}.size();
  return true;
}

Value SliceString(Runtime& rt, const Value& object, const Bounds& b) {
  const Str& s = object.str();
  if (!rt.StepBytes(s.size())) return {};
  if (b.count == 0) return rt.Substring(object, 0, 0);
  if (b.step == 1)
    return rt.Substring(object, s.ByteOffset(static_cast<size_t>(b.start)),
                        s.ByteOffset(static_cast<size_t>(b.stop)));
  std::vector<size_t> offsets;
  if (!rt.Room((s.chars() + 1) * sizeof(size_t))) return {};
  offsets.reserve(s.chars() + 1);
  for (size_t pos = 0; pos < s.size(); DecodeUtf8(s.text(), &pos)) offsets.push_back(pos);
  offsets.push_back(s.size());
  StrBuilder out = rt.Builder();
  for (Int i = 0, at = b.start; i < b.count; ++i, at += b.step)
    out.Append(s, offsets[static_cast<size_t>(at)], offsets[static_cast<size_t>(at) + 1]);
  out.SetMarkup(s.markup());
  return rt.MakeString(std::move(out));
}

}  // namespace

bool Truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool:
    case Kind::kInt: return value.integer() != 0;
    case Kind::kFloat: return value.real() != 0;
    case Kind::kString: return !value.str().empty();
    case Kind::kList:
    case Kind::kTuple: return !value.list().items.empty();
    case Kind::kDict: return !value.dict().entries.empty();
    case Kind::kDictView: return !value.dict_view().dict.dict().entries.empty();
    case Kind::kRange: return value.range().size() > 0;
    default: return true;
  }
}

bool Equal(Runtime& rt, const Value& a, const Value& b) {
  if (!rt.Step()) return false;
  if (a.IsNumber() && b.IsNumber()) return NumbersEqual(a, b);
  if (a.IsUndefined() || b.IsUndefined()) return a.IsUndefined() && b.IsUndefined();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kNone: return true;
    case Kind::kString:
      rt.StepBytes(std::min(a.str().size(), b.str().size()));
      return a.str().text() == b.str().text();
    case Kind::kList:
    case Kind::kTuple: return SequencesEqual(rt, a.list().items, b.list().items);
    case Kind::kDict: return DictsEqual(rt, a.dict(), b.dict());
    case Kind::kRange: {
      const Range &x = a.range(), &y = b.range();
      const Int n = x.size();
      return n == y.size() && (n == 0 || (x.start == y.start && (n == 1 || x.step == y.step)));
    }
    default: return a.identity() == b.identity();
  }
}

bool Less(Runtime& rt, const Value& a, const Value& b) {
  if (!rt.Step()) return false;
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsIntegral() && b.IsIntegral()) return a.integer() < b.integer();
    return ToDouble(a) < ToDouble(b);
  }
  if (a.IsUndefined()) return rt.FailUndefined(a), false;
  if (b.IsUndefined()) return rt.FailUndefined(b), false;
  if (a.IsString() && b.IsString()) {
    rt.StepBytes(std::min(a.str().size(), b.str().size()));
    return a.str().text() < b.str().text();  // UTF-8 keeps the order of code points
  }
  if (a.IsSequence() && a.kind() == b.kind()) {
    const auto &x = a.list().items, &y = b.list().items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (Equal(rt, x[i], y[i])) continue;
      return !rt.failed() && Less(rt, x[i], y[i]);
    }
    return x.size() < y.size();
  }
  rt.Invalid("'<' cannot compare %s and %s", TypeRepr(a).c_str(), TypeRepr(b).c_str());
  return false;
}

bool CompareValues(Runtime& rt, CompareOp op, const Value& a, const Value& b) {
  const bool nan = (a.Is(Kind::kFloat) && std::isnan(a.real()) && b.IsNumber()) ||
                   (b.Is(Kind::kFloat) && std::isnan(b.real()) && a.IsNumber());
  switch (op) {
    case CompareOp::kEq: return Equal(rt, a, b);
    case CompareOp::kNe: return !Equal(rt, a, b);
    case CompareOp::kLt: return Less(rt, a, b);
    case CompareOp::kGt: return Less(rt, b, a);
    case CompareOp::kLe: return !nan && !Less(rt, b, a);
    case CompareOp::kGe: return !nan && !Less(rt, a, b);
    case CompareOp::kIn: return Contains(rt, a, b);
    case CompareOp::kNotIn: return !Contains(rt, a, b);
  }
  return false;
}

bool Same(const Value& a, const Value& b) {
  if (a.IsUndefined() || b.IsUndefined()) return a.identity() != nullptr && a.identity() == b.identity();
  if (a.kind() != b.kind()) return false;
  if (a.IsNone()) return true;
  if (a.IsIntegral()) return a.integer() == b.integer();
  if (a.Is(Kind::kFloat)) return a.real() == b.real();
  // Equal short strings are usually one object in the reference; identity of strings is not defined.
  if (a.IsString()) return a.str().text() == b.str().text();
  return a.identity() == b.identity();
}

bool Hashable(const Value& value) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kDictView: return false;
    case Kind::kTuple: return std::all_of(value.list().items.begin(), value.list().items.end(), Hashable);
    default: return true;
  }
}

size_t HashValue(Runtime& rt, const Value& value) {
  if (!rt.Step()) return 0;
  switch (value.kind()) {
    case Kind::kString: return std::hash<std::string_view>()(value.str().text());
    case Kind::kBool:
    case Kind::kInt: return std::hash<uint64_t>()(static_cast<uint64_t>(value.integer()));
    case Kind::kFloat: {
      const double d = value.real();
      if (std::abs(d) < kIntBound && d == std::floor(d))
        return std::hash<uint64_t>()(static_cast<uint64_t>(static_cast<Int>(d)));
      return std::hash<double>()(d);
    }
    case Kind::kTuple: {
      size_t hash = value.list().items.size();
      for (const Value& item : value.list().items) hash = hash * 1000003u + HashValue(rt, item);
      return hash;
    }
    case Kind::kList:
    case Kind::kDict:
    case Kind::kDictView: rt.Invalid("a %s cannot be a key", std::string(TypeName(value)).c_str()); return 0;
    default: return value.IsUndefined() ? 1 : std::hash<const void*>()(value.identity());
  }
}

Value Negate(Runtime& rt, const Value& value) {
  if (value.Is(Kind::kFloat)) return Value::Real(-value.real());
  if (value.IsIntegral()) return Binary(rt, BinaryOp::kSub, Value::Integer(0), value);
  if (value.IsUndefined()) return rt.FailUndefined(value);
  return rt.Invalid("unary '-' does not work on a %s", TypeRepr(value).c_str());
}

Value Positive(Runtime& rt, const Value& value) {
  if (value.Is(Kind::kFloat)) return value;
  if (value.IsIntegral()) return Value::Integer(value.integer());
  if (value.IsUndefined()) return rt.FailUndefined(value);
  return rt.Invalid("unary '+' does not work on a %s", TypeRepr(value).c_str());
}

bool Contains(Runtime& rt, const Value& item, const Value& container) {
  if (container.IsString()) {
    if (!item.IsString()) {
      rt.Invalid("'in' a string needs a string on its left, found %s", TypeRepr(item).c_str());
      return false;
    }
    rt.StepBytes(container.str().size());
    return FindText(container.str().text(), item.str().text()) != std::string::npos;
  }
  const bool keys = container.Is(Kind::kDictView) && container.dict_view().part == DictView::Part::kKeys;
  if (container.Is(Kind::kDict) || keys) {
    HashValue(rt, item);  // fails for an unhashable item
    const Dict& dict = keys ? container.dict_view().dict.dict() : container.dict();
    return !rt.failed() && Find(rt, dict, item) != nullptr;
  }
  if (container.Is(Kind::kRange)) {
    const Range& r = container.range();
    if (!item.IsNumber() ||
        (item.Is(Kind::kFloat) && !NumbersEqual(item, Value::Integer(static_cast<Int>(
                                                          std::clamp(item.real(), -kIntBound, kIntBound))))))
      return false;
    const Int i = item.Is(Kind::kFloat) ? static_cast<Int>(item.real()) : item.integer();
    const bool inside = r.step > 0 ? i >= r.start && i < r.stop : i <= r.start && i > r.stop;
    return inside && (i - r.start) % r.step == 0;
  }
  if (container.Is(Kind::kIterator)) {  // used up to the first match
    Iterator& it = container.iterator();
    while (it.next < it.items.size())
      if (Equal(rt, it.items[it.next++], item)) return true;
    if (!it.error.ok()) rt.FailWith(std::exchange(it.error, Status::Ok()));
    return false;
  }
  std::vector<Value> items;
  if (container.IsSequence()) {
    for (const Value& other : container.list().items)
      if (Equal(rt, other, item)) return true;
    return false;
  }
  if (!Items(rt, container, &items)) return false;
  return std::any_of(items.begin(), items.end(), [&](const Value& other) { return Equal(rt, other, item); });
}

const Value* Find(Runtime& rt, const Dict& dict, const Value& key) {
  if (key.IsString()) return Find(dict, key.str().text());
  if (dict.index.empty()) {
    for (const auto& [other, value] : dict.entries)
      if (Equal(rt, other, key)) return &value;
    return nullptr;
  }
  const auto [begin, end] = dict.index.equal_range(HashValue(rt, key));
  for (auto it = begin; it != end; ++it)
    if (Equal(rt, dict.entries[it->second].first, key)) return &dict.entries[it->second].second;
  return nullptr;
}

const Value* Find(const Dict& dict, std::string_view key) {
  const auto matches = [&](const Value& other) { return other.IsString() && other.str().text() == key; };
  if (dict.index.empty()) {
    for (const auto& [other, value] : dict.entries)
      if (matches(other)) return &value;
    return nullptr;
  }
  const auto [begin, end] = dict.index.equal_range(std::hash<std::string_view>()(key));
  for (auto it = begin; it != end; ++it)
    if (matches(dict.entries[it->second].first)) return &dict.entries[it->second].second;
  return nullptr;
}

void Set(Runtime& rt, std::vector<std::pair<Value, Value>>* entries, const Value& key, const Value& value) {
  HashValue(rt, key);
  for (auto& [other, old] : *entries) {
    if (rt.failed()) return;
    if (!Equal(rt, other, key)) continue;
    old = value;
    return;
  }
  entries->emplace_back(key, value);
}

Value GetAttribute(Runtime& rt, const Value& object, const Value& name) {
  if (object.IsUndefined()) return rt.FailUndefined(object);
  Value found = LookUpAttribute(rt, object, name.str().text());
  if (!found.Is(Kind::kMissing)) return found;
  found = Subscript(rt, object, name);
  return found.Is(Kind::kMissing) ? rt.UndefinedAttribute(object, name.str().text()) : found;
}

Value GetItem(Runtime& rt, const Value& object, const Value& key) {
  if (object.IsUndefined()) return rt.FailUndefined(object);
  Value found = Subscript(rt, object, key);
  if (!found.Is(Kind::kMissing)) return found;
  if (key.IsString()) found = LookUpAttribute(rt, object, key.str().text());
  return found.Is(Kind::kMissing) ? rt.UndefinedElement(object, key) : found;
}

Value GetSlice(Runtime& rt, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.IsUndefined()) return rt.FailUndefined(object);
  if (!object.IsString() && !object.IsSequence() && !object.Is(Kind::kRange))
    return rt.Invalid("a %s cannot be sliced", TypeRepr(object).c_str());
  Bounds b{};
  if (!ResolveSlice(rt, Length(rt, object), start, stop, step, &b)) return {};
  if (object.IsString()) return SliceString(rt, object, b);
  if (object.Is(Kind::kRange)) {
    const Range& r = object.range();
    auto out = std::make_shared<Range>();
    *out = {r.start + b.start * r.step, r.start + b.stop * r.step, r.step * b.step};
    return Value::Object(Kind::kRange, std::move(out));
  }
  if (!rt.Room(static_cast<size_t>(b.count) * sizeof(Value))) return {};
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(b.count));
  for (Int i = 0, at = b.start; i < b.count; ++i, at += b.step)
    items.push_back(object.list().items[static_cast<size_t>(at)]);
  return object.Is(Kind::kList) ? rt.MakeList(std::move(items)) : rt.MakeTuple(std::move(items));
}

}  // namespace lathe::tmpl
