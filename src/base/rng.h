// Small, fast, seedable random numbers. The sequences are part of the contract: a seed in a request
// or a synthetic checkpoint means the same on every machine and in every version.
#pragma once

#include <cmath>
#include <cstdint>

namespace lathe {

// splitmix64 (Steele, Lea, Flood 2014): also the mixer for counter-based draws.
inline uint64_t SplitMix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Stateful generator over splitmix64. Not thread-safe.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    const uint64_t out = SplitMix64(state_);
    state_ += 0x9e3779b97f4a7c15ull;
    return out;
  }
  // Uniform in [0, n); n > 0. The bias of the multiply-shift (n / 2^64) does not matter here.
  uint64_t Below(uint64_t n) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * n) >> 64);
  }
  // Uniform in [0, 1) with 53 bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // Standard normal (Box-Muller, one of the pair).
  float Normal() {
    const double u = 1.0 - Uniform();
    const double v = Uniform();
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
  }

 private:
  uint64_t state_;
};

// Draw number `counter` of stream `seed`: uniform in [0, 1), independent of the order of calls, so a
// sampled token depends on (seed, position) and never on the batch it was computed in.
inline double CounterUniform(uint64_t seed, uint64_t counter) {
  return static_cast<double>(SplitMix64(SplitMix64(seed) ^ SplitMix64(~counter)) >> 11) * 0x1p-53;
}

}  // namespace lathe
