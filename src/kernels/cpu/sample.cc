#include "kernels/cpu/sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/rng.h"
#include "kernels/cpu/isa/kernels.h"

namespace lathe {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();
constexpr int kBuckets = 1024;

const SampleFns& FnsOf(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2: return avx2::kSampleFns;
    case Isa::kAvx512:
    case Isa::kAvx512Bf16: return avx512::kSampleFns;
#endif
    default: return portable::kSampleFns;
  }
}

struct Scratch {
  float* values;      // (vocab) adjusted logits
  int32_t* ids;       // (vocab) candidates, ascending
  uint32_t* weights;  // (vocab) of the candidates
  uint16_t* buckets;  // (vocab) of the candidates
  int32_t* order;     // (vocab) candidate indices of one bucket, sorted
};

Scratch Carve(std::span<std::byte> memory, int vocab) {
  LATHE_CHECK_GE(memory.size(), SampleScratchBytes(vocab));
  const size_t padded = (static_cast<size_t>(vocab) + 15) / 16 * 16;
  std::byte* at = memory.data();
  const auto take = [&at](size_t bytes) { return std::exchange(at, at + bytes); };
  Scratch s;
  s.values = reinterpret_cast<float*>(take(padded * 4));
  s.ids = reinterpret_cast<int32_t*>(take(padded * 4));
  s.weights = reinterpret_cast<uint32_t*>(take(padded * 4));
  s.order = reinterpret_cast<int32_t*>(take(padded * 4));
  s.buckets = reinterpret_cast<uint16_t*>(take(padded * 2));
  return s;
}

bool IsAdjusted(const SampleRow& row) { return row.n_counts > 0 || row.n_biases > 0 || row.mask != nullptr; }

// Penalties, bias and mask, on a copy.
void Adjust(const float* logits, int vocab, const SampleRow& row, float* out) {
  std::memcpy(out, logits, sizeof(float) * static_cast<size_t>(vocab));
  for (int i = 0; i < row.n_counts; ++i) {
    const TokenCount& count = row.counts[i];
    float& v = out[count.id];
    if (row.repetition_penalty != 1) v = v > 0 ? v / row.repetition_penalty : v * row.repetition_penalty;
    v -= row.frequency_penalty * static_cast<float>(count.in_output);
    if (count.in_output > 0) v -= row.presence_penalty;
  }
  for (int i = 0; i < row.n_biases; ++i) out[row.biases[i].id] += row.biases[i].bias;
  if (!row.mask) return;
  for (int word = 0; word * 32 < vocab; ++word) {
    const uint32_t allowed = row.mask[word];
    if (allowed == ~0u) continue;
    const int end = std::min(vocab, word * 32 + 32);
    for (int id = word * 32; id < end; ++id)
      if ((allowed >> (id % 32) & 1u) == 0) out[id] = kMinusInf;
  }
}

// The candidates in descending order, without sorting them: they are counted into buckets of falling value,
// and only the bucket in which a cut or the draw falls is put in order. Sums of weights are integers, so
// they equal those of a full sort exactly.
class Buckets {
 public:
  Buckets(const Scratch& s, const float* values, int n, float largest) : s_(s), values_(values), n_(n) {
    float smallest = largest;
    for (int i = 0; i < n; ++i) smallest = std::min(smallest, values[s.ids[i]]);
    const float range = largest - smallest;
    one_value_ = !(range > 0);
    const float scale = one_value_ || std::isinf(range) ? 0.0f : (kBuckets - 1) / range;
    for (int i = 0; i < n; ++i) {
      // Monotone in the value, so equal values share a bucket; NaN-free because -inf only meets scale 0.
      const float distance = scale == 0 ? 0 : (largest - values[s.ids[i]]) * scale;
      const auto b = static_cast<uint16_t>(std::min(distance, static_cast<float>(kBuckets - 1)));
      s.buckets[i] = b;
      ++counts_[b];
      sums_[b] += s.weights[i];
    }
  }

