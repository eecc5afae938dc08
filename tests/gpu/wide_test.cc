// Heads of 128 elements and hidden rows of 1,024: only such models take the products that rotate q, k and v
// themselves, the last layer over rows with logits alone, and the norms inside products. The small golden
// models have none of these.
#include "../e2e/determinism_check.h"
#include "../e2e/golden_check.h"
#include "gpu_test_util.h"

namespace lathe {
namespace {

struct Case {
  const char* name;
  DType weights, keys;
  // Of the errors of logprobs, largest and root of the mean square: half more than what one H200 gave. A
  // wrong row of keys or of anything else gives 4 (the likeliest of 2,000 tokens against any).
  double worst, rms;
};

class GpuWide : public GpuTest, public ::testing::WithParamInterface<Case> {
 protected:
  // Weights of 0.04 give scores with a deviation of 1.6 after a norm: attention that looks at a few keys, so
  // that a wrong key shows in the logits.
  static std::string Model() {
    const Json config = {{"architectures", {"LlamaForCausalLM"}},
                         {"model_type", "llama"},
                         {"hidden_size", 1024},
                         {"intermediate_size", 2048},
                         {"num_hidden_layers", 4},
                         {"num_attention_heads", 8},
                         {"num_key_value_heads", 2},
                         {"head_dim", 128},
                         {"vocab_size", 2000},
                         {"max_position_embeddings", 4096},
                         {"initializer_range", 0.04},
                         {"rms_norm_eps", 1e-5},
                         {"rope_theta", 500000.0},
                         {"tie_word_embeddings", false},
                         {"hidden_act", "silu"}};
    return ModelOf("wide", Json{{"config", config}, {"seed", 11}});
  }
};

// Prompts in one step and in several, and the tokens after them, against the CPU in f32.
TEST_P(GpuWide, PromptsOfEveryLength) {
  const auto& [name, weights, keys, worst_bound, rms_bound] = GetParam();
  const auto exact = LoadEngine(BuiltEngine(Model(), {.dtype = DType::kF32}));
  ASSERT_NE(exact, nullptr);
  const auto vocab = static_cast<size_t>(exact->model().vocab);
  Rng rng(29);
  double worst = 0, squares = 0;
  int n = 0;
  for (const int step_tokens : {4096, 192}) {
    const auto engine =
        LoadEngine(BuiltEngine(Model(), {.dtype = weights, .target = "cuda", .kv_dtype = keys}),
                   {.max_step_tokens = step_tokens});
    ASSERT_NE(engine, nullptr);
    for (const int length : {1, 5, 40, 130, 257, 600, 1100, 2048}) {
      auto ids = RandomIds(rng, length, engine->model().vocab);
      const Answer answer = RunAlone(*engine, GreedyRequest(Prompt::Ids(ids), 3));
      ASSERT_EQ(answer.ids.size(), 3u) << length << " tokens: " << answer.error.message();
      ids.insert(ids.end(), answer.ids.begin(), answer.ids.end());
      const auto want = exact->Logits(ids);
      ASSERT_TRUE(want.ok()) << want.status().message();
      for (size_t i = 0; i < answer.ids.size(); ++i) {
        const float* row = want->data() + (static_cast<size_t>(length) - 1 + i) * vocab;
        const double logprob = row[answer.ids[i]] - LogSumExp(row, exact->model().vocab);
        const double error = std::abs(answer.logprobs[i] - logprob);
        worst = std::max(worst, error);
        squares += error * error;
        ++n;
        EXPECT_LE(error, worst_bound)
            << length << " tokens in steps of " << step_tokens << ", token " << i << " after them";
      }
    }
  }
  const double rms = std::sqrt(squares / n);
  std::printf("%s: errors of logprobs: worst %.4f, rms %.4f\n", name, worst, rms);
  EXPECT_LE(rms, rms_bound);
}

INSTANTIATE_TEST_SUITE_P(Types, GpuWide,
                         ::testing::Values(Case{"bf16", DType::kBf16, DType::kBf16, 0.08, 0.03},
                                           Case{"fp8_keys", DType::kBf16, DType::kF8E4M3, 0.6, 0.25},
                                           Case{"fp8", DType::kF8E4M3, DType::kF8E4M3, 1.6, 0.5}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace lathe
