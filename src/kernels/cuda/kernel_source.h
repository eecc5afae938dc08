// A CUDA kernel as data: which text, under which macros, launched how.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "platform/cuda/nvrtc.h"

namespace lathe::cuda {

// The source names its kernel LATHE_ENTRY, which is defined to `entry` when it is compiled.
struct KernelSource {
  std::string file = {};                  // of src/kernels/cuda/src: "gemv.cu"
  std::string entry = {};                 // name of the kernel in its cubin, unique among those of one engine
  std::vector<std::string> defines = {};  // "HEAD_DIM=128"
  int threads = 0;                        // a block
  int dynamic_shared = 0;                 // bytes a block
  bool hot = true;                        // part of every step: the tests fail when it spills registers
};

struct CompiledKernel {
  KernelSource source;
  std::string cubin;
  KernelResources resources;
};

// Compiles all of `sources` for `target` ("sm_90a") on `threads` host threads (0: all usable CPUs), in order
// of `sources`. The first fault ends it and is returned.
Expected<std::vector<CompiledKernel>> CompileKernels(const Nvrtc& nvrtc,
                                                     const std::vector<KernelSource>& sources,
                                                     const std::string& target, int threads);

// Every kernel that is built for compute capability `sm` (90), over the sizes that the models of the tests
// need: what the tests compile. Engines compile only what their plan uses.
std::vector<KernelSource> RegisteredKernels(int sm);

}  // namespace lathe::cuda
