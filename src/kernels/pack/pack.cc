#include "kernels/pack/pack.h"

#include <algorithm>
#include <cstring>

#include "base/bf16.h"
#include "base/check.h"

namespace lathe {
namespace {

constexpr int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

struct F16 {
  uint16_t bits;
};

float Widen(float v) { return v; }
float Widen(Bf16 v) { return ToFloat(v); }
float Widen(F16 v) { return HalfToFloat(v.bits); }

template <typename To, typename From>
To Convert(From v) {
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else if constexpr (std::is_same_v<To, float>) {
    return Widen(v);
  } else {
    return ToBf16(Widen(v));
  }
}

// Two neighbours as a bf16 pair, the first in the low half.
template <typename From>
uint32_t Pair(const From* in) {
  return Convert<Bf16>(in[0]).bits | static_cast<uint32_t>(Convert<Bf16>(in[1]).bits) << 16;
}
uint32_t Pair(const Bf16* in) {
  uint32_t pair;
  std::memcpy(&pair, in, sizeof(pair));
  return pair;
}

// Element k of column c within a panel, in elements from the panel's start.
template <typename T>
constexpr int64_t PanelIndex(int64_t k, int64_t c) {
  if constexpr (std::is_same_v<T, Bf16>)
    return (k / 2) * (2 * kPanelN) + 2 * c + k % 2;
  else
    return k * kPanelN + c;
}

template <typename T>
T* PanelOf(const PackedMatrix& m, int64_t n) {
  const int64_t panel = (n / kPanelN) * m.panel_step + m.panel_first;
  return static_cast<T*>(m.data) + panel * kPanelN * RoundUp(m.K, 2);
}

// Source rows of one panel are read a strip of kStrip elements at a time: 64 rows x 64 elements stay in the
// first-level cache while the strip is written in panel order, so both sides touch whole cache lines.
constexpr int64_t kStrip = 64;

template <typename To, typename From>
void PackStrip(const From* src, int64_t stride, int64_t k0, int64_t k1, int64_t c0, int64_t c1, To* panel) {
  if constexpr (std::is_same_v<To, Bf16>) {
    // k in pairs: one 32-bit store a column.
    int64_t k = k0;
    for (; k + 1 < k1; k += 2) {
      char* out = reinterpret_cast<char*>(panel + (k / 2) * (2 * kPanelN));
      for (int64_t c = c0; c < c1; ++c) {
        const uint32_t pair = Pair(src + (c - c0) * stride + k);
        std::memcpy(out + 4 * c, &pair, sizeof(pair));
      }
    }
    if (k < k1)
      for (int64_t c = c0; c < c1; ++c) panel[PanelIndex<To>(k, c)] = Convert<To>(src[(c - c0) * stride + k]);
  } else {
    for (int64_t k = k0; k < k1; ++k)
      for (int64_t c = c0; c < c1; ++c) panel[PanelIndex<To>(k, c)] = Convert<To>(src[(c - c0) * stride + k]);
  }
}

template <typename To, typename From>
void Pack(const PackedMatrix& dst, int64_t n0, int64_t rows, const From* src, int64_t stride) {
  const int64_t end = n0 + rows;
  for (int64_t n = n0; n < end;) {
    const int64_t c0 = n % kPanelN, c1 = std::min(c0 + (end - n), int64_t{kPanelN});
    To* panel = PanelOf<To>(dst, n);
    for (int64_t k = 0; k < dst.K; k += kStrip)
      PackStrip(src + (n - n0) * stride, stride, k, std::min(k + kStrip, dst.K), c0, c1, panel);
    if (dst.K % 2 != 0)
      for (int64_t c = c0; c < c1; ++c) panel[PanelIndex<To>(dst.K, c)] = To{};
    n += c1 - c0;
  }
  if (end == dst.N && dst.N % kPanelN != 0) {
    To* panel = PanelOf<To>(dst, dst.N - 1);
    for (int64_t k = 0; k < RoundUp(dst.K, 2); ++k)
      for (int64_t c = dst.N % kPanelN; c < kPanelN; ++c) panel[PanelIndex<To>(k, c)] = To{};
  }
}

template <typename To>
void PackFrom(const PackedMatrix& dst, int64_t n0, int64_t rows, const void* src, DType type,
              int64_t stride) {
  switch (type) {
    case DType::kF32: return Pack<To>(dst, n0, rows, static_cast<const float*>(src), stride);
    case DType::kBf16: return Pack<To>(dst, n0, rows, static_cast<const Bf16*>(src), stride);
    case DType::kF16: return Pack<To>(dst, n0, rows, static_cast<const F16*>(src), stride);
    default: LATHE_CHECK(false && "source type of PackRows");
  }
}

template <typename T>
void Unpack(const PackedMatrix& src, int64_t n0, int64_t rows, float* dst, int64_t stride) {
  for (int64_t n = n0; n < n0 + rows; ++n) {
    const T* panel = PanelOf<T>(src, n);
    for (int64_t k = 0; k < src.K; ++k)
      dst[(n - n0) * stride + k] = Widen(panel[PanelIndex<T>(k, n % kPanelN)]);
  }
}

void CheckRange(const PackedMatrix& m, int64_t n0, int64_t rows) {
  LATHE_CHECK(m.type == DType::kBf16 || m.type == DType::kF32);
  LATHE_CHECK_GE(n0, 0);
  LATHE_CHECK_GE(rows, 0);
  LATHE_CHECK_LE(n0 + rows, m.N);
  LATHE_CHECK_LT(m.panel_first, m.panel_step);
}

}  // namespace

int64_t PackedBytes(int64_t N, int64_t K, DType type, bool interleave2) {
  if (interleave2) return 2 * PackedBytes(N / 2, K, type);
  return RoundUp(N, kPanelN) * RoundUp(K, 2) * SizeOf(type);
}

void PackRows(const PackedMatrix& dst, int64_t n0, int64_t rows, const void* src, DType src_type,
              int64_t src_stride) {
  CheckRange(dst, n0, rows);
  if (dst.type == DType::kBf16)
    PackFrom<Bf16>(dst, n0, rows, src, src_type, src_stride);
  else
    PackFrom<float>(dst, n0, rows, src, src_type, src_stride);
}

void UnpackRows(const PackedMatrix& src, int64_t n0, int64_t rows, float* dst, int64_t dst_stride) {
  CheckRange(src, n0, rows);
  if (src.type == DType::kBf16)
    Unpack<Bf16>(src, n0, rows, dst, dst_stride);
  else
    Unpack<float>(src, n0, rows, dst, dst_stride);
}

}  // namespace lathe
