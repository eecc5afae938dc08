#include "runtime/engine/engine_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "base/rng.h"
#include "runtime/engine/testing/rig.h"

namespace lathe {
namespace {

using testing::Collector;
using testing::FakeText;
using ::testing::HasSubstr;
using testing::kLimits;
using testing::MakeRequest;
using testing::Rig;
using testing::Seen;
constexpr TokenId kPoison = FakeText::kVocab - 1;

testing::Alone AloneOf(const Request& r, int index = 0, const ExecutorLimits& limits = kLimits) {
  return testing::RunAlone(limits, *r.prompt.ids, r.sampling, *r.sampling.seed + static_cast<uint64_t>(index),
                           {FakeText::kEos}, {}, limits.max_positions);
}

TEST(Engine, FinishReasonsHaveNames) {
  const std::pair<FinishReason, const char*> names[] = {
      {FinishReason::kNone, "none"},         {FinishReason::kStop, "stop"},
      {FinishReason::kLength, "length"},     {FinishReason::kCancelled, "cancelled"},
      {FinishReason::kDeadline, "deadline"}, {FinishReason::kError, "error"}};
  for (const auto& [reason, name] : names) EXPECT_STREQ(ToString(reason), name);
}

TEST(Engine, OptionsBoundTheContext) {
  EXPECT_EQ(Rig().engine->model().max_context, 160);
  EXPECT_EQ(Rig({.max_context = 1000}).engine->model().max_context, 160);
  Rig rig({.max_context = 20});
  EXPECT_EQ(rig.engine->model().max_context, 20);
  Request r = MakeRequest(std::vector<TokenId>(15, 1), 100);
  r.sampling.ignore_eos = true;
  const Seen seen = rig.Run(r);
  EXPECT_EQ(seen.tokens.size(), 5u);
  EXPECT_EQ(seen.finish, FinishReason::kLength);
}

TEST(Engine, OneRequest) {
  Rig rig;
  Request r = MakeRequest({1, 2, 3, 4, 5}, 40);
  r.sampling.ignore_eos = true;
  r.sampling.logprobs = 2;
  const Seen seen = rig.Run(r);
  EXPECT_EQ(seen.ids(), AloneOf(r).tokens);
  EXPECT_EQ(seen.text, FakeText::Text(seen.ids()));
  EXPECT_EQ(seen.finish, FinishReason::kLength);
  EXPECT_EQ(seen.usage.prompt_tokens, 5);
  EXPECT_EQ(seen.usage.completion_tokens, 40);
  EXPECT_EQ(seen.usage.cached_tokens, 0);
  for (const TokenOutput& t : seen.tokens) EXPECT_EQ(t.top.size(), 2u);
  EXPECT_EQ(rig.Run(r).usage.cached_tokens, 4);
  const EngineStats stats = rig.engine->Stats();
  EXPECT_EQ(stats.submitted, 2u);
  EXPECT_EQ(stats.finished, 2u);
  EXPECT_EQ(stats.generated_tokens, 80u);
  EXPECT_EQ(stats.pages_total, 256);
}

// With a device that can, decoding steps are begun behind one another: neither the first, which is of the
// prompt, nor the one behind it.
TEST(Engine, StepsOfKnownShapeAreBegunAhead) {
  Rig rig;
  rig.executor->ahead = rig.executor->overlap = true;
  Request r = MakeRequest({1, 2, 3, 4, 5}, 40);
  r.sampling.ignore_eos = true;
  EXPECT_EQ(rig.Run(r).ids(), AloneOf(r).tokens);
  EXPECT_EQ(rig.executor->n_steps, 40u);
  EXPECT_EQ(rig.executor->n_ahead, 38u);
  r.sampling.frequency_penalty = 0.5;  // wants to know every token before the next one
  EXPECT_EQ(rig.Run(r).ids(), AloneOf(r).tokens);
  EXPECT_EQ(rig.executor->n_ahead, 38u);
}

TEST(Engine, EndTokenIsCountedButIsNoText) {
  Rig rig;
  int stopped = 0;
  for (TokenId t = 1; t < 20; ++t) {
    const Request r = MakeRequest({t, 2}, 60);
    const testing::Alone alone = AloneOf(r);
    const Seen seen = rig.Run(r);
    EXPECT_EQ(seen.ids(), alone.tokens);
    EXPECT_EQ(seen.finish, alone.finish);
    EXPECT_EQ(seen.text, FakeText::Text(alone.tokens));  // eos spells nothing
    EXPECT_EQ(seen.usage.completion_tokens, static_cast<int>(alone.tokens.size()));
    stopped += seen.finish == FinishReason::kStop;
  }
  EXPECT_GT(stopped, 5);
  Request by_id = MakeRequest({1, 2}, 60);
  by_id.sampling.ignore_eos = true;
  by_id.sampling.stop_ids = {AloneOf(by_id).tokens[3]};
  const Seen seen = rig.Run(by_id);
  EXPECT_EQ(seen.finish, FinishReason::kStop);
  const auto ids = seen.ids();
  EXPECT_EQ(ids.back(), by_id.sampling.stop_ids[0]);
  EXPECT_EQ(seen.text, FakeText::Text(std::span(ids).first(ids.size() - 1)));
}

// The text of these tokens under these stop strings, by the definition; and whether one was met.
std::pair<std::string, bool> Stopped(const SamplingParams& p, const std::vector<TokenId>& ids) {
  const std::string text = FakeText::Text(ids);
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const auto& stop : p.stop) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return {text.substr(0, p.include_stop ? end : end - longest), true};
  }
  return {text, false};
}

