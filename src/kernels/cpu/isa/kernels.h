// What the files of this folder export, once per instruction set.
#pragma once

#include <stdint.h>

#include "kernels/api/kernel.h"

namespace lathe {

// Passes over a row of logits, from which cpu/sample.cc builds sampling.
struct LogitStats {
  float max = 0;         // of the finite values; meaningless when !finite
  int32_t arg_max = -1;  // lowest index of max
  bool finite = true;    // no NaN and no infinity
};
struct SampleFns {
  // Maximum, its first index, and finiteness of values[0..n). -inf counts as finite when allow_minus_inf.
  LogitStats (*stats)(const float* values, int n, bool allow_minus_inf);
  float (*max)(const float* values, int n);
  // Sum of exp(values[i] - max).
  double (*sum_exp)(const float* values, int n, float max);
  // Indices with values[i] >= limit, ascending, at most room of them; returns how many there are in all.
  int (*select)(const float* values, int n, float limit, int32_t* ids, int room);
  // weights[i] = ref::SampleWeight((values[ids[i]] - max) / temperature), or of values[i] where ids is null.
  void (*weigh)(const float* values, const int32_t* ids, int n, float max, float temperature,
                uint32_t* weights);
};

#define LATHE_DECLARE_ISA(isa)                             \
  namespace isa {                                          \
  extern const GemmKernel kGemms[];                        \
  extern const int kNumGemms;                              \
  extern const SampleFns kSampleFns;                       \
  void Embed(const EmbedParams&, const Worker&);           \
  void RmsNorm(const RmsNormParams&, const Worker&);       \
  void RopeAppend(const RopeAppendParams&, const Worker&); \
  void Attention(const AttentionParams&, const Worker&);   \
  }
LATHE_DECLARE_ISA(portable)
LATHE_DECLARE_ISA(avx2)
LATHE_DECLARE_ISA(avx512)
LATHE_DECLARE_ISA(avx512bf16)
#undef LATHE_DECLARE_ISA

}  // namespace lathe
