// act(gate) * up where no matmul's epilogue does it. Macros: FFN (multiple of 64), GELU, OUT_FP8, F16. grid: (rows, slices);
// with OUT_FP8 one slice, since a row has one scale.
#include "rows.cuh"
#include "small_abi.h"

using namespace lathe::cuda;

constexpr int kPieces = OUT_FP8 ? (FFN / 8 + LATHE_THREADS - 1) / LATHE_THREADS : 1;

LATHE_DEVICE float Activate(float x) {
  if (!GELU) return Silu(x);
  const float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
  return x * Reciprocal(1.0f + Exp2(-2.8853900817779268f * inner));  // x (1 + tanh(inner)) / 2
}
LATHE_DEVICE Eight Product(const uint16_t* row, int i) {
  const uint16_t* gate = row + i / 64 * 128 + i % 64;
  Eight out = Load8Of16(gate);
  const Eight up = Load8Of16(gate + 64);
#pragma unroll
  for (int j = 0; j < 8; ++j) out.v[j] = Activate(out.v[j]) * up.v[j];
  return out;
}

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const ActivationParams p) {
  __shared__ float scratch[32];
  DependencyLaunch();
  DependencyWait();
  const uint16_t* in = static_cast<const uint16_t*>(p.in) + static_cast<int64_t>(blockIdx.x) * 2 * FFN;
  const int64_t out = static_cast<int64_t>(blockIdx.x) * FFN;
  if (!OUT_FP8) {
    const int i = (blockIdx.y * LATHE_THREADS + threadIdx.x) * 8;
    if (i < FFN) Store8Of16(static_cast<uint16_t*>(p.out) + out + i, Product(in, i));
    return;
  }
  Eight x[kPieces];
  float largest = 0;
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int i = (piece * LATHE_THREADS + static_cast<int>(threadIdx.x)) * 8;
    if (i >= FFN) continue;
    x[piece] = Product(in, i);
    largest = fmaxf(largest, LargestOf(x[piece]));
  }
  const float scale = TokenScale(BlockMax(largest, scratch, LATHE_THREADS / 32));
  if (threadIdx.x == 0) p.scales[blockIdx.x] = scale;
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int i = (piece * LATHE_THREADS + static_cast<int>(threadIdx.x)) * 8;
    if (i < FFN) Store8E4m3(static_cast<uint8_t*>(p.out) + out + i, x[piece], 1.0f / scale);
  }
}
