// The order of tokens that sampling draws in, and their weights: kernels/ref/sample.cc, by the same arithmetic.
#pragma once

#include "common.cuh"

// Tokens have a total order, larger logit first, then lower id: the 64-bit rank of a token (logit's ordered bits, then the
// id's complement) falls along it.
LATHE_DEVICE uint32_t OrderedBits(float v) {
  const uint32_t bits = __float_as_uint(v + 0.0f);  // -0 counts as 0
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
LATHE_DEVICE float FromOrderedBits(uint32_t key) {
  return __uint_as_float(key ^ ((key >> 31) != 0 ? 0x80000000u : 0xffffffffu));
}
LATHE_DEVICE uint64_t RankOf(float v, int id) {
  return static_cast<uint64_t>(OrderedBits(v)) << 32 | ~static_cast<uint32_t>(id);
}
LATHE_DEVICE float ValueOf(uint64_t rank) { return FromOrderedBits(static_cast<uint32_t>(rank >> 32)); }
LATHE_DEVICE int IdOf(uint64_t rank) { return static_cast<int>(~static_cast<uint32_t>(rank)); }

// round(2^30 exp(z)) by the same additions and multiplications as everywhere (kernels/ref/ref.h).
LATHE_DEVICE uint32_t SampleWeight(float z) {
  constexpr float kMagic = 12582912.0f;
  const float shifted = __fadd_rn(__fmul_rn(z, 1.44269504f), kMagic);
  const float n = __fsub_rn(shifted, kMagic);
  const float r = __fsub_rn(__fsub_rn(z, __fmul_rn(n, 0.693359375f)), __fmul_rn(n, -2.12194440e-4f));
  float p = 1.98412698e-4f;
  p = __fadd_rn(__fmul_rn(p, r), 1.38888889e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 8.33333333e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 4.16666667e-2f);
  p = __fadd_rn(__fmul_rn(p, r), 1.66666667e-1f);
  p = __fadd_rn(__fmul_rn(p, r), 0.5f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f);
  const uint32_t exponent = (__float_as_uint(shifted) << 23) + (30u << 23);
  const int weight = __float2int_rn(__uint_as_float(__float_as_uint(p) + exponent));
  return z >= -21.5f ? static_cast<uint32_t>(weight) : 0;
}

// How tokens are weighed and put into buckets. temperature 0: every token weighs 1 (ranking by raw logits).
template <int kBuckets>
struct Scale {
  float largest, temperature, per_bucket;

  // `lowest`: the smallest value that matters.
  LATHE_DEVICE Scale(float max, float lowest, float t) : largest(max), temperature(t) {
    float range = max - lowest;
    if (t > 0) range = fminf(range, 22.0f * t);
    per_bucket = range > 0 && range < 1e38f ? (kBuckets - 1) / range : 0.0f;
  }
  // Of -inf, a forbidden token: 0.
  LATHE_DEVICE uint32_t Weight(float v) const {
    if (temperature == 1) return UnitWeight(v);
    return temperature > 0 ? DividedWeight(v) : CountedWeight(v);
  }
  // The same where the temperature is known to be 1, another, or 0.
  LATHE_DEVICE uint32_t UnitWeight(float v) const { return SampleWeight(__fsub_rn(v, largest)); }
  LATHE_DEVICE uint32_t DividedWeight(float v) const {
    return SampleWeight(__fdiv_rn(__fsub_rn(v, largest), temperature));
  }
  LATHE_DEVICE static uint32_t CountedWeight(float v) { return v >= -3.402823466e38f ? 1 : 0; }

  // Falls with v. Rounded by adding 2^23, which is faster than a conversion; NaN (0 times infinity) is the last one.
  LATHE_DEVICE int Bucket(float v) const {
    constexpr float kInteger = 8388608.0f;
    const float at = fminf(__fmaf_rn(largest - v, per_bucket, kInteger), kInteger + (kBuckets - 1));
    return static_cast<int>(__float_as_uint(at) - __float_as_uint(kInteger));
  }
};

// The first place in the order at which a sum passes a mark: after `number` tokens, or once their weights reach `enough`,
// or once they exceed `number`.
struct Mark {
  enum Kind { kCount, kEnough, kExceed } kind;
  uint64_t number;
  double enough;
  LATHE_DEVICE bool Reached(uint64_t count, uint64_t sum) const {
    if (kind == kCount) return count >= number;
    if (kind == kEnough) return sum > 0 && static_cast<double>(sum) >= enough;
    return sum > number;
  }
};
struct Place {
  uint64_t rank, sum;  // of the token there; of all weights up to it
};

// A draw: splitmix64 of seed and counter, in [0, 1).
LATHE_DEVICE uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}
LATHE_DEVICE double Uniform(uint64_t seed, uint64_t counter) {
  return static_cast<double>(Mix(Mix(seed) ^ Mix(~counter)) >> 11) * 0x1p-53;
}
