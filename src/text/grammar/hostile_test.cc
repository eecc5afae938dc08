// Sources made to hurt: each is refused in one sentence or compiled, within the limits of time and memory.
#include <gtest/gtest.h>

#include <functional>

#include "base/clock.h"
#include "text/grammar/test_support.h"

namespace lathe::grammar_test {
namespace {

std::string Times(int n, std::string_view s) {
  std::string out;
  for (int i = 0; i < n; ++i) out += s;
  return out;
}

std::string Numbered(int n, const std::function<std::string(const std::string&)>& item) {
  std::string out;
  for (int i = 0; i < n; ++i) out += (i > 0 ? "," : "") + item(std::to_string(i));
  return out;
}

struct Hostile {
  std::string name;
  OutputFormat format;
  bool refused;
};

std::vector<Hostile> Sources() {
  const auto wrapped = [](int n, const std::string& open, const std::string& inner,
                          const std::string& close) { return Times(n, open) + inner + Times(n, close); };
  OutputFormat choices;
  choices.kind = OutputFormat::Kind::kChoice;
  for (int i = 0; i < 6000; ++i) choices.choices.push_back("c" + std::to_string(i * 7919));
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 3000; ++i)
    chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " r" + std::to_string(i + 1) + "\n";
  chain += "r3000 ::= \"a\"\n";
  std::string refs =
      R"({"$ref":"#/$defs/d0","$defs":{)" +
      Numbered(2000,
               [](const std::string& i) {
                 return "\"d" + i + R"(":{"$ref":"#/$defs/d)" + std::to_string(std::stoi(i) + 1) + "\"}";
               }) +
      R"(,"d2000":{"type":"null"}}})";
  std::string family =
      R"({"$ref":"#/$defs/a","$defs":{"a":{"properties":{"x":{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]}}},"b":{"properties":{"x":{"allOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/a"},{"properties":{"x":{"$ref":"#/$defs/b"}}}]}}}}})";
  return {
      {"60,000 groups", Regex(wrapped(30000, "(", "a", ")")), true},
      {"60,000 EBNF groups", Ebnf("root ::= " + wrapped(30000, "(", "\"a\"", ")")), true},
      {"30,000 open groups", Regex(Times(30000, "(")), true},
      {"deep schema", Schema(wrapped(2000, R"({"items":)", "{}", "}")), true},
      {"deep JSON in a keyword", Schema(R"({"const":)" + wrapped(5000, "[", "", "]") + "}"), true},
      {"too large", Schema(R"({"const":")" + std::string(70000, 'x') + "\"}"), true},
      {"exponential regex", Regex("(a|b)*a" + Times(40, "(a|b)")), false},
      {"exponential regex, counted", Regex("(.*x.{3000}){2}|.*y.{3000}"), false},
      {"huge repetition", Regex("[a-z]{1,1000000}"), false},
      {"nested huge repetitions", Regex("(((a{1,1000000}){1,1000000}b?){1,1000000}c){1000000}"), false},
      {"repetitions of nothing", Regex("((((a?){0,1000000})*){5,1000000}b){0,1000000}"), false},
      {"nested stars", Regex(wrapped(60, "(", "a", "*)") + "b"), false},
      {"repetition beyond all", Regex("a{99999999999999999999}"), true},
      {"60 KB of alternatives", Regex(Times(30000, "a|")), false},
      {"many choices", choices, false},
      {"huge enum", Schema(R"({"enum":[)" + Numbered(9000, [](const std::string& i) { return i; }) + "]}"),
       false},
      {"many optional properties",
       Schema(R"({"properties":{)" +
              Numbered(4000, [](const std::string& i) { return "\"p" + i + "\":{}"; }) + "}}"),
       true},
      {"many required properties",
       Schema(R"({"properties":{)" +
              Numbered(1500, [](const std::string& i) { return "\"p" + i + "\":{}"; }) +
              R"(},"additionalProperties":false,"required":[)" +
              Numbered(1500, [](const std::string& i) { return "\"p" + i + "\""; }) + "]}"),
       false},
      {"reference to itself", Schema(R"({"$ref":"#"})"), true},
      {"references in a ring",
       Schema(R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}})"), true},
      {"allOf of itself", Schema(R"({"allOf":[{"$ref":"#"}],"type":"object"})"), true},
      {"anyOf of itself", Schema(R"({"anyOf":[{"$ref":"#"},{"$ref":"#"}]})"), true},
      {"endless object", Schema(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})"),
       true},
      {"chain of references", Schema(refs), false},
      {"family without end", Schema(family), false},
      {"wide oneOf",
       Schema(R"({"oneOf":[)" +
              Numbered(3000, [](const std::string& i) { return R"({"const":)" + i + "}"; }) + "]}"),
       true},
      {"products of anyOf",
       Schema(R"({"allOf":[)" +
              Numbered(20,
                       [](const std::string&) {
                         return R"({"anyOf":[{"minLength":1},{"maxLength":5},{"pattern":"a"}]})";
                       }) +
              "]}"),
       false},
      {"far away bounds", Schema(R"({"type":"number","minimum":-1e308,"maximum":1e-308})"), false},
      {"minItems", Schema(R"({"type":"array","items":{"type":"null"},"minItems":1000000000})"), false},
      {"minProperties", Schema(R"({"type":"object","minProperties":1000000000})"), true},
      {"maxLength with a pattern", Schema(R"({"type":"string","pattern":"a.*b","maxLength":1000000000})"),
       true},
      {"chain of rules", Ebnf(chain), false},
      {"left recursion", Ebnf("root ::= root root root | root | \"a\" | \"\""), false},
      {"mutual left recursion", Ebnf("root ::= a\na ::= b | a b | \"x\"\nb ::= a | b a | root | \"\""),
       false},
      {"ambiguity", Ebnf("root ::= s\ns ::= s s s | s s | \"a\" | \"ab\" | \"b\" | %regex /[ab]{1,100000}/"),
       false},
      {"empty schema", Schema(""), true},
      {"empty grammar", Ebnf(""), true},
      {"broken UTF-8", Regex("\xff"), true},
      {"bad %json", Ebnf("root ::= %json {\"type\": \"integer\""), true},
      {"unknown token", Ebnf("root ::= %token \"<nope>\""), true},
  };
}

TEST(Hostile, WithinLimits) {
  const TestVocab v = MakeVocab({"ab", "aaaa", "bb", "\"a", "}}", "1234", std::string(64, 'a')});
  for (const Hostile& h : Sources()) {
    const double begin = NowSeconds();
    const auto grammar = CompileGrammar(h.format, v.vocab);
    const double seconds = NowSeconds() - begin;
    // Shared machines stretch it; the budget itself is checked by the clock.
    EXPECT_LT(seconds, 1.0) << h.name;
    if (h.refused) {
      EXPECT_FALSE(grammar.ok()) << h.name;
      EXPECT_GT(grammar.status().message().size(), 10u) << h.name;
      EXPECT_LT(grammar.status().message().size(), 600u) << h.name;
    } else if (!grammar.ok()) {
      // A slow or loaded machine may run out of time, and of nothing else.
      EXPECT_NE(grammar.status().message().find(" ms "), std::string::npos)
          << h.name << ": " << grammar.status().message();
    }
    std::printf("%-28s %7.1f ms  %s\n", h.name.c_str(), seconds * 1e3,
                grammar.ok() ? std::to_string((*grammar)->bytes()).c_str()
                             : grammar.status().message().substr(0, 120).c_str());
    if (!grammar.ok()) continue;
    // And it works: some steps through the masks, each in bounded time.
    Rng rng(1);
    const double start = NowSeconds();
    const Generated g = Generate(*grammar, &rng, 40, 80);
    EXPECT_FALSE(g.stuck) << h.name;
    EXPECT_LT(NowSeconds() - start, 5.0) << h.name;
    EXPECT_LT((*grammar)->bytes(), size_t{96} << 20) << h.name;
  }
}

TEST(Hostile, MessagesNameThePlace) {
  const std::pair<OutputFormat, const char*> cases[] = {
      {Schema(R"({"properties":{"a/b":{"items":{"not":{}}}}})"), "/properties/a~1b/items: the keyword 'not'"},
      {Schema(R"({"type":"strin"})"), "'type' must be"},
      {Schema(R"x({"properties":{"x":{"pattern":"(?=a)"}}})x"),
       "/properties/x/pattern: regular expression, offset 0"},
      {Schema(R"({"properties":{"x":{"multipleOf":0.3}}})"), "/properties/x/multipleOf"},
      {Schema(R"({"$ref":"http://x/y"})"), "$ref"},
      {Schema(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})"), "/oneOf: branches 0 and 1"},
      {Schema(R"({"type":"array","uniqueItems":true})"), "'uniqueItems'"},
      {Schema(R"({"type":"integer","minimum":3,"maximum":2})"), "no text"},
      {Schema("{"), "schema"},
      {Regex("a\\1"), "offset 1: escape '\\1'"},
      {Regex("ab)"), "offset 2: ')' without '('"},
      {Regex("[b-a]"), "a range whose end comes before its begin"},
      {Ebnf("root ::= a\nb ::= \"x\""), "line 1, column 10: rule 'a' is used but not defined"},
      {Ebnf("a ::= \"x\""), "no rule 'root'"},
      {Ebnf("root ::= \"x\"\nroot ::= \"y\""), "line 2, column 1: rule 'root' is defined twice"},
      {Ebnf("root ::= \"x"), "closing quote"},
  };
  const TestVocab v = MakeVocab({});
  for (const auto& [format, part] : cases) {
    const auto grammar = CompileGrammar(format, v.vocab);
    ASSERT_FALSE(grammar.ok()) << format.source;
    EXPECT_NE(grammar.status().message().find(part), std::string::npos) << format.source << "\n"
                                                                        << grammar.status().message();
  }
}

}  // namespace
}  // namespace lathe::grammar_test
