#include "runtime/exec/cuda/step_clock.h"

#include <gtest/gtest.h>

#include "platform/cuda/testing/fake_driver.h"

namespace lathe::cuda {
namespace {

using testing::FakeDriver;

// The fake's clock goes on with each kernel.
class StepClockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FakeDriver::Reset();
    driver_ = *Driver::FromTable(FakeDriver::Table());
    device_ = *Device::Open(*driver_, 0);
    stream_ = *NewStream(*device_);
    clock_ = *StepClock::Make(*device_);
    abi::Module module = nullptr;
    ASSERT_EQ(device_->api().module_load_data(&module, ""), 0);
    module_ = Module(device_.get(), module);
    ASSERT_EQ(device_->api().module_get_function(&kernel_, module, "kernel"), 0);
  }
  void Compute(double seconds) {
    FakeDriver::Get().us_per_launch = seconds * 1e6;
    const abi::LaunchConfig config = {1, 1, 1, 1, 1, 1, 0, stream_.get(), nullptr, 0};
    ASSERT_EQ(device_->api().launch_kernel_ex(&config, kernel_, nullptr, nullptr), 0);
  }
  void Step(double seconds, double launch_seconds) {
    ASSERT_TRUE(clock_.Start(stream_).ok());
    Compute(seconds);
    ASSERT_TRUE(clock_.End(stream_, launch_seconds).ok());
  }

  std::unique_ptr<Driver> driver_;
  std::unique_ptr<Device> device_;
  Stream stream_;
  StepClock clock_;
  Module module_;
  abi::Function kernel_ = nullptr;
};

TEST_F(StepClockTest, CountsWhatIsBetweenStartAndEndOnce) {
  EXPECT_TRUE(clock_.AddAll().ok());
  EXPECT_TRUE(clock_.AddPrevious().ok());
  EXPECT_EQ(clock_.seconds(), 0);
  Step(2, 0);
  EXPECT_TRUE(clock_.AddPrevious().ok());  // there was none
  EXPECT_EQ(clock_.seconds(), 0);
  Compute(5);  // between two steps
  Step(3, 0.5);
  EXPECT_TRUE(clock_.AddPrevious().ok());
  EXPECT_DOUBLE_EQ(clock_.seconds(), 2);
  EXPECT_TRUE(clock_.AddAll().ok());
  EXPECT_DOUBLE_EQ(clock_.seconds(), 4.5);
  EXPECT_TRUE(clock_.AddAll().ok());
  EXPECT_TRUE(clock_.AddPrevious().ok());
  EXPECT_DOUBLE_EQ(clock_.seconds(), 4.5);
  Step(1, 7);  // no less than nothing
  EXPECT_TRUE(clock_.AddAll().ok());
  EXPECT_DOUBLE_EQ(clock_.seconds(), 4.5);
}

TEST_F(StepClockTest, AFaultIsAStatus) {
  FakeDriver::Get().Fail("event_record", 700);
  EXPECT_FALSE(clock_.Start(stream_).ok());
  FakeDriver::Get().Heal();
  Step(1, 0);
  FakeDriver::Get().Fail("event_elapsed_time", 700);
  EXPECT_FALSE(clock_.AddAll().ok());
  FakeDriver::Get().Heal();
}

}  // namespace
}  // namespace lathe::cuda
