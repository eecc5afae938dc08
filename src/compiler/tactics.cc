#include "compiler/tactics.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/clock.h"
#include "kernels/cpu/registry.h"

namespace lathe {
namespace {

// The M that bucket `i` serves; the last one is open.
std::pair<int, int> BucketRange(std::span<const int> ends, size_t i) {
  return {i == 0 ? 1 : ends[i - 1] + 1, i + 1 == ends.size() ? std::numeric_limits<int>::max() : ends[i]};
}

bool Takes(const GemmKernel& kernel, std::pair<int, int> range) {
  return kernel.min_m <= range.first && (kernel.max_m >= range.second || kernel.max_m >= (1 << 30));
}

}  // namespace

bool IsUsableTactic(const GemmTactic& tactic, Isa isa, NumericClass numeric) {
  const std::span<const int> ends = TuneBuckets();
  if (tactic.buckets.size() != ends.size()) return false;
  for (size_t i = 0; i < ends.size(); ++i) {
    // Asked of the registry rather than of the kernel: a weaker instruction set's kernels serve some classes.
    const auto candidates = GemmTactics(isa, numeric, ends[i]);
    const auto it = std::find_if(candidates.begin(), candidates.end(),
                                 [&](const GemmKernel* k) { return k->name == tactic.buckets[i].kernel; });
    if (tactic.buckets[i].max_m != ends[i] || it == candidates.end() || !Takes(**it, BucketRange(ends, i)))
      return false;
  }
  return true;
}

GemmTactic DefaultTactic(Isa isa, NumericClass numeric, const GemmDims& dims) {
  GemmTactic out{.N = dims.N, .K = dims.K, .silu_mul = dims.silu_mul, .buckets = {}};
  const std::span<const int> ends = TuneBuckets();
  for (size_t i = 0; i < ends.size(); ++i) {
    const auto candidates = GemmTactics(isa, numeric, ends[i]);
    const auto it = std::find_if(candidates.begin(), candidates.end(),
                                 [&](const GemmKernel* k) { return Takes(*k, BucketRange(ends, i)); });
    LATHE_CHECK(it != candidates.end());
    out.buckets.push_back({.max_m = ends[i], .kernel = std::string((*it)->name)});
  }
  return out;
}

GemmTactic Tactics::Measure(const GemmDims& dims, DType y_type) {
  const NumericClass numeric = MatmulClass(numeric_, dims.x_type);
  const double begin = NowSeconds();
  const GemmShape shape{static_cast<int>(dims.N), static_cast<int>(dims.K), dims.silu_mul, y_type};
  GemmTactic out = DefaultTactic(isa_, numeric, dims);
  const std::span<const int> ends = TuneBuckets();
  for (const TunedGemm& tuned : TuneGemm(isa_, numeric, shape, *workers_, roofs_, ms_per_shape_))
    for (size_t i = 0; i < ends.size(); ++i) {
      if (ends[i] < tuned.min_m || ends[i] > tuned.max_m) continue;
      // Measured at the end of its bucket, a kernel may not be meant for the beginning: then the default
      // stays.
      const GemmKernel* kernel = FindGemm(tuned.kernel);
      TacticBucket& bucket = out.buckets[i];
      if (kernel == nullptr || !Takes(*kernel, BucketRange(ends, i))) continue;
      bucket.kernel = std::string(tuned.kernel);
      if (!tuned.measured) continue;
      bucket.microseconds = tuned.us;
      bucket.roof_percent = tuned.percent_of_roof;
      bucket.memory_bound =
          tuned.gbps / std::max(roofs_.read_gbps, 1.0) >= tuned.gflops / std::max(roofs_.peak.best(), 1.0);
    }
  ++measured_;
  seconds_ += NowSeconds() - begin;
  return out;
}

Expected<GemmTactic> Tactics::Choose(const GemmDims& dims, DType y_type) {
  if (dims.N > std::numeric_limits<int>::max() || dims.K > std::numeric_limits<int>::max())
    return Error(StatusCode::kUnsupported, "a matmul of %lld x %lld is larger than any kernel takes",
                 static_cast<long long>(dims.N), static_cast<long long>(dims.K));
  const NumericClass numeric = MatmulClass(numeric_, dims.x_type);
  const auto key = std::make_tuple(dims.N, dims.K, dims.silu_mul, dims.x_type);
  if (const auto it = chosen_.find(key); it != chosen_.end()) return it->second;
  GemmTactic tactic = cache_->Find(numeric, dims);
  if (!tactic.buckets.empty()) {
    ++remembered_;
  } else if (workers_ != nullptr) {
    tactic = Measure(dims, y_type);
    cache_->Put(numeric, tactic);
  } else {
    tactic = DefaultTactic(isa_, numeric, dims);
  }
  tactic.x_type = dims.x_type;
  chosen_.emplace(key, tactic);
  return tactic;
}

}  // namespace lathe
