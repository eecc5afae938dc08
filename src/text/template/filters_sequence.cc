// Filters of sequences.
#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "text/template/filters.h"
#include "text/template/methods.h"
#include "text/template/ops.h"
#include "text/template/tests.h"
#include "text/template/text.h"

namespace lathe::tmpl {
namespace {

// Reads an attribute path: "a.b.0". Looks items up before attributes.
class AttributeGetter {
 public:
  AttributeGetter(Runtime& rt, const Value* path, Value fallback = Value::None(), bool ignore_case = false)
      : rt_(rt), fallback_(std::move(fallback)), ignore_case_(ignore_case) {
    if (path == nullptr || path->IsNone()) return;
    if (!path->IsString()) {
      parts_ = {*path};
      return;
    }
    const std::string& text = path->str().text();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find('.', begin), text.size());
      const std::string part = text.substr(begin, end - begin);
      const bool number =
          !part.empty() && part.size() < 18 && part.find_first_not_of("0123456789") == std::string::npos;
      parts_.push_back(number ? Value::Integer(std::stoll(part)) : rt.MakeString(part));
      begin = end + 1;
    }
  }

  Value operator()(Value item) const {
    for (const Value& part : parts_) {
      if (rt_.failed()) return {};
      item = GetItem(rt_, item, part);
      if (!fallback_.IsNone() && item.IsUndefined()) item = fallback_;
    }
    if (ignore_case_ && item.IsString()) item = LowerCaseText(rt_, item);
    return item;
  }

 private:
  Runtime& rt_;
  std::vector<Value> parts_;
  Value fallback_;
  bool ignore_case_;
};

// An iterator whose error, if the render has just failed, waits for the reader to reach it.
Value Deferred(Runtime& rt, std::vector<Value> items) {
  Status error = rt.failed() ? rt.TakeError() : Status::Ok();
  const Value iterator = rt.MakeIterator(std::move(items));
  if (iterator.Is(Kind::kIterator)) iterator.iterator().error = std::move(error);
  return iterator;
}

Value Length_(Runtime& rt, const Value& value, const Args& args) {
  return Params(rt, "length", args, {}).ok() ? Value::Integer(Length(rt, value)) : Value();
}

Value First(Runtime& rt, const Value& value, const Args& args) {
  if (!Params(rt, "first", args, {}).ok()) return {};
  if (value.Is(Kind::kIterator)) {
    Iterator& it = value.iterator();
    if (it.next < it.items.size()) return it.items[it.next++];
  }
  std::vector<Value> items;
  if (!Items(rt, value, &items)) return {};
  return items.empty() ? rt.MakeUndefined("No first item, sequence was empty.") : items.front();
}

bool Reversible(const Value& value) { return HasLength(value) && !value.Is(Kind::kLoop); }

Value Last(Runtime& rt, const Value& value, const Args& args) {
  if (!Params(rt, "last", args, {}).ok()) return {};
  if (!Reversible(value)) return rt.Invalid("last does not work on a %s", TypeRepr(value).c_str());
  std::vector<Value> items;
  if (!Items(rt, value, &items)) return {};
  return items.empty() ? rt.MakeUndefined("No last item, sequence was empty.") : items.back();
}

Value List_(Runtime& rt, const Value& value, const Args& args) {
  std::vector<Value> items;
  if (!Params(rt, "list", args, {}).ok() || !Items(rt, value, &items)) return {};
  return rt.MakeList(std::move(items));
}

Value Reverse(Runtime& rt, const Value& value, const Args& args) {
  if (!Params(rt, "reverse", args, {}).ok()) return {};
  if (value.IsString()) return GetSlice(rt, value, Value::None(), Value::None(), Value::Integer(-1));
  std::vector<Value> items;
  if (!Items(rt, value, &items)) return {};
  std::reverse(items.begin(), items.end());
  return Reversible(value) ? rt.MakeIterator(std::move(items), "reversed") : rt.MakeList(std::move(items));
}

Value Join(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "join", args, {"d", "attribute"});
  std::vector<Value> items;
  if (!p.ok() || !Items(rt, value, &items)) return {};
  Value separator = p.Get(0) == nullptr ? rt.MakeString("") : ToText(rt, p[0]);
  if (rt.failed()) return {};
  separator = WithMarkup(rt, separator, false);
  const AttributeGetter get(rt, p.Get(1));
  for (Value& item : items) {
    if (rt.failed()) return {};
    item = ToText(rt, get(item));
  }
  return rt.failed() ? Value() : JoinStrings(rt, separator, items);
}

