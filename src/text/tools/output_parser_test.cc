#include "text/tools/output_parser.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/json.h"

namespace lathe {
namespace {

struct Call {
  std::string name, arguments;
  bool operator==(const Call&) const = default;
};

void PrintTo(const Call& call, std::ostream* os) { *os << call.name << "(" << call.arguments << ")"; }

// All deltas of one text put together, as a client does it.
struct Whole {
  std::string content, reasoning;
  std::vector<Call> calls;
  std::vector<std::string> ids;
  bool operator==(const Whole&) const = default;

  void Add(const ParsedDelta& delta) {
    content += delta.content;
    reasoning += delta.reasoning;
    int last = -1;
    for (const ToolCallDelta& call : delta.calls) {
      ASSERT_GT(call.index, last);
      last = call.index;
      const size_t index = static_cast<size_t>(call.index);
      ASSERT_EQ(call.first, index == calls.size());
      ASSERT_EQ(call.first, !call.name.empty());
      ASSERT_EQ(call.first, !call.id.empty());
      if (call.first) {
        calls.push_back({call.name, ""});
        ids.push_back(call.id);
      }
      // Only the newest call may still grow.
      ASSERT_EQ(index + 1, calls.size());
      calls[index].arguments += call.arguments;
    }
  }
};

void PrintTo(const Whole& whole, std::ostream* os) {
  *os << "content \"" << whole.content << "\" reasoning \"" << whole.reasoning << "\"";
  for (const Call& call : whole.calls) *os << " call " << call.name << "(" << call.arguments << ")";
}

Whole ParseWhole(const OutputParserOptions& options, std::string_view text) {
  OutputParser parser(options);
  ParsedDelta delta;
  parser.Push(text, &delta);
  // Within one delta the calls are in order, each with its own entry.
  Whole whole;
  int last = -1;
  for (const ToolCallDelta& call : delta.calls) {
    EXPECT_EQ(call.index, ++last);
    EXPECT_TRUE(call.first);
    whole.calls.push_back({call.name, call.arguments});
    whole.ids.push_back(call.id);
  }
  whole.content = delta.content;
  whole.reasoning = delta.reasoning;
  ParsedDelta tail;
  parser.Flush(&tail);
  whole.content += tail.content;
  whole.reasoning += tail.reasoning;
  EXPECT_TRUE(tail.calls.empty());
  EXPECT_EQ(parser.n_calls(), static_cast<int>(whole.calls.size()));
  return whole;
}

constexpr ToolFormat kNone = ToolFormat::kNone, kHermes = ToolFormat::kHermes,
                     kLlama = ToolFormat::kLlama3Json, kMistral = ToolFormat::kMistral;

struct Case {
  const char* name;
  ToolFormat format;
  int reasoning;  // 0: off, 1: on, 2: opened in the prompt
  std::string text;
  std::string content, thought;
  std::vector<Call> calls;
};

OutputParserOptions Options(const Case& c) {
  OutputParserOptions options;
  options.format = c.format;
  options.tools = c.format != kNone;
  options.reasoning = c.reasoning > 0;
  options.starts_in_reasoning = c.reasoning == 2;
  options.tool_names = {"f", "get_weather", "größe"};
  options.id_prefix = "req-1";
  return options;
}

const std::vector<Case>& Cases() {
  static const std::vector<Case> kCases = {
      {"plain",
       kHermes,
       0,
       "Hello <b>world</b>, 你好 🙂 \n",
       "Hello <b>world</b>, 你好 🙂 \n",
       "",
       {}},
      {"empty", kHermes, 0, "", "", "", {}},
      {"space only", kHermes, 0, " \n ", " \n ", "", {}},
      {"no tools: markers are text",
       kNone,
       0,
       "<tool_call>\n{}</tool_call> <think>",
       "<tool_call>\n{}</tool_call> <think>",
       "",
       {}},

      {"hermes",
       kHermes,
       0,
       "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
       "",
       "",
       {{"f", "{\"a\": 1}"}}},
      {"hermes two",
       kHermes,
       0,
       "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, {\"b\": "
       "\"}\\\"\"}]}}\n</tool_call>\n<tool_call>\n"
       "{\"name\": \"get_weather\", \"arguments\": {}}\n</tool_call>\n",
       "",
       "",
       {{"f", "{\"a\": [1, {\"b\": \"}\\\"\"}]}"}, {"get_weather", "{}"}}},
      {"hermes text before",
       kHermes,
       0,
       "Let me look.\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
       "Let me look.",
       "",
       {{"f", "{}"}}},
      {"hermes text after",
       kHermes,
       0,
       "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\nDone.",
       "\nDone.",
       "",
       {{"f", "{}"}}},
      {"hermes arguments first",
       kHermes,
       0,
       "<tool_call>{\"arguments\": {\"x\": \"é\"} , \"name\": \"f\"}</tool_call>",
       "",
       "",
       {{"f", "{\"x\": \"é\"}"}}},
      {"hermes without arguments",
       kHermes,
       0,
       "<tool_call>{\"name\": \"f\"}</tool_call>",
       "",
       "",
       {{"f", "{}"}}},
      {"hermes null arguments",
       kHermes,
       0,
       "<tool_call>{\"name\": \"f\", \"arguments\": null }</tool_call>",
       "",
       "",
       {{"f", "{}"}}},
      {"hermes arguments as string",
       kHermes,
       0,
       R"(<tool_call>{"name": "f", "arguments": "{\"a\": \"\\n\"}"}</tool_call>)",
       "",
       "",
       {{"f", R"({"a": "\n"})"}}},
      {"hermes escaped name",
       kHermes,
       0,
       "<tool_call>{\"name\": \"gr\\u00f6\xc3\x9f"
       "e\", \"arguments\": {}}</tool_call>",
       "",
       "",
       {{"größe", "{}"}}},
      {"hermes never closed",
       kHermes,
       0,
       "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
       "",
       "",
       {{"f", "{\"a\": 1}"}}},
      {"hermes next without close",
       kHermes,
       0,
       "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}",
       "",
       "",
       {{"f", "{}"}, {"f", "{}"}}},
      {"hermes cut in arguments",
       kHermes,
       0,
       "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x",
       "",
       "",
       {{"f", "{\"a\": \"x"}}},
      {"hermes cut in name",
       kHermes,
       0,
       "a <tool_call>\n{\"name\": \"f",
       "a <tool_call>\n{\"name\": \"f",
       "",
       {}},
      {"hermes cut in marker", kHermes, 0, "a <tool_c", "a <tool_c", "", {}},
      {"hermes unknown tool",
       kHermes,
       0,
       "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>",
       "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>",
       "",
       {}},
      {"hermes no object",
       kHermes,
       0,
       "<tool_call> f(1) </tool_call>",
       "<tool_call> f(1) </tool_call>",
       "",
       {}},
      {"hermes array as arguments",
       kHermes,
       0,
       "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
       "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
       "",
       {}},
      {"hermes bad string arguments",
       kHermes,
       0,
       "<tool_call>{\"name\": \"f\", \"arguments\": \"{\"}</tool_call>",
       "<tool_call>{\"name\": \"f\", \"arguments\": \"{\"}</tool_call>",
       "",
       {}},
      {"hermes marker twice",
       kHermes,
       0,
       "<tool_call>\n<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
       "<tool_call>\n",
       "",
       {{"f", "{}"}}},
      {"hermes brace too many",
       kHermes,
       0,
       "<tool_call>{\"name\": \"f\", \"arguments\": {}}}</tool_call>",
       "}</tool_call>",
       "",
       {{"f", "{}"}}},
      {"hermes wrong bracket in arguments",
       kHermes,
       0,
       "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ]}}",
       "]}}",
       "",
       {{"f", "{\"a\": "}}},
      {"hermes marker in a string",
       kHermes,
       0,
       "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_call>\"}}</tool_call>",
       "",
       "",
       {{"f", "{\"a\": \"</tool_call>\"}"}}},
      {"hermes almost markers",
       kHermes,
       0,
       "<<tool_cal<tool_call<|python_tag|>",
       "<<tool_cal<tool_call<|python_tag|>",
       "",
       {}},
      {"hermes further keys",
       kHermes,
       0,
       "<tool_call>{\"type\": \"function\", \"id\": 7, \"name\": \"f\", \"arguments\": {}, \"why\": {\"x\": "
       "[true]}, \"z\": -1.5}</tool_call>",
       "",
       "",
       {{"f", "{}"}}},
      {"hermes foreign key first",
       kHermes,
       0,
       "<tool_call>{\"why\": 1, \"name\": \"f\"}</tool_call>",
       "<tool_call>{\"why\": 1, \"name\": \"f\"}</tool_call>",
       "",
       {}},

      {"llama", kLlama, 0, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "", "", {{"f", "{\"a\": 1}"}}},
      {"llama space before",
       kLlama,
       0,
       "\n\n {\"name\": \"f\", \"parameters\": {}}\n",
       "",
       "",
       {{"f", "{}"}}},
      {"llama tag",
       kLlama,
       0,
       "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
       "",
       "",
       {{"f", "{\"a\": 1}"}}},
      {"llama several",
       kLlama,
       0,
       "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"get_weather\", \"arguments\": {\"b\": 2}} ;\n",
       "",
       "",
       {{"f", "{}"}, {"get_weather", "{\"b\": 2}"}}},
      {"llama lines",
       kLlama,
       0,
       "{\"name\": \"f\", \"parameters\": {}}\n{\"name\": \"f\", \"parameters\": {}}",
       "",
       "",
       {{"f", "{}"}, {"f", "{}"}}},
      {"llama typed",
       kLlama,
       0,
       "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}",
       "",
       "",
       {{"f", "{}"}}},
      {"llama other json", kLlama, 0, "{\"city\": \"Rome\"}", "{\"city\": \"Rome\"}", "", {}},
      {"llama unknown tool",
       kLlama,
       0,
       "{\"name\": \"Bob\", \"age\": 3}",
       "{\"name\": \"Bob\", \"age\": 3}",
       "",
       {}},
      {"llama json later",
       kLlama,
       0,
       "So: {\"name\": \"f\", \"parameters\": {}}",
       "So: {\"name\": \"f\", \"parameters\": {}}",
       "",
       {}},
      {"llama text and tag",
       kLlama,
       0,
       "So: <|python_tag|>{\"name\": \"f\", \"parameters\": {}}",
       "So:",
       "",
       {{"f", "{}"}}},
      {"llama code",
       kLlama,
       0,
       "<|python_tag|>brave_search.call(query=\"x\")",
       "<|python_tag|>brave_search.call(query=\"x\")",
       "",
       {}},
      {"llama text after", kLlama, 0, "{\"name\": \"f\", \"parameters\": {}} ok", " ok", "", {{"f", "{}"}}},
      {"llama bad second",
       kLlama,
       0,
       "{\"name\": \"f\", \"parameters\": {}}; {\"x\": 1}",
       "; {\"x\": 1}",
       "",
       {{"f", "{}"}}},

      {"mistral",
       kMistral,
       0,
       "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}}]",
       "",
       "",
       {{"f", "{\"a\": 1}"}}},
      {"mistral two",
       kMistral,
       0,
       "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}, \"id\": \"abcdefghi\"}, {\"arguments\": {\"x\": [ "
       "]}, \"name\": \"get_weather\"}] ",
       "",
       "",
       {{"f", "{}"}, {"get_weather", "{\"x\": [ ]}"}}},
      {"mistral new",
       kMistral,
       0,
       "[TOOL_CALLS]f[ARGS]{\"a\": \"[TOOL_CALLS]\"}[TOOL_CALLS]get_weather[ARGS] {}",
       "",
       "",
       {{"f", "{\"a\": \"[TOOL_CALLS]\"}"}, {"get_weather", "{}"}}},
      {"mistral new with id",
       kMistral,
       0,
       "Sure. [TOOL_CALLS]f[CALL_ID]Ab3456789[ARGS]{\"a\": 1}",
       "Sure.",
       "",
       {{"f", "{\"a\": 1}"}}},
      {"mistral new without args mark",
       kMistral,
       0,
       "[TOOL_CALLS]f{\"a\": 1}",
       "",
       "",
       {{"f", "{\"a\": 1}"}}},
      {"mistral new cut", kMistral, 0, "[TOOL_CALLS]f[ARGS]{\"a\"", "", "", {{"f", "{\"a\""}}},
      {"mistral new unknown", kMistral, 0, "[TOOL_CALLS]g[ARGS]{}", "[TOOL_CALLS]g[ARGS]{}", "", {}},
      {"mistral new broken tag", kMistral, 0, "[TOOL_CALLS]f[ARX]{}", "[TOOL_CALLS]f[ARX]{}", "", {}},
      {"mistral empty list", kMistral, 0, "[TOOL_CALLS][]", "[TOOL_CALLS][]", "", {}},
      {"mistral bad second",
       kMistral,
       0,
       "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}, 7]",
       ", 7]",
       "",
       {{"f", "{}"}}},
      {"mistral unclosed",
       kMistral,
       0,
       "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}",
       "",
       "",
       {{"f", "{}"}}},
      {"mistral text after",
       kMistral,
       0,
       "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}] ok [1]",
       " ok [1]",
       "",
       {{"f", "{}"}}},
      {"mistral brackets in text", kMistral, 0, "x[0] = [[TOOL_CALL", "x[0] = [[TOOL_CALL", "", {}},

      {"thought",
       kNone,
       1,
       "<think>\nHm, 你好.\n\nSo.\n</think>\n\nYes.\n",
       "Yes.\n",
       "Hm, 你好.\n\nSo.",
       {}},
      {"thought opened in the prompt", kNone, 2, "Hm.\n</think>\n\nYes.", "Yes.", "Hm.", {}},
      {"thought opened twice", kNone, 2, "\n<think>\nHm.</think>Yes.", "Yes.", "Hm.", {}},
      {"thought cut", kNone, 1, "<think>Hm. </thin", "", "Hm. </thin", {}},
      {"no thought", kNone, 1, " Yes <think>no</think>", " Yes <think>no</think>", "", {}},
      {"empty thought", kNone, 1, "<think>\n\n</think>\n\nYes", "Yes", "", {}},
      {"only one thought", kNone, 1, "<think>a</think><think>b</think>", "<think>b</think>", "a", {}},
      {"thought without end in prompt mode", kNone, 2, "all of it", "", "all of it", {}},
      {"thought and call",
       kHermes,
       1,
       "<think>\n<tool_call>?\n</think>\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
       "",
       "<tool_call>?",
       {{"f", "{}"}}},
      {"thought and bare call",
       kLlama,
       1,
       "<think>{}</think>\n{\"name\": \"f\", \"parameters\": {}}",
       "",
       "{}",
       {{"f", "{}"}}},
  };
  return kCases;
}

TEST(OutputParser, Cases) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const Whole whole = ParseWhole(Options(c), c.text);
    EXPECT_EQ(whole.content, c.content);
    EXPECT_EQ(whole.reasoning, c.thought);
    EXPECT_EQ(whole.calls, c.calls);
  }
}

