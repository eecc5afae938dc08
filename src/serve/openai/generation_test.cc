// Answers whole and streamed: their shapes, that they agree, how they end.
#include "serve/openai/generation.h"

#include <gtest/gtest.h>

#include "serve/openai/testing/fakes.h"

namespace lathe::serve {
namespace {

using testing::FakeEngine;
using testing::Fixture;
using testing::Parsed;

const char* const kChatPath = "/v1/chat/completions";
const char* const kTextPath = "/v1/completions";

Json ChatBody(const Json& more = Json::object()) {
  Json body = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  body.update(more);
  return body;
}

TEST(Chat, WholeAnswerHasOpenAisShape) {
  Fixture f;
  const auto r = f.Post(kChatPath, ChatBody());
  ASSERT_EQ(r->status, 200) << r->body;
  EXPECT_EQ(r->content_type, "application/json");
  EXPECT_EQ(r->answers, 1);
  Json body = r->Body();
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_GT(body["created"].get<int64_t>(), 1'600'000'000);
  body.erase("id");
  body.erase("created");
  EXPECT_EQ(body, Parsed(R"({"object":"chat.completion","model":"fake-1","choices":[{"index":0,
    "message":{"role":"assistant","content":"Hello world","refusal":null},"logprobs":null,"finish_reason":"stop"}],
    "usage":{"prompt_tokens":20,"completion_tokens":12,"total_tokens":32,"prompt_tokens_details":{"cached_tokens":2}}})"));
  EXPECT_EQ(f.engine.submitted.at(0).request.prompt.ids->size(), 20U);
}

TEST(Chat, StreamHasRoleFirstOneFinishAndDone) {
  Fixture f;
  const auto r = f.Post(kChatPath, ChatBody({{"stream", true}}));
  ASSERT_EQ(r->status, 200);
  EXPECT_EQ(r->content_type, "text/event-stream");
  EXPECT_TRUE(r->finished);
  const auto events = r->Events();
  ASSERT_EQ(events.size(), 5U);
  const auto choice = [&](size_t i) { return Parsed(events[i])["choices"][0]; };
  EXPECT_EQ(choice(0)["delta"], Parsed(R"({"role":"assistant","content":""})"));
  EXPECT_EQ(choice(1)["delta"], Parsed(R"({"content":"Hello"})"));
  EXPECT_TRUE(choice(1)["finish_reason"].is_null());
  EXPECT_EQ(choice(2)["delta"], Parsed(R"({"content":" world"})"));
  EXPECT_EQ(choice(3)["delta"], Json::object());
  EXPECT_EQ(choice(3)["finish_reason"], "stop");
  EXPECT_EQ(events[4], "[DONE]");
}

}  // namespace
}  // namespace lathe::serve
