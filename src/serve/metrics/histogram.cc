#include "serve/metrics/histogram.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace lathe::serve {

Histogram::Histogram(std::initializer_list<double> bounds, double resolution)
    : n_bounds_(bounds.size()), resolution_(resolution) {
  LATHE_CHECK(n_bounds_ <= kMaxBounds && std::is_sorted(bounds.begin(), bounds.end()));
  std::copy(bounds.begin(), bounds.end(), bounds_.begin());
}

void Histogram::Observe(double value, uint64_t count) {
  if (std::isnan(value)) return;
  // A bound on the value keeps the sum from running over within the life of a process.
  value = std::clamp(value, 0.0, 1e9);
  const double* begin = bounds_.data();
  const auto bucket = static_cast<size_t>(std::lower_bound(begin, begin + n_bounds_, value) - begin);
  counts_[bucket].fetch_add(count, std::memory_order_relaxed);
  sum_.fetch_add(static_cast<uint64_t>(std::llround(value / resolution_)) * count, std::memory_order_relaxed);
}

Histogram::Snapshot Histogram::Take() const {
  Snapshot out;
  out.bounds.assign(bounds_.begin(), bounds_.begin() + static_cast<std::ptrdiff_t>(n_bounds_));
  uint64_t total = 0;
  for (size_t i = 0; i <= n_bounds_; ++i) {
    total += counts_[i].load(std::memory_order_relaxed);
    out.cumulative.push_back(total);
  }
  out.sum = static_cast<double>(sum_.load(std::memory_order_relaxed)) * resolution_;
  return out;
}

}  // namespace lathe::serve