// `text` cut into pieces of whole characters at random, and what came out after each piece.
Whole ParseCut(const OutputParserOptions& options, std::string_view text, double cut, std::mt19937* rng,
               std::vector<std::pair<size_t, Whole>>* steps) {
  OutputParser parser(options);
  Whole whole;
  std::bernoulli_distribution ends(cut);
  size_t begin = 0;
  for (size_t i = 1; i <= text.size(); ++i) {
    const bool whole_character = i == text.size() || (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (!whole_character || (i < text.size() && !ends(*rng))) continue;
    ParsedDelta delta;
    parser.Push(text.substr(begin, i - begin), &delta);
    for (const std::string* piece : {&delta.content, &delta.reasoning}) {
      EXPECT_TRUE(piece->empty() || (static_cast<unsigned char>(piece->front()) & 0xC0) != 0x80) << *piece;
    }
    // Deltas of one piece may finish one call and begin others: add them one by one.
    ParsedDelta rest;
    rest.content = delta.content;
    rest.reasoning = delta.reasoning;
    whole.Add(rest);
    for (const ToolCallDelta& call : delta.calls)
      whole.Add(ParsedDelta{.content = {}, .reasoning = {}, .calls = {call}});
    if (steps != nullptr) steps->emplace_back(i, whole);
    begin = i;
  }
  ParsedDelta tail;
  parser.Flush(&tail);
  whole.Add(tail);
  return whole;
}

bool Grows(const Whole& before, const Whole& after) {
  if (!after.content.starts_with(before.content) || !after.reasoning.starts_with(before.reasoning))
    return false;
  if (before.calls.size() > after.calls.size()) return false;
  for (size_t i = 0; i < before.calls.size(); ++i) {
    if (before.calls[i].name != after.calls[i].name || before.ids[i] != after.ids[i]) return false;
    if (!after.calls[i].arguments.starts_with(before.calls[i].arguments)) return false;
    if (i + 1 < before.calls.size() && after.calls[i] != before.calls[i]) return false;
  }
  return true;
}

// The same text cut in any way gives the same; what is out after a piece is what any other text with this
// beginning has out, and it stays.
void CheckCuts(const OutputParserOptions& options, const std::string& text, int rounds, std::mt19937* rng) {
  const Whole expected = ParseWhole(options, text);
  std::map<size_t, Whole> at;  // what is out after so many bytes
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::pair<size_t, Whole>> steps;
    const double cut = round == 0 ? 1.0 : 1.0 / static_cast<double>(1 + (*rng)() % 12);
    ASSERT_EQ(ParseCut(options, text, cut, rng, &steps), expected) << text;
    for (size_t i = 0; i + 1 < steps.size(); ++i)
      ASSERT_TRUE(Grows(steps[i].second, steps[i + 1].second)) << text;
    for (const auto& [size, whole] : steps) {
      ASSERT_EQ(at.try_emplace(size, whole).first->second, whole) << text;
      ASSERT_TRUE(Grows(whole, expected)) << text << "\n" << size;
    }
  }
}

