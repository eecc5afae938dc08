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

// k's between two looks at the prefetch work of a tile.
constexpr int kPrefetchRun = 16;

struct TileArgs {
  const void* x = nullptr;         // first row, first k of the run
  int64_t ldx = 0;                 // elements
  const void* w = nullptr;         // first k of the run, first column of the tile
  int k = 0;                       // length of the run; odd only when it ends the matrix
  float* c = nullptr;              // (MR, 64) partial sums, kPanelN floats a row
  bool first = false;              // c starts at zero
  const char* prefetch = nullptr;  // weights wanted soon: asked for while this tile computes
  int prefetch_lines = 0;          // 64-byte lines of it for every kPrefetchRun k's
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

// Weights that stream from memory are asked for twice: far ahead into the second-level cache, then nearer
// into the first. Without it the multiply-adds fill the reorder window and too few loads are in flight
// (measured on Emerald Rapids, one core, read 15.4 GB/s: none 10.2, first level 4 KB ahead 12.8, second level
// 8 KB ahead 13.7, both 15.4).
constexpr int kFarAhead = 8192, kNearAhead = 4096;  // bytes

template <bool kStream, int NR>
LATHE_INLINE void StreamAhead(const void* w) {
  if constexpr (kStream) {
    constexpr int kStep = kLanes >= 16 ? 1 : 16 / kLanes;  // vectors of a cache line
#pragma GCC unroll 8
    for (int j = 0; j < NR; j += kStep) {
      PrefetchFar(static_cast<const char*>(w) + j * kLanes * 4 + kFarAhead);
      Prefetch(static_cast<const char*>(w) + j * kLanes * 4 + kNearAhead);
    }
  }
}

LATHE_INLINE void PrefetchLines(const char*& at, int lines) {
  for (int i = 0; i < lines; ++i, at += 64) PrefetchFar(at);
}

// acc += x[MR][k] * w[k][NR] for one k.
template <bool kStream, int MR, int NR>
LATHE_INLINE void FloatStep(const float* x, int64_t ldx, const float* w, F (&acc)[MR][NR]) {
  F wk[NR];
#pragma GCC unroll 8
  for (int j = 0; j < NR; ++j) wk[j] = Load(w + j * kLanes);
  StreamAhead<kStream, NR>(w);
  FmaRow(x, ldx, wk, acc);
}

template <bool kStream, int MR, int NR>
LATHE_INLINE void RunFloat(const float* x, int64_t ldx, const float* w, int64_t ldw, int n,
                           F (&acc)[MR][NR]) {
  for (int k = 0; k < n; ++k) FloatStep<kStream>(x + k, ldx, w + k * ldw, acc);
}

// One pair of k's; kBoth false: only the first, the other is padding.
template <bool kStream, bool kBoth, int MR, int NR>
LATHE_INLINE void PairStep(const float* x, int64_t ldx, const uint16_t* w, F (&acc)[MR][NR]) {
  I raw[NR];
  F wk[NR];
#pragma GCC unroll 8
  for (int j = 0; j < NR; ++j) raw[j] = LoadPairs(w + j * 2 * kLanes);
  StreamAhead<kStream, NR>(w);
#pragma GCC unroll 8
  for (int j = 0; j < NR; ++j) wk[j] = Even(raw[j]);
  FmaRow(x, ldx, wk, acc);
  if constexpr (kBoth) {
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) wk[j] = Odd(raw[j]);
    FmaRow(x + 1, ldx, wk, acc);
  }
}

template <bool kStream, int MR, int NR>
LATHE_INLINE void RunPairs(const float* x, int64_t ldx, const uint16_t* w, int n, F (&acc)[MR][NR]) {
  int k = 0;
  for (; k + 2 <= n; k += 2, x += 2, w += 2 * kPanelN) PairStep<kStream, true>(x, ldx, w, acc);
  if (k < n) PairStep<kStream, false>(x, ldx, w, acc);
}

