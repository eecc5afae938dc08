// The executor over the fake driver, with kernels that compute: logits against the reference, what is
// launched, what is copied and allocated, and faults.
#include "runtime/exec/cuda/executor.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>

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
    EXPECT_EQ(widens, TinyModel::kLayers * (round == 1 ? 2 : 1));
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
  FakeDriver::Get().Fail("stream_synchronize", 700, 5);
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
