// The table of parameters: every row is checked at and beyond its bounds, and the documents agree with it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <set>

#include "base/file.h"
#include "serve/openai/body.h"
#include "serve/openai/check_params.h"
#include "serve/openai/openapi.h"
#include "serve/openai/testing/fakes.h"

namespace lathe::serve {
namespace {

using testing::Fixture;
using testing::Parsed;

const ParamTable& Table() {
  static const ParamTable table{ApiLimits{}};
  return table;
}

// A value that a row accepts, with nothing optional in it.
Json Valid(Endpoint endpoint, const ParamSpec& spec);

Json ValidObject(Endpoint endpoint, const std::string& path) {
  Json object = Json::object();
  const size_t prefix = path.empty() ? 0 : path.size() + 1;
  for (const ParamSpec* child : Table().Children(endpoint, path)) {
    if (child->required) object[child->name.substr(prefix)] = Valid(endpoint, *child);
  }
  return object;
}

Json ValidNumber(const ParamSpec& spec, bool whole) {
  const double x = spec.open_min || spec.min < 0 ? std::min(1.0, spec.max) : spec.min;
  return whole ? Json(static_cast<int64_t>(x)) : Json(x);
}

std::string ValidString(const ParamSpec& spec) {
  if (!spec.one_of.empty()) return std::string(spec.one_of.substr(0, spec.one_of.find('|')));
  return std::string(static_cast<size_t>(std::max(1.0, spec.min)), 'a');
}

Json Valid(Endpoint endpoint, const ParamSpec& spec) {
  if (spec.handling == Handling::kRefused)
    return spec.neutral.empty() ? Json() : Parsed(std::string(spec.neutral));
  switch (spec.type) {
    case ParamType::kBool:
    case ParamType::kScalar: return true;
    case ParamType::kInt: return ValidNumber(spec, true);
    case ParamType::kNumber: return ValidNumber(spec, false);
    case ParamType::kString:
    case ParamType::kStringOrStrings:
    case ParamType::kPrompt:
    case ParamType::kStringOrObject:
    case ParamType::kStringOrObjects: return ValidString(spec);
    case ParamType::kStrings: return Json::array({ValidString(spec)});
    case ParamType::kInts: return Json::array({1});
    case ParamType::kObject: return ValidObject(endpoint, spec.name);
    case ParamType::kObjects: return Json::array({ValidObject(endpoint, spec.name + "[]")});
    case ParamType::kBiases: return Json{{"7", 1.5}};
    case ParamType::kAny: return 1;
  }
  return nullptr;
}

// A body in which all is valid and the parameter at `path` has `value` (or is missing, when null is given as
// `value` and `remove` is set).
Json With(Endpoint endpoint, const std::string& path, const Json& value, bool remove = false) {
  Json body = ValidObject(endpoint, "");
  Json* at = &body;
  std::string so_far;
  size_t begin = 0;
  while (true) {
    const size_t dot = path.find('.', begin);
    std::string step = path.substr(begin, dot == std::string::npos ? dot : dot - begin);
    so_far += (so_far.empty() ? "" : ".") + step;
    const bool element = step.ends_with("[]");
    if (element) step.resize(step.size() - 2);
    if (dot == std::string::npos) {
      if (remove)
        at->erase(step);
      else
        (*at)[step] = value;
      return body;
    }
    Json& next = (*at)[step];
    const bool fits = element ? next.is_array() && !next.empty() : next.is_object();
    if (!fits) {
      const Json object = ValidObject(endpoint, so_far);
      next = element ? Json::array({object}) : object;
    }
    at = element ? &next[0] : &next;
    begin = dot + 1;
  }
}

std::string Shown(std::string path) {
  for (size_t at = 0; (at = path.find("[]", at)) != std::string::npos; at += 3) path.replace(at, 2, "[0]");
  return path;
}

struct Case {
  Endpoint endpoint;
  const ParamSpec* spec;
};

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const ParamSpec& spec : Table().rows()) {
    for (const Endpoint endpoint : kEndpoints) {
      if ((spec.endpoints & endpoint) != 0) cases.push_back({endpoint, &spec});
    }
  }
  return cases;
}

// Empty when the body is accepted, else the code.
std::string Check(const Case& c, const Json& value, std::string* param) {
  const Fault fault = CheckParams(With(c.endpoint, c.spec->name, value), c.endpoint, Table());
  *param = fault ? fault->param : "";
  return fault ? fault->code : "";
}

