// Which texts belong to a format, told by examples.
#include <gtest/gtest.h>

#include "text/grammar/test_support.h"

namespace lathe::grammar_test {
namespace {

struct Case {
  OutputFormat format;
  std::vector<std::string> in;
  std::vector<std::string> out;
};

// Out of line: gcc 12 misjudges long strings inside initializer lists.
[[gnu::noinline]] std::string Many(size_t n, char c, const char* behind) {
  return std::string(n, c) + behind;
}

OutputFormat Choice(std::vector<std::string> choices) {
  OutputFormat f;
  f.kind = OutputFormat::Kind::kChoice;
  f.choices = std::move(choices);
  return f;
}

std::vector<Case> Cases() {
  return {
      {Choice({"yes", "no", "", "yesterday", "é"}),
       {"yes", "no", "", "yesterday", "é"},
       {"y", "yeste", "nope", "e"}},
      {Regex("ab*c|d{2,3}"), {"ac", "abbbc", "dd", "ddd"}, {"", "d", "dddd", "abb", "acd"}},
      {Regex("^[^\\d\\n]{2}$"), {"ab", "é€", "🌍x"}, {"a", "a1", "abc", "\n\n"}},
      {Regex("(a|^b)c($|d)"), {"ac", "bc", "acd", "bcd"}, {"ab", "cd", "c"}},
      {Regex("a.{2}\\u00e9\\x41\\/\\."), {"axxéA/.", "a€🌍éA/."}, {"ax\néA/.", "aéA/."}},
      {Regex("a{0,100000}b"), {"b", "aaab", Many(5000, 'a', "b")}, {"a", ""}},
      {Regex("(ab){2000,2002}"), {}, {"ab", ""}},
      {Regex("(?:x{1000}){3}y"), {Many(3000, 'x', "y")}, {Many(2999, 'x', "y"), Many(3001, 'x', "y")}},
      {Ebnf("root ::= \"a\" b? # comment\nb ::= [0-9]+ | \"(\" root \")\""),
       {"a", "a12", "a(a(a7))"},
       {"", "a(", "a()"}},
      {Ebnf("root ::= root \"+\" term | term\nterm ::= term \"*\" \"n\" | \"n\""),
       {"n", "n+n*n+n", "n*n*n"},
       {"", "n+", "+n"}},
      {Ebnf("root ::= a \"x\"\na ::= b? a \"y\" | \"\"\nb ::= \"b\""),
       {"x", "yx", "byyx", "bbyyyx"},
       {"bx", "y", "bybyx"}},
      {Ebnf("root ::= s\ns ::= \"a\" s \"a\" | \"b\" s \"b\" | \"\""),
       {"", "aa", "abba", "baab"},
       {"a", "ab", "abab"}},
      {Ebnf("root ::= %regex /[a-c\\/]+/ \" \" %json {\"type\":\"integer\",\"minimum\":10}"),
       {"a/b 10", "c 99999"},
       {"a 9", " 10", "a"}},
      {Ebnf("root ::= ([ab] \"-\"){3,} 'c\\n\\u00e9\\\"'"),
       {"a-b-a-c\né\"", "a-b-a-b-c\né\""},
       {"a-b-c\né\""}},
      {Ebnf("root ::= .*"),
       {"", "aé🌍", "\x7f"},
       {"\n", "\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80"}},
      {JsonObjectFormat(),
       {"{}", R"({"a":1})", R"({"a": {"b": [1, -2.5e3, true, null, "x\n\u00e9\ud83d\ude00"]}, "a": []})",
        "{\n  \"a\": 1\n}", "{\n\t\"a\": [\n\t\t1,\n\t\t2\n\t]\n}"},
       {"", "[]", "{", "{} ", " {}", R"({"a":})", R"({"a":01})", R"({"a":1,})", R"({"a":"\ud83d"})",
        R"({"a":"\ude00"})", "{\"a\":\"\n\"}", R"({'a':1})", R"({"a":.5})", R"({"a":1.})", R"({"a":-})",
        "{\"a\":  1}", "{\n\n}"}},
  };
}

TEST(Language, Examples) {
  const TestVocab v = MakeVocab({});
  for (const Case& c : Cases()) {
    const auto grammar = Compiled(c.format, v.vocab);
    ASSERT_NE(grammar, nullptr);
    for (const auto& text : c.in) EXPECT_TRUE(Matches(grammar, text)) << c.format.source << "\n" << text;
    for (const auto& text : c.out) EXPECT_FALSE(Matches(grammar, text)) << c.format.source << "\n" << text;
  }
}

TEST(Language, SpecialTokensComeByNameOnly) {
  const TestVocab v = MakeVocab({"<x>"});  // an ordinary token with the same spelling
  const auto grammar = Compiled(Ebnf("root ::= %token \"<x>\" \"<x>\" (%token \"<y>\" | \"z\")"), v.vocab);
  ASSERT_NE(grammar, nullptr);
  GrammarMatcher m(grammar);
  std::vector<uint32_t> words(static_cast<size_t>((v.vocab->size() + 31) / 32));
  const auto allowed = [&](TokenId id) {
    return (words[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0;
  };
  ASSERT_TRUE(m.FillMask(words));
  EXPECT_TRUE(allowed(v.x));
  EXPECT_FALSE(allowed(256));
  EXPECT_FALSE(allowed('<'));
  EXPECT_FALSE(m.Accept('<'));
  ASSERT_TRUE(m.Accept(v.x));
  ASSERT_TRUE(m.FillMask(words));
  EXPECT_FALSE(allowed(v.x));
  EXPECT_TRUE(allowed(256));
  ASSERT_TRUE(m.Accept(256));
  ASSERT_TRUE(m.FillMask(words));
  EXPECT_TRUE(allowed(v.y));
  EXPECT_TRUE(allowed('z'));
  EXPECT_FALSE(m.CanEnd());
  GrammarMatcher copy = m;
  ASSERT_TRUE(m.Accept(v.y));
  EXPECT_TRUE(m.MustEnd());
  ASSERT_TRUE(m.FillMask(words));
  EXPECT_TRUE(allowed(v.eos));
  ASSERT_TRUE(m.Accept(v.eos));
  EXPECT_TRUE(m.ended());
  EXPECT_FALSE(m.FillMask(words));
  EXPECT_TRUE(copy.Accept('z'));
}

struct SchemaCase {
  const char* schema;
  std::vector<std::string> in;
  std::vector<std::string> out;
};

TEST(Language, Schemas) {
  const std::vector<SchemaCase> cases = {
      {"{}", {"1", "\"x\"", "[1, {}]", "null"}, {"", "nul"}},
      {"true", {"1"}, {""}},
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"],"additionalProperties":false})",
       {R"({"a":1})", R"({"a": -3, "b": "x"})", "{\n \"a\": 0\n}"},
       {"{}", R"({"b":"x"})", R"({"b":"x","a":1})", R"({"a":1,"c":2})", R"({"a":1.5})"}},
      {R"({"type":"object","properties":{"a":{},"b":{},"c":{}},"additionalProperties":false})",
       {"{}", R"({"a":1})", R"({"c":1})", R"({"a":1,"c":[]})", R"({"a":1,"b":2,"c":3})"},
       {R"({"c":1,"a":2})", R"({,"a":1})", R"({"a":1,})"}},
      {R"({"properties":{"ab":{"type":"null"}}})",
       {"{}", R"({"ab":null})", R"({"x":1})", R"({"ab":null,"abc":1,"a":2})", R"({"\n":1})"},
       {R"({"ab":1})", R"({"x":1,"ab":1})", "[]"}},
      {R"({"type":"object","additionalProperties":{"type":"boolean"},"minProperties":1,"maxProperties":2})",
       {R"({"a":true})", R"({"a":true,"b":false})"},
       {"{}", R"({"a":1})", R"({"a":true,"b":true,"c":true})"}},
      {R"({"properties":{"a":{},"b":{},"c":{}},"additionalProperties":false,"minProperties":2})",
       {R"({"a":1,"c":1})", R"({"b":1,"c":1})"},
       {"{}", R"({"b":1})"}},
      {R"({"properties":{"a":{},"b":{},"c":{}},"additionalProperties":false,"maxProperties":1})",
       {"{}", R"({"c":1})"},
       {R"({"a":1,"c":1})"}},
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1,2, 3]"},
       {"[]", "[1,2,3,4]", "[1.5]"}},
      {R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,"minItems":1})",
       {"[1]", "[1,\"a\"]"},
       {"[]", "[1,\"a\",1]", "[\"a\"]"}},
      {R"({"prefixItems":[{"type":"integer"}],"items":{"type":"null"},"maxItems":3})",
       {"[]", "[1]", "[1,null,null]"},
       {"[null]", "[1,null,null,null]"}},
      {R"({"enum":["a",1,null,{"x":[1,2]}]})", {"\"a\"", "1", "null", R"({"x":[1, 2]})"}, {"\"b\"", "2"}},
      {R"({"const":"a\"b"})", {R"("a\"b")"}, {R"("ab")"}},
      {R"({"type":["string","null"],"enum":["a",1,null]})", {"\"a\"", "null"}, {"1"}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", R"("é€🌍")", R"("\n\ud83d\ude00")"},
       {R"("a")", R"("abcd")", R"("")"}},
      {R"({"type":"string","pattern":"^[a-c]+$"})", {R"("abc")"}, {R"("")", R"("d")"}},
      {R"({"type":"string","pattern":"b.d"})",
       {R"("abcde")", R"("bxd")", R"("b\"d")"},
       {R"("bd")", R"("b\nd")"}},
      {R"({"type":"string","pattern":"^a","maxLength":2})", {R"("a")", R"("ab")"}, {R"("abc")", R"("b")"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-01-31")"},
       {R"("2024-02-30")", R"("2024-13-01")", R"("x")"}},
      {R"({"type":"string","format":"unknown"})", {R"("x")"}, {"1"}},
      {R"({"type":"integer","minimum":-5,"maximum":12})",
       {"-5", "-1", "0", "7", "12"},
       {"-6", "13", "-0", "00", "1.0"}},
      {R"({"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":3})", {"1", "2"}, {"0", "3"}},
      {R"({"type":"integer","minimum":2.5})", {"3", "1000000"}, {"2", "-3"}},
      {R"({"type":"integer","multipleOf":7,"minimum":10})", {"14", "70"}, {"7", "15"}},
      {R"({"type":"number","minimum":-1.5,"exclusiveMaximum":2.25})",
       {"-1.5", "-1.49", "0", "0.0", "2.2499", "2.2", "2"},
       {"-1.51", "2.25", "2.250", "3", "-2", "1.", "1e1"}},
      {R"({"type":"number","exclusiveMinimum":0})", {"0.1", "5", "0.0001"}, {"0", "0.0", "-1"}},
      {R"({"anyOf":[{"type":"integer"},{"type":"boolean"}]})", {"1", "true"}, {"null", "1.5"}},
      {R"({"oneOf":[{"properties":{"k":{"const":"a"},"x":{"type":"integer"}},"required":["k"]},{"properties":{"k":{"const":"b"}},"required":["k"]}],"type":"object"})",
       {R"({"k":"a","x":1})", R"({"k":"b","x":null})"},
       {R"({"k":"c"})", R"({"k":"a","x":null})"}},
      {R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"a":{"minimum":3},"b":{"type":"null"}},"required":["b"]}],"type":"object"})",
       {R"({"a":3,"b":null})"},
       {R"({"a":2,"b":null})", R"({"a":3})"}},
      {R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}}})",
       {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1})", R"({"v":1,"next":{}})"}},
      {R"({"type":"object","patternProperties":{"^x_":{"type":"integer"}},"additionalProperties":false})",
       {"{}", R"({"x_a":1})"},
       {R"({"y":1})"}},
      {R"({"type":"string","nullable":true})", {"null", "\"a\""}, {"1"}},
      {R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"}},
  };
  const TestVocab v = MakeVocab({});
  for (const SchemaCase& c : cases) {
    const auto grammar = Compiled(Schema(c.schema), v.vocab);
    ASSERT_NE(grammar, nullptr);
    for (const auto& text : c.in) EXPECT_TRUE(Matches(grammar, text)) << c.schema << "\n" << text;
    for (const auto& text : c.out) EXPECT_FALSE(Matches(grammar, text)) << c.schema << "\n" << text;
  }
}

}  // namespace
}  // namespace lathe::grammar_test
