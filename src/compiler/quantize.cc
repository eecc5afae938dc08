#include "compiler/quantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace lathe {
namespace {

constexpr uint32_t kMagnitude = 0x7fffffff;
constexpr uint32_t kInfinity = 0x7f800000;
constexpr uint32_t kSmallestNormal = 0x3c800000;  // 2^-6
constexpr uint32_t kLargestCode = 0x7e, kNanCode = 0x7f;
// Of an f32 this large the last bit is worth 2^-9, a step of e4m3's subnormals: adding it rounds to them.
constexpr float kSubnormalAnchor = 16384.0f;

// Without branches, so that loops over it become vector code.
inline uint32_t Encode(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & kMagnitude;
  // Half of the last kept bit less one, and one more where that bit is set: ties to even. The carry may run
  // into the exponent, as it should.
  const uint32_t rounded = (magnitude + 0x7ffff + ((magnitude >> 20) & 1)) >> 20;
  const uint32_t normal = std::min(rounded - (120u << 3), kLargestCode);
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + kSubnormalAnchor) -
                             std::bit_cast<uint32_t>(kSubnormalAnchor);
  uint32_t code = magnitude < kSmallestNormal ? subnormal : normal;
  code = magnitude > kInfinity ? kNanCode : code;
  return code | bits >> 31 << 7;
}

}  // namespace

uint8_t ToE4m3(float value) { return static_cast<uint8_t>(Encode(value)); }

float E4m3ToFloat(uint8_t code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  if ((code & kNanCode) == kNanCode) return std::bit_cast<float>(0x7fc00000u | (code & 0x80u) << 24);
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

float LargestMagnitude(std::span<const float> values) {
  // Of non-negative floats the order is that of their bits.
  uint32_t largest = 0;
  for (const float value : values) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(value) & kMagnitude;
    largest = std::max(largest, magnitude < kInfinity ? magnitude : 0);
  }
  return std::bit_cast<float>(largest);
}

float LeastErrorE4m3Scale(std::span<const float> row) {
  constexpr size_t kScales = 8;
  constexpr uint32_t kHalf = 1u << 19, kKept = ~((1u << 20) - 1);  // of an f32, the bits that e4m3 keeps
  const float largest = LargestMagnitude(row);
  std::array<float, kScales> shrink, error = {};
  for (size_t i = 0; i < kScales; ++i) shrink[i] = std::exp2(-static_cast<float>(i) / kScales);
  const float to_codes = kE4m3Largest / largest;
  for (const float value : row) {
    const float x = value * to_codes;
    for (size_t i = 0; i < kScales; ++i) {
      // Not of subnormals, whose errors are below 2^-10. Where ties go to does not show in the error.
      const float y = x * shrink[i];
      const float lost = y - std::bit_cast<float>((std::bit_cast<uint32_t>(y) + kHalf) & kKept);
      error[i] += lost * lost;
    }
  }
  size_t best = 0;
  for (size_t i = 0; i < kScales; ++i) {
    error[i] /= shrink[i] * shrink[i];  // in units of the row
    if (error[i] < error[best]) best = i;
  }
  return largest / (kE4m3Largest * shrink[best]);
}

void QuantizeE4m3(std::span<const float> in, float scale, std::byte* out) {
  if (scale == 0) {
    std::memset(out, 0, in.size());
    return;
  }
  auto* codes = reinterpret_cast<uint8_t*>(out);
  for (size_t i = 0; i < in.size(); ++i) codes[i] = static_cast<uint8_t>(Encode(in[i] / scale));
}

}  // namespace lathe
