// What the own matrix kernels share: from a sum over K to what is stored.
#pragma once

#include "common.cuh"
#include "gemm_abi.h"

constexpr bool kSilu = EPILOGUE == LATHE_GEMM_SILU_BF16;
constexpr int kElementBytes = TYPE == LATHE_GEMM_E4M3 ? 1 : 2;

template <typename T>
LATHE_DEVICE T* At(unsigned long long address) {
  return reinterpret_cast<T*>(address);
}

// One tile of 16 rows by 8 tokens: 32 bytes of K of each, as two 16-byte loads' words are paired in gemm_stream.cu.
LATHE_DEVICE void Multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                           uint32_t b1) {
  const uint32_t a[4] = {a0, a1, a2, a3};
  if (TYPE == LATHE_GEMM_BF16) MmaBf16(d, a, b0, b1);
  if (TYPE == LATHE_GEMM_F16) MmaHalf(d, a, b0, b1);
  if (TYPE == LATHE_GEMM_E4M3) MmaE4m3(d, a, b0, b1);
}

// Scales and bias of one sum: token t, row n of W.
LATHE_DEVICE float Finish(const GemmArgs& args, float sum, int t, int n) {
  if (TYPE == LATHE_GEMM_E4M3) {
    sum *= At<const float>(args.w_scale)[n * args.w_scale_step] * At<const float>(args.x_scale)[t];
  }
  if (args.bias != 0) sum += At<const float>(args.bias)[n];
  return sum;
}

LATHE_DEVICE void Store(const GemmArgs& args, float value, int t, int column) {
  const long long at = static_cast<long long>(t) * args.y_stride + column;
  if (EPILOGUE == LATHE_GEMM_F32) {
    At<float>(args.y)[at] = value;
  } else if (EPILOGUE == LATHE_GEMM_ADD_F32) {
    At<float>(args.y)[at] = At<const float>(args.residual)[at] + value;
  } else {
    At<uint16_t>(args.y)[at] = ToBf16(value);
  }
}

// Stores a tile of kRows rows of W by kTokens tokens that begins at (row, token); sum(t, r) is its sum over K. Of the
// tokens, first, first + step, …; by n_threads threads, from threadIdx.x.
template <int kRows, int kTokens, typename Sum>
LATHE_DEVICE void StoreTile(const GemmArgs& args, int row, int token, int first, int step, int n_threads,
                            const Sum& sum) {
  constexpr int kColumns = kSilu ? kRows / 2 : kRows;
  const int mine = (min(kTokens, args.m - token) - first + step - 1) / step;
  for (int i = threadIdx.x; i < mine * kColumns; i += n_threads) {
    const int t = first + i / kColumns * step, column = i % kColumns;
    const int r = kSilu ? column / 64 * 128 + column % 64 : column;
    if (row + r >= args.n) continue;
    const float value = Finish(args, sum(t, r), token + t, row + r);
    if (kSilu) {
      const float up = Finish(args, sum(t, r + 64), token + t, row + r + 64);
      Store(args, Silu(value) * up, token + t, row / 2 + column);
    } else {
      Store(args, value, token + t, row + column);
    }
  }
}
