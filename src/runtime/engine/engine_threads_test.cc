// Many threads at one engine; run under the thread sanitizer too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "base/rng.h"
#include "runtime/engine/testing/rig.h"

namespace lathe {
namespace {

using testing::FakeText;
using testing::MakeRequest;
using testing::Rig;

constexpr ExecutorLimits kLimits = {.max_step_rows = 128,
                                    .max_logit_rows = 64,
                                    .n_pages = 400,
                                    .page_size = 4,
                                    .max_positions = 120,
                                    .vocab = FakeText::kVocab};

std::unique_ptr<Engine> NewEngine(const ExecutorLimits& limits = kLimits) {
  EngineParts parts;
  parts.executor = std::make_unique<testing::FakeExecutor>(limits);
  parts.text = std::make_unique<FakeText>();
  parts.info.vocab = limits.vocab;
  parts.info.eos_ids = {FakeText::kEos};
  return MakeEngine(std::move(parts), {});
}

Request RandomRequest(Rng* rng) {
  Request r;
  std::vector<TokenId> prompt(1 + rng->Below(40), 5);
  for (size_t i = rng->Below(2) * 20; i < prompt.size(); ++i) {
    prompt[i] = static_cast<TokenId>(rng->Below(FakeText::kVocab));
  }
  r.prompt = Prompt::Ids(prompt);
  r.sampling.seed = rng->Below(1000);
  r.sampling.temperature = rng->Below(2) == 0 ? 0 : 1;
  r.sampling.max_tokens = static_cast<int>(1 + rng->Below(40));
  r.n = rng->Below(8) == 0 ? 3 : 1;
  r.priority = static_cast<int>(rng->Below(2));
  return r;
}

std::vector<TokenId> Expected(const Request& r, int index) {
  return testing::RunAlone(kLimits, *r.prompt.ids, r.sampling,
                           *r.sampling.seed + static_cast<uint64_t>(index), {FakeText::kEos}, {},
                           kLimits.max_positions)
      .tokens;
}

// What one continuation got. Written on the engine's thread, read after WaitIdle or its destruction.
struct Got {
  std::vector<TokenId> ids;
  std::string text;
  FinishReason finish = FinishReason::kNone;
};

struct Ticket {
  Request request;
  std::vector<Got> got;
  RequestId id = 0;
  bool last = false;

  OutputCallback Callback() {
    return [this](const OutputDelta& d) {
      Got& g = got[static_cast<size_t>(d.index)];
      EXPECT_FALSE(last);
      EXPECT_EQ(g.finish, FinishReason::kNone);
      for (const auto& t : d.tokens) g.ids.push_back(t.id);
      g.text += d.text;
      g.finish = d.finish;
      last = d.last;
    };
  }
};

// Whether a continuation has what it would have alone, or the start of it when it was ended from outside.
void CheckTicket(const Ticket& t) {
  EXPECT_TRUE(t.last);
  for (size_t i = 0; i < t.got.size(); ++i) {
    const Got& g = t.got[i];
    const auto expected = Expected(t.request, static_cast<int>(i));
    if (g.finish == FinishReason::kCancelled) {
      ASSERT_LE(g.ids.size(), expected.size());
      EXPECT_TRUE(std::equal(g.ids.begin(), g.ids.end(), expected.begin()));
    } else {
      EXPECT_EQ(g.ids, expected);
    }
    EXPECT_EQ(g.text, FakeText::Text(g.ids));
  }
}

TEST(EngineThreads, ThousandConcurrentRequests) {
  auto engine = NewEngine();
  std::vector<Ticket> tickets(1000);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      Rng rng(t);
      for (size_t i = t; i < tickets.size(); i += 8) {
        tickets[i].request = RandomRequest(&rng);
        tickets[i].got.resize(static_cast<size_t>(tickets[i].request.n));
        const auto id = engine->Submit(tickets[i].request, tickets[i].Callback());
        ASSERT_TRUE(id.ok());
      }
    });
  }
  for (auto& t : threads) t.join();
  engine->WaitIdle();
  for (const Ticket& t : tickets) {
    CheckTicket(t);
    for (const Got& g : t.got)
      EXPECT_TRUE(g.finish == FinishReason::kStop || g.finish == FinishReason::kLength);
  }
  const EngineStats stats = engine->Stats();
  EXPECT_EQ(stats.finished, 1000u);
  EXPECT_EQ(stats.running + stats.waiting, 0);
  EXPECT_EQ(stats.pages_used, 0);
}

