// The executor over the fake driver, with kernels that compute: logits against the reference, what is
// launched, what is copied and allocated, and faults.
#include "runtime/exec/cuda/executor.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <set>

#include "runtime/exec/cuda/sizes.h"
#include "runtime/exec/cuda/testing/tiny_model.h"

namespace lathe::cuda {
namespace {

using testing::FakeDriver;
using testing::HostKernels;
using testing::TinyModel;
using testing::TinyOptions;

// A sequence as the scheduler has it.
struct Sequence {
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;
  int done = 0;  // tokens whose keys are in the cache
};

class ExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FakeDriver::Reset();
    FakeDriver::Get().devices[0].memory = size_t{64} << 20;
    driver_ = *Driver::FromTable(FakeDriver::Table());
  }
  void TearDown() override {
    executor_.reset();
    if (model_) {
      EXPECT_EQ(FakeDriver::Get().allocated, 0u);
      EXPECT_EQ(FakeDriver::Get().live_handles, 0);
    }
    std::filesystem::remove(path_);
  }

  void Open(const TinyOptions& tiny, bool graphs = true) {
    model_.emplace(tiny);
    model_->Write(path_);
    HostKernels::Install(model_->Sources());
    options_ = model_->Options(driver_.get());
    options_.graphs = graphs;
    ASSERT_TRUE(TryOpen().ok()) << status_.message();
  }
  Status TryOpen() {
    auto engine = EngineReader::Open(path_);
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    auto executor = OpenCudaExecutor(*engine, model_->plan(), options_);
    status_ = executor.status();
    if (executor.ok()) executor_ = *std::move(executor);
    return status_;
  }

  Sequence NewSequence(int n) {
    Sequence seq;
    for (int i = 0; i < n; ++i) seq.tokens.push_back(static_cast<int32_t>(rng_.Below(TinyModel::kVocab)));
    return seq;
  }
  // Appends the next n tokens of a sequence to the step; logits of the last of them when `ask`.
  void AddSlice(Sequence* seq, int n, bool ask) {
    while (static_cast<int>(seq->pages.size()) * kPageSize < seq->done + n) {
      seq->pages.push_back(next_page_);
      next_page_ = (next_page_ * 7 + 3) % 61;  // a cycle of 60 pages in no order
    }
    const int first = step_.n_rows();
    for (int i = 0; i < n; ++i) step_.token_ids.push_back(seq->tokens[static_cast<size_t>(seq->done + i)]);
    step_.sequences.push_back({.first_row = first,
                               .n_rows = n,
                               .first_position = seq->done,
                               .rope_length = seq->done + n,
                               .pages = seq->pages.data(),
                               .n_pages = static_cast<int32_t>(seq->pages.size())});
    seq->done += n;
    if (ask) Ask(*seq);
  }
  void Ask(const Sequence& seq) {
    step_.logit_rows.push_back(step_.n_rows() - 1);
    step_.samples.emplace_back();
    asked_.emplace_back(seq.tokens.begin(), seq.tokens.begin() + seq.done);
  }
  Status Run() {
    step_.want_logits = true;
    return executor_->Execute(step_, &result_);
  }
  void NewStep() {
    step_ = {};
    asked_.clear();
  }
  // Runs the step; every logit row is near the reference.
  void RunAndCompare(double tolerance) {
    const Status status = Run();
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_EQ(result_.tokens.size(), asked_.size());
    for (size_t i = 0; i < asked_.size(); ++i) {
      const std::vector<double> want = model_->Logits(asked_[i]);
      const float* got = result_.logits.data() + i * TinyModel::kVocab;
      double error = 0, size = 0;
      for (size_t v = 0; v < want.size(); ++v) {
        error += (static_cast<double>(got[v]) - want[v]) * (static_cast<double>(got[v]) - want[v]);
        size += want[v] * want[v];
      }
      EXPECT_LT(std::sqrt(error / size), tolerance) << "logit row " << i << " of " << asked_.size();
      EXPECT_TRUE(result_.tokens[i].finite);
      EXPECT_EQ(result_.tokens[i].id, std::max_element(got, got + TinyModel::kVocab) - got);
    }
    NewStep();
  }
  // Prompts, chunks of them, decoding rows, and steps of both.
  void Converse(double tolerance) {
    Sequence a = NewSequence(110), b = NewSequence(50), c = NewSequence(110);
    AddSlice(&a, 80, false);
    AddSlice(&b, 40, true);
    RunAndCompare(tolerance);
    AddSlice(&b, 1, true);  // decodes beside two chunks
    AddSlice(&a, 20, true);
    AddSlice(&c, 90, false);
    RunAndCompare(tolerance);
    for (int i = 0; i < 2; ++i) {  // decodes alone: graphs
      AddSlice(&a, 1, true);
      AddSlice(&b, 1, true);
      AddSlice(&c, 1, i == 1);
      RunAndCompare(tolerance);
    }
    AddSlice(&c, 2, true);
    RunAndCompare(tolerance);
  }

