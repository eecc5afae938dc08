#include "runtime/sched/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "runtime/sched/testing/fake_executor.h"

namespace lathe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ExecutorLimits kLimits = {.max_step_rows = 16,
                                    .max_logit_rows = 8,
                                    .n_pages = 64,
                                    .page_size = 4,
                                    .max_positions = 128,
                                    .vocab = 50};

SamplingParams Greedy(int max_tokens) {
  SamplingParams p;
  p.temperature = 0;
  p.max_tokens = max_tokens;
  p.ignore_eos = true;
  return p;
}

std::vector<TokenId> Iota(int n, int from = 1) {
  std::vector<TokenId> v(static_cast<size_t>(n));
  std::iota(v.begin(), v.end(), from);
  return v;
}

// Runs a scheduler on the fake device and keeps what came out.
struct Driver {
  explicit Driver(const ExecutorLimits& l, SchedulerOptions options = {})
      : limits(l), executor(l), scheduler(l, options) {}

  void Add(RequestId id, std::vector<TokenId> prompt, const SamplingParams& params, int n = 1,
           int priority = 0) {
    SchedRequest r;
    r.id = id;
    r.prompt = std::move(prompt);
    r.policy = std::make_shared<SamplingPolicy>(params, std::vector<TokenId>{0},
                                                std::vector<std::vector<TokenId>>{});
    r.n = n;
    r.priority = priority;
    scheduler.AddRequest(std::move(r));
  }
  // The step that ran, or null.
  const Step* Run(double now = 0) {
    events.clear();
    const Step* step = scheduler.BuildStep(now, &events);
    if (step != nullptr) {
      last = *step;
      const Status status = executor.Execute(*step, &result);
      EXPECT_TRUE(status.ok()) << status.message();
      scheduler.ApplyResult(result, &events);
    }
    for (const SequenceEvent& e : events) {
      auto& out = outputs[{e.request, e.index}];
      if (e.token != nullptr) out.tokens.push_back(e.token->id);
      if (e.finish != FinishReason::kNone) {
        EXPECT_EQ(out.finish, FinishReason::kNone);
        out.finish = e.finish;
        order.push_back(e.request);
      }
    }
    scheduler.CheckInvariants();
    return step == nullptr ? nullptr : &last;
  }
  int RunAll() {
    int steps = 0;
    for (; Run() != nullptr; ++steps) EXPECT_LT(steps, 10000);
    EXPECT_EQ(scheduler.kv().n_used(), 0);
    return steps;
  }
  std::vector<int> SliceRows() const {
    std::vector<int> rows;
    for (const SeqSlice& s : last.sequences) rows.push_back(s.n_rows);
    return rows;
  }

  const ExecutorLimits limits;
  testing::FakeExecutor executor;
  Scheduler scheduler;
  StepResult result;
  Step last;
  std::vector<SequenceEvent> events;
  std::map<std::pair<RequestId, int>, testing::Alone> outputs;
  std::vector<RequestId> order;  // of ends
};

TEST(Policy, RankIsPriorityThenArrival) {
  EXPECT_LT(RankOf(0, 1, 0), RankOf(0, 2, 0));
  EXPECT_LT(RankOf(0, 1, 0), RankOf(0, 1, 1));
  EXPECT_LT(RankOf(1, 60000, 0), RankOf(0, 0, 0));
  EXPECT_LT(RankOf(0, 0, 0), RankOf(1, kOvertake + 1, 0));  // overtaken often enough
  EXPECT_LT(RankOf(INT32_MAX, 0, 0), RankOf(INT32_MIN, 0, 0));
}

TEST(Policy, ReserveNeverBlocksAnEmptyDevice) {
  EXPECT_EQ(AdmissionReserve(0, 1), 0);
  EXPECT_EQ(AdmissionReserve(3, 100), 3);
  EXPECT_EQ(AdmissionReserve(100, 160), 20);
  EXPECT_EQ(AdmissionReserve(5, 4), 1);
}

TEST(Scheduler, OneRequestRunsToItsEnd) {
  Driver d(kLimits);
  d.Add(7, Iota(20), Greedy(5));
  EXPECT_EQ(d.RunAll(), 6);  // 16 + 4 rows of prompt, 4 more tokens
  const auto alone = testing::RunAlone(kLimits, Iota(20), Greedy(5), 0, {0}, {}, 128);
  EXPECT_EQ((d.outputs[{7, 0}].tokens), alone.tokens);
  EXPECT_EQ((d.outputs[{7, 0}].finish), FinishReason::kLength);
  const SchedulerStats s = d.scheduler.stats();
  EXPECT_EQ(s.prompt_tokens, 20u);
  EXPECT_EQ(s.generated_tokens, 5u);
  EXPECT_EQ(s.running + s.waiting + s.unstarted, 0);
}

