// Reads memory and nothing else: the roof that kernels are compared with.
#include "common.cuh"

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const uint4* from, long long count, uint32_t* out) {
  constexpr int kInFlight = 8;
  uint32_t mix = 0;
  const long long step = static_cast<long long>(gridDim.x) * LATHE_THREADS;
  long long i = static_cast<long long>(blockIdx.x) * LATHE_THREADS + threadIdx.x;
  for (; i + (kInFlight - 1) * step < count; i += kInFlight * step) {
    uint4 v[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) v[j] = LoadStream(from + i + j * step);
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) mix ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  // Never true of the data read, but the compiler cannot know: the loads stay.
  if (mix == 0x9e3779b9u && count < 0) *out = mix;
}
