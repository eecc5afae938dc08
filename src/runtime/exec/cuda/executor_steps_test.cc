// What a step launches, copies and allocates, over the fake driver.
#include "runtime/exec/cuda/testing/executor_fixture.h"

namespace lathe::cuda {
namespace {

using testing::ExecutorTest;
using testing::FakeDriver;
using testing::HostKernels;
using testing::Sequence;
using testing::TinyModel;
using testing::TinyOptions;

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

// The first kernel of a step waits for the upload, attention over selected rows for the keys of this step;
// every other one may start while the one before drains.
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
  int behind_select = 0;
  for (size_t i = 0; i < fake.launches.size(); ++i) {
    const auto& launch = fake.launches[i];
    names.push_back(launch.kernel.substr(0, launch.kernel.find('_', launch.kernel.find('_') + 1)));
    const bool overlap = std::ranges::any_of(launch.attributes, [](const abi::LaunchAttribute& a) {
      return a.id == abi::kAttributeProgrammaticStreamSerialization && a.value.flag == 1;
    });
    const bool waits = i == 0 || i + 1 == fake.launches.size() ||
                       (launch.kernel.starts_with("attention_decode") && names[i - 1].starts_with("select"));
    EXPECT_EQ(overlap, !waits) << launch.kernel;
    behind_select += waits && launch.kernel.starts_with("attention_decode");
  }
  EXPECT_EQ(behind_select, 1);
  names.resize(9);
  for (size_t i : {size_t{3}, size_t{8}}) names[i] = names[i].substr(0, 4);
  EXPECT_EQ(names, (std::vector<std::string>{"rope_table", "embed_128", "norm_128", "gemm", "rope_append",
                                             "attention_decode", "widen_pages", "attention_prompt", "gemm"}));
}

// Six steps, each begun before the one before is finished, with tokens that only the device has; one sequence
// leaves on the way, so that rows move.
TEST_F(ExecutorTest, AStepBegunBehindAnotherTakesItsTokens) {
  for (const auto& [graphs, greedy] :
       {std::pair(true, true), std::pair(true, false), std::pair(false, true)}) {
    SCOPED_TRACE(::testing::Message() << "graphs " << graphs << ", greedy " << greedy);
    Open({}, graphs);
    ASSERT_TRUE(executor_->runs_ahead());
    std::vector<Sequence> all = {NewSequence(40), NewSequence(63), NewSequence(21)};
    for (Sequence& seq : all) AddSlice(&seq, static_cast<int>(seq.tokens.size()) - 1, false);
    ASSERT_TRUE(Run().ok());
    NewStep();
    constexpr int kSteps = 6;
    Step steps[2];
    std::vector<size_t> rows[2];  // sequence of each row
    for (int k = 0; k <= kSteps; ++k) {
      const std::vector<size_t>& before = rows[(k + 1) % 2];
      rows[k % 2].clear();
      for (size_t i = 0; i < all.size() && k < kSteps; ++i) {
        const auto row = std::ranges::find(before, i);
        if (k > 0 && row == before.end()) continue;
        if (i == 1 && k == 3) continue;
        if (k > 0) all[i].tokens.push_back(~static_cast<int32_t>(row - before.begin()));
        rows[k % 2].push_back(i);
        AddSlice(&all[i], 1, true);
        if (!greedy) step_.samples.back() = {.temperature = 1, .top_k = 1};
      }
      steps[k % 2] = std::exchange(step_, {});
      NewStep();
      if (k < kSteps) {
        ASSERT_TRUE(executor_->Begin(steps[k % 2]).ok());
      }
      if (k == 0) continue;
      ASSERT_TRUE(executor_->Finish(&result_).ok());
      ASSERT_EQ(result_.tokens.size(), before.size());
      for (size_t r = 0; r < before.size(); ++r) {
        Sequence& seq = all[before[r]];
        const bool goes_on = k < kSteps && std::ranges::count(rows[k % 2], before[r]) > 0;
        const auto end = seq.tokens.end() - (goes_on ? 1 : 0);
        const std::vector<double> want = model_->Logits({seq.tokens.begin(), end});
        const auto best = std::ranges::max_element(want) - want.begin();
        EXPECT_EQ(result_.tokens[r].id, best) << "step " << k - 1 << ", row " << r;
        if (goes_on) seq.tokens.back() = result_.tokens[r].id;
      }
    }
    executor_.reset();
  }
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

// Up to a row a multiprocessor and key head, padding of a bucket counted, decoding rows are read by the wide
// kernel; beside prompts and behind selected rows as well.
TEST_F(ExecutorTest, FewDecodingRowsAreReadWide) {
  FakeDriver& fake = FakeDriver::Get();
  fake.devices[0].multiprocessors = 8;  // of two key heads: four rows
  for (const bool graph : {false, true}) {
    Open({.kv_fp8 = true, .window = 100, .selects = true}, graph);
    for (const int rows : {1, 4, 5}) {
      SCOPED_TRACE(rows);
      std::vector<Sequence> sequences;
      for (int i = 0; i < rows; ++i) {
        sequences.push_back(NewSequence(200));
        AddSlice(&sequences.back(), 60 + 25 * i, false);
        ASSERT_TRUE(Run().ok()) << i;
        NewStep();
      }
      fake.launches.clear();
      for (Sequence& sequence : sequences) AddSlice(&sequence, 1, true);
      RunAndCompare(0.2);
      // Two rows decode beside a prompt, and the last of them and the prompt alone give logits.
      for (size_t i = 0; i < 2 && i < sequences.size(); ++i)
        AddSlice(&sequences[i], 1, i + 1 == sequences.size());
      Sequence prompt = NewSequence(40);
      AddSlice(&prompt, 40, true);
      RunAndCompare(0.2);
      std::multiset<unsigned> blocks[2];  // threads of them, by whether the name says wide
      for (const auto& launch : fake.launches)
        if (launch.kernel.starts_with("attention_decode"))
          blocks[launch.kernel.find("_wide") != std::string::npos].insert(launch.config.block_x);
      EXPECT_EQ(blocks[0].empty(), rows <= 4);
      for (const unsigned threads : blocks[0]) EXPECT_EQ(threads, 128u);
      EXPECT_FALSE(blocks[1].empty());
      for (const unsigned threads : blocks[1]) EXPECT_EQ(threads, 512u);
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

TEST(DecodeBucketsTest, Steps) {
  EXPECT_EQ(DecodeBuckets(1), (std::vector<int>{1}));
  EXPECT_EQ(DecodeBuckets(6), (std::vector<int>{1, 2, 4, 6}));
  EXPECT_EQ(DecodeBuckets(256), (std::vector<int>{1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256}));
  EXPECT_EQ(DecodeBuckets(512).back(), 512);
}

}  // namespace
}  // namespace lathe::cuda