Value Items_(Runtime& rt, const Value& value, const Args& args) {
  if (!Params(rt, "items", args, {}).ok()) return {};
  std::vector<Value> items;
  if (value.Is(Kind::kDict))
    Items(rt, rt.MakeView(value, DictView::Part::kItems), &items);
  else if (!value.IsUndefined())
    rt.Invalid("items works on a mapping, found %s", TypeRepr(value).c_str());
  return Deferred(rt, std::move(items));
}

// Stable; `key_of` each item once.
template <typename KeyOf>
bool SortItems(Runtime& rt, std::vector<Value>* items, KeyOf key_of, bool reverse) {
  if (!rt.Room(items->size() * sizeof(std::pair<Value, Value>))) return false;
  std::vector<std::pair<Value, Value>> keyed;
  keyed.reserve(items->size());
  for (const Value& item : *items) {
    if (rt.failed()) return false;
    keyed.emplace_back(key_of(item), item);
  }
  // Descending order keeps equal items in place too.
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  std::stable_sort(keyed.begin(), keyed.end(),
                   [&](const auto& a, const auto& b) { return Less(rt, a.first, b.first); });
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  for (size_t i = 0; i < keyed.size(); ++i) (*items)[i] = std::move(keyed[i].second);
  return !rt.failed();
}

Value Sort(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "sort", args, {"reverse", "case_sensitive", "attribute"});
  std::vector<Value> items;
  if (!p.ok() || !Items(rt, value, &items)) return {};
  const bool ignore_case = !p.GetBool(1, false);
  std::vector<AttributeGetter> getters;
  if (p.Given(2) && p[2].IsString()) {
    std::vector<Value> paths;
    const Value comma = rt.MakeString(",");
    if (!Items(rt, SplitText(rt, p[2], &comma, -1, false), &paths)) return {};
    for (const Value& path : paths) getters.emplace_back(rt, &path, Value::None(), ignore_case);
  } else {
    getters.emplace_back(rt, p.Get(2), Value::None(), ignore_case);
  }
  const auto key_of = [&](const Value& item) {
    std::vector<Value> key;
    for (const AttributeGetter& get : getters) key.push_back(get(item));
    return rt.MakeList(std::move(key));
  };
  if (!SortItems(rt, &items, key_of, p.GetBool(0, false))) return {};
  return rt.MakeList(std::move(items));
}

Value Dictsort(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "dictsort", args, {"case_sensitive", "by", "reverse"});
  Value by;
  if (!p.ok() || !p.GetString(1, LiteralString("key"), &by)) return {};
  const std::string& which = by.str().text();
  if (which != "key" && which != "value") return rt.Invalid("dictsort sorts by key or by value");
  if (value.IsUndefined()) return rt.FailUndefined(value);
  if (!value.Is(Kind::kDict))
    return rt.Invalid("dictsort needs a mapping, found %s", TypeRepr(value).c_str());
  std::vector<Value> items;
  if (!Items(rt, rt.MakeView(value, DictView::Part::kItems), &items)) return {};
  const bool ignore_case = !p.GetBool(0, false);
  const auto key_of = [&](const Value& pair) {
    const Value& key = pair.list().items[which == "key" ? 0 : 1];
    return ignore_case && key.IsString() ? LowerCaseText(rt, key) : key;
  };
  if (!SortItems(rt, &items, key_of, p.GetBool(2, false))) return {};
  return rt.MakeList(std::move(items));
}

Value Groupby(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  std::vector<Value> items;
  if (!p.ok() || !Items(rt, value, &items)) return {};
  const Value fallback = p.Get(1) == nullptr ? Value::None() : p[1];
  const AttributeGetter key_of(rt, p.Get(0), fallback, !p.GetBool(2, false));
  const AttributeGetter shown_key(rt, p.Get(0), fallback);
  if (!SortItems(rt, &items, key_of, false)) return {};
  std::vector<Value> groups;
  for (size_t begin = 0; begin < items.size();) {
    const Value key = key_of(items[begin]);
    size_t end = begin + 1;
    while (end < items.size() && !rt.failed() && Equal(rt, key, key_of(items[end]))) ++end;
    if (rt.failed()) return {};
    const auto at = [&](size_t i) { return items.begin() + static_cast<std::ptrdiff_t>(i); };
    const Value group = rt.MakePair(shown_key(items[begin]), rt.MakeList({at(begin), at(end)}));
    if (group.Is(Kind::kTuple)) group.list().named_group = true;
    groups.push_back(group);
    begin = end;
  }
  return rt.MakeList(std::move(groups));
}

