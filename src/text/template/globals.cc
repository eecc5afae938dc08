#include "text/template/globals.h"

#include <algorithm>
#include <ctime>
#include <iterator>

#include "text/template/ops.h"
#include "text/template/text.h"

namespace lathe::tmpl {
namespace {

// As the sandbox of the reference has it.
constexpr Int kMaxRange = 100000;

Value RangeGlobal(Runtime& rt, const Value&, const Args& args) {
  if (!args.named.empty()) return rt.Invalid("range() takes no keyword arguments");
  const Params p(rt, "range", args, {"start", "stop", "step"}, 1);
  if (!p.ok()) return {};
  Int bounds[3] = {0, 0, 1};
  for (size_t i = 0; i < args.positional.size(); ++i) {
    const Value& v = args.positional[i];
    if (v.IsUndefined()) return rt.FailUndefined(v);
    if (!v.IsIntegral()) return rt.Invalid("range() needs integers, found %s", TypeRepr(v).c_str());
    constexpr Int kBound = Int{1} << 100;
    if (v.integer() > kBound || v.integer() < -kBound)
      return rt.Invalid("range() got a number that is too large");
    bounds[i] = v.integer();
  }
  if (args.positional.size() == 1) std::swap(bounds[0], bounds[1]);
  if (bounds[2] == 0) return rt.Invalid("range() needs a step that is not zero");
  auto range = std::make_shared<Range>();
  *range = {bounds[0], bounds[1], bounds[2]};
  if (range->size() > kMaxRange) return rt.Invalid("range() is larger than the limit of 100000 items");
  return Value::Object(Kind::kRange, std::move(range));
}

// The entries that dict(...) and namespace(...) take: a mapping or pairs, and keyword arguments.
bool Entries(Runtime& rt, const char* callee, const Args& args,
             std::vector<std::pair<Value, Value>>* entries) {
  if (args.positional.size() > 1)
    return rt.Invalid("%s() takes at most one positional argument", callee), false;
  if (args.positional.size() == 1) {
    const Value& source = args.positional[0];
    std::vector<Value> pairs;
    if (source.Is(Kind::kDict))
      *entries = source.dict().entries;
    else if (!Items(rt, source, &pairs))
      return false;
    for (const Value& pair : pairs) {
      std::vector<Value> parts;
      if (!Items(rt, pair, &parts)) return false;
      if (parts.size() != 2) return rt.Invalid("%s() needs pairs", callee), false;
      Set(rt, entries, parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : args.named) Set(rt, entries, rt.MakeString(name), value);
  return !rt.failed();
}

Value DictGlobal(Runtime& rt, const Value&, const Args& args) {
  std::vector<std::pair<Value, Value>> entries;
  return Entries(rt, "dict", args, &entries) ? rt.MakeDict(std::move(entries)) : Value();
}

Value NamespaceGlobal(Runtime& rt, const Value&, const Args& args) {
  std::vector<std::pair<Value, Value>> entries;
  if (!Entries(rt, "namespace", args, &entries)) return {};
  for (const auto& [key, value] : entries)
    if (!key.IsString()) return rt.Invalid("namespace() needs names as keys");
  const Value ns = rt.MakeNamespace();
  if (ns.Is(Kind::kNamespace)) ns.name_space().attributes = std::move(entries);
  return ns;
}

Value JoinerGlobal(Runtime& rt, const Value&, const Args& args) {
  const Params p(rt, "joiner", args, {"sep"});
  if (!p.ok() || !rt.Step()) return {};
  auto joiner = std::make_shared<Joiner>();
  joiner->separator = p.Get(0) == nullptr ? rt.MakeString(", ") : p[0];
  joiner->depth = rt.Nested(DepthOf(joiner->separator));
  return Value::Object(Kind::kJoiner, std::move(joiner));
}

Value CyclerGlobal(Runtime& rt, const Value&, const Args& args) {
  if (!args.named.empty() || args.positional.empty()) return rt.Invalid("cycler() needs items");
  auto cycler = std::make_shared<Cycler>();
  cycler->items = args.positional;
  cycler->depth = rt.Nested(DepthOf(cycler->items));
  cycler->charge = rt.MakeCharge(cycler->items.size() * sizeof(Value));
  return Value::Object(Kind::kCycler, std::move(cycler));
}

Value RaiseException(Runtime& rt, const Value&, const Args& args) {
  const Params p(rt, "raise_exception", args, {"message"}, 1);
  const Value message = p.ok() ? ToText(rt, p[0]) : Value();
  if (rt.failed()) return {};
  return rt.FailWith({StatusCode::kInvalidArgument, message.str().text()});
}

// What Python adds to the C library's formats, for a time without a zone and without a fraction.
std::string PythonTimeFormat(std::string_view format) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out.push_back(format[i]);
      continue;
    }
    const char c = format[++i];
    if (c == 'f')
      out += "000000";
    else if (c != 'z' && c != 'Z')
      out += {'%', c};
  }
  return out;
}

Value StrftimeNow(Runtime& rt, const Value&, const Args& args) {
  const Params p(rt, "strftime_now", args, {"format"}, 1);
  Value format;
  if (!p.ok() || !p.GetString(0, Value(), &format)) return {};
  if (!format.IsString()) return rt.Invalid("strftime_now() needs a string");
  constexpr size_t kMaxFormat = 256, kMaxResult = 8192;
  if (format.str().size() > kMaxFormat)
    return rt.Invalid("strftime_now() takes formats of at most 256 bytes");
  std::tm now{};
  if (rt.options().now) {
    now = rt.options().now();
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &now);
  }
  // A leading byte tells an empty result from one that did not fit.
  const std::string full = "." + PythonTimeFormat(format.str().text());
  char buffer[kMaxResult];
  const size_t n = std::strftime(buffer, sizeof(buffer), full.c_str(), &now);
  if (n == 0) return rt.Invalid("strftime_now() got a format whose result is too long");
  return rt.MakeString(std::string_view(buffer, n).substr(1), format.str().any_user());
}

constexpr Builtin kGlobals[] = {
    {"range", RangeGlobal},        {"dict", DictGlobal},     {"namespace", NamespaceGlobal},
    {"joiner", JoinerGlobal},      {"cycler", CyclerGlobal}, {"raise_exception", RaiseException},
    {"strftime_now", StrftimeNow},
};

}  // namespace

const Builtin* FindGlobal(std::string_view name) {
  const auto* it = std::find_if(std::begin(kGlobals), std::end(kGlobals),
                                [&](const Builtin& b) { return b.name == name; });
  return it == std::end(kGlobals) ? nullptr : it;
}

}  // namespace lathe::tmpl
