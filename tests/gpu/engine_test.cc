// The engine on the device: the same bits in deterministic mode, and the same answers up to near-ties without
// it.
#include <thread>

#include "../e2e/determinism_check.h"
#include "gpu_test_util.h"

namespace lathe {
namespace {

EngineOptions Deterministic() {
  EngineOptions options;
  options.deterministic = true;
  return options;
}

std::string TalesEngine() { return BuiltEngine(TalesDir(), CudaSpec()); }

class GpuDeterminism : public GpuTest {};

TEST_F(GpuDeterminism, LogitsHaveTheSameBitsWhateverTheChunk) {
  CheckLogitsHaveTheSameBits(TalesEngine(), {{0, 512}, {0, 300}, {0, 64}, {0, 16}, {0, 37}}, Deterministic());
}

TEST_F(GpuDeterminism, LogitsHaveTheSameBitsRowByRow) {
  CheckLogitsHaveTheSameBits(TalesEngine(), {{0, 512}, {0, 1}}, Deterministic());
}

TEST_F(GpuDeterminism, BatchedCachedAndPreemptedEqualAlone) {
  CheckBatchedCachedAndPreempted(TalesEngine(), 256, Deterministic());
}

TEST_F(GpuDeterminism, PreemptionRecomputesToTheSameBits) { CheckPreemption(TalesEngine(), Deterministic()); }

TEST_F(GpuDeterminism, ConversationsComeBackFromHostMemoryWithTheSameBits) {
  CheckConversationsInHostMemory(TalesEngine(), Deterministic());
}

TEST_F(GpuDeterminism, PreemptionIntoHostMemoryGivesTheSameBits) {
  CheckPreemptionIntoHostMemory(TalesEngine(), Deterministic());
}

TEST_F(GpuDeterminism, AThousandRequestsAtOnceEqualThemselvesAlone) {
  CheckAThousandAtOnce(TalesEngine(), Deterministic());
}

TEST_F(GpuDeterminism, ContinuationsOfOnePromptShareItAndFollowTheirOwnSeeds) {
  CheckContinuations(TalesEngine(), Deterministic());
}

TEST_F(GpuDeterminism, TwoRunsOfTheSameEngineGiveTheSameBits) {
  std::vector<Answer> first;
  for (int run = 0; run < 2; ++run) {
    const auto engine = LoadEngine(TalesEngine(), Deterministic());
    ASSERT_NE(engine, nullptr);
    Collector all(*engine);
    for (uint64_t i = 0; i < 64; ++i) all.Submit(RandomRequest(i, engine->model().vocab));
    all.Wait();
    for (size_t i = 0; i < 64; ++i) {
      if (run == 0) first.push_back(all.answers(i)[0]);
      ExpectSame(all.answers(i)[0], first[i]);
    }
  }
}

class GpuEngine : public GpuTest {};

// Clients on threads of their own, a third of whom go away in the middle.
TEST_F(GpuEngine, StreamsOfManyThreadsAndCancellations) {
  const auto engine = LoadEngine(TalesEngine());
  ASSERT_NE(engine, nullptr);
  constexpr int kThreads = 8, kEach = 12;
  std::vector<std::thread> clients;
  for (int t = 0; t < kThreads; ++t) {
    clients.emplace_back([&engine, t] {
      Rng rng(static_cast<uint64_t>(t));
      Collector mine(*engine);
      std::vector<size_t> kept;
      for (int i = 0; i < kEach; ++i) {
        const int length = 1 + static_cast<int>(rng.Below(400));
        Request request = GreedyRequest(Prompt::Ids(RandomIds(rng, length, engine->model().vocab)), 40);
        if (i % 3 != 0) {
          kept.push_back(mine.Submit(std::move(request)));
          continue;
        }
        request.sampling.max_tokens = 1000;
        const auto id = engine->Submit(std::move(request), [](const OutputDelta&) {});
        EXPECT_TRUE(id.ok()) << id.status().message();
        std::this_thread::sleep_for(std::chrono::milliseconds(rng.Below(20)));
        if (id.ok()) engine->Cancel(*id);
      }
      mine.Wait();
      for (const size_t slot : kept) {
        EXPECT_EQ(mine.answers(slot)[0].finish, FinishReason::kLength)
            << mine.answers(slot)[0].error.message();
        EXPECT_EQ(mine.answers(slot)[0].ids.size(), 40u);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  engine->WaitIdle();
  EXPECT_EQ(engine->Stats().pages_used, 0);
  EXPECT_EQ(engine->Stats().failed, 0u);
}

// The next token after `ids`, greedily, with its logprob.
Answer Next(Engine& engine, const std::vector<TokenId>& ids) {
  return RunAlone(engine, GreedyRequest(Prompt::Ids(ids), 1));
}

// A prompt as long as the context, in steps of every size, beside sequences that decode: bf16 sums in another
// order differ by a few 1e-3.
TEST_F(GpuEngine, LongPromptsInChunksBesideDecodingSequences) {
  Rng rng(17);
  std::vector<TokenId> ids;
  std::vector<float> want;
  for (const int chunk : {8192, 2048, 513, 128, 31}) {
    const auto engine = LoadEngine(TalesEngine(), {.max_step_tokens = chunk, .prefix_cache = false});
    ASSERT_NE(engine, nullptr);
    if (ids.empty()) ids = RandomIds(rng, engine->model().max_context - 8, engine->model().vocab);
    Collector beside(*engine);
    for (int i = 0; i < 5; ++i) {
      beside.Submit(GreedyRequest(Prompt::Ids(std::vector<TokenId>(ids.begin(), ids.begin() + 9 + i)), 60));
    }
    const Answer answer = Next(*engine, ids);
    beside.Wait();
    ASSERT_EQ(answer.logprobs.size(), 1u) << answer.error.message();
    if (want.empty()) want = answer.logprobs;
    EXPECT_NEAR(answer.logprobs[0], want[0], 0.03) << "steps of " << chunk;
  }
}

// Without deterministic mode too, whoever is preempted comes back and ends.
TEST_F(GpuEngine, PreemptedSequencesEnd) {
  auto engine = LoadEngine(TalesEngine());
  ASSERT_NE(engine, nullptr);
  const uint64_t kv = engine->model().kv_bytes_per_token * 1600;
  engine = LoadEngine(TalesEngine(), {.kv_bytes = kv, .max_context = 700, .prefix_cache = false});
  ASSERT_NE(engine, nullptr);
  Rng rng(23);
  Collector tight(*engine);
  constexpr size_t kRequests = 20;
  for (size_t i = 0; i < kRequests; ++i) {
    tight.Submit(GreedyRequest(Prompt::Ids(RandomIds(rng, 40, engine->model().vocab)), 600));
  }
  tight.Wait();
  for (size_t i = 0; i < kRequests; ++i) {
    EXPECT_EQ(tight.answers(i)[0].finish, FinishReason::kLength) << tight.answers(i)[0].error.message();
    EXPECT_EQ(tight.answers(i)[0].ids.size(), 600u);
  }
  EXPECT_GT(engine->Stats().preemptions, 0u);
  EXPECT_EQ(engine->Stats().pages_used, 0);
}

// Random draws too: seeds choose the same tokens on the device as on the CPU, where the logits agree.
TEST_F(GpuEngine, SeededTokensAreMostlyThoseOfTheCpu) {
  const auto gpu = LoadEngine(TalesEngine()), cpu = LoadEngine(BuiltEngine(TalesDir()));
  ASSERT_NE(gpu, nullptr);
  ASSERT_NE(cpu, nullptr);
  int same = 0, all = 0;
  for (uint64_t seed = 1; seed < 120; seed += 2) {
    Request request = RandomRequest(seed, cpu->model().vocab);
    request.sampling.max_tokens = 1;
    same += RunAlone(*gpu, request).ids == RunAlone(*cpu, request).ids;
    ++all;
  }
  std::printf("%d of %d seeded tokens are those of the CPU\n", same, all);
  EXPECT_GE(same, all * 9 / 10);
}

}  // namespace
}  // namespace lathe
