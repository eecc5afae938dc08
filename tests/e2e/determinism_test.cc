// Requirement R14 on the CPU, where it is the only mode: the same bits alone, in a batch, chunked, cached,
// preempted, on any number of threads; and a thousand requests at once, each equal to itself alone.
#include <cstring>

#include "base/rng.h"
#include "e2e_util.h"

namespace lathe {
namespace {

std::vector<TokenId> RandomIds(Rng& rng, int n, int vocab) {
  std::vector<TokenId> ids;
  for (int i = 0; i < n; ++i)
    ids.push_back(static_cast<TokenId>(6 + rng.Below(static_cast<uint64_t>(vocab - 6))));
  return ids;
}

// Greedy or seeded sampling over prompts of many lengths.
Request RandomRequest(uint64_t seed, int vocab) {
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

void ExpectSame(const Answer& got, const Answer& want) {
  EXPECT_EQ(got.finish, want.finish) << got.error.message();
  EXPECT_EQ(got.ids, want.ids);
  EXPECT_EQ(got.text, want.text);
  EXPECT_EQ(got.logprobs, want.logprobs);  // exact: the bits, not a tolerance
}

class Determinism : public ::testing::TestWithParam<DType> {};

TEST_P(Determinism, LogitsHaveTheSameBitsWhateverTheChunkAndTheThreads) {
  const std::string path = BuiltEngine(TalesDir(), {.dtype = GetParam()});
  Rng rng(11);
  std::vector<float> want;
  for (const auto& [threads, chunk] : {std::pair{1, 512}, {2, 512}, {3, 300}, {2, 16}, {2, 1}, {1, 37}}) {
    auto engine = LoadEngine(path, {.threads = threads, .max_sequences = 16, .max_step_tokens = chunk});
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

TEST_P(Determinism, BatchedCachedAndPreemptedEqualAlone) {
  const std::string path = BuiltEngine(TalesDir(), {.dtype = GetParam()});
  constexpr int kRequests = 24;
  std::vector<Answer> alone;
  {
    auto engine = LoadEngine(path, {.prefix_cache = false});
    ASSERT_NE(engine, nullptr);
    for (uint64_t i = 0; i < kRequests; ++i)
      alone.push_back(RunAlone(*engine, RandomRequest(i, engine->model().vocab)));
    EXPECT_EQ(engine->Stats().cached_tokens, 0u);
  }
  auto engine = LoadEngine(path);
  for (int round = 0; round < 2; ++round) {
    Collector batch(*engine);
    for (uint64_t i = 0; i < kRequests; ++i) batch.Submit(RandomRequest(i, engine->model().vocab));
    batch.Wait();
    for (size_t i = 0; i < kRequests; ++i) ExpectSame(batch.answers(i)[0], alone[i]);
  }
  EXPECT_GT(engine->Stats().cached_tokens, 500u)
      << "the second round should have found the first one's pages";

  // Room for two of the longest sequences only: the others wait or are preempted and recomputed.
  const uint64_t kv = engine->model().kv_bytes_per_token * 320;
  engine = LoadEngine(path, {.kv_bytes = kv, .max_context = 160, .prefix_cache = false});
  ASSERT_NE(engine, nullptr);
  Collector tight(*engine);
  for (uint64_t i = 0; i < kRequests; ++i) tight.Submit(RandomRequest(i, engine->model().vocab));
  tight.Wait();
  for (size_t i = 0; i < kRequests; ++i) ExpectSame(tight.answers(i)[0], alone[i]);
  EXPECT_EQ(engine->Stats().pages_used, 0);
}

INSTANTIATE_TEST_SUITE_P(DTypes, Determinism, ::testing::Values(DType::kBf16, DType::kF32),
                         [](const auto& info) { return std::string(ToString(info.param)); });

TEST(Determinism, PreemptionRecomputesToTheSameBits) {
  const std::string path = BuiltEngine(TalesDir());
  std::vector<Request> requests;
  Rng rng(5);
  for (int i = 0; i < 6; ++i) requests.push_back(GreedyRequest(Prompt::Ids(RandomIds(rng, 30, 8192)), 120));
  std::vector<Answer> alone;
  auto engine = LoadEngine(path, {.prefix_cache = false});
  for (const Request& request : requests) alone.push_back(RunAlone(*engine, request));
  // All six prompts fit, all six answers do not.
  const uint64_t kv = engine->model().kv_bytes_per_token * 400;
  engine = LoadEngine(path, {.kv_bytes = kv, .max_context = 160, .prefix_cache = false});
  ASSERT_NE(engine, nullptr);
  Collector tight(*engine);
  for (const Request& request : requests) tight.Submit(request);
  tight.Wait();
  for (size_t i = 0; i < requests.size(); ++i) ExpectSame(tight.answers(i)[0], alone[i]);
  EXPECT_GT(engine->Stats().preemptions, 0u);
  EXPECT_EQ(engine->Stats().pages_used, 0);
}

TEST(Lasting, AThousandRequestsAtOnceEqualThemselvesAlone) {
  const std::string path = BuiltEngine(TalesDir());
  auto engine = LoadEngine(path, {.prefix_cache = false});
  ASSERT_NE(engine, nullptr);
  constexpr uint64_t kDistinct = 40, kRequests = 1000;
  std::vector<Answer> alone;
  for (uint64_t i = 0; i < kDistinct; ++i)
    alone.push_back(RunAlone(*engine, RandomRequest(i, engine->model().vocab)));
  engine = LoadEngine(path);
  Collector all(*engine);
  for (uint64_t i = 0; i < kRequests; ++i) all.Submit(RandomRequest(i % kDistinct, engine->model().vocab));
  all.Wait();
  for (uint64_t i = 0; i < kRequests; ++i) ExpectSame(all.answers(i)[0], alone[i % kDistinct]);
  EXPECT_EQ(engine->Stats().pages_used, 0);
  EXPECT_EQ(engine->Stats().failed, 0u);
}

TEST(Parallel, ContinuationsOfOnePromptShareItAndFollowTheirOwnSeeds) {
  auto engine = LoadEngine(BuiltEngine(TalesDir()));
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

}  // namespace
}  // namespace lathe
