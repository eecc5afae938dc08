// The quantizer of fp8 weights against a search over all of e4m3, in exact arithmetic.
#include "compiler/quantize.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"

namespace lathe {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The value of a code by the definition of the format.
double ValueOf(int code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  const double magnitude =
      exponent == 0 ? mantissa * 0x1p-9 : (1 + mantissa / 8.0) * std::pow(2, exponent - 7);
  return code >= 128 ? -magnitude : magnitude;
}

// The nearest code of the value's sign; of two as near, the even one. Every difference is exact in double.
int Nearest(float value) {
  const int sign = std::signbit(value) ? 128 : 0;
  if (std::isnan(value)) return sign | 0x7f;
  int best = 0;
  for (int code = 1; code <= 0x7e; ++code) {
    const double to_best = std::abs(std::abs(double{value}) - ValueOf(best));
    const double to_code = std::abs(std::abs(double{value}) - ValueOf(code));
    if (to_code < to_best || (to_code == to_best && code % 2 == 0)) best = code;
  }
  return std::isinf(value) ? sign | 0x7e : sign | best;
}

TEST(E4m3, EveryCodeIsItself) {
  for (int code = 0; code < 256; ++code) {
    const float value = E4m3ToFloat(static_cast<uint8_t>(code));
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(double{value}, ValueOf(code)) << code;
    }
    EXPECT_EQ(ToE4m3(value), code) << value;
  }
}

TEST(E4m3, MiddlesGoToTheEvenNeighbour) {
  for (int code = 0; code < 0x7e; ++code) {
    const auto middle = static_cast<float>((ValueOf(code) + ValueOf(code + 1)) / 2);
    EXPECT_EQ(ToE4m3(middle), code + code % 2) << code;
    EXPECT_EQ(ToE4m3(std::nextafter(middle, 0.0f)), code) << code;
    EXPECT_EQ(ToE4m3(std::nextafter(middle, kInf)), code + 1) << code;
    EXPECT_EQ(ToE4m3(-middle), 128 | (code + code % 2)) << code;
  }
}

TEST(E4m3, EndsSaturateAndNanStays) {
  for (float value : {448.0f, 449.0f, 464.0f, 465.0f, 480.0f, 1e9f, 3.4e38f, kInf}) {
    EXPECT_EQ(ToE4m3(value), 0x7e) << value;
    EXPECT_EQ(ToE4m3(-value), 0xfe) << value;
  }
  EXPECT_EQ(ToE4m3(kNan), 0x7f);
  EXPECT_EQ(ToE4m3(-kNan), 0xff);
  EXPECT_EQ(ToE4m3(0.0f), 0);
  EXPECT_EQ(ToE4m3(-0.0f), 128);
  EXPECT_EQ(ToE4m3(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(E4m3, RandomBitsAreNearest) {
  Rng rng(17);
  for (int i = 0; i < 100000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(rng.Next()));
    // Half of them where e4m3 has values.
    const float near =
        std::ldexp(static_cast<float>(rng.Uniform()) * 2 - 1, static_cast<int>(rng.Below(24)) - 12);
    ASSERT_EQ(ToE4m3(value), Nearest(value)) << value;
    ASSERT_EQ(ToE4m3(near), Nearest(near)) << near;
  }
}

TEST(QuantizeRow, LargestBecomesLargestAndTheRestNearest) {
  Rng rng(18);
  for (const int n : {1, 3, 64, 1000}) {
    std::vector<float> row(static_cast<size_t>(n));
    for (float& value : row) value = static_cast<float>(rng.Uniform() - 0.5) * 0.1f;
    const float largest = LargestMagnitude(row), scale = E4m3Scale(largest);
    std::vector<std::byte> codes(row.size() + 1, std::byte{0x55});
    QuantizeE4m3(row, scale, codes.data());
    EXPECT_EQ(codes.back(), std::byte{0x55});
    int found = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      ASSERT_EQ(static_cast<int>(codes[i]), Nearest(row[i] / scale)) << i;
      found += (static_cast<int>(codes[i]) & 0x7f) == 0x7e && std::abs(row[i]) == largest;
      // Three bits of mantissa: within 1/16 of the value, or half a step of the subnormals.
      const float back = E4m3ToFloat(static_cast<uint8_t>(codes[i])) * scale;
      ASSERT_LE(std::abs(back - row[i]), std::max(std::abs(row[i]) * 0.0626f, 0x1.01p-10f * scale));
    }
    EXPECT_GE(found, 1);
  }
}

double SquaredError(const std::vector<float>& row, float scale) {
  std::vector<std::byte> codes(row.size());
  QuantizeE4m3(row, scale, codes.data());
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const double back = static_cast<double>(E4m3ToFloat(static_cast<uint8_t>(codes[i]))) * scale;
    sum += (back - row[i]) * (back - row[i]);
  }
  return sum;
}

TEST(LeastErrorScale, IsTheBestOfItsOctave) {
  Rng rng(19);
  double plain = 0, least = 0;
  for (int i = 0; i < 50; ++i) {
    std::vector<float> row(400);
    for (float& value : row) {
      value = 0;
      for (int k = 0; k < 12; ++k) value += static_cast<float>(rng.Uniform() - 0.5) * 0.02f;
    }
    const float largest = LargestMagnitude(row), scale = LeastErrorE4m3Scale(row);
    double best = SquaredError(row, E4m3Scale(largest));
    plain += best;
    for (int k = 0; k < 8; ++k)
      best = std::min(best, SquaredError(row, E4m3Scale(largest) * std::exp2(static_cast<float>(k) / 8)));
    const double got = SquaredError(row, scale);
    least += got;
    EXPECT_LE(got, best * 1.001);
    EXPECT_GE(scale, E4m3Scale(largest));
    EXPECT_LT(scale, E4m3Scale(largest) * 2);
  }
  EXPECT_LT(least, plain * 0.92);
}

TEST(LeastErrorScale, PlainWhereNothingIsToBeWon) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (const std::vector<float>& row :
       {std::vector<float>{}, {0, -0.0f}, {3}, {1, -2, 0.5f}, {1, kNan, -2}, {1, kInf, 0.3f}, {tiny, 0}})
    EXPECT_EQ(LeastErrorE4m3Scale(row), E4m3Scale(LargestMagnitude(row)));
}

TEST(QuantizeRow, ZerosTinyRowsAndWhatIsNotFinite) {
  const auto codes_of = [](const std::vector<float>& row) {
    std::vector<std::byte> codes(row.size());
    QuantizeE4m3(row, E4m3Scale(LargestMagnitude(row)), codes.data());
    std::vector<int> out;
    for (std::byte code : codes) out.push_back(static_cast<int>(code));
    return out;
  };
  EXPECT_EQ(LargestMagnitude({}), 0);
  EXPECT_EQ(codes_of({0, -0.0f, 0}), (std::vector<int>{0, 0, 0}));
  EXPECT_EQ(codes_of({std::numeric_limits<float>::denorm_min(), 0}), (std::vector<int>{0, 0}));
  EXPECT_EQ(codes_of({1, kNan, -2}), (std::vector<int>{0x76, 0x7f, 0xfe}));
  EXPECT_EQ(codes_of({1, kInf, -2, -kInf}), (std::vector<int>{0x76, 0x7e, 0xfe, 0xfe}));
  EXPECT_EQ(codes_of({kNan, kNan}), (std::vector<int>{0, 0})) << "no scale";
}

}  // namespace
}  // namespace lathe
