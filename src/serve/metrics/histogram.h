// Counters that the engine's thread can bump without waiting for anybody.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace lathe::serve {

// A histogram of fixed bounds. Thread-safe and lock-free: an observation is two relaxed additions. A snapshot
// taken meanwhile has a count that agrees with its buckets; its sum may lack observations of that moment.
class Histogram {
 public:
  static constexpr size_t kMaxBounds = 31;

  // Upper bounds, ascending, inclusive; at most kMaxBounds. `resolution`: the sum is kept in multiples of it.
  Histogram(std::initializer_list<double> bounds, double resolution);

  // `count` observations of `value`; below 0 counts as 0, NaN not at all.
  void Observe(double value, uint64_t count = 1);

  struct Snapshot {
    std::vector<double> bounds;        // without +Inf
    std::vector<uint64_t> cumulative;  // bounds.size() + 1, the last is the count
    double sum = 0;
  };
  Snapshot Take() const;

 private:
  std::array<double, kMaxBounds> bounds_{};
  size_t n_bounds_;
  double resolution_;
  std::array<std::atomic<uint64_t>, kMaxBounds + 1> counts_{};
  std::atomic<uint64_t> sum_{0};
};

}  // namespace lathe::serve
