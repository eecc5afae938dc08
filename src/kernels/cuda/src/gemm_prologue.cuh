// Norm and quantisation of few tokens inside the product that reads them: every block makes the rows it multiplies
// itself, bit for bit as norm.cu and quantize.cu do, while its first stages of W are on their way. That saves a kernel,
// which for few tokens is mostly waiting for the one before.
//
// For gemm_stream.cu's multiplying warps (WARPS). Macros beside its own: PROLOGUE (gemm_abi.h), K (elements of a row),
// ROW_THREADS (threads of norm.cu for such a row).
#pragma once

#include "gemm.cuh"
#include "rows.cuh"

constexpr bool kNorm = PROLOGUE == LATHE_GEMM_NORM;
constexpr int kTeam = WARPS * 32;
constexpr int kNormWarps = ROW_THREADS / 32;
// Pieces of one thread of norm.cu, and how many of its warps a warp here stands for.
constexpr int kRounds = (K / 8 + ROW_THREADS - 1) / ROW_THREADS;
constexpr int kStandsFor = (kNormWarps + WARPS - 1) / WARPS;
// Pieces of 8 elements that a thread has of a row, and rows that are made at once.
constexpr int kPieces = kNorm ? kStandsFor * kRounds : (K / 8 + kTeam - 1) / kTeam;
constexpr int kTogether = kPieces >= 3 || TOKENS == 1 ? 1 : kPieces == 2 || TOKENS == 2 ? 2 : 4;
// Gain that registers hold while the kernel before is waited for.
constexpr bool kEarlyGain = kPieces <= 2;
constexpr bool kWhole = kNorm ? kStandsFor * WARPS == kNormWarps && kRounds * ROW_THREADS * 8 == K : kPieces * kTeam * 8 == K;
static_assert(K % 8 == 0 && kNormWarps <= 32);

// First element of a thread's piece; K or more: it has none.
LATHE_DEVICE int ElementOf(int piece) {
  if (!kNorm) return (piece * kTeam + static_cast<int>(threadIdx.x)) * 8;
  const int warp = piece / kRounds * WARPS + Warp();
  return warp < kNormWarps ? (piece % kRounds * ROW_THREADS + warp * 32 + Lane()) * 8 : K;
}
LATHE_DEVICE bool Has(int piece) { return kWhole || ElementOf(piece) < K; }

// Where a block makes its rows.
struct TokenRoom {
  char* tokens;    // a row every `pitch` bytes
  int pitch;
  float* scratch;  // 32 floats for each of kTogether rows
  float* scales;   // of each row
};

// The scale of row t (r of those at once) from each thread's largest value. All warps together; ends after a barrier.
template <int kRows>
LATHE_DEVICE void ScaleRows(const TokenRoom& room, int first, float (&largest)[kRows], float (&scale)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    largest[r] = WarpMax(largest[r]);
    if (Lane() == 0) room.scratch[r * 32 + Warp()] = largest[r];
  }
  NamedBarrier(1, kTeam);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    scale[r] = TokenScale(WarpMax(room.scratch[r * 32 + Lane() % WARPS]));
    if (threadIdx.x == 0 && first + r < TOKENS) room.scales[first + r] = scale[r];
  }
}

LATHE_DEVICE Eight LoadGain(const GemmArgs& args, int piece) {
  return Has(piece) ? Load8F32(At<const float>(args.gain) + ElementOf(piece)) : Eight{};
}

// Rows first, first + 1, … of which m are there: what a thread holds of a row beyond is the last's, and is not stored.
LATHE_DEVICE void NormRows(const GemmArgs& args, const Eight (&gain)[kPieces], const TokenRoom& room, int first) {
  Eight x[kTogether][kPieces];
#pragma unroll
  for (int r = 0; r < kTogether; ++r) {
    const float* from = At<const float>(args.x) + static_cast<long long>(min(first + r, args.m - 1)) * K;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      if (Has(piece))
        x[r][piece] = Load8F32(from + ElementOf(piece));
      else
        x[r][piece] = Eight{};
    }
  }