TEST(Engine, StopStringsAcrossTokensNeverLeak) {
  Rig rig;
  Rng rng(8);
  int stopped = 0, straddling = 0;
  for (int round = 0; round < 600; ++round) {
    Request r = MakeRequest(
        {static_cast<TokenId>(1 + rng.Below(20)), static_cast<TokenId>(1 + rng.Below(20))}, 30, 1);
    r.sampling.seed = rng.Next();
    r.sampling.ignore_eos = true;
    const std::vector<TokenId> all = AloneOf(r).tokens;
    const std::string text = FakeText::Text(all);
    for (uint64_t i = 0, n = 1 + rng.Below(3); i < n; ++i) {
      const size_t begin = rng.Below(text.size() - 8);
      std::string stop = text.substr(begin, 2 + rng.Below(6));
      while (!stop.empty() && (stop[0] & 0xC0) == 0x80) stop.erase(0, 1);
      while (!stop.empty() && (stop.back() & 0x80) != 0) stop.pop_back();
      if (rng.Below(4) == 0) stop += "!?";  // starts like the text and never comes
      if (!stop.empty()) r.sampling.stop.push_back(stop);
    }
    r.sampling.include_stop = rng.Below(3) == 0;
    const auto [expected, met] = Stopped(r.sampling, all);
    const Seen seen = rig.Run(r);
    ASSERT_EQ(seen.text, expected);
    ASSERT_EQ(seen.finish, met ? FinishReason::kStop : FinishReason::kLength);
    ASSERT_TRUE(std::equal(seen.tokens.begin(), seen.tokens.end(), all.begin(),
                           [](const TokenOutput& t, TokenId id) { return t.id == id; }));
    // At no moment was more shown than the whole has.
    std::string shown;
    for (const std::string& piece : seen.pieces) {
      shown += piece;
      ASSERT_TRUE(expected.starts_with(shown));
    }
    stopped += met;
    const auto ids = seen.ids();
    straddling += met && FakeText::Text(std::span(ids).first(ids.size() - 1)).size() > expected.size();
  }
  EXPECT_GE(stopped, 300);
  EXPECT_GE(straddling, 200);
}

TEST(Engine, MinTokensHoldsOffStopStrings) {
  Rig rig;
  Request r = MakeRequest({3, 4}, 30, 1);
  r.sampling.stop = {"a", "b", "c", " ", "\n", "."};
  r.sampling.min_tokens = 12;
  const Seen seen = rig.Run(r);
  EXPECT_EQ(seen.finish, FinishReason::kStop);
  EXPECT_GE(seen.tokens.size(), 13u);
}

