// e4m3 with scales: how fp8 weights are made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lathe {

inline constexpr float kE4m3Largest = 448;

// The nearest e4m3 (1 sign, 4 exponent, 3 mantissa bits, bias 7, no infinities), ties to even. What is larger
// than the largest, infinities too, becomes the largest; NaN stays NaN (0x7f or 0xff).
uint8_t ToE4m3(float value);
float E4m3ToFloat(uint8_t code);

// The largest finite magnitude; 0 when there is none.
float LargestMagnitude(std::span<const float> values);
// The scale at which that magnitude is the largest e4m3. 0 where everything is zero, or so small that there
// is no such scale: then QuantizeE4m3 makes zeros.
inline float E4m3Scale(float largest) { return largest / kE4m3Largest; }

// The scale of a row: of the eight at which its largest magnitude becomes 448 * 2^(-i/8), the one whose codes
// have the least squared error; the smaller scale where two are even, and E4m3Scale where something is not
// finite. 3 bits of mantissa err by nearly as much at any scale: this takes 4 % off the squared error of rows
// of 4,096 normally distributed values and 11 % off that of rows of 400 (docs/lab-notes-cuda.md).
float LeastErrorE4m3Scale(std::span<const float> row);

// out[i] = ToE4m3(in[i] / scale), so that in[i] is about out[i] * scale. `out` has in.size() elements.
void QuantizeE4m3(std::span<const float> in, float scale, std::byte* out);

}  // namespace lathe
