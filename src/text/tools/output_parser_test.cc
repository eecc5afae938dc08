#include "text/tools/output_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <set>

#include "base/json.h"
#include "text/tools/testing/parse_whole.h"

namespace lathe {
namespace {

using testing::Call;
using testing::CheckCuts;
using testing::ParseWhole;
using testing::Whole;

constexpr ToolFormat kHermes = ToolFormat::kHermes, kLlama = ToolFormat::kLlama3Json,
                     kMistral = ToolFormat::kMistral;

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
