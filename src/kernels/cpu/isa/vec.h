// Includes vec_<LATHE_ISA>.h and adds what can be said once for all of them.
//
// Files in this folder are compiled once per instruction set. To keep the linker from mixing them up, all
// their code lives in namespace lathe::<isa> with internal linkage, and they call no inline function of the
// standard library: a weak copy compiled for AVX-512 must never serve the portable path.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LATHE_ISA_TEXT_(x) #x
#define LATHE_ISA_TEXT(x) LATHE_ISA_TEXT_(x)
#define LATHE_ISA_PASTE_(a, b) a##b
#define LATHE_ISA_PASTE(a, b) LATHE_ISA_PASTE_(a, b)
#define LATHE_VEC_HEADER_(x) LATHE_ISA_TEXT_(vec_##x.h)
#define LATHE_VEC_HEADER(x) LATHE_VEC_HEADER_(x)
#define LATHE_TACTICS_HEADER_(x) LATHE_ISA_TEXT(tactics_##x.h)
#define LATHE_TACTICS_HEADER(x) LATHE_TACTICS_HEADER_(x)
#define LATHE_INLINE [[gnu::always_inline]] static inline

#include "kernels/api/kernel.h"

#define LATHE_IN_VEC_H
#include LATHE_VEC_HEADER(LATHE_ISA)
#undef LATHE_IN_VEC_H

namespace lathe::LATHE_ISA {
namespace {

// Each vec_*.h defines, in this namespace:
//   kLanes, kHasDot, F (kLanes floats), I (kLanes 32-bit integers)
//   Zero Set1 Load Store LoadN StoreN · Add Sub Mul Div Fma Min Max MaxLane · ZeroIfLess FillFrom
//   AddToExponent LoadBf16 LoadBf16N StoreBf16 StoreBf16N StoreRounded · LoadPairs Even Odd Set1Pair Dot ·
//   Prefetch

// exp(x), relative error about 1e-7: exactly 1 at 0, 0 below -87.33 (so also at -inf), NaN for NaN. One
// definition for softmax and SiLU, so that a value does not depend on the kernel that needs it.
LATHE_INLINE F Exp(F x) {
  const F clamped = Min(Set1(88.37f), x);
  const F magic = Set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F shifted = Fma(clamped, Set1(1.44269504f), magic);
  const F n = Sub(shifted, magic);
  const F r = Fma(n, Set1(2.12194440e-4f), Fma(n, Set1(-0.693359375f), clamped));
  F p = Set1(1.98412698e-4f);
  p = Fma(p, r, Set1(1.38888889e-3f));
  p = Fma(p, r, Set1(8.33333333e-3f));
  p = Fma(p, r, Set1(4.16666667e-2f));
  p = Fma(p, r, Set1(1.66666667e-1f));
  p = Fma(p, r, Set1(0.5f));
  p = Fma(p, r, Set1(1.0f));
  p = Fma(p, r, Set1(1.0f));
  return ZeroIfLess(x, Set1(-87.33f), AddToExponent(p, shifted));
}

// ref::SampleWeight of every lane, to the bit: multiplications and additions are not fused here.
LATHE_INLINE void StoreSampleWeights(uint32_t* out, F z) {
  z = Max(z, Set1(-22.0f));  // also where z is NaN
  const F magic = Set1(12582912.0f);
  const F shifted = Add(Mul(z, Set1(1.44269504f)), magic);
  const F n = Sub(shifted, magic);
  const F r = Sub(Sub(z, Mul(n, Set1(0.693359375f))), Mul(n, Set1(-2.12194440e-4f)));
  F p = Set1(1.98412698e-4f);
  p = Add(Mul(p, r), Set1(1.38888889e-3f));
  p = Add(Mul(p, r), Set1(8.33333333e-3f));
  p = Add(Mul(p, r), Set1(4.16666667e-2f));
  p = Add(Mul(p, r), Set1(1.66666667e-1f));
  p = Add(Mul(p, r), Set1(0.5f));
  p = Add(Mul(p, r), Set1(1.0f));
  p = Add(Mul(p, r), Set1(1.0f));
  StoreRounded(out, ZeroIfLess(z, Set1(-21.5f), Mul(AddToExponent(p, shifted), Set1(1073741824.0f))));
}

LATHE_INLINE F Silu(F x) { return Div(x, Add(Set1(1.0f), Exp(Sub(Zero(), x)))); }

// Loads and stores of f32 or bf16 memory through one name.
LATHE_INLINE F LoadAs(const float* p) { return Load(p); }
LATHE_INLINE F LoadAs(const uint16_t* p) { return LoadBf16(p); }
LATHE_INLINE F LoadAsN(const float* p, int n) { return LoadN(p, n); }
LATHE_INLINE F LoadAsN(const uint16_t* p, int n) { return LoadBf16N(p, n); }
LATHE_INLINE void StoreAs(float* p, F v) { Store(p, v); }
LATHE_INLINE void StoreAs(uint16_t* p, F v) { StoreBf16(p, v); }
LATHE_INLINE void StoreAsN(float* p, F v, int n) { StoreN(p, v, n); }
LATHE_INLINE void StoreAsN(uint16_t* p, F v, int n) { StoreBf16N(p, v, n); }

LATHE_INLINE float ScalarFromBf16(uint16_t bits) { return __builtin_bit_cast(float, uint32_t{bits} << 16); }
// Round to nearest even; NaN stays NaN. Equal to ToBf16 of base/bf16.h.
LATHE_INLINE uint16_t ScalarToBf16(float f) {
  const uint32_t u = __builtin_bit_cast(uint32_t, f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

LATHE_INLINE int MinInt(int a, int b) { return a < b ? a : b; }
LATHE_INLINE int MaxInt(int a, int b) { return a > b ? a : b; }
LATHE_INLINE int CeilDiv(int a, int b) { return (a + b - 1) / b; }

}  // namespace
}  // namespace lathe::LATHE_ISA