TEST(Engine, BadWordsNeverComeAsTheirTokens) {
  Rig rig;
  const FakeText text;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Request r = MakeRequest({3, 4}, 60, 1);
    r.sampling.seed = seed;
    r.sampling.bad_words = {"a", "c\nab", "!a"};
    const auto ids = rig.Run(r).ids();
    for (const std::string word : {"a", " a", "c\nab", " c\nab", "!a", " !a"}) {
      const auto bad = text.Encode(word, false, false);
      EXPECT_EQ(std::search(ids.begin(), ids.end(), bad.begin(), bad.end()), ids.end()) << word;
    }
  }
}

TEST(Engine, ContinuationsHaveTheirOwnSeeds) {
  Rig rig;
  Request r = MakeRequest({1, 2, 3, 4, 5, 6}, 20, 1);
  r.n = 6;
  const RequestId id = rig.Submit(r);
  rig.engine->WaitIdle();
  std::set<std::vector<TokenId>> distinct;
  int completion = 0, most = 0;
  for (int i = 0; i < 6; ++i) {
    const Seen& seen = rig.collector.Of(id, i);
    EXPECT_EQ(seen.ids(), AloneOf(r, i).tokens);
    EXPECT_EQ(seen.text, FakeText::Text(seen.ids()));
    distinct.insert(seen.ids());
    completion += static_cast<int>(seen.tokens.size());
    most = std::max(most, seen.usage.completion_tokens);
  }
  EXPECT_EQ(distinct.size(), 6u);
  EXPECT_EQ(most, completion);  // the last delta counts all
}

TEST(Engine, SeedsAreReproducibleAndDrawnWhenAbsent) {
  Rig rig;
  Request r = MakeRequest({1, 2, 3}, 30, 1);
  r.sampling.ignore_eos = true;
  EXPECT_EQ(rig.Run(r).ids(), rig.Run(r).ids());
  r.sampling.seed.reset();
  EXPECT_NE(rig.Run(r).ids(), rig.Run(r).ids());  // equal with a chance of 24^-30
}

TEST(Engine, PromptsOfEveryKind) {
  Rig rig;
  const FakeText text;
  Request ids = MakeRequest(text.Encode("abc a.", true, false), 20);
  Request plain = ids, chat = ids;
  plain.prompt = Prompt::Text("abc a.");
  chat.prompt = Prompt();
  chat.prompt.chat = Prompt::Chat{.messages_json = "abc a.", .tools_json = "", .template_args_json = ""};
  EXPECT_EQ(rig.Run(plain).ids(), AloneOf(ids).tokens);
  EXPECT_EQ(rig.Run(chat).ids(), AloneOf(ids).tokens);
  EXPECT_EQ(*rig.engine->Tokenize("abc", false, false), text.Encode("abc", false, false));
  EXPECT_EQ(rig.engine->Detokenize({1, 2}, true), "ab");
  std::string rendered;
  EXPECT_TRUE(rig.engine->RenderChat(*chat.prompt.chat, &rendered).ok());
  EXPECT_EQ(rendered, "abc a.");
}

