// What the GPU tests share: skipping where there is no GPU, and engines of tales-16m for it.
#pragma once

#include <string>

#include "../e2e/e2e_util.h"

namespace lathe {

// Why no test here can run; "" where device 0 can be used.
const std::string& NoGpu();

// Base of all tests of this program. Skips on a machine without a GPU, with the reason.
class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!NoGpu().empty()) GTEST_SKIP() << NoGpu();
  }
};

inline BuildSpec CudaSpec() { return {.target = "cuda"}; }

}  // namespace lathe
