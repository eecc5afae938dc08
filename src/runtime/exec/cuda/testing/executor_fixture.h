// What the tests of the executor share: a tiny model over the fake driver, its sequences, and the reference's
// logits.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <set>

#include "runtime/exec/cuda/executor.h"
#include "runtime/exec/cuda/sizes.h"
#include "runtime/exec/cuda/testing/tiny_model.h"

namespace lathe::cuda::testing {

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

}  // namespace lathe::cuda::testing