TEST(OutputParser, AnyCutGivesTheSame) {
  std::mt19937 rng(1);
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    CheckCuts(Options(c), c.text, 40, &rng);
  }
}

// Texts glued from what the formats are made of, most of them malformed.
std::string RandomText(std::mt19937* rng) {
  static const std::vector<std::string> kPieces = {"<tool_call>",
                                                   "</tool_call>",
                                                   "<think>",
                                                   "</think>",
                                                   "<|python_tag|>",
                                                   "[TOOL_CALLS]",
                                                   "[ARGS]",
                                                   "[CALL_ID]",
                                                   "{\"name\": \"f\", \"arguments\": {\"a\": 1}}",
                                                   "{\"name\":\"f\",\"parameters\":{}}",
                                                   "{\"arguments\":{\"b\":[]},\"name\":\"f\"}",
                                                   "{\"name\": \"",
                                                   "f",
                                                   "get_weather",
                                                   "\", \"arguments\": ",
                                                   "{",
                                                   "}",
                                                   "[",
                                                   "]",
                                                   ",",
                                                   ";",
                                                   "\"",
                                                   "\\",
                                                   "\n",
                                                   " ",
                                                   "\n\n",
                                                   "你好",
                                                   "🙂",
                                                   "text",
                                                   "<",
                                                   "</",
                                                   "1",
                                                   ":",
                                                   "null"};
  std::string text;
  for (size_t n = 1 + (*rng)() % 14; n > 0; --n) text += kPieces[(*rng)() % kPieces.size()];
  return text;
}

