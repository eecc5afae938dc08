// Shared by the tests of this folder: random operands, runs on teams of several sizes, every (ISA, class).
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/bf16.h"
#include "base/rng.h"
#include "kernels/api/kernel.h"
#include "kernels/cpu/registry.h"
#include "kernels/cpu/workers.h"
#include "kernels/pack/pack.h"

namespace lathe {

struct IsaClass {
  Isa isa;
  NumericClass numeric;
};

// Every pair that this machine runs and that has kernels of its own (avx512bf16 borrows two classes of
// avx512).
inline std::vector<IsaClass> AllIsaClasses() {
  std::vector<IsaClass> out;
  for (Isa isa : UsableIsas())
    for (NumericClass numeric : ClassesOf(isa))
      if (FindOps(isa, numeric)->isa == isa) out.push_back({isa, numeric});
  return out;
}

// Instrumented builds look for races and stray accesses, which fewer cases show as well.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool kInstrumented = true;
#else
inline constexpr bool kInstrumented = false;
#endif

inline std::string NameOf(const testing::TestParamInfo<IsaClass>& info) {
  std::string name = std::string(ToString(info.param.isa)) + "_" + std::string(ToString(info.param.numeric));
  for (char& c : name)
    if (c == '-') c = '_';
  return name;
}

// A matrix of f32 or bf16 with the values it really holds.
struct Matrix {
  DType type = DType::kF32;
  std::vector<std::byte> bytes;

  Matrix(DType t, size_t n) : type(t), bytes(n * static_cast<size_t>(SizeOf(t)) + 64, std::byte{0}) {}
  static Matrix Random(DType type, size_t n, uint64_t seed, float scale = 1) {
    Matrix m(type, n);
    Rng rng(seed);
    for (size_t i = 0; i < n; ++i) m.Set(i, rng.Normal() * scale);
    return m;
  }
  void Set(size_t i, float v) {
    if (type == DType::kBf16) {
      const Bf16 b = ToBf16(v);
      std::memcpy(bytes.data() + i * 2, &b, 2);
    } else {
      std::memcpy(bytes.data() + i * 4, &v, 4);
    }
  }
  float Get(size_t i) const {
    if (type == DType::kBf16) {
      Bf16 b;
      std::memcpy(&b, bytes.data() + i * 2, 2);
      return ToFloat(b);
    }
    float v;
    std::memcpy(&v, bytes.data() + i * 4, 4);
    return v;
  }
  void* data() { return bytes.data(); }
  const void* data() const { return bytes.data(); }
};

// Teams of 1, 2 and 3 threads, kept for the whole program.
inline Workers& WorkersOf(int threads) {
  struct Pair {
    explicit Pair(int n) : team({.threads = n, .pin = false}), workers(team) {}
    Team team;
    Workers workers;
  };
  static std::unique_ptr<Pair> pairs[4];
  auto& pair = pairs[threads];
  if (!pair) pair = std::make_unique<Pair>(threads);
  return pair->workers;
}

inline bool SameBits(const Matrix& a, const Matrix& b) { return a.bytes == b.bytes; }

}  // namespace lathe
