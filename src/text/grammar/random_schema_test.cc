// Random schemas, random texts through their masks: each must parse, and validate by another implementation.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "base/clock.h"
#include "text/grammar/test_support.h"
#include "text/utf8.h"

namespace lathe::grammar_test {
namespace {

using PlainJson = nlohmann::json;

class SchemaMaker {
 public:
  explicit SchemaMaker(Rng* rng) : rng_(rng) {}

  PlainJson Make() {
    PlainJson schema = Any(3);
    if (uses_node_ && schema.is_object()) {
      schema["$defs"]["node"] = {
          {"type", "object"},
          {"properties",
           {{"v", Any(0)}, {"next", {{"anyOf", {{{"$ref", "#/$defs/node"}}, {{"type", "null"}}}}}}}},
          {"required", {"v"}},
          {"additionalProperties", false}};
    }
    return schema;
  }

 private:
  int Pick(int n) { return static_cast<int>(rng_->Below(static_cast<uint64_t>(n))); }
  bool Chance(int percent) { return Pick(100) < percent; }

  PlainJson Any(int depth) {
    const int kind = Pick(depth > 0 ? 12 : 6);
    if (kind == 0) return Integer();
    if (kind == 1) return Number();
    if (kind == 2) return String();
    if (kind == 3) return Simple();
    if (kind == 4) return Enum();
    if (kind == 5) return Chance(30) ? Ref() : String();
    if (kind < 9) return Object(depth);
    if (kind < 11) return Array(depth);
    return Choice(depth);
  }

  PlainJson Integer() {
    PlainJson s = {{"type", "integer"}};
    if (Chance(50)) s["minimum"] = Pick(2000) - 1000;
    if (Chance(50)) s["maximum"] = s.value("minimum", -3) + Pick(5000);
    if (Chance(10)) s["exclusiveMaximum"] = s.value("minimum", 5) + 2 + Pick(20);
    if (Chance(15) && !s.contains("maximum") && !s.contains("exclusiveMaximum"))
      s["multipleOf"] = 1 + Pick(30);
    return s;
  }

  PlainJson Number() {
    PlainJson s = {{"type", "number"}};
    if (Chance(50)) s["minimum"] = (Pick(2000) - 1000) / 8.0;
    if (Chance(50))
      s[Chance(50) ? "maximum" : "exclusiveMaximum"] = s.value("minimum", -2.25) + 0.01 + Pick(300) / 7.0;
    if (Chance(10) && !s.contains("minimum")) s["exclusiveMinimum"] = -5.5;
    return s;
  }

  PlainJson String() {
    PlainJson s = {{"type", "string"}};
    static const char* const kPatterns[] = {
        "^[a-z]{2,5}$", "ab+c", "^(foo|bar)-[0-9]+$", "[0-9]", "^$|^x", "^[A-Z][a-z]* ?[a-z]*$", "\\d\\w"};
    static const char* const kFormats[] = {"date",  "time",     "date-time", "uuid", "ipv4",
                                           "email", "hostname", "whatever",  "ipv6", "uri"};
    const int kind = Pick(6);
    if (kind == 0) s["pattern"] = kPatterns[Pick(std::size(kPatterns))];
    if (kind == 1) s["format"] = kFormats[Pick(std::size(kFormats))];
    if (kind == 2 || kind == 3) {
      s["minLength"] = Pick(6);
      if (Chance(70)) s["maxLength"] = static_cast<int>(s["minLength"]) + Pick(30);
    }
    if (kind == 4) {
      s["pattern"] = "^[a-z0-9]*$";
      s["maxLength"] = 2 + Pick(20);
    }
    return s;
  }

  PlainJson Simple() {
    switch (Pick(5)) {
      case 0: return {{"type", "null"}};
      case 1: return {{"type", "boolean"}};
      case 2: return {{"type", {"string", "null", "integer"}}, {"description", "three of them"}};
      case 3: return Chance(50) ? PlainJson::object() : PlainJson(true);
      default: return {{"const", Constant()}};
    }
  }

  PlainJson Constant() {
    switch (Pick(6)) {
      case 0: return Pick(1000) - 500;
      case 1: return "text \"" + std::to_string(Pick(50)) + "\" é\n";
      case 2: return nullptr;
      case 3: return {{"a", {1, 2, {{"b", "c"}}}}};
      case 4: return Pick(100) / 4.0;
      default: return Chance(50);
    }
  }

  PlainJson Enum() {
    PlainJson values = PlainJson::array();
    for (int i = 1 + Pick(5); i > 0; --i) values.push_back(Constant());
    return {{"enum", values}};
  }

  PlainJson Ref() {
    uses_node_ = true;
    return {{"$ref", "#/$defs/node"}};
  }

  PlainJson Object(int depth) {
    PlainJson s = {{"type", "object"}};
    static const char* const kNames[] = {"id",   "name", "na",    "name2", "value",
                                         "a\"b", "é",    "items", "x y",   ""};
    PlainJson properties = PlainJson::object();
    PlainJson required = PlainJson::array();
    for (int i = Pick(6); i > 0; --i) {
      const std::string name = kNames[Pick(std::size(kNames))];
      if (properties.contains(name)) continue;
      properties[name] = Any(depth - 1);
      if (Chance(40)) required.push_back(name);
    }
    if (Chance(10)) required.push_back("undeclared");
    if (!properties.empty()) s["properties"] = properties;
    if (!required.empty()) s["required"] = required;
    const int open = Pick(10);
    if (open < 6 && !(required.size() > 0 && required.back() == "undeclared"))
      s["additionalProperties"] = false;
    if (open == 7) s["additionalProperties"] = Any(depth - 1);
    if (Chance(10)) s["maxProperties"] = required.size() + static_cast<size_t>(Pick(3));
    if (Chance(10) && s.value("additionalProperties", PlainJson(true)) == PlainJson(false)) {
      s["minProperties"] = std::min(properties.size(), static_cast<size_t>(Pick(4)));
      s.erase("maxProperties");
    }
    return s;
  }

