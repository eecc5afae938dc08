// The two halves together: whatever text a tool grammar lets through, the parser reads as valid calls.
#include <gtest/gtest.h>

#include <random>

#include "base/json.h"
#include "text/grammar/grammar.h"
#include "text/tools/output_parser.h"

namespace lathe {
namespace {

constexpr char kTools[] = R"json([
  {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": {
    "type": "object", "additionalProperties": false, "required": ["city"],
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 14},
                   "unit": {"enum": ["C", "F \"quoted\""]}}}}},
  {"type": "function", "function": {"name": "add", "parameters": {
    "type": "object", "additionalProperties": false, "required": ["terms"],
    "properties": {"terms": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3},
                   "deep": {"$ref": "#/$defs/node"}},
    "$defs": {"node": {"type": "object", "additionalProperties": false, "properties": {"child": {"$ref": "#/$defs/node"}}}}}}},
  {"type": "function", "function": {"name": "now"}}])json";

// Every byte, some longer tokens, the markers as added tokens, one end-of-sequence token.
struct Vocabulary {
  Vocabulary() {
    for (int b = 0; b < 256; ++b) text.push_back(std::string(1, static_cast<char>(b)));
    for (const char* token :
         {"{\"", "\": ", "name", "\"}}", "arguments", "\n<", "tool_call", "[TOOL", "你好"})
      text.push_back(token);
    std::vector<std::string> bytes = text;
    std::unordered_map<std::string, TokenId> named;
    for (const char* marker : {"<tool_call>", "</tool_call>", "[TOOL_CALLS]"}) {
      named[marker] = static_cast<TokenId>(text.size());
      text.push_back(marker);
      bytes.push_back("");
    }
    eos = static_cast<TokenId>(text.size());
    text.push_back("");
    bytes.push_back("");
    grammar = std::make_shared<const GrammarVocab>(
        GrammarVocab::FromStrings(bytes, std::vector<TokenId>{eos}, named));
  }

  std::vector<std::string> text;  // what the token writes when special tokens are not skipped
  TokenId eos = -1;
  std::shared_ptr<const GrammarVocab> grammar;
};

// A random text of the language; "" when it did not end within the limit. Tokens that close things are
// preferred.
std::string Walk(const Vocabulary& vocab, const std::shared_ptr<const Grammar>& grammar, std::mt19937* rng) {
  GrammarMatcher matcher(grammar);
  std::vector<uint32_t> mask((vocab.text.size() + 31) / 32);
  std::string out;
  for (int step = 0; step < 4000; ++step) {
    EXPECT_TRUE(matcher.FillMask(mask));
    std::vector<TokenId> allowed, closing;
    for (size_t id = 0; id < vocab.text.size(); ++id) {
      if ((mask[id / 32] >> (id % 32) & 1) == 0) continue;
      allowed.push_back(static_cast<TokenId>(id));
      const std::string& t = vocab.text[id];
      if (t == "\"" || t == "}" || t == "]" || t.empty()) closing.push_back(static_cast<TokenId>(id));
    }
    if (allowed.empty()) return "";
    const auto& from = !closing.empty() && (*rng)() % 3 == 0 ? closing : allowed;
    const TokenId id = from[(*rng)() % from.size()];
    EXPECT_TRUE(matcher.Accept(id));
    if (id == vocab.eos) return out;
    out += vocab.text[static_cast<size_t>(id)];
  }
  return "";
}

void CheckArguments(const std::string& name, const std::string& text) {
  const auto value = ParseJson(text, "arguments");
  ASSERT_TRUE(value.ok()) << text;
  ASSERT_TRUE(value->is_object()) << text;
  if (name == "get_weather") {
    ASSERT_TRUE(value->contains("city") && value->at("city").is_string()) << text;
    if (value->contains("days")) {
      ASSERT_TRUE(value->at("days") >= 1 && value->at("days") <= 14) << text;
    }
  }
  if (name == "add") {
    ASSERT_TRUE(value->at("terms").is_array() && !value->at("terms").empty()) << text;
  }
}

TEST(ToolGrammar, WhatItAllowsAreCalls) {
  const Vocabulary vocab;
  std::mt19937 rng(11);
  int walks = 0, calls_seen = 0;
  for (const ToolFormat format : {ToolFormat::kHermes, ToolFormat::kLlama3Json, ToolFormat::kMistral}) {
    for (const std::string forced : {"", "add"}) {
      for (const int kind : {0, 1, 2}) {
        const bool parallel = kind > 0, tokens = kind < 2;
        SCOPED_TRACE(std::string(ToString(format)) + " " + forced + " " + std::to_string(kind));
        const auto format_or = ToolGrammar(format, kTools, forced, parallel, tokens);
        ASSERT_TRUE(format_or.ok());
        const auto grammar = CompileGrammar(**format_or, vocab.grammar);
        ASSERT_TRUE(grammar.ok()) << grammar.status().message();
        for (int i = 0; i < 25; ++i) {
          const std::string text = Walk(vocab, *grammar, &rng);
          if (text.empty()) continue;
          ++walks;
          OutputParser parser({.format = format, .tools = true, .tool_names = {"get_weather", "add", "now"}});
          ParsedDelta out;
          parser.Push(text, &out);
          parser.Flush(&out);
          ASSERT_EQ(out.content, "") << text;
          ASSERT_GE(out.calls.size(), 1u) << text;
          ASSERT_TRUE(parallel || out.calls.size() == 1) << text;
          for (const ToolCallDelta& call : out.calls) {
            ++calls_seen;
            ASSERT_TRUE(forced.empty() || call.name == forced) << text;
            CheckArguments(call.name, call.arguments);
          }
        }
      }
    }
  }
  printf("%d texts, %d calls\n", walks, calls_seen);
  EXPECT_GT(walks, 300);
}

}  // namespace
}  // namespace lathe