// The same multiplied as a pair; kBoth false: the second of x counts as zero.
template <bool kStream, bool kBoth, int MR, int NR>
LATHE_INLINE void DotStep(const uint16_t* x, int64_t ldx, const uint16_t* w, F (&acc)[MR][NR]) {
  I raw[NR];
#pragma GCC unroll 8
  for (int j = 0; j < NR; ++j) raw[j] = LoadPairs(w + j * 2 * kLanes);
  StreamAhead<kStream, NR>(w);
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m) {
    uint32_t pair = x[m * ldx];
    if constexpr (kBoth) __builtin_memcpy(&pair, x + m * ldx, sizeof(pair));
    const I xm = Set1Pair(pair);
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) acc[m][j] = Dot(acc[m][j], raw[j], xm);
  }
}

template <bool kStream, int MR, int NR>
LATHE_INLINE void RunDot(const uint16_t* x, int64_t ldx, const uint16_t* w, int n, F (&acc)[MR][NR]) {
  int k = 0;
  for (; k + 2 <= n; k += 2, x += 2, w += 2 * kPanelN) DotStep<kStream, true>(x, ldx, w, acc);
  if (k < n) DotStep<kStream, false>(x, ldx, w, acc);
}

template <Source kSource, bool kStream, int MR, int NR>
LATHE_INLINE void RunK(const typename SourceTypes<kSource>::X* x, int64_t ldx,
                       const typename SourceTypes<kSource>::W* w, int64_t ldw, int n, F (&acc)[MR][NR]) {
  if constexpr (kSource == Source::kFloat)
    RunFloat<kStream>(x, ldx, w, ldw, n, acc);
  else if constexpr (kSource == Source::kPairs)
    RunPairs<kStream>(x, ldx, w, n, acc);
  else
    RunDot<kStream>(x, ldx, w, n, acc);
}

// kLdx: stride of packed rows; 0: rows and weights are read where they lie, and the weights come from memory.
// kLdw: floats from k to k + 1. Constant strides and
// run lengths leave little in the loop but multiply-adds, which counts when another thread shares the core's
// front end.
template <Source kSource, int MR, int NR, int kLdx, int kLdw>
[[gnu::noinline]] void Tile(const TileArgs& a) {
  F acc[MR][NR];
  LoadAcc(a, acc);
  const auto* x = static_cast<const typename SourceTypes<kSource>::X*>(a.x);
  const auto* w = static_cast<const typename SourceTypes<kSource>::W*>(a.w);
  const int64_t ldx = kLdx > 0 ? kLdx : a.ldx;
  const char* prefetch = a.prefetch;
  int k = 0;
  for (; k + kPrefetchRun <= a.k; k += kPrefetchRun, x += kPrefetchRun, w += kPrefetchRun * kLdw) {
    PrefetchLines(prefetch, a.prefetch_lines);
    RunK<kSource, kLdx == 0>(x, ldx, w, kLdw, kPrefetchRun, acc);
  }
  RunK<kSource, kLdx == 0>(x, ldx, w, kLdw, a.k - k, acc);
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
    for (int j = 0; j < NR; ++j) Store(a.c + m * kPanelN + j * kLanes, acc[m][j]);
}

using TileFn = void (*)(const TileArgs&);

// Tiles of 1 .. MR rows, for the rows that are left over.
template <Source kSource, int MR, int NR, int kLdx, int kLdw>
struct TileTable {
  TileFn of_rows[MR + 1] = {};
  constexpr TileTable() { Fill(std::make_integer_sequence<int, MR>{}); }
  template <int... kRows>
  constexpr void Fill(std::integer_sequence<int, kRows...>) {
    ((of_rows[kRows + 1] = Tile<kSource, kRows + 1, NR, kLdx, kLdw>), ...);
  }
};

}  // namespace
}  // namespace lathe::LATHE_ISA