void ExpectRefused(const Case& c, const Json& value, const std::string& where) {
  std::string param;
  const std::string code = Check(c, value, &param);
  EXPECT_NE(code, "") << PathOf(c.endpoint) << " " << c.spec->name << " took " << DumpJson(value);
  EXPECT_EQ(param, Shown(c.spec->name) + where) << PathOf(c.endpoint) << " " << DumpJson(value);
}

void ExpectTaken(const Case& c, const Json& value) {
  std::string param;
  EXPECT_EQ(Check(c, value, &param), "")
      << PathOf(c.endpoint) << " " << c.spec->name << " refused " << DumpJson(value);
}

bool HasNumber(ParamType type) { return type == ParamType::kInt || type == ParamType::kNumber; }

TEST(Params, EveryRowTakesAValidValueAndNullCountsAsAbsent) {
  for (const Case& c : AllCases()) {
    ExpectTaken(c, Valid(c.endpoint, *c.spec));
    if (c.spec->required)
      ExpectRefused(c, nullptr, "");
    else
      ExpectTaken(c, nullptr);
  }
}

TEST(Params, EveryRequiredRowIsMissed) {
  int n = 0;
  for (const Case& c : AllCases()) {
    if (!c.spec->required) continue;
    const Fault fault =
        CheckParams(With(c.endpoint, c.spec->name, nullptr, /*remove=*/true), c.endpoint, Table());
    ASSERT_TRUE(fault.has_value()) << c.spec->name;
    EXPECT_EQ(fault->code, "missing_required_parameter");
    EXPECT_EQ(fault->param, Shown(c.spec->name));
    ++n;
  }
  EXPECT_GT(n, 10);
}

TEST(Params, EveryNumberIsRefusedBeyondItsBounds) {
  int n = 0;
  for (const Case& c : AllCases()) {
    const ParamSpec& s = *c.spec;
    if (s.handling == Handling::kRefused || !HasNumber(s.type)) continue;
    const bool whole = s.type == ParamType::kInt;
    if (std::abs(s.max) < 1e15) {
      ExpectTaken(c, whole ? Json(static_cast<int64_t>(s.max)) : Json(s.max));
      ExpectRefused(c, whole ? Json(static_cast<int64_t>(s.max) + 1) : Json(s.max + 1), "");
      ExpectRefused(c, whole ? Json(static_cast<int64_t>(s.min) - 1) : Json(s.min - 1), "");
      if (!whole) ExpectRefused(c, std::nextafter(s.max, 1e9), "");
      if (s.open_min)
        ExpectRefused(c, s.min, "");
      else
        ExpectTaken(c, whole ? Json(static_cast<int64_t>(s.min)) : Json(s.min));
    } else {
      ExpectTaken(c, INT64_MAX);
      ExpectTaken(c, INT64_MIN);
    }
    ExpectRefused(c, uint64_t{1} << 63, "");
    ExpectRefused(c, UINT64_MAX, "");
    ExpectRefused(c, -1e19, "");
    ExpectRefused(c, 1e300, "");
    if (whole) ExpectRefused(c, 1.5, "");
    ++n;
  }
  EXPECT_GT(n, 40);
}

TEST(Params, EveryRowRefusesTheWrongTypes) {
  for (const Case& c : AllCases()) {
    const ParamType t = c.spec->type;
    if (t == ParamType::kAny || c.spec->handling == Handling::kRefused) continue;
    const bool strings = t == ParamType::kString || t == ParamType::kStringOrStrings ||
                         t == ParamType::kPrompt || t == ParamType::kStringOrObject ||
                         t == ParamType::kStringOrObjects || t == ParamType::kScalar;
    const bool arrays = t == ParamType::kStrings || t == ParamType::kStringOrStrings ||
                        t == ParamType::kInts || t == ParamType::kPrompt || t == ParamType::kObjects ||
                        t == ParamType::kStringOrObjects;
    const bool objects =
        t == ParamType::kObject || t == ParamType::kStringOrObject || t == ParamType::kBiases;
    if (!strings) {
      for (const char* text : {"NaN", "Infinity", "-Infinity", "1", "true", ""}) ExpectRefused(c, text, "");
    }
    if (t != ParamType::kBool && t != ParamType::kScalar) ExpectRefused(c, true, "");
    if (!HasNumber(t) && t != ParamType::kScalar) ExpectRefused(c, 1, "");
    if (!arrays) ExpectRefused(c, Json::array(), "");
    if (!objects) ExpectRefused(c, Json::object(), "");
  }
}

