// Pages that go to host memory and come back, over the fake driver.
#include "runtime/exec/cuda/testing/executor_fixture.h"

namespace lathe::cuda {
namespace {

using testing::ExecutorTest;
using testing::FakeDriver;
using testing::HostKernels;
using testing::Sequence;
using testing::TinyModel;
using testing::TinyOptions;

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

}  // namespace
}  // namespace lathe::cuda
