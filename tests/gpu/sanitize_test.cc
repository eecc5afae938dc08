// Every kernel of a small model, few times: what compute-sanitizer gets through in seconds (sanitize.sh).
#include "../e2e/determinism_check.h"
#include "gpu_test_util.h"
#include "model/synth.h"

namespace lathe {
namespace {

struct Case {
  const char* name;
  DType weights, keys;
  int head_dim;  // 128, with enough heads: the product of the long prompt's q, k and v rotates them
};

class GpuSanitize : public GpuTest, public ::testing::WithParamInterface<Case> {
 protected:
  // A Llama of two layers, written once.
  static std::string SmallModel(int head_dim) {
    const std::string dir = ScratchDir() + "/small" + std::to_string(head_dim);
    if (DirExists(dir)) return dir;
    const Json config = {{"architectures", {"LlamaForCausalLM"}},
                         {"model_type", "llama"},
                         {"hidden_size", 256},
                         {"intermediate_size", 512},
                         {"num_hidden_layers", 2},
                         {"num_attention_heads", head_dim == 128 ? 32 : 4},
                         {"num_key_value_heads", head_dim == 128 ? 16 : 2},
                         {"head_dim", head_dim},
                         {"vocab_size", 1000},
                         {"max_position_embeddings", 512},
                         {"rms_norm_eps", 1e-5},
                         {"rope_theta", 10000.0},
                         {"tie_word_embeddings", false},
                         {"hidden_act", "silu"}};
    EXPECT_TRUE(WriteFileAtomic(dir + ".json", DumpJson(config)).ok());
    const Status status = WriteSyntheticCheckpoint(dir + ".json", dir, {});
    EXPECT_TRUE(status.ok()) << status.message();
    return dir;
  }
};

// A prompt that takes the kernels of many rows, then graphs of one to three rows beside one another, sampled
// in every way; the greedy tokens are the same alone and again.
TEST_P(GpuSanitize, EveryKernel) {
  const BuildSpec spec = {.dtype = GetParam().weights, .target = "cuda", .kv_dtype = GetParam().keys};
  const auto engine = LoadEngine(BuiltEngine(SmallModel(GetParam().head_dim), spec),
                                 {.max_sequences = 3, .max_step_tokens = 192, .max_context = 256});
  ASSERT_NE(engine, nullptr);
  Rng rng(3);
  const Request greedy = GreedyRequest(Prompt::Ids(RandomIds(rng, 150, engine->model().vocab)), 4);
  const Answer first = RunAlone(*engine, greedy), again = RunAlone(*engine, greedy);
  EXPECT_EQ(first.ids.size(), 4u) << first.error.message();
  EXPECT_EQ(first.ids, again.ids);
  Collector batch(*engine);
  for (int i = 0; i < 3; ++i) {
    // Three of 70 do not fit a step: one of prompts beside decoding rows follows, whatever the timing.
    const int length = GetParam().head_dim == 128 ? 70 : 20;
    Request request = GreedyRequest(Prompt::Ids(RandomIds(rng, length, engine->model().vocab)), 3);
    request.sampling.temperature = 1;
    request.sampling.top_k = i == 1 ? 20 : 0;
    request.sampling.top_p = i == 2 ? 0.9F : 1;
    request.sampling.logprobs = i == 0 ? 3 : -1;
    request.sampling.frequency_penalty = 0.5F;
    batch.Submit(std::move(request));
  }
  batch.Wait();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(batch.answers(i)[0].finish, FinishReason::kLength) << batch.answers(i)[0].error.message();
    EXPECT_EQ(batch.answers(i)[0].ids.size(), 3u);
  }
}

INSTANTIATE_TEST_SUITE_P(Small, GpuSanitize,
                         ::testing::Values(Case{"bf16", DType::kBf16, DType::kBf16, 64},
                                           Case{"fp8", DType::kF8E4M3, DType::kF8E4M3, 64},
                                           Case{"bf16_128", DType::kBf16, DType::kBf16, 128},
                                           Case{"fp8_128", DType::kF8E4M3, DType::kF8E4M3, 128}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace lathe