std::string WithoutSpace(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != ' ' && c != '\n') out += c;
  }
  return out;
}

TEST(OutputParser, RandomTexts) {
  std::mt19937 rng(2);
  int with_calls = 0;
  for (int i = 0; i < 6000; ++i) {
    OutputParserOptions options;
    options.format = std::array{kHermes, kLlama, kMistral}[rng() % 3];
    options.tools = rng() % 8 != 0;
    options.reasoning = rng() % 2 != 0;
    options.starts_in_reasoning = rng() % 4 == 0;
    if (rng() % 2 != 0) options.tool_names = {"f", "get_weather"};
    const std::string text = RandomText(&rng);
    CheckCuts(options, text, 3, &rng);
    if (HasFatalFailure()) return;
    const Whole whole = ParseWhole(options, text);
    with_calls += !whole.calls.empty();
    // Without a call nothing but white space and <think> marks may be missing.
    if (whole.calls.empty() && !options.reasoning) {
      EXPECT_EQ(whole.content, text);
    }
    for (const Call& call : whole.calls) EXPECT_NE(text.find(call.name), std::string::npos);
    if (whole.calls.empty() && options.reasoning) {
      std::string all = WithoutSpace(whole.reasoning + whole.content), in = WithoutSpace(text);
      EXPECT_LE(all.size(), in.size());
      EXPECT_GE(all.size() + 2 * std::string("<think></think>").size(), in.size());
    }
  }
  EXPECT_GT(with_calls, 200);
}

