// Pieces of 8 elements of a row: what one thread loads and stores at once.
#pragma once

#include "common.cuh"

struct Eight {
  float v[8];
};

LATHE_DEVICE Eight Load8F32(const float* from) {
  const float4 a = *reinterpret_cast<const float4*>(from), b = *reinterpret_cast<const float4*>(from + 4);
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}
LATHE_DEVICE Eight Widen8Of16(uint4 a) {
  return {{Low16(a.x), High16(a.x), Low16(a.y), High16(a.y), Low16(a.z), High16(a.z), Low16(a.w), High16(a.w)}};
}
LATHE_DEVICE Eight Load8Of16(const uint16_t* from) {
  return Widen8Of16(*reinterpret_cast<const uint4*>(from));
}
LATHE_DEVICE void Store8F32(float* to, const Eight& x) {
  *reinterpret_cast<float4*>(to) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
  *reinterpret_cast<float4*>(to + 4) = make_float4(x.v[4], x.v[5], x.v[6], x.v[7]);
}
LATHE_DEVICE void Store8Of16(void* to, const Eight& x) {
  *static_cast<uint4*>(to) = make_uint4(Pack16(x.v[0], x.v[1]), Pack16(x.v[2], x.v[3]), Pack16(x.v[4], x.v[5]),
                                        Pack16(x.v[6], x.v[7]));
}
LATHE_DEVICE void Store8E4m3(void* to, const Eight& x, float inverse_scale) {
  *static_cast<uint2*>(to) =
      make_uint2(PackE4m3(x.v[0] * inverse_scale, x.v[1] * inverse_scale, x.v[2] * inverse_scale, x.v[3] * inverse_scale),
                 PackE4m3(x.v[4] * inverse_scale, x.v[5] * inverse_scale, x.v[6] * inverse_scale, x.v[7] * inverse_scale));
}
LATHE_DEVICE float LargestOf(const Eight& x) {
  float out = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) out = fmaxf(out, fabsf(x.v[i]));
  return out;
}
// RMSNorm, in two steps. A row's squares are added as RowThreads (layer_ops.cc) says: thread t adds those of its pieces
// t, t + threads, … one after another, then a warp its threads', then all warps' sums are added.
LATHE_DEVICE float AddSquares(float sum, const Eight& x) {
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += x.v[i] * x.v[i];
  return sum;
}
LATHE_DEVICE Eight Normed(const Eight& x, float inverse, const Eight& gain) {
  Eight out;
#pragma unroll
  for (int i = 0; i < 8; ++i) out.v[i] = x.v[i] * inverse * gain.v[i];
  return out;
}
template <int kElements>
LATHE_DEVICE float InverseRms(float squares, float eps) {
  return 1.0f / sqrtf(squares / kElements + eps);
}
// One scale a token: the largest value becomes 448, the largest e4m3. A row of zeros has scale 1.
LATHE_DEVICE float TokenScale(float largest) { return largest > 0 ? largest / 448.0f : 1.0f; }
