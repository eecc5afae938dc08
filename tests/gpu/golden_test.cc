// Models of all families on the device against transformers' golden files, and tales-16m against the CPU
// engine.
#include "../e2e/golden_check.h"
#include "gpu_test_util.h"
#include "perplexity_text.h"

namespace lathe {
namespace {

class GpuGolden : public GpuTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(GpuGolden, LogprobsAndGreedyTokens) { CheckGolden(GetParam(), CudaSpec()); }

INSTANTIATE_TEST_SUITE_P(Families, GpuGolden, ::testing::ValuesIn(GoldenNames()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// Nats per token of the held-out tales, in windows of `window`.
double NatsPerToken(const BuildSpec& spec, int window, size_t max_windows) {
  const auto engine = LoadEngine(BuiltEngine(TalesDir(), spec), {.max_step_tokens = window});
  if (engine == nullptr) return std::nan("");
  const auto text = ReadFile(LATHE_SOURCE_DIR "/tests/data/text/tales_valid.txt");
  EXPECT_TRUE(text.ok()) << text.status().message();
  const auto ids = engine->Tokenize(cli::EmptySeparatorLines(*text, "<|endoftext|>"), false, false);
  EXPECT_TRUE(ids.ok()) << ids.status().message();
  Engine::Score all;
  auto windows = cli::CutWindows(*ids, window, engine->model().bos_id);
  windows.resize(std::min(windows.size(), max_windows));
  for (const auto& one : windows) {
    const auto score = engine->ScoreWindow(one);
    EXPECT_TRUE(score.ok()) << score.status().message();
    if (!score.ok()) return std::nan("");
    all.nats += score->nats;
    all.tokens += score->tokens;
  }
  return all.nats / static_cast<double>(all.tokens);
}

// bf16 on the CPU is 2e-4 nats from f32 over the whole text (docs/benchmarks.md); here they may be as far
// from each other as both from f32, over a tenth of the text.
TEST_F(GpuTest, PerplexityIsThatOfTheCpu) {
  const double cpu = NatsPerToken({}, 1024, 12), gpu = NatsPerToken(CudaSpec(), 1024, 12);
  std::printf("nats per token: CPU %.5f, CUDA %.5f\n", cpu, gpu);
  EXPECT_NEAR(gpu, cpu, 2e-3);
}

}  // namespace
}  // namespace lathe
