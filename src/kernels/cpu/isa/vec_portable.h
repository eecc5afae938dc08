// Any 64-bit machine, through the vector extension of gcc and clang: 4 floats. Multiply and add round
// separately, as the baseline instruction sets do.
#pragma once
#ifndef LATHE_IN_VEC_H
#error include isa/vec.h
#endif

namespace lathe::LATHE_ISA {
namespace {

inline constexpr int kLanes = 4;
inline constexpr bool kHasDot = false;
typedef float F __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));
typedef uint32_t U __attribute__((vector_size(16)));

LATHE_INLINE F Zero() { return F{0, 0, 0, 0}; }
LATHE_INLINE F Set1(float v) { return F{v, v, v, v}; }
LATHE_INLINE F Load(const float* p) {
  F v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
LATHE_INLINE void Store(float* p, F v) { __builtin_memcpy(p, &v, sizeof(v)); }
LATHE_INLINE F LoadN(const float* p, int n) {
  F v = Zero();
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
LATHE_INLINE void StoreN(float* p, F v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}

LATHE_INLINE F Add(F a, F b) { return a + b; }
LATHE_INLINE F Sub(F a, F b) { return a - b; }
LATHE_INLINE F Mul(F a, F b) { return a * b; }
LATHE_INLINE F Div(F a, F b) { return a / b; }
LATHE_INLINE F Fma(F a, F b, F c) { return a * b + c; }
// b where either is NaN.
LATHE_INLINE F Min(F a, F b) { return a < b ? a : b; }
LATHE_INLINE F Max(F a, F b) { return a > b ? a : b; }
// 0 where x < limit, else v.
LATHE_INLINE F ZeroIfLess(F x, F limit, F v) { return x < limit ? Zero() : v; }
// fill where lane >= n, else v.
LATHE_INLINE F FillFrom(F v, int n, F fill) { return I{0, 1, 2, 3} < I{n, n, n, n} ? v : fill; }
LATHE_INLINE float MaxLane(F v) {
  float m = v[0];
  for (int i = 1; i < kLanes; ++i) m = m > v[i] ? m : v[i];
  return m;
}
// p * 2^n where `shifted` = n + 1.5 * 2^23.
LATHE_INLINE F AddToExponent(F p, F shifted) { return (F)((U)p + ((U)shifted << 23)); }

// Rounded to the nearest (even) integers, |v| < 2^31.
LATHE_INLINE void StoreRounded(uint32_t* p, F v) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint32_t>(__builtin_lrintf(v[i]));
}

LATHE_INLINE F LoadBf16(const uint16_t* p) {
  const U v = {p[0], p[1], p[2], p[3]};
  return (F)(v << 16);
}
LATHE_INLINE F LoadBf16N(const uint16_t* p, int n) {
  U v = {0, 0, 0, 0};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return (F)(v << 16);
}
LATHE_INLINE U RoundBf16(F v) {
  const U u = (U)v, high = u >> 16;
  return (U)(v != v) ? high | 0x40u : (u + 0x7fffu + (high & 1u)) >> 16;
}
LATHE_INLINE void StoreBf16N(uint16_t* p, F v, int n) {
  const U r = RoundBf16(v);
  for (int i = 0; i < n; ++i) p[i] = static_cast<uint16_t>(r[i]);
}
LATHE_INLINE void StoreBf16(uint16_t* p, F v) { StoreBf16N(p, v, kLanes); }

// kLanes pairs of bf16, and their first and second elements widened.
LATHE_INLINE I LoadPairs(const uint16_t* p) {
  I v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
LATHE_INLINE F Even(I pairs) { return (F)((U)pairs << 16); }
LATHE_INLINE F Odd(I pairs) { return (F)((U)pairs & 0xffff0000u); }
LATHE_INLINE I Set1Pair(uint32_t pair) {
  const U v = {pair, pair, pair, pair};
  return (I)v;
}
LATHE_INLINE F Dot(F acc, I, I) { return acc; }

// Into the first-level cache; into the second.
LATHE_INLINE void Prefetch(const void* p) { __builtin_prefetch(p); }
LATHE_INLINE void PrefetchFar(const void* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace
}  // namespace lathe::LATHE_ISA
