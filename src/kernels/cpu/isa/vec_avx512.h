// AVX-512 F, BW, VL, DQ: 16 floats.
#pragma once
#ifndef LATHE_IN_VEC_H
#error include isa/vec.h
#endif

// gcc 12 warns about its own "undefined" operands (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

namespace lathe::LATHE_ISA {
namespace {

inline constexpr int kLanes = 16;
#ifdef LATHE_VEC_DOT
inline constexpr bool kHasDot = true;
#else
inline constexpr bool kHasDot = false;
#endif
using F = __m512;
using I = __m512i;

LATHE_INLINE __mmask16 FirstN(int n) { return static_cast<__mmask16>((1u << n) - 1u); }  // n <= 16

LATHE_INLINE F Zero() { return _mm512_setzero_ps(); }
LATHE_INLINE F Set1(float v) { return _mm512_set1_ps(v); }
LATHE_INLINE F Load(const float* p) { return _mm512_loadu_ps(p); }
LATHE_INLINE void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
LATHE_INLINE F LoadN(const float* p, int n) { return _mm512_maskz_loadu_ps(FirstN(n), p); }
LATHE_INLINE void StoreN(float* p, F v, int n) { _mm512_mask_storeu_ps(p, FirstN(n), v); }

LATHE_INLINE F Add(F a, F b) { return _mm512_add_ps(a, b); }
LATHE_INLINE F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
LATHE_INLINE F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
LATHE_INLINE F Div(F a, F b) { return _mm512_div_ps(a, b); }
LATHE_INLINE F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
// b where either is NaN.
LATHE_INLINE F Min(F a, F b) { return _mm512_min_ps(a, b); }
LATHE_INLINE F Max(F a, F b) { return _mm512_max_ps(a, b); }
// 0 where x < limit, else v.
LATHE_INLINE F ZeroIfLess(F x, F limit, F v) {
  return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), _mm512_setzero_ps());
}
// fill where lane >= n, else v.
LATHE_INLINE F FillFrom(F v, int n, F fill) { return _mm512_mask_mov_ps(fill, FirstN(n), v); }
LATHE_INLINE float MaxLane(F v) { return _mm512_reduce_max_ps(v); }
// p * 2^n where `shifted` = n + 1.5 * 2^23.
LATHE_INLINE F AddToExponent(F p, F shifted) {
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
}

// Rounded to the nearest (even) integers, |v| < 2^31.
LATHE_INLINE void StoreRounded(uint32_t* p, F v) { _mm512_storeu_si512(p, _mm512_cvtps_epi32(v)); }

LATHE_INLINE F LoadBf16(const uint16_t* p) {
  const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}
LATHE_INLINE F LoadBf16N(const uint16_t* p, int n) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(FirstN(n), p)), 16));
}
LATHE_INLINE __m256i RoundBf16(F v) {
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  r = _mm512_mask_or_epi32(r, nan, _mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(r);
}
LATHE_INLINE void StoreBf16(uint16_t* p, F v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), RoundBf16(v));
}
LATHE_INLINE void StoreBf16N(uint16_t* p, F v, int n) {
  _mm256_mask_storeu_epi16(p, FirstN(n), RoundBf16(v));
}

// kLanes pairs of bf16, and their first and second elements widened.
LATHE_INLINE I LoadPairs(const uint16_t* p) { return _mm512_loadu_si512(p); }
LATHE_INLINE F Even(I pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
LATHE_INLINE F Odd(I pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
LATHE_INLINE I Set1Pair(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }
#ifdef LATHE_VEC_DOT
LATHE_INLINE F Dot(F acc, I a, I b) {
  return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
#else
LATHE_INLINE F Dot(F acc, I, I) { return acc; }
#endif

// Into the first-level cache; into the second.
LATHE_INLINE void Prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
LATHE_INLINE void PrefetchFar(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace
}  // namespace lathe::LATHE_ISA
