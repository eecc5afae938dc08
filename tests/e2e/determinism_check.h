// Requirement R14 as checks for any target: the same bits alone, in a batch, chunked, cached and preempted.
// Each takes the engine file and what every engine is to be loaded with.
#pragma once

#include <cstring>

#include "base/rng.h"
#include "e2e_util.h"

namespace lathe {

inline std::vector<TokenId> RandomIds(Rng& rng, int n, int vocab) {
  std::vector<TokenId> ids;
  for (int i = 0; i < n; ++i)
    ids.push_back(static_cast<TokenId>(6 + rng.Below(static_cast<uint64_t>(vocab - 6))));
  return ids;
}

// Greedy or seeded sampling over prompts of many lengths.
inline Request RandomRequest(uint64_t seed, int vocab) {
  Rng rng(seed);
  Request request = GreedyRequest(Prompt::Ids(RandomIds(rng, 1 + static_cast<int>(rng.Below(120)), vocab)),
                                  4 + static_cast<int>(rng.Below(20)));
  if (seed % 2) {
    request.sampling.temperature = 0.9;
    request.sampling.top_p = 0.95;
    request.sampling.top_k = 50;
    request.sampling.seed = seed;
  }
  return request;
}

inline void ExpectSame(const Answer& got, const Answer& want) {
  EXPECT_EQ(got.finish, want.finish) << got.error.message();
  EXPECT_EQ(got.ids, want.ids);
  EXPECT_EQ(got.text, want.text);
  EXPECT_EQ(got.logprobs, want.logprobs);  // exact: the bits, not a tolerance
}

// Logits of one prompt, for every way to compute it in `ways` (threads and rows of a step).
inline void CheckLogitsHaveTheSameBits(const std::string& path, const std::vector<std::pair<int, int>>& ways,
                                       const EngineOptions& base = {}) {
  std::vector<float> want;
  for (const auto& [threads, chunk] : ways) {
    EngineOptions options = base;
    options.threads = threads;
    options.max_sequences = 16;
    options.max_step_tokens = chunk;
    auto engine = LoadEngine(path, options);
    ASSERT_NE(engine, nullptr);
    Rng same(11);
    const auto logits = engine->Logits(RandomIds(same, 300, engine->model().vocab));
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    if (want.empty()) want = *logits;
    ASSERT_EQ(logits->size(), want.size());
    EXPECT_EQ(std::memcmp(logits->data(), want.data(), want.size() * sizeof(float)), 0)
        << threads << " threads, chunks of " << chunk;
  }
}

// Two dozen requests one by one, then together, then together with their pages cached (at least
// `cached_tokens` of them), then with hardly any room.
inline void CheckBatchedCachedAndPreempted(const std::string& path, uint64_t cached_tokens,
                                           const EngineOptions& base = {}) {
  constexpr int kRequests = 24;
  EngineOptions uncached = base;
  uncached.prefix_cache = false;
  std::vector<Answer> alone;
  {
    auto engine = LoadEngine(path, uncached);
    ASSERT_NE(engine, nullptr);
    for (uint64_t i = 0; i < kRequests; ++i)
      alone.push_back(RunAlone(*engine, RandomRequest(i, engine->model().vocab)));
    EXPECT_EQ(engine->Stats().cached_tokens, 0u);
  }
  auto engine = LoadEngine(path, base);
  ASSERT_NE(engine, nullptr);
  for (int round = 0; round < 2; ++round) {
    Collector batch(*engine);
    for (uint64_t i = 0; i < kRequests; ++i) batch.Submit(RandomRequest(i, engine->model().vocab));
    batch.Wait();
    for (size_t i = 0; i < kRequests; ++i) ExpectSame(batch.answers(i)[0], alone[i]);
  }
  EXPECT_GE(engine->Stats().cached_tokens, cached_tokens)
      << "the second round should have found the first one's pages";

  // Room for two of the longest sequences only: the others wait or are preempted and recomputed.
  EngineOptions little = uncached;
  little.kv_bytes = engine->model().kv_bytes_per_token * 320;
  little.max_context = 160;
  engine = LoadEngine(path, little);
  ASSERT_NE(engine, nullptr);
  Collector tight(*engine);
  for (uint64_t i = 0; i < kRequests; ++i) tight.Submit(RandomRequest(i, engine->model().vocab));
  tight.Wait();
  for (size_t i = 0; i < kRequests; ++i) ExpectSame(tight.answers(i)[0], alone[i]);
  EXPECT_EQ(engine->Stats().pages_used, 0);
}

// Six answers of which not all fit: some are preempted and recomputed.
inline void CheckPreemption(const std::string& path, const EngineOptions& base = {}) {
  std::vector<Request> requests;
  Rng rng(5);
  for (int i = 0; i < 6; ++i) requests.push_back(GreedyRequest(Prompt::Ids(RandomIds(rng, 30, 8192)), 120));
  std::vector<Answer> alone;
  EngineOptions uncached = base;
  uncached.prefix_cache = false;
  auto engine = LoadEngine(path, uncached);
  ASSERT_NE(engine, nullptr);
  for (const Request& request : requests) alone.push_back(RunAlone(*engine, request));
  // All six prompts fit, all six answers do not.
  EngineOptions little = uncached;
  little.kv_bytes = engine->model().kv_bytes_per_token * 400;
  little.max_context = 160;
  engine = LoadEngine(path, little);
  ASSERT_NE(engine, nullptr);
  Collector tight(*engine);
  for (const Request& request : requests) tight.Submit(request);
  tight.Wait();
  for (size_t i = 0; i < requests.size(); ++i) ExpectSame(tight.answers(i)[0], alone[i]);
  EXPECT_GT(engine->Stats().preemptions, 0u);
  EXPECT_EQ(engine->Stats().pages_used, 0);
}

// Conversations of several turns, some at once, in a pool that holds a fifth of them, with host memory for
// the others: the same bits as with a large pool, and nearly the whole history comes out of host memory.
inline void CheckConversationsInHostMemory(const std::string& path, const EngineOptions& base = {}) {
  constexpr int kTalks = 12, kTurns = 4, kAsked = 70, kAnswered = 30, kAtOnce = 3;
  std::vector<std::vector<TokenId>> talks(kTalks);
  std::vector<std::vector<Answer>> want;  // of each turn
  for (const bool offload : {false, true}) {
    auto engine = LoadEngine(path, base);
    ASSERT_NE(engine, nullptr);
    const uint64_t token = engine->model().kv_bytes_per_token;
    const int page = engine->Stats().page_size;
    if (offload) {
      EngineOptions little = base;
      little.max_context = 448;
      little.kv_bytes = token * 1024;
      little.host_kv_bytes = token * 8192;
      engine = LoadEngine(path, little);
      ASSERT_NE(engine, nullptr);
    }
    Rng rng(31);
    uint64_t history = 0;
    for (auto& talk : talks) talk.clear();
    for (int turn = 0; turn < kTurns; ++turn) {
      std::vector<Answer> answers;
      for (int first = 0; first < kTalks; first += kAtOnce) {
        Collector some(*engine);
        for (int i = first; i < first + kAtOnce; ++i) {
          auto& talk = talks[static_cast<size_t>(i)];
          if (!talk.empty())
            history += (talk.size() - 1) / static_cast<size_t>(page) * static_cast<size_t>(page);
          for (const TokenId id : RandomIds(rng, kAsked, engine->model().vocab)) talk.push_back(id);
          some.Submit(GreedyRequest(Prompt::Ids(talk), kAnswered));
        }
        some.Wait();
        for (int i = 0; i < kAtOnce; ++i) answers.push_back(some.answers(static_cast<size_t>(i))[0]);
      }
      for (size_t i = 0; i < answers.size(); ++i)
        talks[i].insert(talks[i].end(), answers[i].ids.begin(), answers[i].ids.end());
      if (!offload)
        want.push_back(answers);
      else
        for (size_t i = 0; i < answers.size(); ++i)
          ExpectSame(answers[i], want[static_cast<size_t>(turn)][i]);
    }
    const EngineStats stats = engine->Stats();
    EXPECT_EQ(stats.cached_tokens, history);
    EXPECT_EQ(stats.pages_used, 0);
    if (!offload) continue;
    EXPECT_GT(stats.host_tokens, history / 2);
    EXPECT_GT(stats.pages_offloaded, stats.pages_restored);
    EXPECT_GE(stats.pages_restored * static_cast<uint64_t>(page), stats.host_tokens);
    EXPECT_GT(stats.page_bytes, 0u);
    std::printf("%llu tokens of history found, %llu of them in host memory; %llu pages there, %llu back\n",
                static_cast<unsigned long long>(history), static_cast<unsigned long long>(stats.host_tokens),
                static_cast<unsigned long long>(stats.pages_offloaded),
                static_cast<unsigned long long>(stats.pages_restored));
  }
}

// A preemption with host memory: the same bits, and what is computed again is a partial page each.
inline void CheckPreemptionIntoHostMemory(const std::string& path, const EngineOptions& base = {}) {
  std::vector<Request> requests;
  Rng rng(5);
  for (int i = 0; i < 6; ++i) requests.push_back(GreedyRequest(Prompt::Ids(RandomIds(rng, 200, 8192)), 160));
  std::vector<Answer> alone;
  auto engine = LoadEngine(path, base);
  ASSERT_NE(engine, nullptr);
  for (const Request& request : requests) alone.push_back(RunAlone(*engine, request));
  EngineOptions little = base;
  little.kv_bytes = engine->model().kv_bytes_per_token * 1536;
  little.host_kv_bytes = engine->model().kv_bytes_per_token * 4096;
  little.max_context = 384;
  engine = LoadEngine(path, little);
  ASSERT_NE(engine, nullptr);
  Collector tight(*engine);
  for (const Request& request : requests) tight.Submit(request);
  tight.Wait();
  for (size_t i = 0; i < requests.size(); ++i) ExpectSame(tight.answers(i)[0], alone[i]);
  const EngineStats stats = engine->Stats();
  EXPECT_GT(stats.preemptions, 0u);
  EXPECT_GT(stats.pages_restored, 0u);
  EXPECT_LE(stats.recomputed_tokens, stats.preemptions * static_cast<uint64_t>(stats.page_size));
}

// A thousand requests at once, each equal to itself alone.
inline void CheckAThousandAtOnce(const std::string& path, const EngineOptions& base = {}) {
  EngineOptions uncached = base;
  uncached.prefix_cache = false;
  auto engine = LoadEngine(path, uncached);
  ASSERT_NE(engine, nullptr);
  constexpr uint64_t kDistinct = 40, kRequests = 1000;
  std::vector<Answer> alone;
  for (uint64_t i = 0; i < kDistinct; ++i)
    alone.push_back(RunAlone(*engine, RandomRequest(i, engine->model().vocab)));
  engine = LoadEngine(path, base);
  ASSERT_NE(engine, nullptr);
  Collector all(*engine);
  for (uint64_t i = 0; i < kRequests; ++i) all.Submit(RandomRequest(i % kDistinct, engine->model().vocab));
  all.Wait();
  for (uint64_t i = 0; i < kRequests; ++i) ExpectSame(all.answers(i)[0], alone[i % kDistinct]);
  EXPECT_EQ(engine->Stats().pages_used, 0);
  EXPECT_EQ(engine->Stats().failed, 0u);
}

// Continuations of one prompt share it and follow their own seeds.
inline void CheckContinuations(const std::string& path, const EngineOptions& base = {}) {
  auto engine = LoadEngine(path, base);
  ASSERT_NE(engine, nullptr);
  Rng rng(3);
  Request request = GreedyRequest(Prompt::Ids(RandomIds(rng, 100, engine->model().vocab)), 12);
  request.sampling.temperature = 1.0;
  request.sampling.seed = 42;
  request.n = 4;
  Collector together(*engine);
  const size_t slot = together.Submit(request);
  together.Wait();
  for (int i = 0; i < 4; ++i) {
    Request one = request;
    one.n = 1;
    one.sampling.seed = 42 + static_cast<uint64_t>(i);
    ExpectSame(together.answers(slot)[static_cast<size_t>(i)], RunAlone(*engine, one));
  }
}

}  // namespace lathe
