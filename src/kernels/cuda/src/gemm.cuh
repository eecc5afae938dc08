// What the own matrix kernels share: from a sum over K to what is stored.
#pragma once

#include "common.cuh"
#include "gemm_abi.h"

constexpr bool kSilu = EPILOGUE == LATHE_GEMM_SILU_BF16 || EPILOGUE == LATHE_GEMM_SILU_F16;
constexpr bool kOut16 = EPILOGUE != LATHE_GEMM_F32 && EPILOGUE != LATHE_GEMM_ADD_F32;
constexpr int kElementBytes = TYPE == LATHE_GEMM_E4M3 ? 1 : 2;

// 16-bit operands and 16-bit results are of one type, which F16 tells.
static_assert(TYPE == LATHE_GEMM_E4M3 || (TYPE == LATHE_GEMM_F16) == F16);
static_assert(!kOut16 || (EPILOGUE == LATHE_GEMM_F16_OUT || EPILOGUE == LATHE_GEMM_SILU_F16) == F16);

template <typename T>
LATHE_DEVICE T* At(unsigned long long address) {
  return reinterpret_cast<T*>(address);
}

// One tile of 16 rows by 8 tokens: 32 bytes of K of each, as two 16-byte loads' words are paired in gemm_stream.cu.
LATHE_DEVICE void Multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                           uint32_t b1) {
  const uint32_t a[4] = {a0, a1, a2, a3};
  if (TYPE == LATHE_GEMM_E4M3)
    MmaE4m3(d, a, b0, b1);
  else
    Mma16(d, a, b0, b1);
}

// What an output needs beside its sum over K.
struct Beside {
  float scale, bias, residual;
};

// Of row n of W: weights, which are there before any kernel of the step.
LATHE_DEVICE Beside LoadWeightsBeside(const GemmArgs& args, int n) {
  Beside beside = {1.0f, 0.0f, 0.0f};
  if (TYPE == LATHE_GEMM_E4M3) beside.scale = At<const float>(args.w_scale)[n * args.w_scale_step];
  if (args.bias != 0) beside.bias = At<const float>(args.bias)[n];
  return beside;
}
// The rest, for token t, whose scale is x_scale, and a column of y.
LATHE_DEVICE void LoadTokensBeside(const GemmArgs& args, int t, int column, float x_scale, Beside* beside) {
  if (TYPE == LATHE_GEMM_E4M3) beside->scale *= x_scale;
  if (EPILOGUE == LATHE_GEMM_ADD_F32)
    beside->residual = At<const float>(args.residual)[static_cast<long long>(t) * args.y_stride + column];
}

LATHE_DEVICE float Finish(const Beside& beside, float sum) { return sum * beside.scale + beside.bias; }

LATHE_DEVICE void StoreResult(const GemmArgs& args, const Beside& beside, float value, int t, int column) {
  const long long at = static_cast<long long>(t) * args.y_stride + column;
  if (EPILOGUE == LATHE_GEMM_F32) {
    At<float>(args.y)[at] = value;
  } else if (EPILOGUE == LATHE_GEMM_ADD_F32) {
    At<float>(args.y)[at] = beside.residual + value;
  } else {
    At<uint16_t>(args.y)[at] = To16(value);
  }
}

// Four columns of one token at once.
LATHE_DEVICE void StoreFour(const GemmArgs& args, const float (&v)[4], int t, int column) {
  const long long at = static_cast<long long>(t) * args.y_stride + column;
  if (EPILOGUE == LATHE_GEMM_F32) {
    *reinterpret_cast<float4*>(At<float>(args.y) + at) = float4{v[0], v[1], v[2], v[3]};
  } else if (EPILOGUE == LATHE_GEMM_ADD_F32) {
    const float4 r = *reinterpret_cast<const float4*>(At<const float>(args.residual) + at);
    *reinterpret_cast<float4*>(At<float>(args.y) + at) = float4{v[0] + r.x, v[1] + r.y, v[2] + r.z, v[3] + r.w};
  } else {
    *reinterpret_cast<uint2*>(At<uint16_t>(args.y) + at) = uint2{Pack16(v[0], v[1]), Pack16(v[2], v[3])};
  }
}

// Scales and bias of four rows of W from n on.
LATHE_DEVICE void FinishFour(const GemmArgs& args, float4 sums, int t, int n, float (&out)[4]) {
  const float in[4] = {sums.x, sums.y, sums.z, sums.w};
  const float x_scale = TYPE == LATHE_GEMM_E4M3 ? At<const float>(args.x_scale)[t] : 1.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float scale =
        TYPE == LATHE_GEMM_E4M3 ? x_scale * At<const float>(args.w_scale)[(n + i) * args.w_scale_step] : 1.0f;
    out[i] = in[i] * scale + (args.bias != 0 ? At<const float>(args.bias)[n + i] : 0.0f);
  }
}

// Stores a tile of kRows rows of W by kTokens tokens that begins at (row, token); sums(t, r) are the sums over K of
// rows r to r + 3. Of the tokens, first, first + step, …; by n_threads threads, from threadIdx.x.
template <int kRows, int kTokens, typename Sums>
LATHE_DEVICE void StoreTile(const GemmArgs& args, int row, int token, int first, int step, int n_threads,
                            const Sums& sums) {
  constexpr int kFours = (kSilu ? kRows / 2 : kRows) / 4;
  const int mine = (min(kTokens, args.m - token) - first + step - 1) / step;
  for (int i = threadIdx.x; i < mine * kFours; i += n_threads) {
    const int t = first + i / kFours * step, column = i % kFours * 4;
    const int r = kSilu ? column / 64 * 128 + column % 64 : column;
    if (row + r >= args.n) continue;
    float value[4];
    FinishFour(args, sums(t, r), token + t, row + r, value);
    if (kSilu) {
      float up[4];
      FinishFour(args, sums(t, r + 64), token + t, row + r + 64, up);
#pragma unroll
      for (int e = 0; e < 4; ++e) value[e] = Silu(value[e]) * up[e];
    }
    StoreFour(args, value, token + t, (kSilu ? row / 2 : row) + column);
  }
}