// Every call that is right comes out whole: any number, any JSON in the arguments, text before.
TEST(OutputParser, ValidCallsComeOutWhole) {
  std::mt19937 rng(3);
  for (int i = 0; i < 1500; ++i) {
    std::vector<Call> calls;
    for (size_t n = 1 + rng() % 3; n > 0; --n) {
      Json arguments = Json::object();
      for (size_t k = rng() % 4; k > 0; --k) {
        arguments["k" + std::to_string(k)] =
            std::array<Json, 6>{Json("a \"quoted\" }{ ][ \\ </tool_call> [TOOL_CALLS] ; 你好"),
                                Json(-1.5e9),
                                Json(nullptr),
                                Json::array({1, Json::object({{"deep", Json::array()}})}),
                                Json::object(),
                                Json(true)}[rng() % 6];
      }
      calls.push_back({rng() % 2 ? "f" : "get_weather", DumpJson(arguments, rng() % 2 ? 2 : -1)});
    }
    const ToolFormat format = std::array{kHermes, kLlama, kMistral}[rng() % 3];
    const bool named = format == kMistral && rng() % 2;
    std::string text = format == kLlama ? "" : std::array{"", "Wait.\n", "[x] <y> "}[rng() % 3];
    if (format == kMistral && !named) text += "[TOOL_CALLS] [";
    for (size_t c = 0; c < calls.size(); ++c) {
      const char* key = format == kLlama ? "parameters" : "arguments";
      const std::string object =
          "{\"name\": \"" + calls[c].name + "\", \"" + key + "\": " + calls[c].arguments + "}";
      if (format == kHermes) text += "<tool_call>\n" + object + "\n</tool_call>\n";
      if (format == kLlama) text += (c > 0 ? "; " : "") + object;
      if (named) text += "[TOOL_CALLS]" + calls[c].name + "[ARGS]" + calls[c].arguments;
      if (format == kMistral && !named) text += (c > 0 ? ", " : "") + object;
    }
    if (format == kMistral && !named) text += "]";
    OutputParserOptions options;
    options.format = format;
    options.tools = true;
    options.tool_names = {"f", "get_weather"};
    ASSERT_EQ(ParseWhole(options, text).calls, calls) << text;
    CheckCuts(options, text, 2, &rng);
  }
}

