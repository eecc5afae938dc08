// The kernels between the matmuls of a layer, and those at the ends of a step: what each is compiled with,
// and launching it. Parameters are in src/small_abi.h. Every kernel waits for the one before it by itself, so
// all may be launched with overlap_previous.
#pragma once

#include <vector>

#include "kernels/cuda/kernel_source.h"
#include "kernels/cuda/src/small_abi.h"
#include "platform/cuda/launch.h"
#include "tensor/dtype.h"

namespace lathe::cuda {

// Threads of a block for a row of `elements`, in kernels that take a row a block: it says in which order a
// norm adds squares, wherever it is computed.
int RowThreads(int elements);

KernelSource EmbedKernel(int hidden, DType table);  // bf16 or f16
Status LaunchEmbed(const Kernel& kernel, const EmbedParams& params, int rows, abi::Stream stream,
                   bool overlap_previous);

// What a norm reads and writes; the compiled kernel has it as constants.
struct NormVariant {
  int hidden = 0;
  enum Delta { kNone = 0, k16Delta = 1, kF32Delta = 2 } delta = kNone;
  enum Out { k16 = 1, kE4m3 = 2, kF32 = 3 } out = k16;
  bool gather = false;  // of the rows that NormParams::rows lists
  bool f16 = false;     // the 16-bit type of delta and out; else bf16
};
KernelSource NormKernel(const NormVariant& variant);
Status LaunchNorm(const Kernel& kernel, const NormVariant& variant, const NormParams& params, int rows,
                  abi::Stream stream, bool overlap_previous);

KernelSource RopeTableKernel(int rotary_dim);
Status LaunchRopeTable(const Kernel& kernel, int rotary_dim, const RopeTableParams& params,
                       abi::Stream stream, bool overlap_previous);

struct RopeVariant {
  int head_dim = 0, rotary_dim = 0;  // both multiples of 16
  bool qkv_f32 = false, bias = false, qk_norm = false, kv_fp8 = false, f16 = false;
};
KernelSource RopeKernel(const RopeVariant& variant);
Status LaunchRope(const Kernel& kernel, const RopeVariant& variant, const RopeParams& params,
                  abi::Stream stream, bool overlap_previous);

struct ActivationVariant {
  int ffn = 0;  // multiple of 64
  bool gelu = false, out_fp8 = false, f16 = false;
};
KernelSource ActivationKernel(const ActivationVariant& variant);
Status LaunchActivation(const Kernel& kernel, const ActivationVariant& variant,
                        const ActivationParams& params, int rows, abi::Stream stream, bool overlap_previous);

KernelSource QuantizeKernel(int columns, bool f16);
Status LaunchQuantize(const Kernel& kernel, int columns, const QuantizeParams& params, int rows,
                      abi::Stream stream, bool overlap_previous);

KernelSource SelectKernel();
Status LaunchSelect(const Kernel& kernel, const SelectParams& params, int rows, abi::Stream stream,
                    bool overlap_previous);

// `pages`: at most so many; params.n_pages tells how many. The kernel is attention.h's WidenKernel.
Status LaunchWiden(const Kernel& kernel, const WidenParams& params, int pages, abi::Stream stream,
                   bool overlap_previous);

// A sample for the compile tests.
std::vector<KernelSource> LayerKernels();

}  // namespace lathe::cuda
