// Every registered kernel compiles for every supported chip, without spills where it is hot. That takes
// NVRTC, minutes and no GPU, so it is done where LATHE_NVRTC names the compiler's folder (make test-kernels);
// else only the host's part is tested.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <set>

#include "kernels/cuda/embedded.h"
#include "kernels/cuda/kernel_source.h"
#include "platform/cuda/driver.h"

namespace lathe::cuda {
namespace {

constexpr int kSms[] = {80, 86, 89, 90, 100, 120};

// The compiler, or null with a line that says so.
const Nvrtc* FindCompiler() {
  if (std::getenv("LATHE_NVRTC") == nullptr) {
    std::printf("kernels are not compiled here: make test-kernels does\n");
    return nullptr;
  }
  const Expected<const Nvrtc*> nvrtc = Nvrtc::Load();
  EXPECT_TRUE(nvrtc.ok()) << nvrtc.status().message();
  return nvrtc.ok() ? *nvrtc : nullptr;
}

TEST(Kernels, SourcesAreInTheProgram) {
  std::set<std::string> names;
  for (const EmbeddedFile& file : KernelFiles()) names.insert(std::string(file.name));
  EXPECT_TRUE(names.contains("common.cuh"));
  for (const int sm : kSms) {
    std::set<std::string> entries;
    for (const KernelSource& source : RegisteredKernels(sm)) {
      EXPECT_TRUE(names.contains(source.file)) << source.entry;
      EXPECT_TRUE(entries.insert(source.entry).second) << source.entry << " is registered twice";
      EXPECT_GT(source.threads, 0) << source.entry;
      EXPECT_LE(source.threads, 1024) << source.entry;
      EXPECT_EQ(source.threads % 32, 0) << source.entry;
    }
  }
}

TEST(Kernels, AnUnknownSourceIsAFault) {
  const Nvrtc nvrtc = Nvrtc::FromTable({}, 13000);
  const auto kernels =
      CompileKernels(nvrtc, {{.file = "absent.cu", .entry = "k", .threads = 32}}, "sm_90a", 1);
  ASSERT_FALSE(kernels.ok());
  EXPECT_NE(kernels.status().message().find("absent.cu"), std::string::npos);
}

class Compile : public testing::TestWithParam<int> {};

TEST_P(Compile, AllWithoutSpills) {
  const Nvrtc* nvrtc = FindCompiler();
  if (nvrtc == nullptr) return;
  const int sm = GetParam();
  const auto kernels = CompileKernels(*nvrtc, RegisteredKernels(sm), DeviceInfo::TargetOf(sm), 0);
  ASSERT_TRUE(kernels.ok()) << kernels.status().message();
  for (const CompiledKernel& kernel : *kernels) {
    EXPECT_FALSE(kernel.cubin.empty()) << kernel.source.entry;
    EXPECT_GT(kernel.resources.registers, 0) << kernel.source.entry;
    if (!kernel.source.hot) continue;
    EXPECT_EQ(kernel.resources.spill_bytes, 0) << kernel.source.entry << " spills for sm " << sm;
    EXPECT_EQ(kernel.resources.stack_bytes, 0) << kernel.source.entry << " uses local memory for sm " << sm;
  }
}

INSTANTIATE_TEST_SUITE_P(EverySm, Compile, testing::ValuesIn(kSms));

}  // namespace
}  // namespace lathe::cuda
