// Sums along a row in one fixed order, and the split of rows into tasks.
#pragma once

#include "kernels/cpu/isa/vec.h"

namespace lathe::LATHE_ISA {
namespace {

// Sum of 16 floats in a fixed tree, the same on every ISA.
LATHE_INLINE float SumTree16(float* v) {
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  return v[0];
}

// row += delta (when given), and the sum of squares of the result: 64 partial sums by k % 64, then a tree.
LATHE_INLINE float AddAndSumSquares(float* row, const float* delta, int n) {
  constexpr int kWide = 64;
  F acc[kWide / kLanes];
#pragma GCC unroll 16
  for (int j = 0; j < kWide / kLanes; ++j) acc[j] = Zero();
  int k = 0;
  for (; k + kWide <= n; k += kWide)
#pragma GCC unroll 16
    for (int j = 0; j < kWide / kLanes; ++j) {
      float* at = row + k + j * kLanes;
      F v = Load(at);
      if (delta) {
        v = Add(v, Load(delta + k + j * kLanes));
        Store(at, v);
      }
      acc[j] = Fma(v, v, acc[j]);
    }
  for (int j = 0; k < n; ++j, k += kLanes) {
    const int left = MinInt(kLanes, n - k);
    F v = LoadN(row + k, left);
    if (delta) {
      v = Add(v, LoadN(delta + k, left));
      StoreN(row + k, v, left);
    }
    acc[j] = Fma(v, v, acc[j]);
  }
  alignas(64) float sums[kWide];
#pragma GCC unroll 16
  for (int j = 0; j < kWide / kLanes; ++j) Store(sums + j * kLanes, acc[j]);
  for (int i = 0; i < 16; ++i) sums[i] = (sums[i] + sums[i + 32]) + (sums[i + 16] + sums[i + 48]);
  return SumTree16(sums);
}

LATHE_INLINE float InverseRms(float squares, int n, float eps) {
  return 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
}

// n rows as about four tasks a thread, at most 16 rows each.
struct RowTasks {
  int n, rows, count;
  RowTasks(int n_rows, int threads)
      : n(n_rows), rows(MaxInt(1, MinInt(16, CeilDiv(n_rows, 4 * threads)))), count(CeilDiv(n_rows, rows)) {}
  int First(int task) const { return task * rows; }
  int Last(int task) const { return MinInt(n, (task + 1) * rows); }
};

}  // namespace
}  // namespace lathe::LATHE_ISA