  const std::string path_ =
      ::testing::TempDir() + "cuda_executor_test_" + std::to_string(getpid()) + ".lathe";
  std::unique_ptr<Driver> driver_;
  std::optional<TinyModel> model_;
  CudaExecutorOptions options_;
  Status status_;
  std::unique_ptr<StepExecutor> executor_;
  Rng rng_{7};
  int next_page_ = 5;
  Step step_;
  StepResult result_;
  std::vector<std::vector<int32_t>> asked_;  // tokens up to each logit row
};

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

// A sequence leaves the device, others write into its pages, and it comes back into others: in front of the
// step that reads them, beside steps that do not, and after moves that overtake each other's pages.
TEST_F(ExecutorTest, PagesGoToHostMemoryAndComeBack) {
  for (const bool kv_fp8 : {false, true}) {
    Open({.kv_fp8 = kv_fp8});
    executor_.reset();
    options_.n_host_pages = 3;
    ASSERT_TRUE(TryOpen().ok()) << status_.message();
    EXPECT_EQ(executor_->limits().n_host_pages, 3);
    const double tolerance = kv_fp8 ? 0.12 : 2e-2;
    Sequence a = NewSequence(140), b = NewSequence(140);
    a.pages = {3, 9, 20};
    AddSlice(&a, 128, true);
    RunAndCompare(tolerance);
    b.pages = {3, 9, 21};  // of a, whose pages must be out before
    step_.moves = {{3, 2, true}, {9, 0, true}};
    step_.moves_needed = 2;
    AddSlice(&b, 128, true);
    RunAndCompare(tolerance);
    EXPECT_EQ(result_.moves_done, 2);
    step_.moves = {{40, 2, false}, {9, 2, true}, {41, 0, false}};  // the first page of the host is used anew
    AddSlice(&b, 1, true);
    RunAndCompare(tolerance);
    a.pages = {40, 41, 20};
    step_.moves_needed = 5;
    AddSlice(&a, 1, true);
    RunAndCompare(tolerance);
    EXPECT_EQ(result_.moves_done, 5);
    b.pages = {3, 50, 21};
    step_.moves = {{50, 2, false}};
    step_.moves_needed = 6;
    AddSlice(&b, 1, true);
    AddSlice(&a, 3, true);
    RunAndCompare(tolerance);
    executor_.reset();
  }
}

// One copy a page; the compute stream waits only where the step says so; nothing is allocated.
TEST_F(ExecutorTest, MovesThatNobodyWaitsForRunBesideTheStep) {
  Open({});
  executor_.reset();
  options_.n_host_pages = 40;
  ASSERT_TRUE(TryOpen().ok()) << status_.message();
  FakeDriver& fake = FakeDriver::Get();
  Sequence a = NewSequence(60);
  AddSlice(&a, 10, true);
  RunAndCompare(2e-2);
  int64_t moves = 0;
  fake.Fail("event_query", abi::kErrorNotReady, 1);  // the step is over; moves never are
  for (int i = 0; i < 20; ++i) {
    fake.calls.clear();
    step_.moves = {{50, i, true}, {51, i + 20, true}};
    AddSlice(&a, 1, true);
    ASSERT_TRUE(Run().ok());
    NewStep();
    moves += 2;
    EXPECT_EQ(result_.moves_done, 0);
    EXPECT_EQ(fake.calls["memcpy_3d_async"], 2);
    EXPECT_EQ(fake.calls["stream_wait_event"], 0);
    for (const char* call : {"mem_alloc", "mem_host_alloc", "event_create", "stream_create"})
      EXPECT_EQ(fake.calls[call], 0) << call;
    fake.Fail("event_query", abi::kErrorNotReady, 1);
  }
  fake.Heal();
  fake.calls.clear();
  step_.moves = {{52, 0, true}};
  step_.moves_needed = moves;
  AddSlice(&a, 1, true);
  ASSERT_TRUE(Run().ok());
  NewStep();
  EXPECT_EQ(fake.calls["stream_wait_event"], 1);
  EXPECT_EQ(result_.moves_done, moves + 1);
}

