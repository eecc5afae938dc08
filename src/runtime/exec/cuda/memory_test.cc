// The device's memory as an executor plans it, takes it, and does not get it.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "runtime/exec/cuda/executor.h"
#include "runtime/exec/cuda/testing/tiny_model.h"

namespace lathe::cuda {
namespace {

using testing::FakeDriver;
using testing::HostKernels;
using testing::TinyModel;

class MemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FakeDriver::Reset();
    FakeDriver::Get().devices[0].memory = size_t{64} << 20;
    driver_ = *Driver::FromTable(FakeDriver::Table());
    model_.Write(path_);
    HostKernels::Install(model_.Sources());
    options_ = model_.Options(driver_.get());
  }
  void TearDown() override {
    executor_.reset();
    EXPECT_EQ(FakeDriver::Get().allocated, 0u);
    EXPECT_EQ(FakeDriver::Get().live_handles, 0);
    std::filesystem::remove(path_);
  }
  Status TryOpen() {
    executor_.reset();
    auto engine = EngineReader::Open(path_);
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    auto executor = OpenCudaExecutor(*engine, model_.plan(), options_);
    status_ = executor.status();
    if (executor.ok()) executor_ = *std::move(executor);
    return status_;
  }

  const std::string path_ = ::testing::TempDir() + "cuda_memory_test_" + std::to_string(getpid()) + ".lathe";
  TinyModel model_{{}};
  std::unique_ptr<Driver> driver_;
  CudaExecutorOptions options_;
  Status status_;
  std::unique_ptr<StepExecutor> executor_;
};

// What it says would fit, does.
TEST_F(MemoryTest, AGpuThatIsTooSmallSaysWhatWouldFit) {
  options_.kv_bytes = 0;
  options_.max_step_rows = 16384;
  options_.max_sequences = 256;  // each bucket of which runs once on the host
  options_.max_positions = TinyModel::kPositions;
  FakeDriver::Get().devices[0].memory = size_t{32} << 20;
  EXPECT_EQ(TryOpen().code(), StatusCode::kResourceExhausted) << status_.message();
  EXPECT_NE(status_.message().find("the GPU is too small"), std::string::npos) << status_.message();
  int context = 0;
  const size_t at = status_.message().find("lathe serve --context");
  ASSERT_NE(at, std::string::npos) << status_.message();
  ASSERT_EQ(std::sscanf(status_.message().c_str() + at,
                        "lathe serve --context %d --max-sequences %d --max-step-tokens %d", &context,
                        &options_.max_sequences, &options_.max_step_rows),
            3)
      << status_.message();
  options_.max_positions = context;
  EXPECT_TRUE(TryOpen().ok()) << status_.message();
  executor_.reset();
  // Keys and values of one's own choice: how many would fit.
  options_.kv_bytes = uint64_t{1} << 40;
  options_.max_sequences = 1 << 6;
  options_.max_step_rows = 1 << 8;
  EXPECT_EQ(TryOpen().code(), StatusCode::kResourceExhausted) << status_.message();
  const size_t most = status_.message().find("what would fit: --kv-bytes");
  ASSERT_NE(most, std::string::npos) << status_.message();
  options_.kv_bytes = std::strtoull(status_.message().c_str() + most + 26, nullptr, 10) << 20;
  EXPECT_TRUE(TryOpen().ok()) << status_.message();
  executor_.reset();
  // Less than a page.
  options_.kv_bytes = 1;
  EXPECT_EQ(TryOpen().code(), StatusCode::kInvalidArgument) << status_.message();
}

// Another process takes memory between our looking and our taking, whichever call it hits.
TEST_F(MemoryTest, MemoryThatIsTakenMeanwhile) {
  for (const char* call : {"mem_alloc", "module_load_data", "graph_instantiate", "stream_create"}) {
    FakeDriver::Get().Heal();
    FakeDriver::Get().Fail(call, abi::kErrorOutOfMemory, 1);
    if (call == std::string("stream_create")) FakeDriver::Get().Fail(call, abi::kErrorOutOfMemory);
    EXPECT_EQ(TryOpen().code(), StatusCode::kResourceExhausted) << call << status_.message();
    EXPECT_NE(status_.message().find("another process took it meanwhile"), std::string::npos)
        << call << ": " << status_.message();
  }
  // Memory of the host is another matter.
  FakeDriver::Get().Heal();
  FakeDriver::Get().Fail("mem_host_alloc", abi::kErrorOutOfMemory);
  EXPECT_EQ(TryOpen().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status_.message().find("another process"), std::string::npos) << status_.message();
  EXPECT_NE(status_.message().find("pinned memory"), std::string::npos) << status_.message();
  FakeDriver::Get().Heal();
  FakeDriver::Get().Fail("primary_ctx_retain", abi::kErrorOutOfMemory);
  EXPECT_EQ(TryOpen().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status_.message().find("is full: other processes"), std::string::npos) << status_.message();
  FakeDriver::Get().Heal();
}

TEST_F(MemoryTest, MemoryIsWhatWasPlanned) {
  ASSERT_TRUE(TryOpen().ok()) << status_.message();
  const auto sizes = SizeCudaExecutor(model_.plan(), options_, TypicalChip(90), size_t{64} << 20);
  ASSERT_TRUE(sizes.ok());
  const auto planned =
      static_cast<double>(sizes->memory.fixed_bytes() - sizes->memory.loaded_bytes + sizes->memory.kv_bytes);
  EXPECT_NEAR(static_cast<double>(FakeDriver::Get().allocated), planned, 0.01 * planned);
}

}  // namespace
}  // namespace lathe::cuda
