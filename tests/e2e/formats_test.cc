// Output formats on a real model: whatever it would like to say, what comes belongs to the format; and the
// masks cost next to nothing of a step.
#include <regex>

#include "base/clock.h"
#include "base/json.h"
#include "e2e_util.h"

namespace lathe {
namespace {

using Kind = OutputFormat::Kind;

Request Formatted(OutputFormat format, uint64_t seed) {
  Request request;
  request.prompt = Prompt::Text("Once upon a time there was a princess. The answer:");
  request.sampling.temperature = 1.0;
  request.sampling.seed = seed;
  request.sampling.max_tokens = 400;
  request.format = std::move(format);
  return request;
}

TEST(Formats, EveryAnswerBelongsToItsFormat) {
  auto engine = LoadEngine(BuiltEngine(TalesDir()));
  ASSERT_NE(engine, nullptr);
  const std::string schema = R"({"type":"object","properties":{"name":{"type":"string","maxLength":12},
      "age":{"type":"integer","minimum":1,"maximum":120},"tags":{"type":"array","items":{"enum":["a","b"]},
      "maxItems":3}},"required":["name","age"],"additionalProperties":false})";
  struct Case {
    OutputFormat format;
    std::function<bool(const std::string&)> belongs;
  };
  const Case cases[] = {
      {{.kind = Kind::kJsonSchema, .source = schema, .choices = {}},
       [](const std::string& text) {
         const auto json = ParseJson(text, "answer");
         return json.ok() && json->is_object() && (*json)["name"].is_string() &&
                (*json)["age"].is_number_integer() && (*json)["age"] >= 1 && (*json)["age"] <= 120;
       }},
      {{.kind = Kind::kRegex, .source = "[A-Z][a-z]{2,9} (is|was) (very )?[a-z]{3,8}\\.", .choices = {}},
       [](const std::string& text) {
         return std::regex_match(text, std::regex("[A-Z][a-z]{2,9} (is|was) (very )?[a-z]{3,8}\\."));
       }},
      {{.kind = Kind::kChoice, .source = {}, .choices = {"the king", "the queen", "the kingdom"}},
       [](const std::string& text) {
         return text == "the king" || text == "the queen" || text == "the kingdom";
       }},
      {{.kind = Kind::kGrammar,
        .source = "root ::= pair (\", \" pair){0,3}\npair ::= [a-z]{1,5} \"=\" [0-9]{1,3}",
        .choices = {}},
       [](const std::string& text) {
         return std::regex_match(text, std::regex("[a-z]{1,5}=[0-9]{1,3}(, [a-z]{1,5}=[0-9]{1,3}){0,3}"));
       }},
  };
  Collector collector(*engine);
  std::vector<std::pair<const Case*, size_t>> sent;
  for (const Case& c : cases)
    for (uint64_t seed = 0; seed < 25; ++seed)
      sent.emplace_back(&c, collector.Submit(Formatted(c.format, seed)));
  collector.Wait();
  for (const auto& [c, slot] : sent) {
    const Answer& answer = collector.answers(slot)[0];
    EXPECT_EQ(answer.finish, FinishReason::kStop) << answer.error.message() << answer.text;
    EXPECT_TRUE(c->belongs(answer.text)) << answer.text;
  }
}

TEST(Formats, BadOnesAreRefusedAtOnce) {
  auto engine = LoadEngine(BuiltEngine(TalesDir()));
  ASSERT_NE(engine, nullptr);
  const OutputFormat bad[] = {{.kind = Kind::kJsonSchema, .source = "{\"type\":\"strin\"}", .choices = {}},
                              {.kind = Kind::kRegex, .source = "(a", .choices = {}},
                              {.kind = Kind::kChoice, .source = {}, .choices = {}},
                              {.kind = Kind::kGrammar, .source = "root ::= missing", .choices = {}}};
  for (const OutputFormat& format : bad) {
    const auto id = engine->Submit(Formatted(format, 1), [](const OutputDelta&) {});
    EXPECT_FALSE(id.ok());
    EXPECT_FALSE(id.status().message().empty());
  }
}

}  // namespace
}  // namespace lathe