Value Unique(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "unique", args, {"case_sensitive", "attribute"});
  std::vector<Value> items, out;
  if (!p.ok() || !Items(rt, value, &items)) return {};
  const AttributeGetter key_of(rt, p.Get(1), Value::None(), !p.GetBool(0, false));
  std::unordered_multimap<size_t, Value> seen;
  for (const Value& item : items) {
    const Value key = key_of(item);
    const size_t hash = HashValue(rt, key);
    if (rt.failed()) break;
    const auto [begin, end] = seen.equal_range(hash);
    if (std::any_of(begin, end, [&](const auto& entry) { return Equal(rt, entry.second, key); })) continue;
    seen.emplace(hash, key);
    out.push_back(item);
  }
  return Deferred(rt, std::move(out));
}

Value Extreme(Runtime& rt, const Value& value, const Args& args, bool max) {
  const Params p(rt, max ? "max" : "min", args, {"case_sensitive", "attribute"});
  std::vector<Value> items;
  if (!p.ok() || !Items(rt, value, &items)) return {};
  if (items.empty()) return rt.MakeUndefined("No aggregated item, sequence was empty.");
  const AttributeGetter key_of(rt, p.Get(1), Value::None(), !p.GetBool(0, false));
  size_t best = 0;
  Value best_key = key_of(items[0]);
  for (size_t i = 1; i < items.size() && !rt.failed(); ++i) {
    Value key = key_of(items[i]);
    if (!(max ? Less(rt, best_key, key) : Less(rt, key, best_key))) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}
Value Min(Runtime& rt, const Value& value, const Args& args) { return Extreme(rt, value, args, false); }
Value Max(Runtime& rt, const Value& value, const Args& args) { return Extreme(rt, value, args, true); }

Value Sum(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "sum", args, {"attribute", "start"});
  std::vector<Value> items;
  if (!p.ok() || !Items(rt, value, &items)) return {};
  const AttributeGetter get(rt, p.Get(0));
  Value total = p.Get(1) == nullptr ? Value::Integer(0) : p[1];
  if (total.IsString()) return rt.Invalid("sum cannot add strings; use join");
  for (const Value& item : items) {
    if (rt.failed()) return {};
    total = Binary(rt, BinaryOp::kAdd, total, get(item));
  }
  return total;
}

Value Batch(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "batch", args, {"linecount", "fill_with"}, 1);
  std::vector<Value> items, out, line;
  int64_t count = 0;
  if (!p.ok() || !p.GetInt(0, 0, &count) || !Items(rt, value, &items)) return {};
  for (const Value& item : items) {
    if (static_cast<int64_t>(line.size()) == count) {
      out.push_back(rt.MakeList(std::exchange(line, {})));
      if (rt.failed()) return {};
    }
    line.push_back(item);
  }
  if (!line.empty()) {
    const int64_t missing = count - static_cast<int64_t>(line.size());
    if (p.Given(1) && missing > 0) {
      if (missing > INT32_MAX || !rt.Room(static_cast<size_t>(missing) * sizeof(Value)))
        return rt.Room(SIZE_MAX), Value();
      line.insert(line.end(), static_cast<size_t>(missing), p[1]);
    }
    out.push_back(rt.MakeList(std::move(line)));
  }
  return rt.MakeIterator(std::move(out));
}

Value Slice(Runtime& rt, const Value& value, const Args& args) {
  const Params p(rt, "slice", args, {"slices", "fill_with"}, 1);
  std::vector<Value> items, out;
  int64_t slices = 0;
  if (!p.ok() || !p.GetInt(0, 0, &slices) || !Items(rt, value, &items)) return {};
  if (slices == 0) return rt.Invalid("slice: division by zero");
  const auto length = static_cast<int64_t>(items.size());
  for (int64_t i = 0, begin = 0; i < slices; ++i) {
    if (!rt.Step()) return {};
    const int64_t size = length / slices + (i < length % slices ? 1 : 0);
    std::vector<Value> part(items.begin() + begin, items.begin() + begin + size);
    begin += size;
    if (p.Given(1) && i >= length % slices) part.push_back(p[1]);
    out.push_back(rt.MakeList(std::move(part)));
  }
  return rt.MakeIterator(std::move(out));
}

