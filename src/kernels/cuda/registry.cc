#include "kernels/cuda/gemm.h"
#include "kernels/cuda/kernel_source.h"

namespace lathe::cuda {

std::vector<KernelSource> RegisteredKernels(int sm) {
  std::vector<KernelSource> all;
  const auto add = [&all](const std::vector<KernelSource>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  add(GemmKernels(sm));
  return all;
}

}  // namespace lathe::cuda
