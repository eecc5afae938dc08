// The operators of the template language, with Python's semantics.
//
// Each fails the render (see runtime.h) where Python raises. Comparison and hashing count steps, so values
// that share parts exponentially often end at the step limit.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/runtime.h"
#include "text/template/value.h"

namespace lathe::tmpl {

enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class CompareOp : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

bool Truthy(const Value& value);
bool Equal(Runtime& rt, const Value& a, const Value& b);
// a < b; fails for types without an order.
bool Less(Runtime& rt, const Value& a, const Value& b);
bool CompareValues(Runtime& rt, CompareOp op, const Value& a, const Value& b);
// `is`: the same object (numbers: the same small value).
bool Same(const Value& a, const Value& b);
// Fails for lists and dicts.
size_t HashValue(Runtime& rt, const Value& value);
bool Hashable(const Value& value);

Value Binary(Runtime& rt, BinaryOp op, const Value& a, const Value& b);
Value Negate(Runtime& rt, const Value& value);
Value Positive(Runtime& rt, const Value& value);
// item in container
bool Contains(Runtime& rt, const Value& item, const Value& container);

// Number of elements; fails where len() does. HasLength: would it succeed?
Int Length(Runtime& rt, const Value& value);
bool HasLength(const Value& value);
bool IsIterable(const Value& value);
Int LoopLength(Runtime& rt, const Loop& loop);

// All elements, in order; uses iterators up. An iterator's pending error goes to `deferred` if given.
bool Items(Runtime& rt, const Value& iterable, std::vector<Value>* out, Status* deferred = nullptr);

// The entry's value or nullptr.
const Value* Find(Runtime& rt, const Dict& dict, const Value& key);
const Value* Find(const Dict& dict, std::string_view key);
// Sets or replaces `key` in entries under construction. Fails for an unhashable key.
void Set(Runtime& rt, std::vector<std::pair<Value, Value>>* entries, const Value& key, const Value& value);

// object.name: attribute, else item. object[key]: item, else attribute. Both give undefined for neither.
Value GetAttribute(Runtime& rt, const Value& object, const Value& name);
Value GetItem(Runtime& rt, const Value& object, const Value& key);
// object[start:stop:step]; missing bounds are None.
Value GetSlice(Runtime& rt, const Value& object, const Value& start, const Value& stop, const Value& step);

// The attributes that Python objects of this type have, methods included; kMissing for none. In methods.cc.
Value LookUpAttribute(Runtime& rt, const Value& object, std::string_view name);

}  // namespace lathe::tmpl
