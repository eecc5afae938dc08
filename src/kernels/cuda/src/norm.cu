// Residual add and RMSNorm of one row a block, in one pass over memory. Macros: HIDDEN (multiple of 8), DELTA (0 none,
// 1 16 bits, 2 f32), OUT (1 16 bits, 2 e4m3 with one scale a row, 3 f32), GATHER, F16. grid: rows.
#include "rows.cuh"
#include "small_abi.h"

using namespace lathe::cuda;

constexpr int kPieces = (HIDDEN / 8 + LATHE_THREADS - 1) / LATHE_THREADS;  // of a thread
constexpr int kWarps = LATHE_THREADS / 32;

LATHE_DEVICE Eight LoadDelta(const void* delta, int64_t at) {
  return DELTA == 1 ? Load8Of16(static_cast<const uint16_t*>(delta) + at) : Load8F32(static_cast<const float*>(delta) + at);
}

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const NormParams p) {
  DependencyLaunch();
  __shared__ float scratch[32];
  Eight gain[kPieces];  // a weight: needs no waiting for the kernel before
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int i = (piece * LATHE_THREADS + static_cast<int>(threadIdx.x)) * 8;
    if (i < HIDDEN) gain[piece] = Load8F32(p.gain + i);
  }
  DependencyWait();
  const int64_t out_row = static_cast<int64_t>(blockIdx.x) * HIDDEN;
  const int64_t in_row = GATHER ? static_cast<int64_t>(p.rows[blockIdx.x]) * HIDDEN : out_row;
  Eight x[kPieces];
  float squares = 0;
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int i = (piece * LATHE_THREADS + static_cast<int>(threadIdx.x)) * 8;
    if (i >= HIDDEN) continue;
    x[piece] = Load8F32(p.residual + in_row + i);
    if (DELTA != 0) {
      Eight delta = LoadDelta(p.delta, in_row + i);
#pragma unroll 1
      for (int part = 1; part < p.n_parts; ++part) {
        const Eight more = LoadDelta(p.delta, in_row + i + part * p.part_stride);
#pragma unroll
        for (int j = 0; j < 8; ++j) delta.v[j] += more.v[j];
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) x[piece].v[j] += delta.v[j];
      if (!GATHER) Store8F32(p.residual + in_row + i, x[piece]);
    }
    squares = AddSquares(squares, x[piece]);
  }
  squares = BlockSum(squares, scratch, kWarps);
  const float inverse = InverseRms<HIDDEN>(squares, p.eps);
  float largest = 0;
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int i = (piece * LATHE_THREADS + static_cast<int>(threadIdx.x)) * 8;
    if (i >= HIDDEN) continue;
    x[piece] = Normed(x[piece], inverse, gain[piece]);
    if (OUT == 1) Store8Of16(static_cast<uint16_t*>(p.out) + out_row + i, x[piece]);
    if (OUT == 3) Store8F32(static_cast<float*>(p.out) + out_row + i, x[piece]);
    if (OUT == 2) largest = fmaxf(largest, LargestOf(x[piece]));
  }
  if (OUT != 2) return;
  const float scale = TokenScale(BlockMax(largest, scratch, kWarps));
  if (threadIdx.x == 0) p.scales[blockIdx.x] = scale;
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
    const int i = (piece * LATHE_THREADS + static_cast<int>(threadIdx.x)) * 8;
    if (i < HIDDEN) Store8E4m3(static_cast<uint8_t*>(p.out) + out_row + i, x[piece], 1.0f / scale);
  }
}
