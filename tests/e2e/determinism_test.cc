// Requirement R14 on the CPU, where it is the only mode: the same bits alone, in a batch, chunked, cached,
// preempted, on any number of threads; and a thousand requests at once, each equal to itself alone.
#include "determinism_check.h"

namespace lathe {
namespace {

class Determinism : public ::testing::TestWithParam<DType> {};

TEST_P(Determinism, LogitsHaveTheSameBitsWhateverTheChunkAndTheThreads) {
  CheckLogitsHaveTheSameBits(BuiltEngine(TalesDir(), {.dtype = GetParam()}),
                             {{1, 512}, {2, 512}, {3, 300}, {2, 16}, {2, 1}, {1, 37}});
}

TEST_P(Determinism, BatchedCachedAndPreemptedEqualAlone) {
  CheckBatchedCachedAndPreempted(BuiltEngine(TalesDir(), {.dtype = GetParam()}), 501);
}

INSTANTIATE_TEST_SUITE_P(DTypes, Determinism, ::testing::Values(DType::kBf16, DType::kF32),
                         [](const auto& info) { return std::string(ToString(info.param)); });

TEST(Determinism, PreemptionRecomputesToTheSameBits) { CheckPreemption(BuiltEngine(TalesDir())); }

TEST(Determinism, ConversationsComeBackFromHostMemoryWithTheSameBits) {
  CheckConversationsInHostMemory(BuiltEngine(TalesDir()));
}

TEST(Determinism, PreemptionIntoHostMemoryGivesTheSameBits) {
  CheckPreemptionIntoHostMemory(BuiltEngine(TalesDir()));
}

TEST(Lasting, AThousandRequestsAtOnceEqualThemselvesAlone) { CheckAThousandAtOnce(BuiltEngine(TalesDir())); }

TEST(Parallel, ContinuationsOfOnePromptShareItAndFollowTheirOwnSeeds) {
  CheckContinuations(BuiltEngine(TalesDir()));
}

}  // namespace
}  // namespace lathe
