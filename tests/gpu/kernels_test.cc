// Single kernels on the device against float64 and kernels/ref: the checks of lab/cuda, each in a process of
// its own, so that a fault of one leaves the others their device. Most of their time is compiling on one core
// each, so where all of them are asked for, all begin at once.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "gpu_test_util.h"

extern char** environ;

namespace lathe {
namespace {

constexpr const char* kPrograms[] = {"small_bench", "attention_bench", "gemm_bench", "decode_bench"};

class Kernels : public GpuTest, public ::testing::WithParamInterface<const char*> {
 protected:
  static std::string Path(std::string name, const char* end) {
    return ScratchDir() + "/" + std::move(name) + end;
  }

  // 0 where it cannot be started.
  static pid_t Start(std::string name) {
    std::string out = Path(name, ".json");
    const std::string log = Path(name, ".log");
    std::string program = "gpu_test", lab = "--lab", part = "check";
    char* const arguments[] = {program.data(), lab.data(), name.data(), out.data(), part.data(), nullptr};
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    pid_t child = 0;
    if (posix_spawn(&child, "/proc/self/exe", &files, nullptr, arguments, environ) != 0) child = 0;
    posix_spawn_file_actions_destroy(&files);
    return child;
  }

  static pid_t ChildOf(const std::string& name) {
    static std::map<std::string, pid_t> children;
    const auto* suite = ::testing::UnitTest::GetInstance()->current_test_suite();
    if (children.empty() && suite->test_to_run_count() == static_cast<int>(std::size(kPrograms)))
      for (const char* one : kPrograms) children[one] = Start(one);
    if (!children.contains(name)) children[name] = Start(name);
    return std::exchange(children[name], 0);  // repeated, it is another one
  }
};

TEST_P(Kernels, GiveWhatTheReferenceGives) {
  const std::string name = GetParam();
  pid_t child = ChildOf(name);
  if (child == 0) child = Start(name);
  ASSERT_NE(child, 0) << "cannot start " << name;
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  const auto log = ReadFile(Path(name, ".log"));
  if (log.ok()) std::fputs(log->c_str(), stdout);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

INSTANTIATE_TEST_SUITE_P(Lab, Kernels, ::testing::ValuesIn(kPrograms),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lathe
