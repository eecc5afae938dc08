// Models of every family as the compiler builds them for CUDA, run by the executor over the fake driver with
// kernels that compute: their logits are those of the CPU executor on an f32 engine of the same checkpoint.
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "compiler/compile.h"
#include "compiler/testing/engine_weights.h"
#include "compiler/testing/models.h"
#include "model/rope.h"
#include "model/spec_json.h"
#include "plan/cuda/plan_kernels.h"
#include "platform/cuda/testing/fake_nvrtc.h"
#include "runtime/exec/cuda/executor.h"
#include "runtime/exec/cuda/testing/host_kernels.h"
#include "runtime/exec/executor.h"

namespace lathe::cuda {
namespace {

using testing::FakeDriver;
using testing::FakeNvrtc;
using testing::HostKernels;

constexpr int kPrompt = 75, kDecoded = 3, kPages = 12;

RopeSource RopeOf(const ModelSpec& spec) {
  RopeSource rope{.inv_freq = spec.rope.inv_freq, .attention_factor = spec.rope.attention_factor};
  if (spec.rope.type == RopeType::kDynamic) {
    rope.dynamic_from = spec.rope.original_max_positions;
    rope.inv_freq_for = [rope_spec = spec.rope](int length) { return RopeInvFreq(rope_spec, length); };
  }
  return rope;
}

class BuiltEngineTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    FakeDriver::Reset();
    FakeDriver::Get().devices[0].memory = size_t{128} << 20;
    driver_ = *Driver::FromTable(FakeDriver::Table());
    nvrtc_.emplace(FakeNvrtc::Make());
  }
  // Sizes that CUDA takes, in place of the golden ones.
  static Json Changes(const std::string& name) {
    Json changes = {{"hidden_size", name == "llama_biases" || name == "qwen2_window" ? 384 : 256},
                    {"intermediate_size", 320}};
    if (name == "qwen3_mixed") changes["num_attention_heads"] = changes["num_key_value_heads"] = 4;
    return changes;
  }
  EngineReader Build(const std::string& name, const std::string& target, DType dtype,
                     std::optional<DType> kv_dtype = {}, const Fp8Keep& keep = {}) {
    BuildOptions options;
    options.fp8_keep = keep;
    options.output = dir_ + "/" + name + ".lathe";
    options.target = target;
    options.dtype = dtype;
    options.kv_dtype = kv_dtype;
    options.tune = false;
    options.cuda = {driver_.get(), &*nvrtc_};
    const auto report = BuildEngine(testing_util::GoldenCheckpoint(name, Changes(name)), options);
    EXPECT_TRUE(report.ok()) << report.status().message();
    auto engine = EngineReader::Open(options.output);
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    return *std::move(engine);
  }
  // Logits of the prompt's last two rows, then of each decoded token. The same tokens for every executor.
  static std::vector<std::vector<float>> Logits(StepExecutor* executor, int vocab) {
    Rng rng(3);
    std::vector<std::vector<float>> out;
    const int page_size = executor->limits().page_size;
    std::vector<int32_t> pages;
    for (int i = 0; i * page_size < kPrompt + kDecoded; ++i)
      pages.push_back((i * 5 + 2) % executor->limits().n_pages);
    int done = 0;
    for (int i = 0; i <= kDecoded; ++i) {
      const int n = i == 0 ? kPrompt : 1;
      Step step;
      for (int t = 0; t < n; ++t)
        step.token_ids.push_back(static_cast<int32_t>(rng.Below(static_cast<uint64_t>(vocab))));
      step.sequences = {{.first_row = 0,
                         .n_rows = n,
                         .first_position = done,
                         .rope_length = done + n,
                         .pages = pages.data(),
                         .n_pages = static_cast<int32_t>(pages.size())}};
      step.logit_rows = {n - 1};
      if (n > 1) step.logit_rows = {n - 2, n - 1};
      step.samples.resize(step.logit_rows.size());
      step.want_logits = true;
      StepResult result;
      const Status status = executor->Execute(step, &result);
      EXPECT_TRUE(status.ok()) << status.message();
      out.push_back(std::move(result.logits));
      done += n;
    }
    return out;
  }
  std::vector<std::vector<float>> OnCpu(const std::string& name) {
    const EngineReader engine = Build(name, "cpu", DType::kF32);
    const Plan plan = testing_util::ReadPlan(engine, 0, 0);
    const auto spec = ModelSpecFromJson(engine.model(), "test");
    EXPECT_TRUE(spec.ok());
    ExecutorOptions options;
    options.threads = 1;
    options.max_step_rows = kPrompt;
    options.max_logit_rows = 4;
    options.n_pages = kPages;
    options.max_positions = kPages * plan.page_size;
    options.rope = RopeOf(*spec);
    auto executor = OpenCpuExecutor(engine, plan, options, nullptr);
    EXPECT_TRUE(executor.ok()) << executor.status().message();
    return Logits(executor->get(), plan.vocab);
  }
  std::vector<std::vector<float>> OnCuda(const std::string& name, DType dtype,
                                         std::optional<DType> kv_dtype = {}, const Fp8Keep& keep = {}) {
    const EngineReader engine = Build(name, "cuda:sm_90a", dtype, kv_dtype, keep);
    const Plan plan = testing_util::ReadPlan(engine, 0, 0);
    const auto spec = ModelSpecFromJson(engine.model(), "test");
    EXPECT_TRUE(spec.ok());
    const auto sources = KernelsOf(plan, TypicalChip(90));
    EXPECT_TRUE(sources.ok()) << sources.status().message();
    HostKernels::Install(*sources);
    CudaExecutorOptions options;
    options.driver = driver_.get();
    options.max_step_rows = kPrompt;
    options.max_sequences = 2;
    options.max_positions = kPages * kPageSize;
    options.model_positions = spec->max_positions;
    options.max_positions = std::min(options.max_positions, options.model_positions);
    options.kv_bytes = uint64_t{16} << 20;
    options.rope = RopeOf(*spec);
    options.load_threads = 1;
    auto executor = OpenCudaExecutor(engine, plan, options);
    EXPECT_TRUE(executor.ok()) << executor.status().message();
    if (!executor.ok()) return {};
    return Logits(executor->get(), plan.vocab);
  }
  static void Compare(const std::vector<std::vector<float>>& got, const std::vector<std::vector<float>>& want,
                      double tolerance) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i].size(), want[i].size());
      double error = 0, size = 0;
      for (size_t v = 0; v < got[i].size(); ++v) {
        const double d = static_cast<double>(got[i][v]) - static_cast<double>(want[i][v]);
        error += d * d;
        size += static_cast<double>(want[i][v]) * static_cast<double>(want[i][v]);
      }
      EXPECT_LT(std::sqrt(error / size), tolerance) << "step " << i;
    }
  }

  const std::string dir_ = testing_util::ScratchDir("built_engine");
  std::unique_ptr<Driver> driver_;
  std::optional<Nvrtc> nvrtc_;
};

