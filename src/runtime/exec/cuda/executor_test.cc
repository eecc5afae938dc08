// The executor over the fake driver, with kernels that compute: logits against the reference.
#include "runtime/exec/cuda/testing/executor_fixture.h"

namespace lathe::cuda {
namespace {

using testing::ExecutorTest;
using testing::FakeDriver;
using testing::HostKernels;
using testing::Sequence;
using testing::TinyModel;
using testing::TinyOptions;

TEST_F(ExecutorTest, LogitsAreTheReferences) {
  Open({.window = 0});
  Converse(2e-2);
}

TEST_F(ExecutorTest, WindowBiasAndHeadNorms) {
  Open({.qk_norm = true, .bias = true, .window = 70});
  Converse(2e-2);
}

TEST_F(ExecutorTest, LogitsWithoutGraphsAndWgmma) {
  Open({.n_heads = 6, .n_kv_heads = 2, .head_dim = 96, .window = 40}, /*graphs=*/false);
  Converse(2e-2);
}

TEST_F(ExecutorTest, Fp8WeightsAndPages) {
  Open({.fp8 = true, .kv_fp8 = true, .window = 70});
  Converse(0.2);  // e4m3 keeps 4 bits; an address that is wrong gives 1
}

// Three bits more than bf16 keeps: an eighth of its error.
TEST_F(ExecutorTest, Half) {
  Open({.f16 = true, .qk_norm = true, .bias = true, .window = 70});
  Converse(2.5e-3);
}

TEST_F(ExecutorTest, HalfWithoutGraphsAndWgmma) {
  Open({.f16 = true, .n_heads = 6, .n_kv_heads = 2, .head_dim = 96, .window = 40}, /*graphs=*/false);
  Converse(2.5e-3);
}

TEST_F(ExecutorTest, HalfWithFp8WeightsAndPages) {
  Open({.fp8 = true, .kv_fp8 = true, .f16 = true, .window = 70});
  Converse(0.2);
}

TEST_F(ExecutorTest, HalfWithFp8Pages) {
  Open({.kv_fp8 = true, .f16 = true, .head_dim = 80});
  Converse(0.12);
}

// Keys beyond what half holds: no token comes of them, in prompts and in single rows. bf16 holds them.
TEST_F(ExecutorTest, WhatHalfDoesNotHoldShowsInTheLogits) {
  for (const bool f16 : {true, false}) {
    executor_.reset();
    Open({.f16 = f16, .qk_norm = true, .k_gain = 1e5});
    Sequence seq = NewSequence(40);
    for (const int n : {38, 1}) {
      AddSlice(&seq, n, true);
      ASSERT_TRUE(Run().ok());
      EXPECT_EQ(result_.tokens[0].finite, !f16) << n << " rows";
      NewStep();
    }
  }
}

TEST_F(ExecutorTest, Fp8PagesInSeveralRounds) {
  Open({.kv_fp8 = true, .head_dim = 80});
  executor_.reset();
  options_.max_positions = 240;  // of 4 pages; room for 300 / 64 + 8 widened ones
  ASSERT_TRUE(TryOpen().ok()) << status_.message();
  std::vector<Sequence> all;
  for (int i = 0; i < 7; ++i) all.push_back(NewSequence(80));
  for (int round = 0; round < 2; ++round) {
    for (Sequence& seq : all) AddSlice(&seq, 40, round == 1);
    FakeDriver::Get().launches.clear();
    RunAndCompare(0.12);
    const auto widens = std::ranges::count_if(
        FakeDriver::Get().launches, [](const auto& launch) { return launch.kernel.rfind("widen", 0) == 0; });
    EXPECT_EQ(widens, (TinyModel::kLayers - 1) * (round == 1 ? 2 : 1));  // not the last: single rows, or none
  }
}

TEST_F(ExecutorTest, ManyContinuationsOfOnePromptAndHiddenStates) {
  for (const bool f16 : {false, true}) {
    executor_.reset();
    Open({.f16 = f16});
    Sequence a = NewSequence(70), b = NewSequence(5);
    AddSlice(&a, 70, true);
    Ask(a);
    Ask(a);
    AddSlice(&b, 5, true);
    step_.want_hidden = true;
    RunAndCompare(2e-2);
    ASSERT_EQ(result_.hidden.size(), 4u * TinyModel::kHidden);
    EXPECT_TRUE(std::equal(result_.hidden.begin(), result_.hidden.begin() + TinyModel::kHidden,
                           result_.hidden.begin() + TinyModel::kHidden));
    EXPECT_FALSE(std::equal(result_.hidden.begin(), result_.hidden.begin() + TinyModel::kHidden,
                            result_.hidden.end() - TinyModel::kHidden));
    double squares = 0;
    for (int i = 0; i < TinyModel::kHidden; ++i)
      squares += result_.hidden[static_cast<size_t>(i)] * result_.hidden[static_cast<size_t>(i)];
    EXPECT_NEAR(squares, TinyModel::kHidden, 10);  // after a norm whose gains are about 1
    NewStep();
  }
}

// Of a prompt's last layer, what follows its keys and values is computed for the logit rows alone.
TEST_F(ExecutorTest, LastLayerRunsOverLogitRows) {
  for (const bool selects : {true, false}) {
    Open({.selects = selects});
    FakeDriver& fake = FakeDriver::Get();
    Sequence a = NewSequence(90), b = NewSequence(41), c = NewSequence(50);
    AddSlice(&b, 40, false);
    RunAndCompare(2e-2);
    fake.launches.clear();
    AddSlice(&a, 90, true);
    AddSlice(&b, 1, true);
    AddSlice(&c, 50, false);
    RunAndCompare(2e-2);
    std::map<std::string, std::multiset<int>> rows;  // of kernels with a block a row
    for (const auto& launch : fake.launches)
      rows[launch.kernel.substr(0, launch.kernel.find('_'))].insert(static_cast<int>(launch.config.grid_x));
    if (selects) {
      EXPECT_EQ(rows["norm"],
                (std::multiset<int>{141, 141, 141, 2, 2}));  // the second layer's second, the last
      EXPECT_EQ(rows["select"], (std::multiset<int>{2, 2}));
    } else {
      EXPECT_EQ(rows["norm"], (std::multiset<int>{141, 141, 141, 141, 2}));
      EXPECT_FALSE(rows.contains("select"));
    }
    // A step without logits ends with the keys and values of the last layer.
    fake.launches.clear();
    Sequence d = NewSequence(30);
    AddSlice(&d, 30, false);
    RunAndCompare(2e-2);
    if (selects) {
      EXPECT_EQ(fake.launches.back().kernel.rfind("rope_append", 0), 0u) << fake.launches.back().kernel;
    }
    executor_.reset();
  }
}

// Logit rows in any place: several of a sequence, some more than once, and all there are.
TEST_F(ExecutorTest, LogitRowsAnywhere) {
  for (const bool deterministic : {false, true}) {
    for (const bool kv_fp8 : {false, true}) {
      Open({.kv_fp8 = kv_fp8, .window = 40});
      executor_.reset();
      options_.deterministic = deterministic;
      ASSERT_TRUE(TryOpen().ok()) << status_.message();
      for (const std::vector<int>& rows :
           {std::vector<int>{0, 1, 2, 3, 4, 5}, {1, 2, 5}, {0, 0, 4, 5}, {5}, {2, 3}}) {
        Sequence a = NewSequence(100);
        AddSlice(&a, 95, false);
        RunAndCompare(kv_fp8 ? 0.12 : 2e-2);
        Sequence b = NewSequence(1);
        AddSlice(&a, 5, false);
        AddSlice(&b, 1, false);
        for (const int row : rows) {
          step_.logit_rows.push_back(row);
          step_.samples.emplace_back();
          asked_.push_back(row < 5 ? std::vector<int32_t>(a.tokens.begin(), a.tokens.begin() + 96 + row)
                                   : b.tokens);
        }
        RunAndCompare(kv_fp8 ? 0.12 : 2e-2);
      }
      executor_.reset();
    }
  }
}

// Deterministic mode: a row's logits are the same bits in whatever step they are asked for.
TEST_F(ExecutorTest, DeterministicBitsWhereLogitRowsAreFew) {
  Open({.window = 70});
  executor_.reset();
  options_.deterministic = true;
  ASSERT_TRUE(TryOpen().ok()) << status_.message();
  const Sequence whole = NewSequence(120);
  std::vector<float> want;
  for (const std::vector<int>& chunks : {std::vector<int>{120}, {119, 1}, {64, 56}, {7, 100, 13}}) {
    Sequence seq = whole, other = NewSequence(9);
    for (size_t i = 0; i < chunks.size(); ++i) {
      const bool last = i + 1 == chunks.size();
      AddSlice(&seq, chunks[i], last);
      if (!last) AddSlice(&other, 2, false);
      ASSERT_TRUE(Run().ok());
      NewStep();
    }
    ASSERT_EQ(result_.logits.size(), size_t{TinyModel::kVocab});
    if (want.empty()) want = result_.logits;
    EXPECT_EQ(want, result_.logits) << chunks.size();
  }
}

// With many rows the matmul of q, k and v rotates and appends them; with few, and in deterministic mode, not.
TEST_F(ExecutorTest, MatmulThatRotatesAndAppends) {
  for (const bool fp8 : {false, true}) {
    Open({.fp8 = fp8,
          .kv_fp8 = fp8,
          .bias = true,
          .head_dim = 128,
          .qkv_tactic = fp8 ? "prompt_r128_t128_s6_c2_k1_p4" : "prompt_r256_t128_s4_c2_k1_p0"});
    FakeDriver& fake = FakeDriver::Get();
    const auto count = [&](const char* prefix, const char* part) {
      return std::ranges::count_if(fake.launches, [&](const auto& launch) {
        return launch.kernel.rfind(prefix, 0) == 0 && launch.kernel.find(part) != std::string::npos;
      });
    };
    for (const int n : {60, 100, 290}) {
      Sequence a = NewSequence(n);
      fake.launches.clear();
      AddSlice(&a, n - 1, true);
      RunAndCompare(fp8 ? 0.2 : 2e-2);
      const int fused = n > 65 ? TinyModel::kLayers : 0;
      EXPECT_EQ(count("gemm", fp8 ? "_rope_e4m3" : "_rope"), fused) << n;
      EXPECT_EQ(count("rope_append", ""), TinyModel::kLayers - fused) << n;
      AddSlice(&a, 1, true);
      RunAndCompare(fp8 ? 0.2 : 2e-2);
    }
    if (!fp8) Converse(2e-2);
    executor_.reset();
    options_.deterministic = true;
    ASSERT_TRUE(TryOpen().ok()) << status_.message();
    fake.launches.clear();
    Sequence a = NewSequence(100);
    AddSlice(&a, 100, true);
    RunAndCompare(fp8 ? 0.2 : 2e-2);
    EXPECT_EQ(count("rope_append", ""), TinyModel::kLayers);
    executor_.reset();
  }
}

// Everything a row can ask of sampling arrives: the token is that of the reference.
TEST_F(ExecutorTest, SamplingParametersReachTheDevice) {
  for (const bool graph : {false, true}) {
    Open({}, graph);
    Sequence a = NewSequence(40);
    AddSlice(&a, 39, false);
    RunAndCompare(2e-2);
    AddSlice(&a, 1, true);
    for (int i = 0; i < 4; ++i) Ask(a);
    const std::vector<TokenCount> counts = {{3, 1, 2}, {70, 0, 40}};
    const std::vector<TokenBias> biases = {{11, 60}, {12, 40}};
    std::vector<uint32_t> mask((TinyModel::kVocab + 31) / 32, 0);
    mask[2] = 1u << 5;
    step_.samples[0] = {.temperature = 0.8F, .top_p = 0.9F, .seed = 99, .counter = 4};
    step_.samples[1].n_top_logprobs = 5;
    step_.samples[1].want_logprob = true;
    step_.samples[2].biases = biases.data();
    step_.samples[2].n_biases = 2;
    step_.samples[3].mask = mask.data();
    step_.samples[4].counts = counts.data();
    step_.samples[4].n_counts = 2;
    step_.samples[4].frequency_penalty = 100;
    const Step step = step_;
    ASSERT_TRUE(Run().ok());
    for (size_t i = 0; i < 5; ++i) {
      std::vector<TokenLogprob> top(8);
      const SampleResult want = ref::Sample(result_.logits.data() + i * TinyModel::kVocab, TinyModel::kVocab,
                                            step.samples[i], top.data());
      EXPECT_EQ(result_.tokens[i].id, want.id) << i;
      EXPECT_EQ(result_.tokens[i].logprob, want.logprob) << i;
      ASSERT_EQ(static_cast<int>(result_.tokens[i].top.size()), want.n_top) << i;
      for (size_t t = 0; t < result_.tokens[i].top.size(); ++t)
        EXPECT_EQ(result_.tokens[i].top[t].id, top[t].id);
    }
    EXPECT_EQ(result_.tokens[2].id, 11);
    EXPECT_EQ(result_.tokens[3].id, 69);
    NewStep();
    executor_.reset();
  }
}

// Masks of all rows fit; counts beyond the room of the upload go in a buffer of their own.
TEST_F(ExecutorTest, CountsThatDoNotFitTheUpload) {
  Open({});
  Sequence a = NewSequence(8);
  AddSlice(&a, 8, true);
  const std::vector<TokenCount> counts(500'000, TokenCount{5, 0, 1});
  std::vector<TokenCount> last = counts;
  last.push_back({6, 0, 1'000'000});
  step_.samples[0].counts = last.data();
  step_.samples[0].n_counts = static_cast<int32_t>(last.size());
  step_.samples[0].presence_penalty = -3;  // that of token 6 alone would win, but for the frequency
  step_.samples[0].frequency_penalty = 1e-3F;
  ASSERT_TRUE(Run().ok());
  const SampleResult want = ref::Sample(result_.logits.data(), TinyModel::kVocab, step_.samples[0], nullptr);
  EXPECT_EQ(result_.tokens[0].id, want.id);
}

TEST_F(ExecutorTest, DynamicRopeBases) {
  Open({});
  executor_.reset();
  options_.rope.dynamic_from = 20;
  const std::vector<float> other = [&] {
    std::vector<float> freqs = options_.rope.inv_freq;
    for (float& f : freqs) f *= 0.25F;
    return freqs;
  }();
  options_.rope.inv_freq_for = [&](int length) { return length == 30 ? other : options_.rope.inv_freq; };
  ASSERT_TRUE(TryOpen().ok()) << status_.message();
  Sequence a = NewSequence(30), b = a;
  std::vector<float> first;
  for (const int length : {30, 31, 10}) {
    Sequence seq = a;
    AddSlice(&seq, 30, true);
    step_.sequences[0].rope_length = length;
    ASSERT_TRUE(Run().ok());
    if (length == 30) first = result_.logits;
    if (length != 30) {
      EXPECT_NE(first, result_.logits) << length;
    }
    NewStep();
  }
}

// ---- pages in host memory ----

}  // namespace
}  // namespace lathe::cuda
