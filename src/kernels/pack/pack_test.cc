#include "kernels/pack/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/bf16.h"
#include "base/clock.h"
#include "base/rng.h"

namespace lathe {
namespace {

struct Case {
  int64_t N, K;
  DType type;
};

class PackTest : public testing::TestWithParam<Case> {};

std::vector<float> RandomMatrix(int64_t n, int64_t k) {
  Rng rng(static_cast<uint64_t>(n * 1000 + k));
  std::vector<float> m(static_cast<size_t>(n * k));
  for (float& v : m) v = ToFloat(ToBf16(rng.Normal()));  // exact in every type
  return m;
}

// Index of (n, k) in the panel layout, straight from the definition in params.h.
int64_t At(int64_t n, int64_t k, int64_t K, DType type) {
  const int64_t k_pad = (K + 1) / 2 * 2, base = n / 64 * 64 * k_pad;
  return type == DType::kBf16 ? base + k / 2 * 128 + n % 64 * 2 + k % 2 : base + k * 64 + n % 64;
}

float Read(const std::vector<std::byte>& packed, int64_t index, DType type) {
  if (type == DType::kBf16) {
    Bf16 v;
    std::memcpy(&v, packed.data() + index * 2, 2);
    return ToFloat(v);
  }
  float v;
  std::memcpy(&v, packed.data() + index * 4, 4);
  return v;
}

TEST_P(PackTest, SlicesPlaceEveryElementAndZeroThePadding) {
  const auto [N, K, type] = GetParam();
  const std::vector<float> m = RandomMatrix(N, K);
  std::vector<std::byte> packed(static_cast<size_t>(PackedBytes(N, K, type)), std::byte{0xff});
  const PackedMatrix dst{.data = packed.data(), .N = N, .K = K, .type = type};
  for (int64_t n = 0; n < N; n += 37)
    PackRows(dst, n, std::min<int64_t>(37, N - n), m.data() + n * K, DType::kF32, K);
  const int64_t n_pad = (N + 63) / 64 * 64, k_pad = (K + 1) / 2 * 2;
  EXPECT_EQ(static_cast<int64_t>(packed.size()), n_pad * k_pad * SizeOf(type));
  for (int64_t n = 0; n < n_pad; ++n)
    for (int64_t k = 0; k < k_pad; ++k)
      ASSERT_EQ(Read(packed, At(n, k, K, type), type),
                n < N && k < K ? m[static_cast<size_t>(n * K + k)] : 0.0f)
          << n << "," << k;
  std::vector<float> back(m.size());
  UnpackRows(dst, 0, N, back.data(), K);
  EXPECT_EQ(back, m);
}

TEST_P(PackTest, GateAndUpPanelsAlternate) {
  const auto [N, K, type] = GetParam();
  const std::vector<float> gate = RandomMatrix(N, K), up = RandomMatrix(N, K + 1);
  std::vector<std::byte> packed(static_cast<size_t>(PackedBytes(2 * N, K, type, true)), std::byte{0xff});
  PackedMatrix half{.data = packed.data(), .N = N, .K = K, .type = type, .panel_step = 2, .panel_first = 0};
  PackRows(half, 0, N, gate.data(), DType::kF32, K);
  half.panel_first = 1;
  PackRows(half, 0, N, up.data(), DType::kF32, K + 1);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) {
      const int64_t column = n / 64 * 128 + n % 64;
      ASSERT_EQ(Read(packed, At(column, k, K, type), type), gate[static_cast<size_t>(n * K + k)]);
      ASSERT_EQ(Read(packed, At(column + 64, k, K, type), type), up[static_cast<size_t>(n * (K + 1) + k)]);
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, PackTest,
                         testing::Values(Case{64, 2, DType::kBf16}, Case{1, 1, DType::kBf16},
                                         Case{130, 67, DType::kBf16}, Case{63, 256, DType::kBf16},
                                         Case{200, 129, DType::kF32}, Case{65, 31, DType::kF32}));

TEST(Pack, ReadsHalfAndBf16AndRoundsToNearestEven) {
  const uint16_t half[] = {0x3c00, 0x0001, 0x7c00, 0xfc00};  // 1, smallest subnormal, +inf, -inf
  std::vector<std::byte> packed(static_cast<size_t>(PackedBytes(1, 4, DType::kF32)));
  PackedMatrix dst{.data = packed.data(), .N = 1, .K = 4, .type = DType::kF32};
  PackRows(dst, 0, 1, half, DType::kF16, 4);
  float back[4];
  UnpackRows(dst, 0, 1, back, 4);
  EXPECT_EQ(back[0], 1.0f);
  EXPECT_EQ(back[1], 0x1p-24f);
  EXPECT_EQ(back[2], INFINITY);
  EXPECT_EQ(back[3], -INFINITY);

  const float ties[] = {1.00390625f, 1.01171875f, 1.0f, -2.0f};  // halfway between bf16 neighbours: to even
  std::vector<std::byte> bf16(static_cast<size_t>(PackedBytes(1, 4, DType::kBf16)));
  dst = {.data = bf16.data(), .N = 1, .K = 4, .type = DType::kBf16};
  PackRows(dst, 0, 1, ties, DType::kF32, 4);
  UnpackRows(dst, 0, 1, back, 4);
  EXPECT_EQ(back[0], 1.0f);
  EXPECT_EQ(back[1], 1.015625f);
  const Bf16 raw[] = {{0x7fc0}, {0x8000}, {0x0001}, {0x4049}};  // NaN, -0, subnormal, pi: copied as they are
  PackRows(dst, 0, 1, raw, DType::kBf16, 4);
  EXPECT_EQ(std::memcmp(bf16.data(), &raw[0], 4), 0);
}

TEST(Pack, RunsAtMemorySpeed) {
  const int64_t N = 512, K = 4096;
  const std::vector<Bf16> m(static_cast<size_t>(N * K), Bf16{0x3f80});
  std::vector<std::byte> packed(static_cast<size_t>(PackedBytes(N, K, DType::kBf16)));
  const PackedMatrix dst{.data = packed.data(), .N = N, .K = K, .type = DType::kBf16};
  double best = 1e9;
  for (int run = 0; run < 5; ++run) {
    const double start = NowSeconds();
    PackRows(dst, 0, N, m.data(), DType::kBf16, K);
    best = std::min(best, NowSeconds() - start);
  }
  RecordProperty("gbps", std::to_string(static_cast<double>(packed.size()) / best / 1e9));
}

}  // namespace
}  // namespace lathe