TEST(EngineThreads, CancelAtRandomMoments) {
  auto engine = NewEngine();
  std::vector<Ticket> tickets(1200);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      Rng rng(100 + t);
      for (size_t i = t; i < tickets.size(); i += 6) {
        tickets[i].request = RandomRequest(&rng);
        tickets[i].got.resize(static_cast<size_t>(tickets[i].request.n));
        const auto id = engine->Submit(tickets[i].request, tickets[i].Callback());
        ASSERT_TRUE(id.ok());
        tickets[i].id = *id;
        if (rng.Below(4) == 0) std::this_thread::sleep_for(std::chrono::microseconds(rng.Below(300)));
        if (rng.Below(2) == 0) engine->Cancel(tickets[rng.Below(i / 6 + 1) * 6 + t].id);
        if (rng.Below(10) == 0) (void)engine->Stats();
      }
    });
  }
  for (auto& t : threads) t.join();
  engine->WaitIdle();
  int cancelled = 0;
  for (const Ticket& t : tickets) {
    CheckTicket(t);
    cancelled += t.got[0].finish == FinishReason::kCancelled;
  }
  EXPECT_GT(cancelled, 20);
  const EngineStats stats = engine->Stats();
  EXPECT_EQ(stats.pages_used, 0);
  EXPECT_EQ(stats.submitted, stats.finished + stats.cancelled);
}

TEST(EngineThreads, ShutdownWhileRunning) {
  for (int round = 0; round < 20; ++round) {
    auto engine = NewEngine();
    std::vector<Ticket> tickets(60);
    Rng rng(static_cast<uint64_t>(round));
    for (Ticket& t : tickets) {
      t.request = RandomRequest(&rng);
      t.got.resize(static_cast<size_t>(t.request.n));
      ASSERT_TRUE(engine->Submit(t.request, t.Callback()).ok());
    }
    std::this_thread::sleep_for(std::chrono::microseconds(rng.Below(2000)));
    engine.reset();
    for (const Ticket& t : tickets) CheckTicket(t);  // each got its end
  }
}

TEST(EngineThreads, IdleEngineComesAndGoes) {
  for (int round = 0; round < 50; ++round) {
    auto engine = NewEngine();
    if (round % 2 == 0) engine->WaitIdle();
  }
}

// A check of the weights that ends while requests run.
TEST(EngineThreads, DamageFoundLaterFailsEverybody) {
  std::atomic<bool> found{false};
  Rig rig({}, testing::kLimits, [&](const std::atomic<bool>& stop) {
    while (!found && !stop) std::this_thread::yield();
    return Status(StatusCode::kCorrupt, "weights are damaged");
  });
  Request r = MakeRequest({1, 2, 3}, 100);
  r.sampling.ignore_eos = true;
  const RequestId id = rig.Submit(r);
  rig.collector.AwaitToken(id);
  found = true;
  while (rig.engine->Submit(MakeRequest({1, 2}, 5), rig.collector.Callback()).ok()) std::this_thread::yield();
  rig.engine->WaitIdle();
  const auto refused = rig.engine->Submit(r, rig.collector.Callback());
  EXPECT_EQ(refused.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(refused.status().message(), ::testing::HasSubstr("weights are damaged"));
  EXPECT_EQ(rig.engine->Stats().pages_used, 0);
}

// An engine that goes away does not wait for the check to end by itself.
TEST(EngineThreads, ShutdownStopsTheCheck) {
  Rig rig({}, testing::kLimits, [&](const std::atomic<bool>& stop) {
    while (!stop) std::this_thread::yield();
    return Status::Ok();
  });
  EXPECT_EQ(rig.Run(MakeRequest({1, 2, 3}, 4)).tokens.empty(), false);
}

}  // namespace
}  // namespace lathe
