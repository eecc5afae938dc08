// bfloat16 and IEEE binary16 as raw bits, and their conversions.
#pragma once

#include <bit>
#include <cstdint>

namespace lathe {

// Upper half of an IEEE-754 binary32. A distinct type so that it is never mistaken for an integer.
struct Bf16 {
  uint16_t bits = 0;
  friend bool operator==(Bf16 a, Bf16 b) = default;
};

// Exact.
inline float ToFloat(Bf16 v) { return std::bit_cast<float>(static_cast<uint32_t>(v.bits) << 16); }

// Round to nearest, ties to even; NaN stays NaN (quiet).
inline Bf16 ToBf16(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

// IEEE binary16 bits to float, exact (checkpoints may be float16).
inline float HalfToFloat(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  uint32_t exponent = (h >> 10) & 0x1fu;
  uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    if (mantissa == 0) return std::bit_cast<float>(sign);
    exponent = 113;  // subnormal half: normalise
    while ((mantissa & 0x400u) == 0) {
      mantissa <<= 1;
      --exponent;
    }
    return std::bit_cast<float>(sign | (exponent << 23) | ((mantissa & 0x3ffu) << 13));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// IEEE binary16.
struct Half {
  uint16_t bits = 0;
  friend bool operator==(Half a, Half b) = default;
};
inline float ToFloat(Half v) { return HalfToFloat(v.bits); }
inline bool IsFinite(Half v) { return (v.bits & 0x7c00u) != 0x7c00u; }

// Round to nearest, ties to even, subnormals too; from 65520 on an infinity; NaN stays NaN (quiet).
inline Half ToHalf(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f), magnitude = u & 0x7fffffffu;
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const auto make = [sign](uint32_t bits) { return Half{static_cast<uint16_t>(sign | bits)}; };
  if (magnitude > 0x7f800000u) return make(0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u) return make(0x7c00u);  // 65520
  // Below 2^-14 the last place is 2^-24: adding 1/2 rounds there, ties to even.
  if (magnitude < 0x38800000u)
    return make(std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000u);
  return make((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}

}  // namespace lathe
