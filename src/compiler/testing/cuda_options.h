// What tests of building for GPUs share: a compiler that compiles nothing, and options that measure nothing.
#pragma once

#include <gtest/gtest.h>

#include "base/check.h"
#include "compiler/compile.h"
#include "formats/engine_file.h"
#include "plan/cuda/kernel_blob.h"
#include "platform/cuda/testing/fake_nvrtc.h"

namespace lathe::testing_util {

inline const cuda::Nvrtc& Compiler() {
  static const cuda::Nvrtc nvrtc = cuda::testing::FakeNvrtc::Make();
  return nvrtc;
}

// For sm_90a, measured on nothing.
inline BuildOptions Cross(const std::string& output) {
  BuildOptions options;
  options.output = output;
  options.target = "cuda:sm_90a";
  options.tune = false;
  options.threads = 2;
  options.cuda.nvrtc = &Compiler();
  return options;
}

// The compiled kernels that an engine carries.
inline cuda::KernelBlob Kernels(const EngineReader& engine) {
  const auto bytes = engine.Blob("kernels");
  LATHE_CHECK(bytes.ok());
  auto blob = cuda::KernelBlob::Parse(*bytes, engine.path());
  EXPECT_TRUE(blob.ok()) << blob.status().message();
  return *std::move(blob);
}

}  // namespace lathe::testing_util
