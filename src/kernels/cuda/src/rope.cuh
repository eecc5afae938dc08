// A head of the fused QKV rows on its way to attention: bias, norm of q and k heads, rotation of the pairs (i, i +
// ROTARY_DIM / 2). kHeadLanes threads take a head, each two pieces of 8 elements, the two halves of 8 pairs; all threads of a
// warp take part, also those without a piece.
//
// Macros: HEAD_DIM, ROTARY_DIM (both multiples of 16), QKV_F32, HAS_BIAS, QK_NORM, KV_FP8, F16.
#pragma once

#include "rows.cuh"
#include "small_abi.h"

constexpr int kHeadThreads = HEAD_DIM / 16;  // that a head needs
constexpr int kHeadLanes = kHeadThreads <= 1 ? 1 : kHeadThreads <= 2 ? 2 : kHeadThreads <= 4 ? 4 : kHeadThreads <= 8 ? 8 : 16;
constexpr int kRotating = ROTARY_DIM / 16;
static_assert(HEAD_DIM % 16 == 0 && ROTARY_DIM % 16 == 0 && kHeadThreads <= 16);

LATHE_DEVICE Eight LoadQkv(const void* qkv, int64_t at) {
  return QKV_F32 ? Load8F32(static_cast<const float*>(qkv) + at) : Load8Of16(static_cast<const uint16_t*>(qkv) + at);
}
LATHE_DEVICE void Add(Eight* x, const Eight& y) {
#pragma unroll
  for (int i = 0; i < 8; ++i) x->v[i] += y.v[i];
}
LATHE_DEVICE void NormHead(Eight* a, Eight* b, const float* gain, int at_a, int at_b, float eps, bool active) {
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) squares += a->v[i] * a->v[i] + b->v[i] * b->v[i];
  if (!active) squares = 0;
#pragma unroll
  for (int mask = 1; mask < kHeadLanes; mask <<= 1) squares += ShuffleXor(squares, mask);
  const float inverse = 1.0f / sqrtf(squares / HEAD_DIM + eps);
  const Eight gain_a = Load8F32(gain + at_a), gain_b = Load8F32(gain + at_b);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    a->v[i] *= inverse * gain_a.v[i];
    b->v[i] *= inverse * gain_b.v[i];
  }
}
// What half does not hold of q and k becomes NaN: an infinity may make a score of minus infinity, which hides its key and
// is seen nowhere in the logits.
LATHE_DEVICE void MarkOverflow(Eight* x) {
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (!(fabsf(x->v[i]) < 65520.0f)) x->v[i] = __uint_as_float(0x7fffffffu);
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

// What one thread has of a head: elements at_a and at_b on, eight of each.
struct HeadPieces {
  int at_a, at_b;
  Eight a, b;

  // Head `head` of row `row`: q heads first, then k, then v. Inactive threads take the first elements, for nothing.
  LATHE_DEVICE void Make(const lathe::cuda::RopeParams& p, int row, int head, int lane, bool active) {
    const bool rotating = lane < kRotating;
    at_a = !active ? 0 : rotating ? lane * 8 : ROTARY_DIM + (lane - kRotating) * 16;
    at_b = !active ? 0 : rotating ? at_a + ROTARY_DIM / 2 : at_a + 8;
    const int64_t from = (static_cast<int64_t>(row) * (p.n_heads + 2 * p.n_kv_heads) + head) * HEAD_DIM;
    a = LoadQkv(p.qkv, from + at_a), b = LoadQkv(p.qkv, from + at_b);
    if (HAS_BIAS) {
      Add(&a, Load8F32(p.bias + head * HEAD_DIM + at_a));
      Add(&b, Load8F32(p.bias + head * HEAD_DIM + at_b));
    }
    const bool is_q = head < p.n_heads, is_v = head >= p.n_heads + p.n_kv_heads;
    if (QK_NORM) {
      Eight na = a, nb = b;
      NormHead(&na, &nb, is_q ? p.q_gain : p.k_gain, at_a, at_b, p.eps, active);
      if (!is_v) a = na, b = nb;
    }
    if (active && !is_v && rotating) {
      const int64_t table = static_cast<int64_t>(row) * (ROTARY_DIM / 2) + lane * 8;
      Rotate(&a, &b, p.cos + table, p.sin + table);
    }
    if (F16 && !is_v) {
      MarkOverflow(&a);
      MarkOverflow(&b);
    }
  }
  // In a page (8-bit ones multiplied by `scale`), or where else keys and values are as they are in pages.
  LATHE_DEVICE void Store(void* row, float scale) const {
    if (KV_FP8) {
      Store8E4m3(static_cast<uint8_t*>(row) + at_a, a, scale);
      Store8E4m3(static_cast<uint8_t*>(row) + at_b, b, scale);
    } else {
      StoreOf16(row);
    }
  }
  LATHE_DEVICE void StoreOf16(void* row) const {
    Store8Of16(static_cast<uint16_t*>(row) + at_a, a);
    Store8Of16(static_cast<uint16_t*>(row) + at_b, b);
  }
};