#pragma unroll
  for (int r = 0; r < kTogether; ++r) {
#pragma unroll
    for (int i = 0; i < kStandsFor; ++i) {
      float squares = 0;
#pragma unroll
      for (int round = 0; round < kRounds; ++round) squares = AddSquares(squares, x[r][i * kRounds + round]);
      squares = WarpSum(squares);
      if (Lane() == 0 && i * WARPS + Warp() < kNormWarps) room.scratch[r * 32 + i * WARPS + Warp()] = squares;
    }
  }
  NamedBarrier(1, kTeam);
  float largest[kTogether], scale[kTogether];
#pragma unroll
  for (int r = 0; r < kTogether; ++r) {
    const float squares = WarpSum(Lane() < kNormWarps ? room.scratch[r * 32 + Lane()] : 0.0f);
    const float inverse = InverseRms<K>(squares, args.eps);
    largest[r] = 0;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      x[r][piece] = Normed(x[r][piece], inverse, kEarlyGain ? gain[piece] : LoadGain(args, piece));
      if (TYPE == LATHE_GEMM_E4M3) {
        largest[r] = fmaxf(largest[r], LargestOf(x[r][piece]));
      } else if (first + r < args.m && Has(piece)) {
        Store8Of16(room.tokens + (first + r) * room.pitch + ElementOf(piece) * 2, x[r][piece]);
      }
    }
  }
  if (TYPE != LATHE_GEMM_E4M3) return;
  NamedBarrier(1, kTeam);  // the sums of squares are read
  ScaleRows(room, first, largest, scale);
#pragma unroll
  for (int r = 0; r < kTogether; ++r) {
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      if (first + r < args.m && Has(piece))
        Store8E4m3(room.tokens + (first + r) * room.pitch + ElementOf(piece), x[r][piece], 1.0f / scale[r]);
    }
  }
}

LATHE_DEVICE void QuantizeRows(const GemmArgs& args, const TokenRoom& room, int first) {
  uint4 x[kTogether][kPieces];
  float largest[kTogether], scale[kTogether];
#pragma unroll
  for (int r = 0; r < kTogether; ++r) {
    const uint16_t* from = At<const uint16_t>(args.x) + static_cast<long long>(min(first + r, args.m - 1)) * K;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece)
      x[r][piece] = Has(piece) ? *reinterpret_cast<const uint4*>(from + ElementOf(piece)) : uint4{0, 0, 0, 0};
  }
#pragma unroll
  for (int r = 0; r < kTogether; ++r) {
    largest[r] = 0;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) largest[r] = fmaxf(largest[r], LargestOf(Widen8Of16(x[r][piece])));
  }
  ScaleRows(room, first, largest, scale);
#pragma unroll
  for (int r = 0; r < kTogether; ++r) {
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      if (first + r < args.m && Has(piece))
        Store8E4m3(room.tokens + (first + r) * room.pitch + ElementOf(piece), Widen8Of16(x[r][piece]), 1.0f / scale[r]);
    }
  }
}

// All of args.m rows, by all multiplying warps; they may be read when it returns.
struct TokenMaker {
  Eight gain[kPieces];

  // A weight: needs no waiting for the kernel before.
  LATHE_DEVICE void LoadGain(const GemmArgs& args) {
    if (!kNorm || !kEarlyGain) return;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) gain[piece] = ::LoadGain(args, piece);
  }
  LATHE_DEVICE void Make(const GemmArgs& args, const TokenRoom& room) const {
#pragma unroll 1
    for (int first = 0; first < args.m; first += kTogether) {
      if constexpr (kNorm)
        NormRows(args, gain, room, first);
      else
        QuantizeRows(args, room, first);
      NamedBarrier(1, kTeam);
    }
  }
};
