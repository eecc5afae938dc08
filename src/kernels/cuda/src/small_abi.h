// Parameters of the kernels between the matmuls: host and device. "16 bits" is the engine's 16-bit type, bf16
// or f16 (macro F16), and what no type is told of has it.
#pragma once

#include "step_abi.h"

namespace lathe::cuda {

struct EmbedParams {
  const StepRow* rows;         // (grid.x)
  const SampledRow* previous;  // tokens that the step before drew, for rows whose token is negative
  const void* table;           // (vocab, hidden)
  float* residual;             // (rows, hidden)
};

// residual += the sum of `n_parts` deltas; out = residual / rms(residual) * gain.
struct NormParams {
  float* residual;        // (rows, hidden)
  const void* delta;      // (n_parts, rows, hidden), DELTA: 1 16 bits, 2 f32; 0: none
  const float* gain;      // (hidden)
  void* out;              // (rows, hidden), OUT: 1 16 bits, 2 e4m3, 3 f32
  float* scales;          // (rows) of e4m3
  const int* rows;        // GATHER: out row i is of residual row rows[i], and residual stays as it is
  long long part_stride;  // elements between parts of delta
  int n_parts;
  float eps;
};

// cos and sin of every row's position, once a step for all layers.
struct RopeTableParams {
  const StepRow* rows;
  const float* inv_freq;  // (tables, ROTARY_DIM / 2)
  float* cos;             // (rows, ROTARY_DIM / 2)
  float* sin;
  float attention_factor;
  int n_rows;
};

// As RopeAppendParams of kernels/api/params.h; q is not scaled, the attention kernels do that.
struct RopeParams {
  const StepRow* rows;
  const void* qkv;      // (rows, (n_heads + 2 n_kv_heads) HEAD_DIM), QKV_F32: f32, else 16 bits
  const float* bias;    // the same columns (HAS_BIAS)
  const float* q_gain;  // (HEAD_DIM) (QK_NORM)
  const float* k_gain;
  const float* cos;  // (rows, ROTARY_DIM / 2)
  const float* sin;
  void* q;   // (rows, n_heads, HEAD_DIM)
  void* kv;  // this layer's pool
  float eps;
  float inverse_k_scale, inverse_v_scale;  // KV_FP8
  int n_rows, n_heads, n_kv_heads;
};

struct ActivationParams {
  const void* in;  // (rows, 2 FFN), blocks of 64 gate columns and 64 up columns
  void* out;       // (rows, FFN) 16 bits or e4m3
  float* scales;   // (rows) of e4m3
};

struct QuantizeParams {
  const void* in;  // (rows, COLUMNS)
  void* out;       // (rows, COLUMNS) e4m3
  float* scales;   // (rows)
};

struct SelectParams {
  const void* in;
  void* out;
  const int* rows;      // out row i is in row rows[i]
  long long row_bytes;  // a multiple of 16
};

// fp8 pages to 16-bit ones, for prompt attention: page `pages[i]` becomes page i of `out`.
struct WidenParams {
  const void* kv;
  void* out;
  const int* pages;
  const int* n_pages;  // the grid may be larger
};

}  // namespace lathe::cuda