TEST(Scheduler, DecodesComeFirstAndPromptsFillTheRest) {
  Driver d(kLimits);
  d.Add(1, Iota(3), Greedy(20));
  d.Add(2, Iota(3, 100), Greedy(20));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(3, 3));
  d.Add(3, Iota(40, 200), Greedy(3));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 1, 14));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 1, 14));
  d.Add(4, Iota(5, 300), Greedy(3));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 1, 12, 2));  // the rest of 3, the start of 4
  EXPECT_THAT(d.last.logit_rows, ElementsAre(0, 1, 13));
  d.RunAll();
}

TEST(Scheduler, ALongPromptLeavesHalfToShortOnesBehindIt) {
  Driver d(kLimits);
  d.Add(1, Iota(60), Greedy(4));
  d.Add(2, Iota(60, 3), Greedy(4));  // long too: waits its turn
  d.Add(3, Iota(5, 7), Greedy(4));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(11, 5));  // of 16 rows
  EXPECT_EQ((d.outputs[{3, 0}].tokens.size()), 1u);
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 15));  // nobody short is left: first come, first served
  d.RunAll();
  EXPECT_THAT(d.order, ElementsAre(3, 1, 2));
}

TEST(Scheduler, PromptRowsAreBoundedBesideDecodesOnly) {
  Driver d(kLimits);
  d.scheduler.LimitPromptRows(3, 100);
  d.Add(1, Iota(10), Greedy(20));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(10));
  EXPECT_EQ(d.scheduler.step_decodes(), 0);
  EXPECT_EQ(d.scheduler.n_decoding(), 1);
  d.Add(2, Iota(20, 2), Greedy(2));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 3));
  EXPECT_EQ(d.scheduler.step_decodes(), 1);
  EXPECT_EQ(d.scheduler.step_prompt_rows(), 3);
  d.scheduler.LimitPromptRows(0, 100);  // progress in any case
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 1));
  d.scheduler.LimitPromptRows(1000, 1000);
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 15));
  d.RunAll();
}

TEST(Scheduler, LongPromptsTakeTheirRowsLittleByLittle) {
  ExecutorLimits limits = kLimits;
  limits.n_pages = 256;
  limits.max_positions = 512;
  Driver d(limits);
  d.scheduler.LimitPromptRows(12, 3);
  d.Add(1, Iota(144, 1000), Greedy(3));  // nine steps
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(3));  // alone, too: somebody may come
  EXPECT_EQ(d.scheduler.step_long_rows(), 3);
  d.Add(2, Iota(8), Greedy(4));
  d.Add(3, Iota(200, 2000), Greedy(3));
  d.Add(4, Iota(20, 20), Greedy(4));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(3, 8, 5));  // one long prompt at a time; short ones as ever
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 3, 9));  // 12 rows of prompts beside one that decodes
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(1, 3, 6));
  EXPECT_EQ(d.scheduler.step_prompt_rows(), 9);
  EXPECT_EQ(d.scheduler.step_long_rows(), 3);
  d.RunAll();
  for (RequestId id : {1, 2, 3, 4}) EXPECT_EQ((d.outputs[{id, 0}].finish), FinishReason::kLength);
}

TEST(Scheduler, ContextEndsASequence) {
  SchedulerOptions options;
  options.max_context = 24;
  Driver d(kLimits, options);
  d.Add(1, Iota(20), Greedy(0));
  d.Add(2, Iota(20), Greedy(100));
  d.RunAll();
  for (RequestId id : {1, 2}) {
    EXPECT_EQ((d.outputs[{id, 0}].tokens.size()), 4u);
    EXPECT_EQ((d.outputs[{id, 0}].finish), FinishReason::kLength);
  }
}

