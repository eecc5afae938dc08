// AVX2, FMA and F16C: 8 floats.
#pragma once
#ifndef LATHE_IN_VEC_H
#error include isa/vec.h
#endif

#include <immintrin.h>

namespace lathe::LATHE_ISA {
namespace {

inline constexpr int kLanes = 8;
inline constexpr bool kHasDot = false;
using F = __m256;
using I = __m256i;

LATHE_INLINE __m256i FirstN(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

LATHE_INLINE F Zero() { return _mm256_setzero_ps(); }
LATHE_INLINE F Set1(float v) { return _mm256_set1_ps(v); }
LATHE_INLINE F Load(const float* p) { return _mm256_loadu_ps(p); }
LATHE_INLINE void Store(float* p, F v) { _mm256_storeu_ps(p, v); }
LATHE_INLINE F LoadN(const float* p, int n) { return _mm256_maskload_ps(p, FirstN(n)); }
LATHE_INLINE void StoreN(float* p, F v, int n) { _mm256_maskstore_ps(p, FirstN(n), v); }

LATHE_INLINE F Add(F a, F b) { return _mm256_add_ps(a, b); }
LATHE_INLINE F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
LATHE_INLINE F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
LATHE_INLINE F Div(F a, F b) { return _mm256_div_ps(a, b); }
LATHE_INLINE F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
// b where either is NaN.
LATHE_INLINE F Min(F a, F b) { return _mm256_min_ps(a, b); }
LATHE_INLINE F Max(F a, F b) { return _mm256_max_ps(a, b); }
// 0 where x < limit, else v.
LATHE_INLINE F ZeroIfLess(F x, F limit, F v) {
  return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), v);
}
// fill where lane >= n, else v.
LATHE_INLINE F FillFrom(F v, int n, F fill) {
  return _mm256_blendv_ps(fill, v, _mm256_castsi256_ps(FirstN(n)));
}
LATHE_INLINE float MaxLane(F v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  m = _mm_max_ss(m, _mm_shuffle_ps(m, m, 1));
  return _mm_cvtss_f32(m);
}
// p * 2^n where `shifted` = n + 1.5 * 2^23.
LATHE_INLINE F AddToExponent(F p, F shifted) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
}

// Rounded to the nearest (even) integers, |v| < 2^31.
LATHE_INLINE void StoreRounded(uint32_t* p, F v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvtps_epi32(v));
}

LATHE_INLINE F WidenBf16(__m128i raw) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}
LATHE_INLINE F LoadBf16(const uint16_t* p) {
  return WidenBf16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
LATHE_INLINE F LoadBf16N(const uint16_t* p, int n) {
  alignas(16) uint16_t full[8] = {};
  for (int i = 0; i < n; ++i) full[i] = p[i];
  return LoadBf16(full);
}
LATHE_INLINE __m128i RoundBf16(F v) {
  const __m256i u = _mm256_castps_si256(v);
  const __m256i high = _mm256_srli_epi32(u, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i r =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i chosen = _mm256_blendv_epi8(r, quiet, nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(chosen), _mm256_extracti128_si256(chosen, 1));
}
LATHE_INLINE void StoreBf16(uint16_t* p, F v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), RoundBf16(v));
}
LATHE_INLINE void StoreBf16N(uint16_t* p, F v, int n) {
  alignas(16) uint16_t full[8];
  StoreBf16(full, v);
  for (int i = 0; i < n; ++i) p[i] = full[i];
}

// kLanes pairs of bf16, and their first and second elements widened.
LATHE_INLINE I LoadPairs(const uint16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
LATHE_INLINE F Even(I pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
LATHE_INLINE F Odd(I pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
LATHE_INLINE I Set1Pair(uint32_t pair) { return _mm256_set1_epi32(static_cast<int>(pair)); }
LATHE_INLINE F Dot(F acc, I, I) { return acc; }

// Into the first-level cache; into the second.
LATHE_INLINE void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
LATHE_INLINE void PrefetchFar(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace
}  // namespace lathe::LATHE_ISA