TEST_F(ExecutorTest, HostMemoryThatCannotBeHadIsSaid) {
  Open({});
  executor_.reset();
  options_.n_host_pages = 10;
  FakeDriver::Get().Fail("mem_host_alloc", abi::kErrorOutOfMemory);
  EXPECT_EQ(TryOpen().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status_.message().find("pinned host memory for KV pages cannot be had"), std::string::npos)
      << status_.message();
  EXPECT_NE(status_.message().find("lower --host-kv-memory"), std::string::npos) << status_.message();
  FakeDriver::Get().Heal();
  options_.n_host_pages = 1 << 30;  // 128 TiB
  EXPECT_EQ(TryOpen().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status_.message().find("are available; lower --host-kv-memory"), std::string::npos)
      << status_.message();
}

TEST_F(ExecutorTest, ACopyThatFailsIsAFaultOfTheDevice) {
  for (const bool needed : {false, true}) {
    Open({});
    executor_.reset();
    options_.n_host_pages = 4;
    ASSERT_TRUE(TryOpen().ok()) << status_.message();
    FakeDriver::Get().Fail("memcpy_3d_async", 700);
    Sequence a = NewSequence(10);
    AddSlice(&a, 10, true);
    step_.moves = {{50, 1, true}};
    step_.moves_needed = needed;
    const Status status = Run();
    EXPECT_EQ(status.code(), StatusCode::kUnavailable);
    EXPECT_NE(status.message().find("cuMemcpy3DAsync"), std::string::npos) << status.message();
    FakeDriver::Get().Heal();
    EXPECT_EQ(Run().message(), status.message());
    NewStep();
    executor_.reset();
  }
}

// ---- what is launched, copied and allocated ----

TEST_F(ExecutorTest, OneGraphAStepAndNothingAllocated) {
  Open({});
  FakeDriver& fake = FakeDriver::Get();
  EXPECT_EQ(fake.calls["stream_begin_capture"], 2 * 4);  // 1, 2, 4, 8: each alone and with sampling
  std::vector<Sequence> all;
  for (int i = 0; i < 5; ++i) all.push_back(NewSequence(40));
  for (Sequence& seq : all) AddSlice(&seq, 30, false);
  ASSERT_TRUE(Run().ok());
  NewStep();
  for (const int n : {1, 2, 3, 5}) {
    fake.calls.clear();
    fake.launches.clear();
    for (int i = 0; i < n; ++i) AddSlice(&all[static_cast<size_t>(i)], 1, true);
    const std::vector<std::vector<int32_t>> asked = asked_;
    ASSERT_TRUE(executor_->Execute(step_, &result_).ok());
    NewStep();
    EXPECT_EQ(fake.calls["graph_launch"], 1);
    EXPECT_EQ(fake.calls["launch_kernel_ex"], 0);  // sampling is in the graph
    EXPECT_EQ(fake.calls["memcpy_h2d_async"], 1);
    EXPECT_EQ(fake.calls["memcpy_d2h_async"], 1);
    for (const char* call :
         {"mem_alloc", "mem_host_alloc", "event_create", "stream_create", "graph_instantiate"})
      EXPECT_EQ(fake.calls[call], 0) << call;
    // Embedding and sampling a row of the bucket each.
    const int bucket = n == 3 ? 4 : n == 5 ? 8 : n;
    EXPECT_EQ(static_cast<int>(fake.launches[1].config.grid_x), bucket) << fake.launches[1].kernel;
    EXPECT_EQ(fake.launches[1].kernel.rfind("embed", 0), 0u);
    const SampleTactic tactic = SampleTacticOf(TinyModel::kVocab, 90);
    EXPECT_EQ(static_cast<int>(fake.launches.back().config.grid_x), bucket * tactic.blocks);
  }
}

