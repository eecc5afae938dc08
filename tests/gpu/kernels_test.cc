// Single kernels on the device against float64 and kernels/ref: the checks of lab/cuda, each in a process of
// its own, so that a fault of one leaves the others their device.
#include <spawn.h>
#include <sys/wait.h>

#include <cstdlib>

#include "gpu_test_util.h"

extern char** environ;

namespace lathe {
namespace {

class Kernels : public GpuTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(Kernels, GiveWhatTheReferenceGives) {
  std::string out = ScratchDir() + "/" + GetParam() + ".json", name = GetParam();
  std::string program = "gpu_test", lab = "--lab", part = "check";
  char* const arguments[] = {program.data(), lab.data(), name.data(), out.data(), part.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environ), 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

INSTANTIATE_TEST_SUITE_P(Lab, Kernels,
                         ::testing::Values("small_bench", "attention_bench", "gemm_bench", "decode_bench"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lathe
