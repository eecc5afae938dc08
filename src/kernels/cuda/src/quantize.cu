// 16-bit rows to e4m3 with one scale a row. Macros: COLUMNS (multiple of 8), F16. grid: rows.
#include "rows.cuh"
#include "small_abi.h"

using namespace lathe::cuda;

constexpr int kPieces = (COLUMNS / 8 + LATHE_THREADS - 1) / LATHE_THREADS;

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const QuantizeParams p) {
  __shared__ float scratch[32];
  DependencyLaunch();
  DependencyWait();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * COLUMNS;
  Eight x[kPieces];
  float largest = 0;
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int i = (piece * LATHE_THREADS + static_cast<int>(threadIdx.x)) * 8;
    if (i >= COLUMNS) continue;
    x[piece] = Load8Of16(static_cast<const uint16_t*>(p.in) + row + i);
    largest = fmaxf(largest, LargestOf(x[piece]));
  }
  const float scale = TokenScale(BlockMax(largest, scratch, LATHE_THREADS / 32));
  if (threadIdx.x == 0) p.scales[blockIdx.x] = scale;
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int i = (piece * LATHE_THREADS + static_cast<int>(threadIdx.x)) * 8;
    if (i < COLUMNS) Store8E4m3(static_cast<uint8_t*>(p.out) + row + i, x[piece], 1.0f / scale);
  }
}