// The first kernel of a step waits for the upload, every other one may start while the one before drains.
TEST_F(ExecutorTest, OrderAndOverlapOfLaunches) {
  Open({.kv_fp8 = true});
  FakeDriver& fake = FakeDriver::Get();
  Sequence a = NewSequence(90), b = NewSequence(20);
  AddSlice(&b, 19, false);
  ASSERT_TRUE(Run().ok());
  NewStep();
  fake.launches.clear();
  AddSlice(&a, 90, true);
  AddSlice(&b, 1, true);
  ASSERT_TRUE(executor_->Execute(step_, &result_).ok());
  std::vector<std::string> names;
  for (size_t i = 0; i < fake.launches.size(); ++i) {
    const auto& launch = fake.launches[i];
    names.push_back(launch.kernel.substr(0, launch.kernel.find('_', launch.kernel.find('_') + 1)));
    const bool overlap = std::ranges::any_of(launch.attributes, [](const abi::LaunchAttribute& a) {
      return a.id == abi::kAttributeProgrammaticStreamSerialization && a.value.flag == 1;
    });
    EXPECT_EQ(overlap, i != 0 && i + 1 != fake.launches.size()) << launch.kernel;
  }
  names.resize(9);
  for (size_t i : {size_t{3}, size_t{8}}) names[i] = names[i].substr(0, 4);
  EXPECT_EQ(names, (std::vector<std::string>{"rope_table", "embed_128", "norm_128", "gemm", "rope_append",
                                             "attention_decode", "widen_pages", "attention_prompt", "gemm"}));
}

// Norms and quantisations of few rows are done by the products that read them, rotation by attention; a norm
// that adds first, or that gathers rows, is not.
TEST_F(ExecutorTest, FewRowsLeaveSmallKernelsToTheirReaders) {
  for (const bool fp8 : {false, true}) {
    Open({.fp8 = fp8, .kv_fp8 = fp8, .selects = false}, false);
    for (const int rows : {1, 3, 4, 5, 8}) {
      SCOPED_TRACE(rows);
      std::vector<Sequence> sequences;
      for (int i = 0; i < rows; ++i) {
        sequences.push_back(NewSequence(70 + i));
        AddSlice(&sequences.back(), 10 + 7 * i, false);
      }
      ASSERT_TRUE(Run().ok());
      NewStep();
      const auto count = [](const std::string& part) {
        return std::ranges::count_if(FakeDriver::Get().launches, [&](const FakeDriver::Launch& launch) {
          return launch.kernel.find(part) != std::string::npos;
        });
      };
      FakeDriver::Get().launches.clear();
      for (Sequence& sequence : sequences) AddSlice(&sequence, 1, true);
      RunAndCompare(fp8 ? 0.2 : 2e-2);
      const bool few = rows <= kMostPrologueTokens;
      EXPECT_EQ(count("norm_128_"), few ? 2 : 5);
      EXPECT_EQ(count("_norm128"), few ? 3 : 0);
      EXPECT_EQ(count("quantize"), fp8 ? 4 : 0);  // kernels of their own, or in the names of products
      EXPECT_EQ(count("gemm_"), 9);
      EXPECT_EQ(count("rope_append"), 0);
      EXPECT_EQ(count("_rope64"), 2);
    }
    executor_.reset();
  }
}

TEST_F(ExecutorTest, DeterministicModeHasOneTacticForEachMatmul) {
  Open({});
  executor_.reset();
  options_.deterministic = true;
  ASSERT_TRUE(TryOpen().ok());
  FakeDriver& fake = FakeDriver::Get();
  std::map<std::string, std::set<std::string>> gemms;  // by number of rows
  for (const int n : {1, 2, 40, 290}) {
    Sequence seq = NewSequence(n);
    fake.launches.clear();
    AddSlice(&seq, n, true);
    ASSERT_TRUE(executor_->Execute(step_, &result_).ok());
    NewStep();
    for (const auto& launch : fake.launches) {
      if (launch.kernel.rfind("gemm", 0) == 0) gemms[std::to_string(n)].insert(launch.kernel);
      EXPECT_NE(launch.kernel.rfind("attention_decode", 0), 0u);
    }
  }
  for (const auto& [n, names] : gemms) EXPECT_EQ(names, gemms["1"]) << n;
  Converse(2e-2);
}

