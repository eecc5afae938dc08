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

// The one parameter of every own kernel (the wgmma kernels take two tensor maps before it, those with an
// epilogue of ROPE a GemmRope after it). Addresses are of device memory, aligned to 16 bytes.
struct GemmArgs {
  unsigned long long w;         // (n, k)
  unsigned long long x;         // (m, k)
  unsigned long long y;         // (m, y_stride): f32, bf16 or f16 as the epilogue has it
  unsigned long long w_scale;   // e4m3: f32, n of them (w_scale_step 1) or one (0); else unused
  unsigned long long x_scale;   // e4m3: f32, (m); else unused
  unsigned long long bias;      // f32 (n), or 0
  unsigned long long residual;  // EPILOGUE ADD_F32: f32 (m, y_stride), added; may be y
  int m, n, k;
  int y_stride;  // elements
  int w_scale_step;
  int reserved;
};

// As RopeParams (small_abi.h) has them.
struct GemmRope {
  unsigned long long rows;      // StepRow (m)
  unsigned long long cos, sin;  // f32 (m, 64)
  unsigned long long kv;        // this layer's pool
  int n_heads, n_kv_heads;
};