Value Map(Runtime& rt, const Value& value, const Args& args) {
  if (!Truthy(value)) return rt.MakeIterator({});
  std::vector<Value> items, out;
  if (!Items(rt, value, &items)) return Deferred(rt, {});
  const auto named = [&](std::string_view name) -> const Value* {
    for (const auto& [key, v] : args.named)
      if (key == name) return &v;
    return nullptr;
  };
  if (args.positional.empty() && named("attribute") != nullptr) {
    const Value* fallback = named("default");
    if (args.named.size() > (fallback == nullptr ? 1u : 2u))
      return rt.Invalid("map got an unknown argument"), Deferred(rt, {});
    const AttributeGetter get(rt, named("attribute"), fallback == nullptr ? Value::None() : *fallback);
    for (const Value& item : items) {
      Value mapped = get(item);
      if (rt.failed()) break;
      out.push_back(std::move(mapped));
    }
    return Deferred(rt, std::move(out));
  }
  if (args.positional.empty() || !args.positional[0].IsString())
    return rt.Invalid("map needs the name of a filter or an attribute"), Deferred(rt, {});
  const std::string& name = args.positional[0].str().text();
  const Builtin* filter = FindFilter(name);
  if (filter == nullptr) return rt.Invalid("no filter named '%.80s'", name.c_str()), Deferred(rt, {});
  Args rest{{args.positional.begin() + 1, args.positional.end()}, args.named};
  for (const Value& item : items) {
    if (!rt.Step()) break;
    Value mapped = filter->function(rt, item, rest);
    if (rt.failed()) break;
    out.push_back(std::move(mapped));
  }
  return Deferred(rt, std::move(out));
}

Value SelectItems(Runtime& rt, const Value& value, const Args& args, bool keep, bool by_attribute) {
  if (!Truthy(value)) return rt.MakeIterator({});
  std::vector<Value> items, out;
  if (!Items(rt, value, &items)) return Deferred(rt, {});
  const size_t skip = by_attribute ? 1 : 0;
  if (args.positional.size() < skip) return rt.Invalid("an attribute name is missing"), Deferred(rt, {});
  const AttributeGetter get(rt, by_attribute ? &args.positional[0] : nullptr);
  TestFunction test = nullptr;
  Args rest;
  if (args.positional.size() > skip) {
    const Value& name = args.positional[skip];
    test = name.IsString() ? FindTest(name.str().text()) : nullptr;
    if (test == nullptr) {
      rt.Invalid("no test named '%.80s'", name.IsString() ? name.str().text().c_str() : "?");
      return Deferred(rt, {});
    }
    rest.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1,
                           args.positional.end());
    rest.named = args.named;
  }
  for (const Value& item : items) {
    if (!rt.Step()) break;
    const Value subject = get(item);
    if (rt.failed()) break;
    const bool passes = test == nullptr ? Truthy(subject) : test(rt, subject, rest);
    if (rt.failed()) break;
    if (passes == keep) out.push_back(item);
  }
  return Deferred(rt, std::move(out));
}
Value Select(Runtime& rt, const Value& v, const Args& args) { return SelectItems(rt, v, args, true, false); }
Value Reject(Runtime& rt, const Value& v, const Args& args) { return SelectItems(rt, v, args, false, false); }
Value Selectattr(Runtime& rt, const Value& v, const Args& args) {
  return SelectItems(rt, v, args, true, true);
}
Value Rejectattr(Runtime& rt, const Value& v, const Args& args) {
  return SelectItems(rt, v, args, false, true);
}

constexpr Builtin kSequenceFilters[] = {
    {"batch", Batch},     {"count", Length_},   {"dictsort", Dictsort},
    {"first", First},     {"groupby", Groupby}, {"items", Items_},
    {"join", Join},       {"last", Last},       {"length", Length_},
    {"list", List_},      {"map", Map},         {"max", Max},
    {"min", Min},         {"reject", Reject},   {"rejectattr", Rejectattr},
    {"reverse", Reverse}, {"select", Select},   {"selectattr", Selectattr},
    {"slice", Slice},     {"sort", Sort},       {"sum", Sum},
    {"unique", Unique},
};

}  // namespace

const Builtin* FindSequenceFilter(std::string_view name) {
  const auto* it = std::find_if(std::begin(kSequenceFilters), std::end(kSequenceFilters),
                                [&](const Builtin& b) { return b.name == name; });
  return it == std::end(kSequenceFilters) ? nullptr : it;
}

}  // namespace lathe::tmpl
