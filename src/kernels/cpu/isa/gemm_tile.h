// The register tile of matrix multiplication: MR rows x NR vectors of one weight panel, over a run of k.
// Every tactic is this tile under another blocking, which is why all of them give the same bits: each output
// has one accumulator, k ascends, and a partial sum that is put down between two runs of k is f32 as well.
#pragma once

#include <utility>

#include "kernels/cpu/isa/vec.h"

namespace lathe::LATHE_ISA {
namespace {

// Where a tile's weights come from.
enum class Source {
  kFloat,  // f32 panel, or a bf16 panel widened to scratch: w[k][64]
  kPairs,  // bf16 panel, widened in registers: w[k / 2][64][2]
  kDot,    // bf16 panel, multiplied in pairs
};

template <Source kSource>
struct SourceTypes {
  using W = uint16_t;
  using X = float;
};
template <>
struct SourceTypes<Source::kFloat> {
  using W = float;
  using X = float;
};
template <>
struct SourceTypes<Source::kDot> {
  using W = uint16_t;
  using X = uint16_t;
};

struct TileArgs {
  const void* x = nullptr;  // first row, first k of the run
  int64_t ldx = 0;          // elements
  const void* w = nullptr;  // first k of the run, first column of the tile
  int k = 0;                // length of the run; odd only when it ends the matrix
  float* c = nullptr;       // (MR, 64) partial sums, kPanelN floats a row
  bool first = false;       // c starts at zero
  int64_t prefetch = 0;     // bytes ahead of the weights being read
};

template <int MR, int NR>
LATHE_INLINE void LoadAcc(const TileArgs& a, F (&acc)[MR][NR]) {
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) acc[m][j] = a.first ? Zero() : Load(a.c + m * kPanelN + j * kLanes);
}

template <int MR, int NR>
LATHE_INLINE void FmaRow(const float* x, int64_t ldx, const F (&w)[NR], F (&acc)[MR][NR]) {
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m) {
    const F xm = Set1(x[m * ldx]);
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) acc[m][j] = Fma(xm, w[j], acc[m][j]);
  }
}

template <int MR, int NR>
LATHE_INLINE void RunFloat(const TileArgs& a, F (&acc)[MR][NR]) {
  const float* x = static_cast<const float*>(a.x);
  const float* w = static_cast<const float*>(a.w);
  for (int k = 0; k < a.k; ++k, ++x, w += kPanelN) {
    F wk[NR];
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) wk[j] = Load(w + j * kLanes);
    if (a.prefetch != 0)
#pragma GCC unroll 8
      for (int j = 0; j < NR; ++j) Prefetch(reinterpret_cast<const char*>(w + j * kLanes) + a.prefetch);
    FmaRow(x, a.ldx, wk, acc);
  }
}

template <bool kPrefetch, int NR>
LATHE_INLINE void LoadPairRow(const uint16_t* w, int64_t prefetch, I (&raw)[NR]) {
#pragma GCC unroll 8
  for (int j = 0; j < NR; ++j) raw[j] = LoadPairs(w + j * 2 * kLanes);
  if constexpr (kPrefetch) {
    constexpr int kStep = kLanes >= 16 ? 1 : 16 / kLanes;  // one per 64-byte line
#pragma GCC unroll 8
    for (int j = 0; j < NR; j += kStep)
      Prefetch(reinterpret_cast<const char*>(w + j * 2 * kLanes) + prefetch);
  }
}

template <bool kPrefetch, int MR, int NR>
LATHE_INLINE void RunPairs(const TileArgs& a, F (&acc)[MR][NR]) {
  const float* x = static_cast<const float*>(a.x);
  const uint16_t* w = static_cast<const uint16_t*>(a.w);
  I raw[NR];
  F wk[NR];
  for (int k = 0; k + 1 < a.k; k += 2, x += 2, w += 2 * kPanelN) {
    LoadPairRow<kPrefetch>(w, a.prefetch, raw);
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) wk[j] = Even(raw[j]);
    FmaRow(x, a.ldx, wk, acc);
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) wk[j] = Odd(raw[j]);
    FmaRow(x + 1, a.ldx, wk, acc);
  }
  if (a.k % 2 == 0) return;
  LoadPairRow<false>(w, 0, raw);
#pragma GCC unroll 8
  for (int j = 0; j < NR; ++j) wk[j] = Even(raw[j]);
  FmaRow(x, a.ldx, wk, acc);
}

template <bool kPrefetch, int MR, int NR>
LATHE_INLINE void RunDot(const TileArgs& a, F (&acc)[MR][NR]) {
  const uint16_t* x = static_cast<const uint16_t*>(a.x);
  const uint16_t* w = static_cast<const uint16_t*>(a.w);
  I raw[NR];
  for (int k = 0; k + 1 < a.k; k += 2, x += 2, w += 2 * kPanelN) {
    LoadPairRow<kPrefetch>(w, a.prefetch, raw);
#pragma GCC unroll 32
    for (int m = 0; m < MR; ++m) {
      uint32_t pair;
      __builtin_memcpy(&pair, x + m * a.ldx, sizeof(pair));
      const I xm = Set1Pair(pair);
#pragma GCC unroll 8
      for (int j = 0; j < NR; ++j) acc[m][j] = Dot(acc[m][j], raw[j], xm);
    }
  }
  if (a.k % 2 == 0) return;
  LoadPairRow<false>(w, 0, raw);
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m) {
    const I xm = Set1Pair(x[m * a.ldx]);  // the second of the pair is the padding column: zero
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) acc[m][j] = Dot(acc[m][j], raw[j], xm);
  }
}

template <Source kSource, int MR, int NR>
[[gnu::noinline]] void Tile(const TileArgs& a) {
  F acc[MR][NR];
  LoadAcc(a, acc);
  if constexpr (kSource == Source::kFloat) {
    RunFloat(a, acc);
  } else if constexpr (kSource == Source::kPairs) {
    if (a.prefetch != 0)
      RunPairs<true>(a, acc);
    else
      RunPairs<false>(a, acc);
  } else {
    if (a.prefetch != 0)
      RunDot<true>(a, acc);
    else
      RunDot<false>(a, acc);
  }
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) Store(a.c + m * kPanelN + j * kLanes, acc[m][j]);
}

using TileFn = void (*)(const TileArgs&);

// Tiles of 1 .. MR rows, for the rows that are left over.
template <Source kSource, int MR, int NR>
struct TileTable {
  TileFn of_rows[MR + 1] = {};
  constexpr TileTable() { Fill(std::make_integer_sequence<int, MR>{}); }
  template <int... kRows>
  constexpr void Fill(std::integer_sequence<int, kRows...>) {
    ((of_rows[kRows + 1] = Tile<kSource, kRows + 1, NR>), ...);
  }
};

}  // namespace
}  // namespace lathe::LATHE_ISA