TEST_F(ExecutorTest, ProfileAndOpsOneByOne) {
  Open({.window = 70});
  executor_.reset();
  setenv("LATHE_PROFILE", "1", 1);
  setenv("LATHE_CUDA_SYNC", "1", 1);
  ASSERT_TRUE(TryOpen().ok()) << status_.message();
  Converse(2e-2);
  EXPECT_EQ(FakeDriver::Get().calls["graph_launch"], 0);
  ::testing::internal::CaptureStderr();
  executor_.reset();
  const std::string table = ::testing::internal::GetCapturedStderr();
  for (const char* line :
       {"gemm qkv, rows ..4", "attention, rows ..128", "sample, rows 2", "rope_table, rows"})
    EXPECT_NE(table.find(line), std::string::npos) << line << "\n" << table;
  // A fault of a kernel shows when the op behind it is to be launched.
  unsetenv("LATHE_PROFILE");
  ASSERT_TRUE(TryOpen().ok()) << status_.message();
  Sequence a = NewSequence(3);
  AddSlice(&a, 3, true);
  FakeDriver::Get().Fail("stream_synchronize", 700, 4);
  EXPECT_NE(executor_->Execute(step_, &result_).message().find("attention of layer 0: cuStreamSynchronize"),
            std::string::npos);
  FakeDriver::Get().Heal();
  executor_.reset();
  unsetenv("LATHE_CUDA_SYNC");
}

// ---- what is refused ----

TEST_F(ExecutorTest, EnginesThatDoNotRunHere) {
  Open({});
  executor_.reset();
  FakeDriver::Get().devices[0].minor = 1;
  FakeDriver::Get().devices[0].major = 8;
  EXPECT_EQ(TryOpen().code(), StatusCode::kMismatch);
  EXPECT_NE(status_.message().find("is for cuda:sm_90a, device 0 (Fake H200) is cuda:sm_81"),
            std::string::npos)
      << status_.message();
  EXPECT_NE(status_.message().find("--target cuda"), std::string::npos);
  FakeDriver::Get().devices[0].major = 9;
  FakeDriver::Get().devices[0].minor = 0;
  model_->Write(path_, 13010);
  EXPECT_EQ(TryOpen().code(), StatusCode::kMismatch);
  EXPECT_NE(status_.message().find("needs a driver of CUDA 13.1 or newer, this machine's is of CUDA 13.0"),
            std::string::npos)
      << status_.message();
  model_->Write(path_, 13000, "embed_128");
  EXPECT_EQ(TryOpen().code(), StatusCode::kMismatch);
  EXPECT_NE(status_.message().find("no kernel 'embed_128'"), std::string::npos) << status_.message();
}

// ---- faults ----

// Every call that can fail while the executor opens or runs: a Status, and nothing is left behind (TearDown).
TEST_F(ExecutorTest, EveryFaultOfTheDriverIsAStatus) {
  Open({});
  executor_.reset();
  for (const char* call : {"mem_alloc",
                           "mem_host_alloc",
                           "mem_get_info",
                           "memcpy_h2d_async",
                           "memcpy_d2h_async",
                           "memset_d8_async",
                           "stream_create",
                           "stream_synchronize",
                           "event_create",
                           "event_record",
                           "event_query",
                           "graph_instantiate",
                           "graph_launch",
                           "stream_begin_capture",
                           "stream_end_capture",
                           "module_load_data",
                           "module_get_function",
                           "launch_kernel_ex",
                           "tensor_map_encode_tiled",
                           "func_set_attribute",
                           "primary_ctx_retain",
                           "event_synchronize",
                           "graph_upload"})
    for (const int skip : {0, 1, 3, 9}) {
      FakeDriver::Get().Heal();
      FakeDriver::Get().Fail(call, call == std::string("mem_alloc") ? abi::kErrorOutOfMemory : 700, skip);
      Sequence a = NewSequence(3);
      if (TryOpen().ok()) {
        for (int i = 0; i < 3; ++i) {
          AddSlice(&a, 1, true);
          const Status status = executor_->Execute(step_, &result_);
          if (!status.ok()) {
            EXPECT_EQ(executor_->Execute(step_, &result_).message(), status.message());
          }
          NewStep();
        }
      } else {
        EXPECT_FALSE(status_.message().empty());
      }
      FakeDriver::Get().Heal();
      executor_.reset();
      ASSERT_EQ(FakeDriver::Get().allocated, 0u) << call << " " << skip;
      ASSERT_EQ(FakeDriver::Get().live_handles, 0) << call << " " << skip;
    }
}

