#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "base/rng.h"
#include "kernels/ref/ref.h"

namespace lathe::ref {
namespace {

constexpr float kMinusInf = -std::numeric_limits<float>::infinity();

// Penalties, bias and mask on a copy of the logits.
std::vector<float> Adjusted(const float* logits, int vocab, const SampleRow& row) {
  std::vector<float> out(logits, logits + vocab);
  for (int i = 0; i < row.n_counts; ++i) {
    const TokenCount& count = row.counts[i];
    float& v = out[static_cast<size_t>(count.id)];
    if (row.repetition_penalty != 1) v = v > 0 ? v / row.repetition_penalty : v * row.repetition_penalty;
    v -= row.frequency_penalty * static_cast<float>(count.in_output);
    if (count.in_output > 0) v -= row.presence_penalty;
  }
  for (int i = 0; i < row.n_biases; ++i) out[static_cast<size_t>(row.biases[i].id)] += row.biases[i].bias;
  if (row.mask)
    for (int id = 0; id < vocab; ++id)
      if ((row.mask[id / 32] >> (id % 32) & 1u) == 0) out[static_cast<size_t>(id)] = kMinusInf;
  return out;
}

// Ids by descending value, ties by ascending id.
std::vector<int32_t> Order(const std::vector<float>& values) {
  std::vector<int32_t> ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  return ids;
}

int32_t Choose(const std::vector<float>& values, const SampleRow& row) {
  std::vector<int32_t> ids = Order(values);
  const float largest = values[static_cast<size_t>(ids[0])];
  if (largest == kMinusInf) return -1;
  if (row.temperature <= 0 || std::isinf(largest)) return ids[0];

  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < ids.size())
    ids.resize(static_cast<size_t>(row.top_k));
  std::vector<uint64_t> weights;
  uint64_t total = 0;
  for (int32_t id : ids) {
    weights.push_back(SampleWeight((values[static_cast<size_t>(id)] - largest) / row.temperature));
    total += weights.back();
  }
  size_t kept = ids.size();
  if (row.top_p < 1) {
    const double enough = static_cast<double>(row.top_p) * static_cast<double>(total);
    uint64_t sum = weights[0];
    for (kept = 1; kept < ids.size() && static_cast<double>(sum) < enough; ++kept) sum += weights[kept];
  }
  if (row.min_p > 0) {
    const double least = static_cast<double>(row.min_p) * static_cast<double>(weights[0]);
    while (kept > 1 && static_cast<double>(weights[kept - 1]) < least) --kept;
  }
  total = std::accumulate(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(kept), uint64_t{0});
  const double u = CounterUniform(row.seed, row.counter);
  const uint64_t target = std::min(static_cast<uint64_t>(u * static_cast<double>(total)), total - 1);
  uint64_t sum = 0;
  for (size_t i = 0; i < kept; ++i) {
    sum += weights[i];
    if (sum > target) return ids[i];
  }
  return ids[0];  // not reached: target < total
}

}  // namespace

uint32_t SampleWeight(float z) {
  if (!(z >= -21.5f)) return 0;
  // 2^n * p(r), z = n ln 2 + r; p is the Taylor polynomial of degree 7 (relative error below 2^-23 on |r| <=
  // ln2/2).
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = z * 1.44269504f + kMagic;
  const float n = shifted - kMagic;
  const float r = (z - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // Adding n to the exponent multiplies by 2^n; 30 more for the fixed point. Round to nearest even.
  const uint32_t exponent = (std::bit_cast<uint32_t>(shifted) << 23) + (30u << 23);
  return static_cast<uint32_t>(std::lrintf(std::bit_cast<float>(std::bit_cast<uint32_t>(p) + exponent)));
}

SampleResult Sample(const float* logits, int vocab, const SampleRow& row, TokenLogprob* top) {
  SampleResult result;
  if (!std::all_of(logits, logits + vocab, [](float v) { return std::isfinite(v); })) {
    result.finite = false;
    return result;
  }
  result.id = Choose(Adjusted(logits, vocab, row), row);
  if (!row.want_logprob && row.n_top_logprobs <= 0) return result;

  const std::vector<float> raw(logits, logits + vocab);
  const std::vector<int32_t> ids = Order(raw);
  const double largest = raw[static_cast<size_t>(ids[0])];
  double sum = 0;
  for (float v : raw) sum += std::exp(v - largest);
  const double log_sum = std::log(sum);
  const auto logprob = [&](int32_t id) {
    return static_cast<float>((raw[static_cast<size_t>(id)] - largest) - log_sum);
  };
  if (result.id >= 0) result.logprob = logprob(result.id);
  result.n_top = std::clamp(row.n_top_logprobs, 0, vocab);
  for (int i = 0; i < result.n_top; ++i)
    top[i] = {ids[static_cast<size_t>(i)], logprob(ids[static_cast<size_t>(i)])};
  return result;
}

}  // namespace lathe::ref
