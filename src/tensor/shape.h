// Shapes: up to four dimensions, row-major.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

namespace lathe {

inline constexpr int kMaxRank = 4;

// Trivially copyable. dims beyond `rank` are 1.
struct Shape {
  int rank = 0;
  std::array<int64_t, kMaxRank> dims = {1, 1, 1, 1};

  Shape() = default;
  // At most kMaxRank dimensions.
  Shape(std::initializer_list<int64_t> list) {
    for (int64_t d : list) dims[static_cast<size_t>(rank++)] = d;
  }
  int64_t operator[](int i) const { return dims[static_cast<size_t>(i)]; }
  friend bool operator==(const Shape&, const Shape&) = default;

  // Product of the dimensions, or nullopt when a dimension is negative or the product overflows int64.
  std::optional<int64_t> NumElements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i)
      if ((*this)[i] < 0 || __builtin_mul_overflow(n, (*this)[i], &n)) return std::nullopt;
    return n;
  }
  // "[32000, 2048]"
  std::string ToString() const {
    std::string out = "[";
    for (int i = 0; i < rank; ++i) out += (i ? ", " : "") + std::to_string((*this)[i]);
    return out + "]";
  }
};

}  // namespace lathe
