// One POD per op: everything a kernel needs, nothing it decides. The same params run on the scalar oracle
// (kernels/ref) and on every CPU kernel; dims are elements, pointers carry their shapes.
//
// Accumulation contract (deterministic mode, decision 10): for one numeric class (see NumericClass) every
// kernel of an ISA adds the products of one output in ascending k, into one f32 accumulator. A row's result
// therefore does not depend on which other rows are computed with it, on tiles, or on threads.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace lathe {

// How products are formed and summed. Fixed per engine; all kernels of one engine share it.
enum class NumericClass : uint8_t {
  kF32,      // f32 weights, f32 activations, one fused multiply-add per k
  kBf16Fma,  // bf16 weights widened, f32 activations, one fused multiply-add per k
  kBf16Dot,  // bf16 weights, normed rows rounded to bf16, their products in pairs as vdpbf16ps adds them
  // On CUDA:
  kBf16Tensor,    // bf16 weights, all that matmuls and attention read rounded to bf16, f32 sums
  kFp8Tensor,     // as kBf16Tensor, but the layers' matmuls have e4m3 weights (an f32 scale for each output
                  // channel) and read e4m3 rows (an f32 scale for each, found as they are made)
  kF16Tensor,     // as kBf16Tensor, with f16 in the place of bf16
  kFp8F16Tensor,  // as kFp8Tensor, with f16 in the place of bf16
};
constexpr bool OnTensorCores(NumericClass c) { return c >= NumericClass::kBf16Tensor; }
constexpr bool HasFp8(NumericClass c) {
  return c == NumericClass::kFp8Tensor || c == NumericClass::kFp8F16Tensor;
}
constexpr bool HasF16(NumericClass c) {
  return c == NumericClass::kF16Tensor || c == NumericClass::kFp8F16Tensor;
}

// Activations that an engine's class rounds: f32 (not at all) in kF32 and kBf16Fma, 16 bits in the others.
constexpr DType ActivationType(NumericClass c) {
  if (HasF16(c)) return DType::kF16;
  return c == NumericClass::kF32 || c == NumericClass::kBf16Fma ? DType::kF32 : DType::kBf16;
}
// The class of one matmul: an engine of kBf16Dot leaves some activations f32
// (compiler/passes/select_kernels.cc).
constexpr NumericClass MatmulClass(NumericClass engine, DType x_type) {
  return engine == NumericClass::kBf16Dot && x_type == DType::kF32 ? NumericClass::kBf16Fma : engine;
}
// Of the embedding and the head; the layers' matrices are e4m3 where the class has fp8.
constexpr DType WeightType(NumericClass c) {
  if (HasF16(c)) return DType::kF16;
  return c == NumericClass::kF32 ? DType::kF32 : DType::kBf16;
}
// On CUDA the plan may ask for e4m3 instead.
constexpr DType KvType(NumericClass c) { return WeightType(c); }

// Weights packed over N: panels of kPanelN output columns; bf16 panels hold k in pairs.
//   bf16: w[n / 64][k / 2][n % 64][k % 2]   f32: w[n / 64][k][n % 64]
// N is padded to a multiple of kPanelN and K to a multiple of 2 with zeros. A panel is contiguous, so one
// thread streams it, and 16 columns x 2 k are one 64-byte register.
inline constexpr int kPanelN = 64;

// y[m, n] = sum_k x[m, k] * w[n, k] (+ bias[n]); or, with silu_mul: w holds gate and up panels alternating
// (panel 2i = gate columns 64i.., panel 2i+1 = up columns 64i..), N counts both, and
// y[m, n'] = silu(gate) * up with n' < N / 2.
struct GemmParams {
  int M = 0, N = 0, K = 0;
  const void* x = nullptr;  // (M, K) f32 or bf16 = ActivationType(class), row stride ldx elements
  int64_t ldx = 0;
  const void* w = nullptr;      // packed as above, WeightType(class)
  const float* bias = nullptr;  // f32 of packed column: (N), with silu_mul 64 for every panel; or null
  void* y = nullptr;            // (M, N) or (M, N / 2)
  int64_t ldy = 0;
  DType y_type = DType::kF32;  // f32, or bf16 where the next op reads bf16 (silu_mul feeding a matmul)
  bool silu_mul = false;
};

// x[m, :] = table row token[m], from the packed lm_head/embedding (packed = true) or a row-major table.
struct EmbedParams {
  int n_tokens = 0, hidden = 0, vocab = 0;
  const int32_t* token_ids = nullptr;  // (n_tokens)
  const void* table = nullptr;         // packed panels over n = token, k = hidden; or (vocab, hidden)
  DType table_type = DType::kBf16;
  bool packed = false;
  float* x = nullptr;  // (n_tokens, hidden)
};