TEST(Params, EveryListRefusesOneEntryTooManyAndWrongEntries) {
  for (const Case& c : AllCases()) {
    const ParamSpec& s = *c.spec;
    if (s.handling == Handling::kRefused) continue;
    const bool list = s.type == ParamType::kStrings || s.type == ParamType::kStringOrStrings ||
                      s.type == ParamType::kPrompt;
    if (list) {
      if (s.max_items > 0) {
        ExpectTaken(c, Json(std::vector<std::string>(s.max_items, "aa")));
        ExpectRefused(c, Json(std::vector<std::string>(s.max_items + 1, "aa")), "");
      }
      ExpectRefused(c, Json::array({"a", 1}), "[1]");
    }
    if (s.type == ParamType::kInts) {
      if (s.max_items > 0) ExpectRefused(c, Json(std::vector<int>(s.max_items + 1, 1)), "");
      ExpectRefused(c, Json::array({1, -1}), "[1]");
      ExpectRefused(c, Json::array({1, 2147483648}), "[1]");
      ExpectRefused(c, Json::array({"a"}), "[0]");
    }
    if (s.type == ParamType::kObjects) {
      if (s.max_items > 0) {
        const Json item = ValidObject(c.endpoint, s.name + "[]");
        ExpectRefused(c, Json(std::vector<Json>(s.max_items + 1, item)), "");
      }
      if (s.min_items > 0) ExpectRefused(c, Json::array(), "");
      ExpectRefused(c, Json::array({1}), "[0]");
    }
    if (s.type == ParamType::kBiases) {
      ExpectRefused(c, Json{{"x", 1}}, ".x");
      ExpectRefused(c, Json{{"-1", 1}}, ".-1");
      ExpectRefused(c, Json{{"1", 101}}, ".1");
      ExpectRefused(c, Json{{"1", -101}}, ".1");
      ExpectRefused(c, Json{{"1", "a"}}, ".1");
      Json many = Json::object();
      for (size_t i = 0; i <= s.max_items; ++i) many[std::to_string(i)] = 0;
      ExpectRefused(c, many, "");
    }
  }
}

TEST(Params, EveryStringKeepsItsLengthAndItsChoices) {
  for (const Case& c : AllCases()) {
    const ParamSpec& s = *c.spec;
    if (s.handling == Handling::kRefused) continue;
    const bool strings = s.type == ParamType::kString || s.type == ParamType::kStringOrStrings;
    if (!strings) continue;
    if (!s.one_of.empty()) {
      ExpectRefused(c, "no such choice", "");
      ExpectRefused(c, std::string(s.one_of) + "|", "");
      continue;
    }
    if (s.max > 0) {
      ExpectTaken(c, std::string(static_cast<size_t>(s.max), 'a'));
      ExpectRefused(c, std::string(static_cast<size_t>(s.max) + 1, 'a'), "");
    }
    if (s.min > 0) ExpectRefused(c, "", "");
  }
}

TEST(Params, RefusedRowsTakeOnlyTheirNeutralValue) {
  for (const Case& c : AllCases()) {
    if (c.spec->handling != Handling::kRefused) continue;
    for (const Json& value : {Json("x"), Json(2), Json::array(), Json{{"a", 1}}}) {
      std::string param;
      EXPECT_EQ(Check(c, value, &param), "unsupported_parameter") << c.spec->name;
    }
  }
}

TEST(Params, UnknownFieldsAreNamedAtEveryLevel) {
  for (const Endpoint endpoint : kEndpoints) {
    const Fault fault = CheckParams(With(endpoint, "no_such", 1), endpoint, Table());
    ASSERT_TRUE(fault.has_value());
    EXPECT_EQ(fault->code, "unknown_parameter");
    EXPECT_EQ(fault->param, "no_such");
    EXPECT_NE(fault->message.find("'no_such'"), std::string::npos);
  }
  for (const Case& c : AllCases()) {
    const std::string path = c.spec->type == ParamType::kObjects ? c.spec->name + "[]" : c.spec->name;
    if (Table().Children(c.endpoint, path).empty()) continue;
    const Fault fault = CheckParams(With(c.endpoint, path + ".no_such", 1), c.endpoint, Table());
    ASSERT_TRUE(fault.has_value()) << path;
    EXPECT_EQ(fault->param, Shown(path) + ".no_such");
  }
}