TEST(Engine, RefusesBadRequests) {
  ExecutorLimits small = kLimits;
  small.n_pages = 10;
  Rig rig({}, small);
  struct Case {
    const char* says;
    StatusCode code;
    std::function<void(Request&)> set;
  };
  const Case cases[] = {
      {"temperature", StatusCode::kInvalidArgument, [](Request& r) { r.sampling.temperature = -1; }},
      {"n must be in [1, 64], but is 0", StatusCode::kInvalidArgument, [](Request& r) { r.n = 0; }},
      {"but is 65", StatusCode::kInvalidArgument, [](Request& r) { r.n = 65; }},
      {"deadline_seconds", StatusCode::kInvalidArgument, [](Request& r) { r.deadline_seconds = -1; }},
      {"nan", StatusCode::kInvalidArgument, [](Request& r) { r.deadline_seconds = std::nan(""); }},
      {"cache_salt", StatusCode::kInvalidArgument, [](Request& r) { r.cache_salt.assign(5000, 'x'); }},
      {"stop[0] must be UTF-8", StatusCode::kInvalidArgument, [](Request& r) { r.sampling.stop = {"\xA9"}; }},
      {"0 are set", StatusCode::kInvalidArgument, [](Request& r) { r.prompt = Prompt(); }},
      {"2 are set", StatusCode::kInvalidArgument, [](Request& r) { r.prompt.text = "a"; }},
      {"at least one token", StatusCode::kInvalidArgument, [](Request& r) { r.prompt = Prompt::Ids({}); }},
      {"[0, 24), but is 24", StatusCode::kInvalidArgument,
       [](Request& r) {
         r.prompt = Prompt::Ids({1, 24});
       }},
      {"[0, 24), but is -1", StatusCode::kInvalidArgument, [](Request& r) { r.prompt = Prompt::Ids({-1}); }},
      {"200 tokens, but the context holds 160", StatusCode::kInvalidArgument,
       [](Request& r) { r.prompt = Prompt::Ids(std::vector<TokenId>(200, 1)); }},
      {"holds 40", StatusCode::kInvalidArgument,
       [](Request& r) { r.prompt = Prompt::Ids(std::vector<TokenId>(50, 1)); }},
      {"no messages", StatusCode::kInvalidArgument,
       [](Request& r) {
         r.prompt = Prompt();
         r.prompt.chat = Prompt::Chat();
       }},
  };
  for (const Case& c : cases) {
    Request r = MakeRequest({1, 2}, 5);
    c.set(r);
    const auto id = rig.engine->Submit(r, nullptr);
    ASSERT_FALSE(id.ok()) << c.says;
    EXPECT_EQ(id.status().code(), c.code) << c.says;
    EXPECT_THAT(id.status().message(), HasSubstr(c.says));
  }
  rig.engine->WaitIdle();
  EXPECT_EQ(rig.engine->Stats().submitted, 0u);
}

// Holds the device until it is let go.
class Gate {
 public:
  Status Pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    return Status::Ok();
  }
  void AwaitArrival() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return arrived_ > 0; });
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int arrived_ = 0;
};

TEST(Engine, FullQueueRefuses) {
  Rig rig({.max_sequences = 1, .max_queued_requests = 3});
  Gate gate;
  rig.OnExecute([&](const Step&) { return gate.Pass(); });
  rig.Submit(MakeRequest({1, 2}, 5));
  gate.AwaitArrival();
  // The one that runs does not count, but until its first step is over nobody knows that it runs.
  int accepted = 0;
  Status refused;
  for (int i = 0; i < 10; ++i) {
    const auto id = rig.engine->Submit(MakeRequest({1, 2}, 5), nullptr);
    accepted += id.ok();
    if (!id.ok()) refused = id.status();
  }
  EXPECT_GE(accepted, 2);
  EXPECT_LE(accepted, 3);
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(refused.message(), HasSubstr("3 requests"));
  gate.Open();
  rig.engine->WaitIdle();
  EXPECT_TRUE(rig.engine->Submit(MakeRequest({1, 2}, 5), nullptr).ok());
}

TEST(Engine, CancelRunningWaitingAndUnknown) {
  Rig rig({.max_sequences = 1});
  Gate gate;
  rig.OnExecute([&](const Step&) { return gate.Pass(); });
  Request endless = MakeRequest({1, 2}, 150);
  endless.sampling.ignore_eos = true;
  const RequestId running = rig.Submit(endless);
  gate.AwaitArrival();
  endless.n = 3;
  const RequestId waiting = rig.Submit(endless);
  rig.engine->Cancel(waiting);
  rig.engine->Cancel(running);
  rig.engine->Cancel(12345);
  gate.Open();
  rig.engine->WaitIdle();
  EXPECT_EQ(rig.collector.Of(running).finish, FinishReason::kCancelled);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rig.collector.Of(waiting, i).finish, FinishReason::kCancelled);
  EXPECT_EQ(rig.engine->Stats().cancelled, 2u);
}

TEST(Engine, CancelFromTheCallback) {
  Rig rig;
  Request r = MakeRequest({1, 2}, 150);
  r.sampling.ignore_eos = true;
  int n_deltas = 0;
  FinishReason finish = FinishReason::kNone;
  const auto id = rig.engine->Submit(r, [&](const OutputDelta& d) {
    if (++n_deltas == 3) rig.engine->Cancel(d.request);
    finish = d.finish;
  });
  ASSERT_TRUE(id.ok());
  rig.engine->WaitIdle();
  EXPECT_EQ(n_deltas, 4);
  EXPECT_EQ(finish, FinishReason::kCancelled);
}