TEST(OutputParser, ArgumentsStreamAsTheyCome) {
  OutputParserOptions options{.format = kHermes, .tools = true, .tool_names = {"f"}, .id_prefix = "x"};
  OutputParser parser(options);
  const auto push = [&](std::string_view text) {
    ParsedDelta delta;
    parser.Push(text, &delta);
    EXPECT_EQ(delta.content, "");
    return delta.calls.empty() ? std::string("-") : delta.calls[0].name + "|" + delta.calls[0].arguments;
  };
  EXPECT_EQ(push("<tool"), "-");
  EXPECT_EQ(push("_call>\n{\"name\": \"f\""), "-");
  EXPECT_EQ(push(", \"arguments\": "), "-");
  EXPECT_EQ(push("{"), "f|{");
  EXPECT_EQ(push("\"a\""), "|\"a\"");
  EXPECT_EQ(push(": 1"), "|: 1");
  EXPECT_EQ(push("}}"), "|}");
  EXPECT_EQ(push("\n</tool_call>"), "-");
}

TEST(OutputParser, TextIsNotHeldBackWithoutNeed) {
  OutputParser parser({.format = kHermes, .tools = true, .reasoning = true});
  const auto push = [&](std::string_view text) {
    ParsedDelta delta;
    parser.Push(text, &delta);
    return delta.reasoning + "|" + delta.content;
  };
  EXPECT_EQ(push("<think>a"), "a|");
  EXPECT_EQ(push(" b<"), " b|");
  EXPECT_EQ(push("/"), "|");
  EXPECT_EQ(push("x"), "</x|");
  EXPECT_EQ(push("</think>"), "|");
  EXPECT_EQ(push("\n\nHello"), "|Hello");
  EXPECT_EQ(push(" you,"), "| you,");
  EXPECT_EQ(push(" a <"), "| a");
  EXPECT_EQ(push(" b"), "| < b");
}

