#include "kernels/cuda/attention.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/kernel_source.h"
#include "kernels/cuda/layer_ops.h"
#include "kernels/cuda/sample.h"

namespace lathe::cuda {

std::vector<KernelSource> RegisteredKernels(int sm) {
  std::vector<KernelSource> all;
  const auto add = [&all](const std::vector<KernelSource>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  add(GemmKernels(sm));
  add(AttentionKernels(sm));
  add(LayerKernels());
  add(SampleKernels(sm));
  return all;
}

}  // namespace lathe::cuda
