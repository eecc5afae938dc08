// How requests end: refused, failed, abandoned, raced over; each exactly once.
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "serve/openai/generation.h"
#include "serve/openai/testing/fakes.h"

namespace lathe::serve {
namespace {

using testing::ChatBody;
using testing::Fixture;
using testing::kChatPath;
using testing::kTextPath;
using testing::Parsed;
using testing::TextBody;

TEST(Endings, AdmissionRefuses) {
  Fixture f;
  f.admission.full = true;
  const auto r = f.Post(kChatPath, ChatBody({{"stream", true}}));
  EXPECT_EQ(r->status, 429);
  EXPECT_EQ(r->Header("Retry-After"), "3");
  EXPECT_EQ(r->Body()["error"],
            Parsed(R"({"message":"8 of 8 requests wait","type":"rate_limit_error","param":null,
    "code":"queue_full"})"));
  EXPECT_TRUE(f.engine.submitted.empty());
  ASSERT_EQ(f.observer.done.size(), 1U);
  EXPECT_EQ(f.observer.done[0].http_status, 429);
  EXPECT_EQ(f.observer.done[0].error_code, "queue_full");
}

TEST(Endings, TheEnginesRefusalsBecomeStatuses) {
  struct Case {
    Status status;
    int http;
    const char* code;
    bool retry;
  };
  const Case cases[] = {
      {{StatusCode::kInvalidArgument, "bad schema"}, 400, "invalid_value", false},
      {{StatusCode::kUnsupported, "no lookahead"}, 400, "unsupported_value", false},
      {{StatusCode::kNotFound, "gone"}, 404, "not_found", false},
      {{StatusCode::kResourceExhausted, "8 requests are waiting"}, 429, "queue_full", true},
      {{StatusCode::kUnavailable, "the engine is shutting down"}, 503, "unavailable", true},
      {{StatusCode::kInternal, "secret path /etc/x"}, 500, "internal_error", false},
      {{StatusCode::kCorrupt, "secret path /etc/x"}, 500, "internal_error", false},
  };
  for (const bool stream : {false, true}) {
    for (const Case& c : cases) {
      Fixture f;
      f.engine.refusal = c.status;
      const auto r = f.Post(kChatPath, ChatBody({{"stream", stream}}));
      EXPECT_EQ(r->status, c.http);
      EXPECT_EQ(r->answers, 1);
      EXPECT_EQ(r->content_type, "application/json");
      EXPECT_EQ(r->Body()["error"]["code"], c.code);
      EXPECT_EQ(!r->Header("Retry-After").empty(), c.retry);
      EXPECT_EQ(r->body.find("secret"), std::string::npos);
      EXPECT_EQ(r->body.find("req-7") != std::string::npos, c.http == 500);
      EXPECT_EQ(f.admission.held, 0);
      EXPECT_EQ(f.observer.done.size(), 1U);
    }
  }
}

TEST(Endings, ALaterPromptThatIsRefusedEndsTheEarlierOnes) {
  for (const bool stream : {false, true}) {
    Fixture f;
    f.engine.play_at_once = false;
    f.engine.refuse_after = 1;
    f.engine.refusal = Status(StatusCode::kInvalidArgument, "no");
    const auto r = f.Post(kTextPath, {{"prompt", {"a", "b", "c"}}, {"stream", stream}});
    EXPECT_EQ(r->status, 400);
    ASSERT_EQ(f.engine.submitted.size(), 1U);
    EXPECT_TRUE(f.engine.submitted[0].cancelled);
    EXPECT_EQ(f.admission.held, 1);
    f.engine.finish = FinishReason::kCancelled;
    f.engine.Play(0);
    EXPECT_EQ(f.admission.held, 0);
    EXPECT_EQ(r->answers, 1);
    EXPECT_EQ(f.observer.done.size(), 1U);
  }
}

TEST(Endings, DisconnectCancelsAndNothingMoreIsWritten) {
  for (const bool stream : {false, true}) {
    Fixture f;
    f.engine.play_at_once = false;
    const auto r = f.Post(kTextPath, {{"prompt", {"a", "b"}}, {"stream", stream}});
    r->on_disconnect();
    EXPECT_TRUE(f.engine.submitted[0].cancelled);
    EXPECT_TRUE(f.engine.submitted[1].cancelled);
    f.engine.finish = FinishReason::kCancelled;
    const std::string before = r->body;
    f.engine.script.clear();
    f.engine.Play(0);
    f.engine.Play(1);
    EXPECT_EQ(r->body, before);
    EXPECT_EQ(f.admission.held, 0);
    ASSERT_EQ(f.observer.done.size(), 1U);
    EXPECT_EQ(f.observer.done[0].finish, "cancelled");
    EXPECT_EQ(f.observer.done[0].http_status, 499);
    EXPECT_EQ(f.observer.done[0].error_code, "");
  }
}

TEST(Endings, ASlowReaderIsCancelled) {
  Fixture f;
  f.engine.play_at_once = false;
  const auto r = f.Request("POST", kChatPath, DumpJson(ChatBody({{"stream", true}})), "application/json", 2);
  f.engine.Play(0);
  EXPECT_TRUE(f.engine.submitted[0].cancelled);
  EXPECT_FALSE(r->finished);
  EXPECT_EQ(f.admission.held, 0);
}

TEST(Endings, FaultsInTheMiddle) {
  struct Case {
    FinishReason finish;
    Status error;
    int http;
    const char* code;
  };
  const Case cases[] = {
      {FinishReason::kDeadline, {}, 408, "deadline_exceeded"},
      {FinishReason::kCancelled, {}, 503, "unavailable"},
      {FinishReason::kError, {StatusCode::kInternal, "logits are not finite"}, 500, "internal_error"},
      {FinishReason::kError, {StatusCode::kUnavailable, "the device failed"}, 503, "unavailable"},
  };
  for (const Case& c : cases) {
    for (const bool stream : {false, true}) {
      Fixture f;
      f.engine.play_at_once = false;
      const auto r = f.Post(kChatPath, ChatBody({{"stream", stream}}));
      OutputDelta delta;
      delta.text = "Hel";
      f.engine.Deliver(0, delta);
      delta.text = "";
      delta.finish = c.finish;
      delta.error = c.error;
      delta.last = true;
      f.engine.Deliver(0, delta);
      EXPECT_TRUE(r->finished);
      EXPECT_EQ(f.admission.held, 0);
      ASSERT_EQ(f.observer.done.size(), 1U);
      EXPECT_EQ(f.observer.done[0].error_code, c.code);
      if (!stream) {
        EXPECT_EQ(r->status, c.http);
        EXPECT_EQ(r->Body()["error"]["code"], c.code);
        continue;
      }
      EXPECT_EQ(r->status, 200);
      const auto events = r->Events();
      EXPECT_EQ(Parsed(events.back())["error"]["code"], c.code);
      EXPECT_EQ(Parsed(events[1])["choices"][0]["delta"]["content"], "Hel");
    }
  }
}

TEST(Endings, TheRecordTellsWhatHappened) {
  Fixture f;
  f.Post(kChatPath, ChatBody({{"stream", true}, {"n", 2}}));
  EXPECT_EQ(f.observer.first_tokens, 1);
  EXPECT_EQ(f.observer.tokens, 14);  // but the first five of each choice
  ASSERT_EQ(f.observer.done.size(), 1U);
  const auto& done = f.observer.done[0];
  EXPECT_EQ(done.route, kChatPath);
  EXPECT_EQ(done.finish, "stop");
  EXPECT_EQ(done.http_status, 200);
  EXPECT_EQ(done.prompt_tokens, 20);
  EXPECT_EQ(done.cached_tokens, 2);
  EXPECT_EQ(done.completion_tokens, 24);
  EXPECT_EQ(done.n, 2);
  EXPECT_TRUE(done.streamed);
  EXPECT_EQ(done.queued_seconds, 0.25);
}

// Deltas from the engine's thread while the worker still submits and the client goes away.
TEST(Threads, CallbacksRaceWithSubmissionAndDisconnect) {
  Fixture f;
  f.engine.play_at_once = false;
  f.Post(kTextPath, TextBody());  // makes the API, on this thread
  f.engine.Play(0);
  for (int round = 0; round < 200; ++round) {
    f.engine.submitted.clear();
    f.observer.done.clear();
    std::mutex mutex;
    std::condition_variable there;
    std::deque<size_t> to_play;
    f.engine.on_submit = [&](size_t at) {
      std::lock_guard lock(mutex);
      to_play.push_back(at);
      there.notify_one();
    };
    std::thread engine([&] {
      for (int i = 0; i < 3; ++i) {
        std::unique_lock lock(mutex);
        there.wait(lock, [&] { return !to_play.empty(); });
        const size_t at = to_play.front();
        to_play.pop_front();
        lock.unlock();
        f.engine.Play(at);
      }
    });
    const auto r = f.Post(kTextPath, {{"prompt", {"a", "b", "c"}}, {"stream", round % 2 == 0}, {"n", 2}});
    std::thread client([&] {
      if (round % 3 == 0) r->on_disconnect();
    });
    engine.join();
    client.join();
    EXPECT_EQ(f.admission.held, 0);
    EXPECT_EQ(f.observer.done.size(), 1U);
    EXPECT_TRUE(r->finished);
    EXPECT_TRUE(!r->streaming || r->Events().back() == "[DONE]");
  }
}

}  // namespace
}  // namespace lathe::serve
