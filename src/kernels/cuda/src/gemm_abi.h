// What host and device share about matrix products: y (M, N) = x (M, K) · Wᵀ, W (N, K), both with K
// contiguous. Read by NVRTC too: plain types only.
#pragma once

// Operand types (macro TYPE).
#define LATHE_GEMM_BF16 0
#define LATHE_GEMM_F16 1
#define LATHE_GEMM_E4M3 2

// What becomes of the sums (macro EPILOGUE); 16-bit operands leave 16-bit results of their own type. SiLU:
// the rows of W are interleaved [gate 64 | up 64], and y (M, N / 2) is silu(gate) * up.
#define LATHE_GEMM_F32 0
#define LATHE_GEMM_BF16_OUT 1
#define LATHE_GEMM_ADD_F32 2
#define LATHE_GEMM_SILU_BF16 3
#define LATHE_GEMM_F16_OUT 4
#define LATHE_GEMM_SILU_F16 5
// The rows of W are q, k and v heads of 128, all of which is rotated: q (bf16) to y, k and v into their pages
// of bf16 or e4m3. gemm_prompt.cu alone, tiles of whole heads.
#define LATHE_GEMM_ROPE_BF16 6
#define LATHE_GEMM_ROPE_E4M3 7

// What x is, and what becomes of its rows on their way to the product (macro PROLOGUE; gemm_stream.cu alone).
#define LATHE_GEMM_PLAIN 0
#define LATHE_GEMM_QUANTIZE 1      // x bf16; e4m3 with a scale each, as quantize.cu makes them
#define LATHE_GEMM_NORM 2          // x f32; normed, then 16-bit or e4m3, as norm.cu does it
#define LATHE_GEMM_QUANTIZE_F16 3  // x f16, else as QUANTIZE

// The one parameter of every own kernel (the wgmma kernels take two tensor maps before it, those with an
// epilogue of ROPE a GemmRope after it). Addresses are of device memory, aligned to 16 bytes.
struct GemmArgs {
  unsigned long long w;         // (n, k)
  unsigned long long x;         // (m, k), of the type that PROLOGUE says
  unsigned long long y;         // (m, y_stride): f32, bf16 or f16 as the epilogue has it
  unsigned long long w_scale;   // e4m3: f32, n of them (w_scale_step 1) or one (0); else unused
  unsigned long long x_scale;   // e4m3 and PLAIN: f32, (m); else unused
  unsigned long long bias;      // f32 (n), or 0
  unsigned long long residual;  // EPILOGUE ADD_F32: f32 (m, y_stride), added; may be y
  unsigned long long gain;      // PROLOGUE NORM: f32 (k)
  int m, n, k;
  int y_stride;  // elements
  int w_scale_step;
  float eps;  // PROLOGUE NORM
};

// As RopeParams (small_abi.h) has them.
struct GemmRope {
  unsigned long long rows;      // StepRow (m)
  unsigned long long cos, sin;  // f32 (m, 64)
  unsigned long long kv;        // this layer's pool
  int n_heads, n_kv_heads;
};