TEST(OutputParser, Ids) {
  const std::string two = "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{}},{\"name\":\"f\",\"arguments\":{}}]";
  std::set<std::string> ids;
  for (const char* prefix : {"a", "b"}) {
    for (const std::string& id :
         ParseWhole({.format = kMistral, .tools = true, .id_prefix = prefix}, two).ids) {
      EXPECT_EQ(id.size(), 9u);
      EXPECT_TRUE(std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isalnum(c); })) << id;
      ids.insert(id);
    }
  }
  EXPECT_EQ(ids.size(), 4u);
  const std::string named = "[TOOL_CALLS]f[CALL_ID]Ab3456789[ARGS]{}";
  EXPECT_EQ(ParseWhole({.format = kMistral, .tools = true}, named).ids,
            std::vector<std::string>{"Ab3456789"});
  const std::string hermes = "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>";
  EXPECT_EQ(ParseWhole({.format = kHermes, .tools = true}, hermes).ids[0].substr(0, 5), "call_");
}

// The time per byte does not grow with what is withheld or with the number of false starts.
TEST(OutputParser, LongAndHostileTexts) {
  const int n = 200000;
  const auto repeat = [&](std::string_view piece) {
    std::string text;
    while (text.size() < n) text += piece;
    return text;
  };
  for (const ToolFormat format : {kHermes, kLlama, kMistral}) {
    for (const char* piece : {" ", "<tool_call", "<tool_call>{\"type\":\"", "{\"type\":", "[TOOL_CALLS][",
                              "[", "{", "[TOOL_CALLS]f", "\xff"}) {
      const std::string text = repeat(piece);
      const Whole whole = ParseWhole({.format = format, .tools = true, .reasoning = true}, text);
      EXPECT_EQ(whole.content.size(), text.size()) << piece;
    }
  }
  const Whole deep =
      ParseWhole({.format = kLlama, .tools = true}, "{\"name\":\"f\",\"parameters\":" + repeat("{\"a\":"));
  EXPECT_EQ(deep.calls.size(), 1u);
}

}  // namespace
}  // namespace lathe