// residual[m, :] += delta[m, :] (when delta is given); y[m, :] = residual / rms(residual) * gain.
struct RmsNormParams {
  int n_tokens = 0, hidden = 0;
  float* residual = nullptr;     // (n_tokens, hidden)
  const float* delta = nullptr;  // (n_tokens, hidden) or null
  const float* gain = nullptr;   // (hidden)
  float eps = 0;
  void* y = nullptr;  // (n_tokens, hidden) y_type; null: only the add
  DType y_type = DType::kF32;
  const int32_t* rows =
      nullptr;  // when given: y row i is of residual row rows[i], n_tokens counts y rows; no delta
};

// Keys and values of one layer, in pages of page_size tokens (a multiple of 16).
//   K page, one kv head: bf16 [d / 2][token % page_size][d % 2], f32 [d][token]  (transposed: 16 keys a
//   register) V page, one kv head: [token % page_size][d]
// A page of a layer: K of head 0, K of head 1, ..., then V of head 0, ... ; page p at base + p * PageBytes.
struct KvLayout {
  int page_size = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  DType type = DType::kBf16;
  constexpr int64_t HeadBytes() const { return int64_t{page_size} * head_dim * SizeOf(type); }
  constexpr int64_t PageBytes() const { return 2 * n_kv_heads * HeadBytes(); }
};

// A run of rows of one sequence; mirrors SeqSlice without policy.
struct AttnSeq {
  int32_t first_row = 0, n_rows = 0, first_position = 0;
  const int32_t* pages = nullptr;
};

// From the rows of the fused QKV matmul: q and k normed per head (when gains are given), rotated (the pairs
// (i, i + rotary_dim / 2) of the first rotary_dim elements, as Hugging Face stores Llama weights), q written
// to q_out scaled by q_scale, k and v written into their pages.
struct RopeAppendParams {
  int n_tokens = 0, n_heads = 0;  // q heads; kv heads and head_dim in kv
  int rotary_dim = 0;
  const float* qkv = nullptr;  // (n_tokens, (n_heads + 2 * n_kv_heads) * head_dim): q heads, k heads, v heads
  int64_t ld_qkv = 0;
  const float* q_gain = nullptr;  // (head_dim) or null
  const float* k_gain = nullptr;
  float norm_eps = 0;
  const float* cos = nullptr;  // (n_tokens, rotary_dim / 2), attention_factor applied
  const float* sin = nullptr;
  float q_scale = 1;      // 1 / sqrt(head_dim)
  void* q_out = nullptr;  // (n_tokens, n_heads, head_dim) ActivationType(class)
  DType q_type = DType::kF32;
  KvLayout kv;
  void* kv_base = nullptr;        // this layer's pool
  const AttnSeq* seqs = nullptr;  // (n_seqs)
  int n_seqs = 0;
};

// Causal attention of q rows over the paged keys 0..position (or the last `window`).
// Contract: keys are taken in absolute blocks of kAttnBlock (block b = keys [b*kAttnBlock,
// (b+1)*kAttnBlock)). Within a block: scores (d ascending as in GemmParams), block maximum over the visible
// keys, p = exp(s - max), p*V accumulated in f32 in ascending key order from zero, the sum of p in 16 partial
// sums (by key % 16) added in one fixed tree; blocks are merged in ascending order into (m, l, o) by
// MergeSoftmax. So a row's result does not depend on chunking, batch or split.
inline constexpr int kAttnBlock = 256;

struct AttentionParams {
  int n_tokens = 0, n_heads = 0;
  const void* q = nullptr;  // (n_tokens, n_heads, head_dim), scaled; type q_type
  DType q_type = DType::kF32;
  KvLayout kv;
  const void* kv_base = nullptr;
  const AttnSeq* seqs = nullptr;
  int n_seqs = 0;
  int window = 0;     // 0: all; else keys with position > p - window
  void* y = nullptr;  // (n_tokens, n_heads, head_dim) y_type
  DType y_type = DType::kF32;
  // Shared by all workers: partial results when one long sequence is split over threads by key blocks.
  // Zeroed once when it is allocated, 64-byte aligned; null or too small: no split (slower, same bits).
  void* workspace = nullptr;
  int64_t workspace_bytes = 0;
};

// Head of the workspace: counters, zero between calls.
inline constexpr int64_t kAttnCounterBytes = int64_t{64} * 512;

// Workspace with which `count` threads split sequences of up to max_positions keys (at most 32 MiB is asked
// for).
int64_t AttentionWorkspaceBytes(int count, int n_heads, int head_dim, int max_positions);

}  // namespace lathe