  PlainJson Array(int depth) {
    PlainJson s = {{"type", "array"}};
    if (Chance(20)) {
      s["items"] = PlainJson::array({Any(depth - 1), Any(depth - 1)});
      if (Chance(70)) s["additionalItems"] = false;
    } else if (Chance(90)) {
      s["items"] = Any(depth - 1);
    }
    if (Chance(40)) s["minItems"] = Pick(3);
    if (Chance(40)) s["maxItems"] = 2 + Pick(6);
    return s;
  }

  PlainJson Choice(int depth) {
    switch (Pick(3)) {
      case 0: {
        PlainJson branches = PlainJson::array();
        for (int i = 1 + Pick(3); i > 0; --i) branches.push_back(Any(depth - 1));
        return {{"anyOf", branches}};
      }
      case 1: {
        PlainJson branches = PlainJson::array();
        for (int i = 0; i < 3; ++i) {
          branches.push_back(
              {{"type", "object"},
               {"properties", {{"kind", {{"const", "k" + std::to_string(i)}}}, {"value", Any(depth - 1)}}},
               {"required", {"kind"}}});
        }
        return {{"oneOf", branches}};
      }
      default: {
        PlainJson a = {
            {"type", "object"}, {"properties", {{"p", Integer()}, {"q", String()}}}, {"required", {"p"}}};
        PlainJson b = {{"properties", {{"p", {{"minimum", -100000}}}, {"r", Any(depth - 1)}}},
                       {"required", {"r"}}};
        return {{"allOf", {a, b}}};
      }
    }
  }

  Rng* rng_;
  bool uses_node_ = false;
};

bool Validates(const PlainJson& schema_json, const PlainJson& value, std::string* why) {
  const valijson::adapters::NlohmannJsonAdapter schema_adapter(schema_json);
  valijson::Schema schema;
  valijson::SchemaParser parser;
  parser.populateSchema(schema_adapter, schema);
  const valijson::adapters::NlohmannJsonAdapter value_adapter(value);
  valijson::Validator validator;
  valijson::ValidationResults results;
  if (validator.validate(schema, value_adapter, &results)) return true;
  valijson::ValidationResults::Error error;
  while (results.popError(error)) *why += error.description + "\n";
  return false;
}

void CheckSchemas(const std::shared_ptr<const GrammarVocab>& vocab, uint64_t seed, int schemas, int texts) {
  Rng rng(seed);
  int impossible = 0, cut = 0, valid = 0;
  double compile = 0, total_tokens = 0;
  size_t longest = 0;
  const double begin = NowSeconds();
  for (int i = 0; i < schemas && !::testing::Test::HasFailure(); ++i) {
    const PlainJson schema = SchemaMaker(&rng).Make();
    const std::string source = schema.dump();
    GrammarLimits limits;
    limits.seconds = 5;  // other work may run here too
    const double start = NowSeconds();
    const auto grammar = CompileGrammar(Schema(source), vocab, limits);
    compile += NowSeconds() - start;
    if (!grammar.ok()) {
      ++impossible;
      ASSERT_NE(grammar.status().message().find("no text"), std::string::npos)
          << grammar.status().message() << "\n"
          << source;
      continue;
    }
    for (int t = 0; t < texts; ++t) {
      const Generated g = Generate(*grammar, &rng, static_cast<int>(rng.Below(30)), 4000);
      ASSERT_FALSE(g.stuck) << source << "\n" << g.text;
      total_tokens += g.tokens;
      if (!g.ended) {
        ++cut;
        continue;
      }
      longest = std::max(longest, g.text.size());
      ASSERT_TRUE(text::IsValidUtf8(g.text)) << source;
      const PlainJson value = PlainJson::parse(g.text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << source << "\n" << g.text;
      std::string why;
      ASSERT_TRUE(Validates(schema, value, &why)) << source << "\n" << g.text << "\n" << why;
      ++valid;
    }
  }
  std::printf(
      "%d schemas in %.1f s (compiled in %.2f ms each): %d texts valid, longest %zu bytes, %.0f tokens; %d "
      "not ended in 4000 tokens, %d impossible\n",
      schemas, NowSeconds() - begin, compile / schemas * 1e3, valid, longest, total_tokens, cut, impossible);
  EXPECT_LT(cut, schemas / 100);
  EXPECT_LT(impossible, schemas / 4);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSchemas = 400;
#else
constexpr int kSchemas = 10000;
#endif

// In two threads, which share the vocabulary as requests do.
TEST(RandomSchemas, TalesTokens) {
  std::thread other([] { CheckSchemas(TalesVocab(), 1, kSchemas / 2, 1); });
  CheckSchemas(TalesVocab(), 4, kSchemas / 2, 1);
  other.join();
}

TEST(RandomSchemas, Llama3Tokens) {
  if (Llama3Vocab() != nullptr) CheckSchemas(Llama3Vocab(), 2, 100, 1);
}

TEST(RandomSchemas, QwenTokens) {
  if (QwenVocab() != nullptr) CheckSchemas(QwenVocab(), 3, 100, 1);
}

}  // namespace
}  // namespace lathe::grammar_test
