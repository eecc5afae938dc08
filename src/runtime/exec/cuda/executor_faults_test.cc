// Engines that do not run here, and every fault of the driver and of the device, over the fake one.
#include "runtime/exec/cuda/testing/executor_fixture.h"

namespace lathe::cuda {
namespace {

using testing::ExecutorTest;
using testing::FakeDriver;
using testing::HostKernels;
using testing::Sequence;
using testing::TinyModel;
using testing::TinyOptions;

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

}  // namespace
}  // namespace lathe::cuda
