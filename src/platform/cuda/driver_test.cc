// The owners around the driver's handles, against a driver without a device.
#include "platform/cuda/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "platform/cuda/launch.h"
#include "platform/cuda/library.h"
#include "platform/cuda/testing/fake_driver.h"

namespace lathe::cuda {
namespace {

using testing::FakeDriver;
using ::testing::HasSubstr;

class DriverTest : public ::testing::Test {
 protected:
  void SetUp() override { FakeDriver::Reset(); }
  FakeDriver& fake() { return FakeDriver::Get(); }
  // A driver and its first device.
  void Open() {
    Expected<std::unique_ptr<Driver>> driver = Driver::FromTable(FakeDriver::Table());
    ASSERT_TRUE(driver.ok()) << driver.status().message();
    driver_ = *std::move(driver);
    Expected<std::unique_ptr<Device>> device = Device::Open(*driver_, 0);
    ASSERT_TRUE(device.ok()) << device.status().message();
    device_ = *std::move(device);
  }
  std::unique_ptr<Driver> driver_;
  std::unique_ptr<Device> device_;
};

TEST_F(DriverTest, OldDriverSaysBothVersions) {
  fake().version = 11080;
  const auto driver = Driver::FromTable(FakeDriver::Table());
  ASSERT_FALSE(driver.ok());
  EXPECT_EQ(driver.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(driver.status().message(), HasSubstr("11.8"));
  EXPECT_THAT(driver.status().message(), HasSubstr("12.0"));
}

TEST_F(DriverTest, NoDeviceAndFailingStart) {
  fake().init_result = abi::kErrorNoDevice;
  EXPECT_EQ(Driver::FromTable(FakeDriver::Table()).status().code(), StatusCode::kNotFound);
  fake().init_result = 803;
  const auto driver = Driver::FromTable(FakeDriver::Table());
  EXPECT_EQ(driver.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(driver.status().message(), HasSubstr("CUDA_ERROR_INJECTED (803"));
}

TEST_F(DriverTest, ListsDevicesAndWhyOneIsUnusable) {
  fake().devices = {{}, {.name = "Tesla T4", .major = 7, .minor = 5}, {.name = "Taken", .compute_mode = 2}};
  Open();
  const auto devices = ListDevices(*driver_);
  ASSERT_TRUE(devices.ok());
  ASSERT_EQ(devices->size(), 3u);
  EXPECT_EQ((*devices)[0].sm, 90);
  EXPECT_EQ((*devices)[0].Target(), "sm_90a");
  EXPECT_EQ((*devices)[0].unusable, "");
  EXPECT_NEAR((*devices)[0].DatasheetGbps(), 4917, 1);
  EXPECT_THAT((*devices)[1].unusable, HasSubstr("7.5"));
  EXPECT_THAT((*devices)[2].unusable, HasSubstr("prohibited"));
  EXPECT_THAT(Device::Open(*driver_, 1).status().message(), HasSubstr("Tesla T4"));
  EXPECT_EQ(Device::Open(*driver_, 3).status().code(), StatusCode::kInvalidArgument);
}

TEST(DeviceInfo, Targets) {
  EXPECT_EQ(DeviceInfo::TargetOf(80), "sm_80");
  EXPECT_EQ(DeviceInfo::TargetOf(89), "sm_89");
  EXPECT_EQ(DeviceInfo::TargetOf(100), "sm_100a");
  EXPECT_EQ(VersionText(12090), "12.9");
}

TEST_F(DriverTest, EverythingIsFreed) {
  Open();
  {
    const auto stream = NewStream(*device_);
    const auto event = NewEvent(*device_);
    const auto buffer = DeviceBuffer::Allocate(*device_, 1000);
    auto pinned = PinnedBuffer::Allocate(*device_, 64);
    const auto module = LoadModule(*device_, "cubin");
    ASSERT_TRUE(stream.ok() && event.ok() && buffer.ok() && pinned.ok() && module.ok());
    EXPECT_EQ(fake().allocated, 1000u);
    EXPECT_EQ(fake().live_handles, 4);
    const PinnedBuffer moved = *std::move(pinned);
    EXPECT_EQ(moved.bytes().size(), 64u);
  }
  EXPECT_EQ(fake().allocated, 0u);
  EXPECT_EQ(fake().live_handles, 0);
  device_.reset();
  EXPECT_EQ(fake().calls["primary_ctx_release"], 1);
}

TEST_F(DriverTest, CopiesAndFills) {
  Open();
  const auto stream = NewStream(*device_);
  const auto buffer = DeviceBuffer::Allocate(*device_, 256);
  std::vector<uint8_t> in(256), out(256);
  std::iota(in.begin(), in.end(), 0);
  ASSERT_TRUE(CopyToDevice(*device_, buffer->address(), in.data(), 256, stream->get()).ok());
  ASSERT_TRUE(Fill(*device_, buffer->address() + 10, 7, 5, stream->get()).ok());
  ASSERT_TRUE(CopyToHost(*device_, out.data(), buffer->address(), 256, stream->get()).ok());
  ASSERT_TRUE(Synchronize(*stream).ok());
  std::fill(in.begin() + 10, in.begin() + 15, 7);
  EXPECT_EQ(in, out);
}

TEST_F(DriverTest, OutOfMemorySaysHowMuch) {
  Open();
  const auto buffer = DeviceBuffer::Allocate(*device_, int64_t{2} << 30);
  EXPECT_EQ(buffer.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(buffer.status().message(), HasSubstr("2147483648 bytes"));
  const auto memory = device_->MemoryNow();
  EXPECT_EQ(memory->free_bytes, memory->total_bytes);
}

TEST_F(DriverTest, LaunchPassesShapeAndAttributes) {
  Open();
  const auto stream = NewStream(*device_);
  const auto module = LoadModule(*device_, "cubin");
  const auto kernel = GetKernel(*module, "add", 100'000);
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ(fake().calls["func_set_attribute"], 1);
  int sum = 0;
  fake().kernels["add"] = [&](void** p) { sum = *static_cast<int*>(p[0]) + *static_cast<int*>(p[1]); };
  LaunchShape shape{.grid = {8, 2, 1}, .block = {256, 1, 1}, .dynamic_shared = 100'000, .cluster = {2, 1, 1}};
  shape.overlap_previous = true;
  ASSERT_TRUE(LaunchWith(*kernel, shape, stream->get(), 40, 2).ok());
  EXPECT_EQ(sum, 42);
  ASSERT_EQ(fake().launches.size(), 1u);
  const FakeDriver::Launch& launch = fake().launches[0];
  EXPECT_EQ(launch.config.grid_x, 8u);
  EXPECT_EQ(launch.config.shared_bytes, 100'000u);
  ASSERT_EQ(launch.attributes.size(), 2u);
  EXPECT_EQ(launch.attributes[0].id, abi::kAttributeClusterDimension);
  EXPECT_EQ(launch.attributes[0].value.cluster.x, 2u);
  EXPECT_EQ(launch.attributes[1].id, abi::kAttributeProgrammaticStreamSerialization);
  EXPECT_EQ(launch.attributes[1].value.flag, 1);
  fake().Fail("launch_kernel_ex", 719);
  EXPECT_THAT(LaunchWith(*kernel, shape, stream->get(), 1, 2).message(), HasSubstr("add: cuLaunchKernelEx"));
}

TEST_F(DriverTest, GraphsReplayAndAFailedCaptureLeavesTheStreamUsable) {
  Open();
  const auto stream = NewStream(*device_);
  const auto module = LoadModule(*device_, "cubin");
  const auto kernel = GetKernel(*module, "k", 0);
  const auto twice = [&]() -> Status {
    LATHE_RETURN_IF_ERROR(LaunchWith(*kernel, LaunchShape(), stream->get(), 1));
    return LaunchWith(*kernel, LaunchShape(), stream->get(), 2);
  };
  fake().Fail("launch_kernel_ex", 700, 1);
  EXPECT_FALSE(CaptureGraph(*stream, twice).ok());
  fake().Heal();
  const auto graph = CaptureGraph(*stream, twice);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_TRUE(fake().launches.empty());
  ASSERT_TRUE(LaunchGraph(*graph, *stream).ok());
  EXPECT_GE(fake().launches.size(), 2u);
}

TEST(Library, SaysWhatItLookedFor) {
  setenv("LATHE_TEST_LIBRARY", "/nowhere/libabsent.so.1", 1);
  const auto library = Library::Open({"libabsent.so.1"}, "LATHE_TEST_LIBRARY");
  ASSERT_FALSE(library.ok());
  EXPECT_EQ(library.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(library.status().message(), HasSubstr("LATHE_TEST_LIBRARY=/nowhere/libabsent.so.1"));
  unsetenv("LATHE_TEST_LIBRARY");
  const auto itself = Library::Open({"libc.so.6"}, nullptr);
  ASSERT_TRUE(itself.ok());
  void* function = nullptr;
  EXPECT_TRUE(itself->Bind("malloc", &function).ok());
  EXPECT_NE(function, nullptr);
  EXPECT_EQ(itself->Bind("no_such_function_here", &function).code(), StatusCode::kUnsupported);
}

}  // namespace
}  // namespace lathe::cuda