TEST(Scheduler, RefusesWhatNeverFits) {
  ExecutorLimits limits = kLimits;
  limits.n_pages = 5;  // 20 tokens
  Driver d(limits);
  EXPECT_TRUE(d.scheduler.CheckFits(20, 0).ok());
  EXPECT_TRUE(d.scheduler.CheckFits(11, 10).ok());
  const Status small = d.scheduler.CheckFits(11, 11);
  EXPECT_EQ(small.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(small.message(),
              HasSubstr("needs the KV cache of 21 tokens (11 of the prompt, up to 11 generated)"));
  EXPECT_THAT(small.message(), HasSubstr("holds 20"));
  const Status longer = d.scheduler.CheckFits(128, 1);
  EXPECT_EQ(longer.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(longer.message(), HasSubstr("128 tokens"));
  EXPECT_EQ(d.scheduler.CheckFits(0, 1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(d.scheduler.CheckFits(1, INT32_MAX).code(), StatusCode::kInvalidArgument);
  // As long as the pool goes, and the last page is used whole.
  d.Add(1, Iota(11), Greedy(10));
  d.Add(2, Iota(20), Greedy(0));
  d.RunAll();
  EXPECT_EQ((d.outputs[{1, 0}].tokens.size()), 10u);
  EXPECT_EQ((d.outputs[{2, 0}].tokens.size()), 1u);
}

TEST(Scheduler, SharedPromptIsComputedOnce) {
  Driver d(kLimits);
  d.Add(1, Iota(14), Greedy(2));
  d.RunAll();
  d.Add(2, Iota(14), Greedy(2));
  d.Run();
  EXPECT_THAT(d.SliceRows(), ElementsAre(2));
  EXPECT_EQ(d.events[0].cached_tokens, 12);
  EXPECT_EQ(d.scheduler.stats().cached_tokens, 12u);
  d.RunAll();
  EXPECT_EQ((d.outputs[{1, 0}].tokens), (d.outputs[{2, 0}].tokens));
}

TEST(Scheduler, LaterPromptAdoptsWhatTheFirstComputes) {
  Driver d(kLimits);
  d.Add(1, Iota(40), Greedy(1));
  d.Add(2, Iota(40), Greedy(1));
  d.Run();
  d.Run();
  d.Run();  // 8 rows of 1 end it; 2 starts behind what is committed
  EXPECT_THAT(d.SliceRows(), ElementsAre(8, 8));
  EXPECT_EQ(d.last.sequences[1].first_position, 32);
  d.RunAll();
  EXPECT_EQ((d.outputs[{1, 0}].tokens), (d.outputs[{2, 0}].tokens));
}

TEST(Scheduler, ManyContinuationsShareOnePrompt) {
  SamplingParams p = Greedy(6);
  p.temperature = 1;
  for (const int n_prompt : {1, 3, 4, 12, 13}) {
    Driver d(kLimits);
    d.Add(1, Iota(n_prompt), p, 5);
    d.Run();
    EXPECT_THAT(d.last.logit_rows, ::testing::Each(n_prompt - 1));
    EXPECT_EQ(d.last.logit_rows.size(), 5u);
    d.Run();
    EXPECT_EQ(d.last.sequences.size(), 5u);
    EXPECT_EQ(d.last.n_rows(),
              std::min(16, 1 + 4 * (1 + n_prompt % 4)));  // others compute the partial page again
    d.RunAll();
    for (int i = 0; i < 5; ++i) {
      const auto alone =
          testing::RunAlone(kLimits, Iota(n_prompt), p, static_cast<uint64_t>(i), {0}, {}, 128);
      EXPECT_EQ((d.outputs[{1, i}].tokens), alone.tokens) << i;
    }
  }
}

TEST(Scheduler, MoreContinuationsThanAStepCanSample) {
  SamplingParams p = Greedy(9);
  p.temperature = 1;
  for (const bool cache : {true, false}) {
    SchedulerOptions options;
    options.kv.prefix_cache = cache;
    Driver d(kLimits, options);
    d.Add(1, Iota(13), p, 30);
    d.RunAll();
    for (int i = 0; i < 30; ++i) {
      const auto alone = testing::RunAlone(kLimits, Iota(13), p, static_cast<uint64_t>(i), {0}, {}, 128);
      EXPECT_EQ((d.outputs[{1, i}].tokens), alone.tokens) << i;
    }
  }
}

TEST(Scheduler, PreemptsTheLastInRankAndKeepsItsTokens) {
  ExecutorLimits limits = kLimits;
  limits.n_pages = 10;
  Driver d(limits);
  d.Add(1, Iota(8), Greedy(20));
  d.Add(2, Iota(8, 100), Greedy(20), 1, 1);  // later, but with a higher priority
  d.RunAll();
  EXPECT_GT(d.scheduler.stats().preemptions, 0u);
  EXPECT_THAT(d.order, ElementsAre(2, 1));
  EXPECT_EQ((d.outputs[{1, 0}].tokens),
            testing::RunAlone(limits, Iota(8), Greedy(20), 0, {0}, {}, 41).tokens);
  EXPECT_EQ((d.outputs[{2, 0}].tokens),
            testing::RunAlone(limits, Iota(8, 100), Greedy(20), 0, {0}, {}, 41).tokens);
}

TEST(Scheduler, HigherPriorityStartsEarlier) {
  SchedulerOptions options;
  options.max_sequences = 1;
  Driver d(kLimits, options);
  d.Add(1, Iota(4), Greedy(2));
  d.Run();
  d.Add(2, Iota(4), Greedy(2), 1, 0);
  d.Add(3, Iota(4), Greedy(2), 1, 5);
  d.Add(4, Iota(4), Greedy(2), 1, 0);
  d.RunAll();
  EXPECT_THAT(d.order, ElementsAre(1, 3, 2, 4));
}

TEST(Scheduler, AnUrgentStreamDoesNotStarveAModestRequest) {
  SchedulerOptions options;
  options.max_sequences = 1;
  Driver d(kLimits, options);
  d.Add(1, Iota(2), Greedy(1), 1, 0);
  d.Add(2, Iota(2), Greedy(1), 1, 1);
  // One urgent request arrives for each that ends: the modest one never finds an empty line.
  RequestId next = 3;
  std::vector<SequenceEvent> events;
  while (d.outputs[{1, 0}].finish == FinishReason::kNone) {
    ASSERT_LT(next, static_cast<RequestId>(kOvertake) + 10);
    d.Add(next++, Iota(2), Greedy(1), 1, 1);
    const Step* step = d.scheduler.BuildStep(0, &events);
    ASSERT_TRUE(d.executor.Execute(*step, &d.result).ok());
    d.scheduler.ApplyResult(d.result, &events);
    for (const auto& e : events) {
      if (e.request == 1) d.outputs[{1, 0}].finish = e.finish;
    }
    events.clear();
  }
  EXPECT_GT(next, static_cast<RequestId>(kOvertake) - 10);
}

TEST(Scheduler, EqualRequestsEndInOrderOfArrival) {
  SchedulerOptions options;
  options.max_sequences = 3;
  Driver d(kLimits, options);
  std::vector<RequestId> expected;
  for (RequestId id = 1; id <= 20; ++id) {
    d.Add(id, Iota(6, static_cast<int>(10 * id)), Greedy(4));
    expected.push_back(id);
  }
  d.RunAll();
  EXPECT_EQ(d.order, expected);
}

TEST(Scheduler, CancelFreesPagesAtOnce) {
  Driver d(kLimits);
  d.Add(1, Iota(20), Greedy(50), 3);
  d.Add(2, Iota(20, 100), Greedy(50));
  d.Run();
  std::vector<SequenceEvent> events;
  d.scheduler.Cancel(1, FinishReason::kCancelled, Status::Ok(), &events);  // in the middle of its prompt
  EXPECT_EQ(events.size(), 3u);
  EXPECT_EQ(d.scheduler.kv().n_used(), 0);
  d.scheduler.Cancel(99, FinishReason::kCancelled, Status::Ok(), &events);
  d.Run();
  d.Run();
  EXPECT_GT(d.scheduler.kv().n_used(), 0);
  d.scheduler.Cancel(2, FinishReason::kCancelled, Status::Ok(), &events);
  EXPECT_EQ(events.size(), 4u);
  EXPECT_EQ(d.scheduler.kv().n_used(), 0);
  EXPECT_TRUE(d.scheduler.idle());
  EXPECT_EQ(d.Run(), nullptr);
}

TEST(Scheduler, DeadlinesEndWaitingAndRunning) {
  SchedulerOptions options;
  options.max_sequences = 1;
  Driver d(kLimits, options);
  for (RequestId id : {1, 2, 3}) {
    SchedRequest r;
    r.id = id;
    r.prompt = Iota(4);
    r.policy = std::make_shared<SamplingPolicy>(Greedy(30), std::vector<TokenId>{},
                                                std::vector<std::vector<TokenId>>{});
    r.deadline = id == 3 ? 100 : 10 + static_cast<double>(id);
    d.scheduler.AddRequest(std::move(r));
  }
  d.Run(1);
  EXPECT_TRUE(d.order.empty());
  d.Run(11);
  EXPECT_THAT(d.order, ElementsAre(1));
  d.Run(50);
  EXPECT_THAT(d.order, ElementsAre(1, 2));
  EXPECT_EQ((d.outputs[{2, 0}].finish), FinishReason::kDeadline);
  d.RunAll();
  EXPECT_EQ((d.outputs[{3, 0}].finish), FinishReason::kLength);
}

TEST(Scheduler, BadLogitsFailTheirRequestOnly) {
  Driver d(kLimits);
  d.executor.poison = 77;
  d.Add(1, Iota(6), Greedy(5));
  d.Add(2, {5, 77, 5}, Greedy(5), 3);
  d.Add(3, Iota(6, 100), Greedy(5));
  d.Run();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ((d.outputs[{2, i}].finish), FinishReason::kError);
    EXPECT_TRUE((d.outputs[{2, i}].tokens.empty()));
  }
  d.RunAll();
  EXPECT_EQ((d.outputs[{1, 0}].finish), FinishReason::kLength);
  EXPECT_EQ((d.outputs[{3, 0}].finish), FinishReason::kLength);
}

TEST(Scheduler, BadLogitsLeaveNothingInTheCache) {
  Driver d(kLimits);
  d.executor.poison = 25;
  d.Add(1, Iota(30), Greedy(5), 2);
  d.RunAll();
  EXPECT_EQ((d.outputs[{1, 1}].finish), FinishReason::kError);
  EXPECT_EQ(d.scheduler.kv().n_cached(), 0);
  d.executor.poison = -1;  // it was the device, not the prompt
  d.Add(2, Iota(30), Greedy(5));
  d.RunAll();
  EXPECT_EQ(d.scheduler.stats().cached_tokens, 0u);
  EXPECT_EQ((d.outputs[{2, 0}].finish), FinishReason::kLength);
}

ExecutorLimits HostLimits(int n_pages, int n_host_pages) {
  ExecutorLimits limits = kLimits;
  limits.n_pages = n_pages;
  limits.n_host_pages = n_host_pages;
  return limits;
}

// Conversations that take turns in a pool that holds a few of them.
TEST(Scheduler, ConversationsComeBackFromHostMemory) {
  for (const int n_host : {0, 128}) {
    const ExecutorLimits limits = HostLimits(12, n_host);
    Driver d(limits);
    std::vector<TokenId> talk[8];
    RequestId id = 0;
    for (int turn = 0; turn < 3; ++turn) {
      for (int who = 0; who < 8; ++who) {
        for (int i = 0; i < 8; ++i) talk[who].push_back(1 + (who * 17 + turn * 5 + i * 3) % 49);
        const uint64_t cached = d.scheduler.stats().cached_tokens;
        d.Add(++id, talk[who], Greedy(6));
        d.RunAll();
        const auto alone = testing::RunAlone(limits, talk[who], Greedy(6), 0, {0}, {}, 49);
        ASSERT_EQ((d.outputs[{id, 0}].tokens), alone.tokens);
        // The last token of an answer is not in the cache, and pages are of four.
        const size_t before = turn > 0 ? talk[who].size() - 8 - 1 : 0;
        EXPECT_EQ(d.scheduler.stats().cached_tokens - cached, n_host > 0 ? before / 4 * 4 : 0);
        talk[who].insert(talk[who].end(), alone.tokens.begin(), alone.tokens.end());
      }
    }
    const SchedulerStats s = d.scheduler.stats();
    EXPECT_EQ(s.cached_tokens > 0, n_host > 0);
    EXPECT_GE(s.host_tokens * 10, s.cached_tokens * 8);  // most of it
  }
}

TEST(Scheduler, APreemptionCostsACopy) {
  uint64_t lost[2] = {};
  for (const int n_host : {0, 64}) {
    const ExecutorLimits limits = HostLimits(14, n_host);
    Driver d(limits);
    for (RequestId id = 1; id <= 4; ++id) d.Add(id, Iota(12, 10 * static_cast<int>(id)), Greedy(30));
    d.RunAll();
    for (RequestId id = 1; id <= 4; ++id)
      EXPECT_EQ(
          (d.outputs[{id, 0}].tokens),
          testing::RunAlone(limits, Iota(12, 10 * static_cast<int>(id)), Greedy(30), 0, {0}, {}, 57).tokens);
    const SchedulerStats s = d.scheduler.stats();
    ASSERT_GT(s.preemptions, 0u);
    lost[n_host > 0] = s.recomputed_tokens;
    if (n_host > 0) {
      EXPECT_LE(s.recomputed_tokens, s.preemptions * 4);  // of a partial page each
    }
  }
  EXPECT_GT(lost[0], lost[1] * 2);
}

// A device that performs moves only where a step needs them: who decodes does not wait for who comes back.
TEST(Scheduler, WhoWaitsForPagesLetsOthersRun) {
  ExecutorLimits limits = HostLimits(5, 32);
  limits.page_size = 16;
  Driver d(limits);
  d.executor.moves_a_step = 0;
  const auto story = Iota(40);
  d.Add(1, story, Greedy(2));
  d.RunAll();
  d.Add(2, Iota(70, 60), Greedy(2));  // takes the pages of the first
  d.RunAll();
  const int64_t before = d.scheduler.kv().moves_done();
  EXPECT_EQ(before, 2);
  d.Add(3, Iota(3, 200), Greedy(12));  // the one page that is free
  d.Run();
  d.Add(4, story, Greedy(2));
  for (int i = 0; i < 11; ++i) {
    d.Run();
    EXPECT_THAT(d.SliceRows(), ElementsAre(1)) << i;
    EXPECT_EQ(d.last.moves_needed, 0) << i;
  }
  EXPECT_EQ((d.outputs[{3, 0}].finish), FinishReason::kLength);
  EXPECT_EQ(d.scheduler.kv().counters().restored, 2u);
  EXPECT_EQ(d.scheduler.kv().moves_done(), before);
  d.Run();  // nobody else runs: the step waits
  EXPECT_GT(d.last.moves_needed, before);
  EXPECT_EQ(d.scheduler.kv().moves_done(), d.last.moves_needed);
  d.RunAll();
  EXPECT_EQ((d.outputs[{4, 0}].tokens), (d.outputs[{1, 0}].tokens));
}

TEST(Scheduler, BadLogitsLeaveNothingInHostMemory) {
  Driver d(HostLimits(14, 64));
  d.executor.poison = 77;
  for (RequestId id = 1; id <= 4; ++id) {
    std::vector<TokenId> prompt = Iota(12, 10 * static_cast<int>(id));
    d.Add(id, prompt, Greedy(30), 1);
  }
  for (int i = 0; i < 20; ++i) d.Run();
  std::vector<TokenId> bad = Iota(16, 60);
  bad.push_back(77);
  d.Add(9, bad, Greedy(3), 1, 1);
  d.RunAll();
  EXPECT_EQ((d.outputs[{9, 0}].finish), FinishReason::kError);
  EXPECT_GE(d.scheduler.stats().preemptions, 1u);
  EXPECT_GT(d.scheduler.kv().counters().offloaded, 0u);
  d.executor.poison = -1;
  const uint64_t cached = d.scheduler.stats().cached_tokens;
  d.Add(10, bad, Greedy(3));
  d.RunAll();
  EXPECT_EQ(d.scheduler.stats().cached_tokens, cached);  // nothing of it is found
}

TEST(Scheduler, FinishSequenceEndsOneContinuation) {
  Driver d(kLimits);
  d.Add(1, Iota(5), Greedy(10), 3);
  d.Run();
  d.scheduler.FinishSequence(1, 1);
  d.scheduler.FinishSequence(1, 1);
  d.RunAll();
  EXPECT_EQ((d.outputs[{1, 1}].tokens.size()), 1u);
  EXPECT_EQ((d.outputs[{1, 0}].tokens.size()), 10u);
  EXPECT_EQ((d.outputs[{1, 2}].tokens.size()), 10u);
}

TEST(Scheduler, DynamicRopeRecomputesEveryLengthAsItWas) {
  ExecutorLimits limits = kLimits;
  limits.dynamic_rope = true;
  limits.dynamic_rope_from = 12;
  limits.n_pages = 14;
  Driver d(limits);
  for (RequestId id = 1; id <= 4; ++id) d.Add(id, Iota(6 + 4 * static_cast<int>(id)), Greedy(18));
  d.RunAll();
  EXPECT_GT(d.scheduler.stats().preemptions, 0u);
  EXPECT_GT(d.scheduler.stats().recomputed_tokens, 0u);
  for (RequestId id = 1; id <= 4; ++id) {
    const auto prompt = Iota(6 + 4 * static_cast<int>(id));
    EXPECT_EQ((d.outputs[{id, 0}].tokens),
              testing::RunAlone(limits, prompt, Greedy(18), 0, {0}, {}, 57).tokens);
  }
}

}  // namespace
}  // namespace lathe
