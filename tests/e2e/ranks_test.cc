// Tensor and pipeline parallel shards, all ranks in one process: the same tokens as one rank.
#include "base/rng.h"
#include "e2e_util.h"
#include "model/synth.h"

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

// Biases everywhere (those of o and down must be added once), q/k norms, an odd vocabulary, and more ranks
// than KV heads.
TEST(RanksOfOtherFamilies, GiveTheTokensOfOneRank) {
  constexpr const char* kSizes = R"("hidden_size": 128, "intermediate_size": 264, "num_attention_heads": 8,
      "num_hidden_layers": 3, "vocab_size": 515, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
      "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.09, "tie_word_embeddings": false)";
  const std::pair<const char*, std::string> kModels[] = {
      {"llama", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_key_value_heads": 2,
                    "attention_bias": true, "mlp_bias": true, )"},
      {"qwen3", R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_key_value_heads": 4,
                    "head_dim": 32, "attention_bias": false, )"}};
  for (const auto& [name, head] : kModels) {
    const std::string dir = ScratchDir() + "/ranks-" + name;
    ASSERT_TRUE(WriteFileAtomic(dir + ".json", head + kSizes + "}").ok());
    SynthOptions options;
    options.random_vectors = true;
    const Status status = WriteSyntheticCheckpoint(dir + ".json", dir, options);
    ASSERT_TRUE(status.ok()) << status.message();
    auto one = LoadEngine(BuiltEngine(dir, {.dtype = DType::kF32}));
    ASSERT_NE(one, nullptr);
    Rng rng(9);
    std::vector<TokenId> ids;
    for (int i = 0; i < 70; ++i) ids.push_back(static_cast<TokenId>(rng.Below(500)));
    const Answer want = RunAlone(*one, GreedyRequest(Prompt::Ids(ids), 30));
    for (const auto& [tp, pp] : {std::pair{4, 1}, {2, 3}, {4, 2}}) {
      auto many = LoadEngine(BuiltEngine(dir, {.dtype = DType::kF32, .tp = tp, .pp = pp}));
      ASSERT_NE(many, nullptr);
      EXPECT_EQ(RunAlone(*many, GreedyRequest(Prompt::Ids(ids), 30)).ids, want.ids)
          << name << " " << tp << "x" << pp;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Grids, Ranks,
                         ::testing::Values(std::tuple{DType::kF32, 2, 1}, std::tuple{DType::kF32, 1, 2},
                                           std::tuple{DType::kF32, 2, 2}, std::tuple{DType::kBf16, 2, 1},
                                           std::tuple{DType::kBf16, 1, 4}),
                         [](const auto& info) {
                           return std::string(ToString(std::get<0>(info.param))) + "_tp" +
                                  std::to_string(std::get<1>(info.param)) + "_pp" +
                                  std::to_string(std::get<2>(info.param));
                         });

}  // namespace
}  // namespace lathe