  int count(int b) const { return counts_[b]; }
  uint64_t sum(int b) const { return sums_[b]; }
  // Candidate indices of a bucket in order.
  const int32_t* Sorted(int b) {
    if (b == sorted_) return s_.order;
    sorted_ = b;
    int found = 0;
    for (int i = 0; i < n_ && found < counts_[b]; ++i)
      if (s_.buckets[i] == b) s_.order[found++] = i;
    if (!one_value_)
      std::sort(s_.order, s_.order + found, [this](int32_t i, int32_t j) {
        const float vi = values_[s_.ids[i]], vj = values_[s_.ids[j]];
        return vi != vj ? vi > vj : i < j;
      });
    return s_.order;
  }

 private:
  const Scratch& s_;
  const float* values_;
  int n_;
  bool one_value_;
  int sorted_ = -1;
  int counts_[kBuckets] = {};
  uint64_t sums_[kBuckets] = {};
};

// The kept prefix of the order: whole buckets before `bucket`, then `count` of it. `sum` of all their
// weights.
struct Prefix {
  int bucket = 0, count = 0;
  uint64_t sum = 0;
};

Prefix All(const Buckets& buckets) {
  Prefix all{.bucket = kBuckets - 1, .count = buckets.count(kBuckets - 1)};
  for (int b = 0; b < kBuckets; ++b) all.sum += buckets.sum(b);
  return all;
}

Prefix CutTopK(Buckets& buckets, const uint32_t* weights, int k) {
  Prefix cut;
  for (int before = 0;; ++cut.bucket) {
    if (before + buckets.count(cut.bucket) >= k) {
      cut.count = k - before;
      break;
    }
    before += buckets.count(cut.bucket);
    cut.sum += buckets.sum(cut.bucket);
  }
  const int32_t* order = buckets.Sorted(cut.bucket);
  for (int i = 0; i < cut.count; ++i) cut.sum += weights[order[i]];
  return cut;
}

// Smallest part of `in` whose weights reach `enough`; at least one token.
Prefix CutTopP(Buckets& buckets, const uint32_t* weights, const Prefix& in, double enough) {
  Prefix cut;
  while (cut.bucket < in.bucket &&
         (buckets.count(cut.bucket) == 0 || static_cast<double>(cut.sum + buckets.sum(cut.bucket)) < enough))
    cut.sum += buckets.sum(cut.bucket++);
  const int most = cut.bucket == in.bucket ? in.count : buckets.count(cut.bucket);
  const int32_t* order = buckets.Sorted(cut.bucket);
  while (cut.count < most && (cut.sum == 0 || static_cast<double>(cut.sum) < enough))
    cut.sum += weights[order[cut.count++]];
  return cut;
}

// Drops tokens from the end of `in` while their weight is below `least`; one stays.
Prefix CutMinP(Buckets& buckets, const uint32_t* weights, Prefix in, double least) {
  while (true) {
    if (in.count > 0) {
      const int32_t* order = buckets.Sorted(in.bucket);
      while (in.count > 0) {
        const uint32_t weight = weights[order[in.count - 1]];
        if (static_cast<double>(weight) >= least || in.sum == weight) return in;
        in.sum -= weight;
        --in.count;
      }
    }
    --in.bucket;
    in.count = buckets.count(in.bucket);
  }
}

int32_t Draw(Buckets& buckets, const Scratch& s, const Prefix& kept, const SampleRow& row) {
  const double u = CounterUniform(row.seed, row.counter);
  const uint64_t target = std::min(static_cast<uint64_t>(u * static_cast<double>(kept.sum)), kept.sum - 1);
  uint64_t sum = 0;
  int b = 0;
  while (b < kept.bucket && sum + buckets.sum(b) <= target) sum += buckets.sum(b++);
  const int32_t* order = buckets.Sorted(b);
  for (int i = 0;; ++i) {
    sum += s.weights[order[i]];
    if (sum > target) return s.ids[order[i]];
  }
}