TEST(Engine, ACallbackThatThrowsHurtsItsOwnRequestOnly) {
  Rig rig;
  Request r = MakeRequest({1, 2}, 100);
  r.sampling.ignore_eos = true;
  std::atomic<int> calls = 0;
  ASSERT_TRUE(rig.engine
                  ->Submit(r,
                           [&](const OutputDelta&) {
                             ++calls;
                             throw std::runtime_error("not ours");
                           })
                  .ok());
  const Seen other = rig.Run(r);
  EXPECT_EQ(other.ids(), AloneOf(r).tokens);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(rig.engine->Stats().cancelled, 1u);
}

TEST(Engine, DeadlineEndsARequest) {
  Rig rig;
  rig.OnExecute([](const Step&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return Status::Ok();
  });
  Request r = MakeRequest({1, 2}, 150);
  r.sampling.ignore_eos = true;
  r.deadline_seconds = 0.03;
  const Seen seen = rig.Run(r);
  EXPECT_EQ(seen.finish, FinishReason::kDeadline);
  EXPECT_LT(seen.tokens.size(), 50u);
  EXPECT_EQ(seen.text, FakeText::Text(seen.ids()));  // nothing is held back
  EXPECT_EQ(rig.engine->Stats().failed, 1u);
}

TEST(Engine, BadLogitsFailOneRequest) {
  Rig rig;
  rig.executor->poison = kPoison;
  Request good = MakeRequest({1, 2}, 30), bad = MakeRequest({1, kPoison, 2}, 30);
  good.sampling.logit_bias = {};
  good.sampling.bad_words = {"bb"};  // the spelling of the poison
  bad.n = 2;
  const RequestId bad_id = rig.Submit(bad);
  const Seen seen = rig.Run(good);
  EXPECT_TRUE(seen.finish == FinishReason::kStop || seen.finish == FinishReason::kLength);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(rig.collector.Of(bad_id, i).finish, FinishReason::kError);
    EXPECT_THAT(rig.collector.Of(bad_id, i).error.message(), HasSubstr("not finite"));
  }
  EXPECT_EQ(rig.engine->Stats().failed, 1u);
}