TEST(Params, RowsAreUniqueForAnEndpoint) {
  for (const Endpoint endpoint : kEndpoints) {
    std::set<std::string> names;
    for (const ParamSpec& spec : Table().rows()) {
      if ((spec.endpoints & endpoint) == 0) continue;
      EXPECT_TRUE(names.insert(spec.name).second) << PathOf(endpoint) << " " << spec.name;
      EXPECT_FALSE(spec.meaning.empty()) << spec.name;
    }
  }
}

TEST(Bodies, BrokenOnesAreRefusedBeforeTheirFieldsAreRead) {
  std::string many_keys = "{\"a\":{";
  for (int i = 0; i < 20000; ++i) many_keys += "\"" + std::to_string(i) + "\":1,";
  many_keys += "\"z\":1}}";
  const std::pair<std::string, const char*> cases[] = {
      {"", "invalid_json"},
      {"[]", "invalid_json"},
      {"3", "invalid_json"},
      {"{\"a\":1", "invalid_json"},
      {"{\"n\":1,\"n\":2}", "invalid_json"},
      {R"({"messages":[{"role":"user","role":"user","content":"a"}]})", "invalid_json"},
      {"{\"n\":1e999}", "invalid_json"},
      {"{\"n\":NaN}", "invalid_json"},
      {"{\"n\":-Infinity}", "invalid_json"},
      {"{\"prompt\":\"\\ud800\"}", "invalid_json"},
      {"{\"prompt\":\"\xff\"}", "invalid_utf8"},
      {"{\"prompt\":\"\xc3\"}", "invalid_utf8"},
      {std::string(40, '[') + std::string(40, ']'), "invalid_json"},
      {"{\"metadata\":" + std::string(100000, '[') + "}", "invalid_json"},
      {many_keys, "unknown_parameter"},  // read in time in proportion to its length
      {"{\"prompt\":\"" + std::string(2000, 'a') + "\"}", "invalid_json"},
  };
  for (const auto& [text, code] : cases) {
    Body body;
    const Fault fault =
        ParseBody(text, kCompletions, Table(),
                  {.max_bytes = many_keys.size() > text.size() ? 1000 : many_keys.size()}, &body);
    ASSERT_TRUE(fault.has_value()) << text.substr(0, 60);
    EXPECT_EQ(fault->code, code) << text.substr(0, 60);
    EXPECT_EQ(fault->status, 400);
    EXPECT_LT(fault->message.size(), 300U);
  }
}

TEST(Documents, LimitsAreThoseOfTheTable) {
  if (std::getenv("LATHE_UPDATE_DOCS") != nullptr) {
    ASSERT_TRUE(WriteFileAtomic(LATHE_SOURCE_DIR "/docs/api-limits.md", ParamDoc(Table())).ok());
  }
  const auto text = ReadFile(LATHE_SOURCE_DIR "/docs/api-limits.md", size_t{1} << 20);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_TRUE(*text == ParamDoc(Table()))
      << "docs/api-limits.md is not what the table prints: run serve_openai_test "
         "with LATHE_UPDATE_DOCS=1";
}

TEST(Documents, OpenApiHasEveryRouteAndParameter) {
  Fixture f;
  const auto r = f.Request("GET", "/openapi.json", "");
  ASSERT_EQ(r->status, 200);
  const Json document = r->Body();
  EXPECT_EQ(document["openapi"], "3.1.0");
  for (const Route& route : f.router().routes()) {
    const std::string method = route.method == "GET" ? "get" : "post";
    EXPECT_TRUE(document["paths"].contains(route.pattern) &&
                document["paths"][route.pattern].contains(method))
        << route.pattern;
  }
  for (const char* path : {"/metrics", "/livez", "/readyz", "/health"})
    EXPECT_TRUE(document["paths"].contains(path));
  for (const Case& c : AllCases()) {
    if (c.spec->name.find('.') != std::string::npos) continue;
    const Json& post = document["paths"][std::string(PathOf(c.endpoint))]["post"];
    const Json& schema = post["requestBody"]["content"]["application/json"]["schema"];
    EXPECT_TRUE(schema["properties"].contains(c.spec->name)) << c.spec->name;
    EXPECT_EQ(schema["additionalProperties"], false);
  }
}

}  // namespace
}  // namespace lathe::serve