int32_t Choose(const SampleFns& fns, const float* values, int vocab, const LogitStats& stats,
               const SampleRow& row, const Scratch& s) {
  if (stats.max == kMinusInf) return -1;
  if (!(row.temperature > 0) || std::isinf(stats.max)) return stats.arg_max;
  // Below this a weight is zero: such tokens can neither be drawn nor change a sum.
  const int n = fns.select(values, vocab, stats.max - 22.0f * row.temperature, s.ids, vocab);
  fns.weigh(values, s.ids, n, stats.max, row.temperature, s.weights);
  Buckets buckets(s, values, n, stats.max);
  Prefix kept = row.top_k > 0 && row.top_k < n ? CutTopK(buckets, s.weights, row.top_k) : All(buckets);
  if (row.top_p < 1)
    kept = CutTopP(buckets, s.weights, kept, static_cast<double>(row.top_p) * static_cast<double>(kept.sum));
  if (row.min_p > 0) {
    const double largest = s.weights[buckets.Sorted(0)[0]];
    kept = CutMinP(buckets, s.weights, kept, static_cast<double>(row.min_p) * largest);
  }
  return Draw(buckets, s, kept, row);
}

// The n most likely tokens: at least n values reach the n-th largest of the maxima of equal parts.
int TopLogprobs(const SampleFns& fns, const float* logits, int vocab, int n, const Scratch& s,
                TokenLogprob* top) {
  const int part = std::max(1, vocab / (4 * n));
  int n_parts = 0;
  for (int start = 0; start < vocab; start += part)
    s.values[n_parts++] = fns.max(logits + start, std::min(part, vocab - start));
  float limit = kMinusInf;
  if (n <= n_parts) {
    std::nth_element(s.values, s.values + (n - 1), s.values + n_parts, std::greater<>());
    limit = s.values[n - 1];
  }
  const int found = fns.select(logits, vocab, limit, s.ids, vocab);
  std::partial_sort(s.ids, s.ids + n, s.ids + found, [logits](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  for (int i = 0; i < n; ++i) top[i].id = s.ids[i];
  return n;
}

}  // namespace

size_t SampleScratchBytes(int vocab) { return (static_cast<size_t>(vocab) + 15) / 16 * 16 * 18; }

SampleResult SampleToken(Isa isa, const float* logits, int vocab, const SampleRow& row,
                         std::span<std::byte> scratch, TokenLogprob* top) {
  const SampleFns& fns = FnsOf(isa);
  SampleResult result;
  const LogitStats raw = fns.stats(logits, vocab, false);
  result.finite = raw.finite;
  if (!raw.finite) return result;
  const bool random = row.temperature > 0, ranked = row.want_logprob || row.n_top_logprobs > 0;
  if (!random && !ranked && !IsAdjusted(row)) {
    result.id = raw.arg_max;
    return result;
  }
  const Scratch s = Carve(scratch, vocab);
  if (IsAdjusted(row)) {
    Adjust(logits, vocab, row, s.values);
    result.id = Choose(fns, s.values, vocab, fns.stats(s.values, vocab, true), row, s);
  } else {
    result.id = Choose(fns, logits, vocab, raw, row, s);
  }
  if (!ranked) return result;

  const double log_sum = std::log(fns.sum_exp(logits, vocab, raw.max));
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(static_cast<double>(logits[id]) - static_cast<double>(raw.max) - log_sum);
  };
  if (result.id >= 0) result.logprob = logprob(result.id);
  const int n_top = std::clamp(row.n_top_logprobs, 0, vocab);
  if (n_top > 0) {
    result.n_top = TopLogprobs(fns, logits, vocab, n_top, s, top);
    for (int i = 0; i < n_top; ++i) top[i].logprob = logprob(top[i].id);
  }
  return result;
}

}  // namespace lathe