class InjectedFaultTest : public ExecutorTest {
 protected:
  void SetUp() override {
    ExecutorTest::SetUp();
    setenv("LATHE_STEP_TIMEOUT", "0.1", 1);
  }
  void TearDown() override {
    ExecutorTest::TearDown();
    unsetenv("LATHE_FAULT");
    unsetenv("LATHE_STEP_TIMEOUT");
  }
  Status Step2(const char* fault) {
    setenv("LATHE_FAULT", fault, 1);
    Open({});
    sequence_ = NewSequence(3);
    AddSlice(&sequence_, 1, true);
    const Status first = executor_->Execute(step_, &result_);
    EXPECT_TRUE(first.ok()) << first.message();
    NewStep();
    AddSlice(&sequence_, 1, true);
    return executor_->Execute(step_, &result_);
  }
  Sequence sequence_;
};

TEST_F(InjectedFaultTest, LaunchFails) {
  const Status status = Step2("launch:2");
  EXPECT_EQ(status.message(),
            "step 2 on device 0 (Fake H200) failed: LATHE_FAULT asks for a launch that fails");
  FakeDriver::Get().calls.clear();
  EXPECT_EQ(executor_->Execute(step_, &result_).message(), status.message());
  EXPECT_TRUE(FakeDriver::Get().calls.empty()) << "something was called after the fault";
}

TEST_F(InjectedFaultTest, StepHangs) {
  const Status status = Step2("hang:2");
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(status.message(),
            "step 2 on device 0 (Fake H200) failed: it did not end within 0.1 seconds (LATHE_STEP_TIMEOUT)");
}

// Freeing would wait for ever: a device that really hangs is left as it is.
TEST_F(InjectedFaultTest, DeviceHangsForGood) {
  ASSERT_TRUE(Step2("hang:1000").ok());
  FakeDriver& fake = FakeDriver::Get();
  fake.Fail("event_query", abi::kErrorNotReady);
  EXPECT_FALSE(executor_->Execute(step_, &result_).ok());
  fake.calls.clear();
  executor_.reset();
  EXPECT_EQ(fake.calls["stream_destroy"], 0);
  EXPECT_GT(fake.live_handles, 0);
  model_.reset();
}

TEST_F(InjectedFaultTest, LogitIsNotANumber) {
  ASSERT_TRUE(Step2("nan:2").ok());
  EXPECT_FALSE(result_.tokens[0].finite);
  ASSERT_TRUE(executor_->Execute(step_, &result_).ok());
  EXPECT_TRUE(result_.tokens[0].finite);
}

TEST_F(InjectedFaultTest, EnvironmentIsChecked) {
  Open({});
  executor_.reset();
  for (const char* bad : {"launch", "launch:", "launch:0", "hang:-1", "nan:2x", "load:x", "fire:1"}) {
    setenv("LATHE_FAULT", bad, 1);
    EXPECT_EQ(TryOpen().code(), StatusCode::kInvalidArgument) << bad;
  }
  unsetenv("LATHE_FAULT");
  for (const char* bad : {"0", "-1", "soon", "1s", "inf"}) {
    setenv("LATHE_STEP_TIMEOUT", bad, 1);
    EXPECT_EQ(TryOpen().code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(DecodeBucketsTest, Steps) {
  EXPECT_EQ(DecodeBuckets(1), (std::vector<int>{1}));
  EXPECT_EQ(DecodeBuckets(6), (std::vector<int>{1, 2, 4, 6}));
  EXPECT_EQ(DecodeBuckets(256), (std::vector<int>{1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256}));
  EXPECT_EQ(DecodeBuckets(512).back(), 512);
}

}  // namespace
}  // namespace lathe::cuda