TEST_P(BuiltEngineTest, LogitsAreTheCpus) {
  Compare(OnCuda(GetParam(), DType::kBf16), OnCpu(GetParam()), 5e-2);
}

INSTANTIATE_TEST_SUITE_P(Families, BuiltEngineTest, ::testing::ValuesIn(testing_util::GoldenModels()),
                         [](const auto& info) { return info.param; });

// f16 keeps three bits more than bf16.
TEST_F(BuiltEngineTest, Half) {
  for (const char* name : {"llama_biases", "mistral_window", "qwen3"})
    Compare(OnCuda(name, DType::kF16), OnCpu(name), 5e-2 / 6);
  Compare(OnCuda("llama3_tied", DType::kF16, DType::kF8E4M3), OnCpu("llama3_tied"), 0.08);
}

TEST_F(BuiltEngineTest, Fp8) {
  const auto want = OnCpu("llama3_tied");
  Compare(OnCuda("llama3_tied", DType::kF8E4M3), want, 0.3);
  Compare(OnCuda("llama3_tied", DType::kBf16, DType::kF8E4M3), want, 0.08);
  Compare(OnCuda("qwen3", DType::kF8E4M3, DType::kF8E4M3), OnCpu("qwen3"), 0.3);
}

TEST_F(BuiltEngineTest, Fp8ThatKeepsSomeInBf16) {
  const auto want = OnCpu("llama3_tied");
  for (const Fp8Keep& keep :
       {Fp8Keep{.first = true, .last = true}, Fp8Keep{.qkv = true, .down = true}, Fp8Keep{.gate_up = true}})
    Compare(OnCuda("llama3_tied", DType::kF8E4M3, {}, keep), want, 0.3);
  // With all of them kept it is a bf16 engine.
  const Fp8Keep all{.qkv = true, .o = true, .gate_up = true, .down = true};
  EXPECT_EQ(OnCuda("llama3_tied", DType::kF8E4M3, {}, all), OnCuda("llama3_tied", DType::kBf16));
}

}  // namespace
}  // namespace lathe::cuda
