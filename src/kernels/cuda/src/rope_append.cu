// From the fused QKV rows: bias, norm of q and k heads, rotation of the pairs (i, i + ROTARY_DIM / 2); q to its buffer,
// k and v into their page. A thread takes two pieces of 8 elements of a head, the two halves of 8 pairs.
//
// Macros: HEAD_DIM, ROTARY_DIM (both multiples of 16), QKV_F32, HAS_BIAS, QK_NORM, KV_FP8, F16. grid.x: enough for rows *
// all heads groups of kLanes threads.
#include "rows.cuh"
#include "small_abi.h"

using namespace lathe::cuda;

constexpr int kThreads = HEAD_DIM / 16;  // that a head needs
constexpr int kLanes = kThreads <= 1 ? 1 : kThreads <= 2 ? 2 : kThreads <= 4 ? 4 : kThreads <= 8 ? 8 : 16;
constexpr int kRotating = ROTARY_DIM / 16;
static_assert(HEAD_DIM % 16 == 0 && ROTARY_DIM % 16 == 0 && kThreads <= 16);

LATHE_DEVICE Eight Load(const void* qkv, int64_t at) {
  return QKV_F32 ? Load8F32(static_cast<const float*>(qkv) + at) : Load8Of16(static_cast<const uint16_t*>(qkv) + at);
}
LATHE_DEVICE void Add(Eight* x, const Eight& y) {
#pragma unroll
  for (int i = 0; i < 8; ++i) x->v[i] += y.v[i];
}
LATHE_DEVICE void Norm(Eight* a, Eight* b, const float* gain, int at_a, int at_b, float eps, bool active) {
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) squares += a->v[i] * a->v[i] + b->v[i] * b->v[i];
  if (!active) squares = 0;
#pragma unroll
  for (int mask = 1; mask < kLanes; mask <<= 1) squares += ShuffleXor(squares, mask);
  const float inverse = 1.0f / sqrtf(squares / HEAD_DIM + eps);
  const Eight gain_a = Load8F32(gain + at_a), gain_b = Load8F32(gain + at_b);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    a->v[i] *= inverse * gain_a.v[i];
    b->v[i] *= inverse * gain_b.v[i];
  }
}
LATHE_DEVICE void Rotate(Eight* a, Eight* b, const float* cos, const float* sin) {
  const Eight c = Load8F32(cos), s = Load8F32(sin);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float x = a->v[i], y = b->v[i];
    a->v[i] = x * c.v[i] - y * s.v[i];
    b->v[i] = y * c.v[i] + x * s.v[i];
  }
}
// What half does not hold of q and k becomes NaN: an infinity may make a score of minus infinity, which hides its key and
// is seen nowhere in the logits.
LATHE_DEVICE void MarkOverflow(Eight* x) {
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (!(fabsf(x->v[i]) < 65520.0f)) x->v[i] = __uint_as_float(0x7fffffffu);
}

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const RopeParams p) {
  DependencyLaunch();
  DependencyWait();
  const int heads = p.n_heads + 2 * p.n_kv_heads;
  const int index = (blockIdx.x * LATHE_THREADS + threadIdx.x) / kLanes, lane = threadIdx.x % kLanes;
  // Threads without work stay: the norm's shuffles are of whole warps.
  const bool active = index < p.n_rows * heads && lane < kThreads;
  const int row = min(index / heads, p.n_rows - 1), head = index % heads;
  const bool rotating = lane < kRotating;
  const int at_a = !active ? 0 : rotating ? lane * 8 : ROTARY_DIM + (lane - kRotating) * 16;
  const int at_b = !active ? 0 : rotating ? at_a + ROTARY_DIM / 2 : at_a + 8;
  const int64_t from = (static_cast<int64_t>(row) * heads + head) * HEAD_DIM;
  Eight a = Load(p.qkv, from + at_a), b = Load(p.qkv, from + at_b);
  if (HAS_BIAS) {
    Add(&a, Load8F32(p.bias + head * HEAD_DIM + at_a));
    Add(&b, Load8F32(p.bias + head * HEAD_DIM + at_b));
  }
  const bool is_q = head < p.n_heads, is_v = head >= p.n_heads + p.n_kv_heads;
  if (QK_NORM) {
    Eight na = a, nb = b;
    Norm(&na, &nb, is_q ? p.q_gain : p.k_gain, at_a, at_b, p.eps, active);
    if (!is_v) a = na, b = nb;
  }
  if (!active) return;
  if (!is_v && rotating) {
    const int64_t table = static_cast<int64_t>(row) * (ROTARY_DIM / 2) + lane * 8;
    Rotate(&a, &b, p.cos + table, p.sin + table);
  }
  if (F16 && !is_v) {
    MarkOverflow(&a);
    MarkOverflow(&b);
  }
  if (is_q) {
    uint16_t* to = static_cast<uint16_t*>(p.q) + (static_cast<int64_t>(row) * p.n_heads + head) * HEAD_DIM;
    Store8Of16(to + at_a, a);
    Store8Of16(to + at_b, b);
    return;
  }
  const int slot = p.rows[row].kv_slot;
  if (slot < 0) return;
  const int kv_head = (head - p.n_heads) % p.n_kv_heads, part = is_v ? 1 : 0;
  const int64_t block = (static_cast<int64_t>(slot / kPageSize) * p.n_kv_heads + kv_head) * 2 + part;
  const int64_t to = (block * kPageSize + slot % kPageSize) * HEAD_DIM;
  if (KV_FP8) {
    const float scale = is_v ? p.inverse_v_scale : p.inverse_k_scale;
    Store8E4m3(static_cast<uint8_t*>(p.kv) + to + at_a, a, scale);
    Store8E4m3(static_cast<uint8_t*>(p.kv) + to + at_b, b, scale);
  } else {
    Store8Of16(static_cast<uint16_t*>(p.kv) + to + at_a, a);
    Store8Of16(static_cast<uint16_t*>(p.kv) + to + at_b, b);
  }
}
