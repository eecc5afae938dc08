// Tensor and pipeline parallel shards, all ranks in one process: the same tokens as one rank.
#include "base/rng.h"
#include "e2e_util.h"

namespace lathe {
namespace {

class Ranks : public ::testing::TestWithParam<std::tuple<DType, int, int>> {};

TEST_P(Ranks, GiveTheTokensOfOneRank) {
  const auto [dtype, tp, pp] = GetParam();
  auto one = LoadEngine(BuiltEngine(TalesDir(), {.dtype = dtype}));
  auto many = LoadEngine(BuiltEngine(TalesDir(), {.dtype = dtype, .tp = tp, .pp = pp}));
  ASSERT_NE(one, nullptr);
  ASSERT_NE(many, nullptr);
  for (const char* text :
       {"Once upon a time", "The old king had three sons, and the youngest", "\"Who is there?\" cried"}) {
    const Answer want = RunAlone(*one, GreedyRequest(Prompt::Text(text), 40));
    const Answer got = RunAlone(*many, GreedyRequest(Prompt::Text(text), 40));
    EXPECT_EQ(got.ids, want.ids) << text;
    EXPECT_EQ(got.ids.size(), 40u);
  }
  // Several sequences in one step, prompts in chunks.
  Collector batch(*many);
  Rng rng(1);
  std::vector<Request> requests;
  for (int i = 0; i < 5; ++i) {
    std::vector<TokenId> ids;
    for (int k = 0; k < 20 + 150 * i; ++k) ids.push_back(static_cast<TokenId>(10 + rng.Below(8000)));
    requests.push_back(GreedyRequest(Prompt::Ids(ids), 10));
    batch.Submit(requests.back());
  }
  batch.Wait();
  for (size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(batch.answers(i)[0].ids, RunAlone(*one, requests[i]).ids);
}

INSTANTIATE_TEST_SUITE_P(Grids, Ranks,
                         ::testing::Values(std::tuple{DType::kF32, 2, 1}, std::tuple{DType::kF32, 1, 2},
                                           std::tuple{DType::kF32, 2, 2}, std::tuple{DType::kF32, 3, 1},
                                           std::tuple{DType::kBf16, 2, 1}, std::tuple{DType::kBf16, 1, 4}),
                         [](const auto& info) {
                           return std::string(ToString(std::get<0>(info.param))) + "_tp" +
                                  std::to_string(std::get<1>(info.param)) + "_pp" +
                                  std::to_string(std::get<2>(info.param));
                         });

}  // namespace
}  // namespace lathe