TEST(Engine, ADeviceFaultFailsWhatRunsAndWhatComes) {
  Rig rig;
  std::atomic<bool> fail = false;
  rig.OnExecute(
      [&](const Step&) { return fail ? Status(StatusCode::kInternal, "bus error 7") : Status::Ok(); });
  Request r = MakeRequest({1, 2}, 150);
  r.sampling.ignore_eos = true;
  const RequestId a = rig.Submit(r), b = rig.Submit(r);
  rig.collector.AwaitToken(b);
  fail = true;
  rig.engine->WaitIdle();
  for (RequestId id : {a, b}) {
    const Seen& seen = rig.collector.Of(id);
    if (seen.finish == FinishReason::kLength) continue;  // was faster
    EXPECT_EQ(seen.finish, FinishReason::kError);
    EXPECT_EQ(seen.error.message(), "bus error 7");
  }
  // The device may have been done before the switch; one more request meets the fault for sure.
  (void)rig.engine->Submit(r, nullptr);
  rig.engine->WaitIdle();
  const auto after = rig.engine->Submit(r, nullptr);
  EXPECT_EQ(after.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(after.status().message(), HasSubstr("bus error 7"));
  EXPECT_FALSE(rig.engine->Stats().accepting);
  EXPECT_EQ(rig.engine->ScoreWindow({1, 2, 3}).status().code(), StatusCode::kUnavailable);
}

TEST(Engine, ScoresAndLogitsAgree) {
  Rig rig;
  std::vector<TokenId> ids;
  Rng rng(4);
  for (int i = 0; i < 150; ++i) ids.push_back(static_cast<TokenId>(rng.Below(FakeText::kVocab)));
  const auto logits = rig.engine->Logits(ids);
  ASSERT_TRUE(logits.ok());
  ASSERT_EQ(logits->size(), ids.size() * FakeText::kVocab);
  const auto score = rig.engine->ScoreWindow(ids);
  ASSERT_TRUE(score.ok());
  EXPECT_EQ(score->tokens, ids.size() - 1);
  double nats = 0;  // the fake device's logits are its logprobs
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    nats -= static_cast<double>((*logits)[i * FakeText::kVocab + static_cast<size_t>(ids[i + 1])]);
  }
  EXPECT_DOUBLE_EQ(score->nats, nats);
  EXPECT_EQ(rig.engine->ScoreWindow({1}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(rig.engine->Logits({}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(rig.engine->Logits({99}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(rig.engine->Logits(std::vector<TokenId>(161, 1)).status().code(), StatusCode::kInvalidArgument);
}

TEST(Engine, ScoresBesideRunningRequests) {
  Rig rig;
  Request r = MakeRequest({1, 2}, 100);
  r.sampling.ignore_eos = true;
  const auto before = rig.engine->ScoreWindow({1, 2, 3, 4, 5});
  std::vector<RequestId> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(rig.Submit(r));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(rig.engine->ScoreWindow({1, 2, 3, 4, 5})->nats, before->nats);
  rig.engine->WaitIdle();
  for (RequestId id : ids) EXPECT_EQ(rig.collector.Of(id).ids(), AloneOf(r).tokens);
}

// Conversations that take turns in too few pages, with host memory for those that wait; texts that are scored
// between their turns take pages, too.
TEST(Engine, HostMemoryKeepsWhatThePoolCannot) {
  ExecutorLimits limits = testing::kLimits;
  limits.n_pages = 41;
  limits.n_host_pages = 200;
  Rig rig({}, limits);
  std::vector<TokenId> text;
  for (int i = 0; i < 150; ++i) text.push_back(static_cast<TokenId>(i % FakeText::kVocab));
  const auto score = rig.engine->ScoreWindow(text);
  std::vector<std::vector<TokenId>> talks(6);
  uint64_t history = 0;
  for (int turn = 0; turn < 3; ++turn) {
    for (size_t who = 0; who < talks.size(); ++who) {
      auto& talk = talks[who];
      if (turn > 0) history += (talk.size() - 1) / 4 * 4;
      for (int i = 0; i < 20; ++i)
        talk.push_back(static_cast<TokenId>((who * 7 + static_cast<size_t>(i * 3 + turn)) % 20 + 1));
      Request r = MakeRequest(talk, 15);
      r.sampling.ignore_eos = true;
      const Seen seen = rig.Run(r);
      ASSERT_EQ(seen.ids(), AloneOf(r).tokens);
      const auto ids = seen.ids();
      talk.insert(talk.end(), ids.begin(), ids.end());
      EXPECT_EQ(rig.engine->ScoreWindow(text)->nats, score->nats);
    }
  }
  const EngineStats stats = rig.engine->Stats();
  EXPECT_EQ(stats.cached_tokens, history);
  EXPECT_EQ(stats.host_tokens, history);  // the text takes nearly all pages each time
  EXPECT_EQ(stats.host_pages_total, 200);
  EXPECT_GT(stats.host_pages_used, 0);
  EXPECT_EQ(stats.pages_restored * 4, stats.host_tokens);
  EXPECT_GT(stats.pages_offloaded, stats.pages_restored);
  EXPECT_EQ(stats.host_pages_dropped, 0u);
}

TEST(Engine, CountsStepsByTheirBatch) {
  Rig rig({.max_sequences = 4});
  for (int i = 0; i < 10; ++i) rig.Submit(MakeRequest({1, 2, 3}, 5 + i));
  rig.engine->WaitIdle();
  const EngineStats stats = rig.engine->Stats();
  uint64_t steps = 0;
  for (const uint64_t n : stats.steps_by_batch) steps += n;
  EXPECT_EQ(steps, stats.steps);
  EXPECT_GT(stats.steps_by_batch[0] + stats.steps_by_batch[1] + stats.steps_by_batch[2], 0u);
  for (size_t i = 3; i < stats.steps_by_batch.size(); ++i) EXPECT_EQ(stats.steps_by_batch[i], 0u);
  EXPECT_GE(stats.sequences_in_steps, stats.generated_tokens);
}

}  // namespace
}  // namespace lathe
