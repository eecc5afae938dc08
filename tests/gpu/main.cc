// gpu_test [--gtest_...]: all tests. gpu_test --lab NAME OUT.json [PART ...]: a program of lab/cuda.
#include <cstdio>
#include <cstring>

#include "gpu_test_util.h"
#include "platform/cuda/driver.h"

int lathe_gemm_bench(int argc, char** argv);
int lathe_attention_bench(int argc, char** argv);
int lathe_small_bench(int argc, char** argv);
int lathe_decode_bench(int argc, char** argv);

namespace lathe {

const std::string& NoGpu() {
  static const std::string reason = [] {
    const auto driver = cuda::Driver::Load();
    if (!driver.ok()) return "no GPU: " + driver.status().message();
    const auto devices = cuda::ListDevices(**driver);
    if (!devices.ok()) return "no GPU: " + devices.status().message();
    if (devices->empty()) return std::string("no GPU: the driver lists none");
    return (*devices)[0].unusable.empty() ? "" : "no usable GPU: " + (*devices)[0].unusable;
  }();
  return reason;
}

}  // namespace lathe

int main(int argc, char** argv) {
  if (argc >= 4 && std::strcmp(argv[1], "--lab") == 0) {
    const struct {
      const char* name;
      int (*run)(int, char**);
    } kPrograms[] = {{"gemm_bench", lathe_gemm_bench},
                     {"attention_bench", lathe_attention_bench},
                     {"small_bench", lathe_small_bench},
                     {"decode_bench", lathe_decode_bench}};
    for (const auto& program : kPrograms) {
      if (std::strcmp(argv[2], program.name) == 0) return program.run(argc - 2, argv + 2);
    }
    std::fprintf(stderr, "gpu_test: no lab program is called %s\n", argv[2]);
    return 2;
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
