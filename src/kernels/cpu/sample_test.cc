#include "kernels/cpu/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/clock.h"
#include "kernels/cpu/test_util.h"
#include "kernels/ref/ref.h"

namespace lathe {
namespace {

struct Buffer {
  explicit Buffer(int vocab) : bytes(SampleScratchBytes(vocab) + 64) {}
  std::vector<std::byte> bytes;
  std::span<std::byte> span() {
    void* at = bytes.data();
    size_t space = bytes.size();
    std::align(64, bytes.size() - 64, at, space);
    return {static_cast<std::byte*>(at), bytes.size() - 64};
  }
};

class SampleTest : public testing::TestWithParam<Isa> {};

// A random request: every feature on or off, values from the ends of their ranges too.
struct Case {
  std::vector<float> logits;
  std::vector<TokenCount> counts;
  std::vector<TokenBias> biases;
  std::vector<uint32_t> mask;
  SampleRow row;

  Case(const Case&) = delete;
  explicit Case(Rng& rng) {
    const auto pick = [&](std::initializer_list<float> values) {
      return values.begin()[rng.Below(values.size())];
    };
    const int vocab = static_cast<int>(1 + rng.Below(rng.Below(8) == 0 ? 3000 : 200));
    const float spread = pick({0, 0.1f, 1, 3, 10, 100});
    const bool coarse = rng.Below(3) == 0;  // many equal logits
    for (int i = 0; i < vocab; ++i) {
      const float v = rng.Normal() * spread;
      logits.push_back(coarse ? std::round(v) : v);
    }
    const auto id = [&] { return static_cast<int32_t>(rng.Below(static_cast<uint64_t>(vocab))); };
    if (rng.Below(3) == 0) {
      for (int i = 0; i < 5; ++i) {
        const int32_t token = id();
        if (std::none_of(counts.begin(), counts.end(), [&](const TokenCount& c) { return c.id == token; }))
          counts.push_back({token, static_cast<int32_t>(rng.Below(3)), static_cast<int32_t>(rng.Below(3))});
      }
      row.repetition_penalty = pick({1, 1.3f, 0.7f});
      row.frequency_penalty = pick({0, 0.5f, -1});
      row.presence_penalty = pick({0, 2, -0.1f});
    }
    if (rng.Below(4) == 0)
      for (int i = 0; i < 3; ++i)
        biases.push_back({id(), pick({-100, 100, 1, -std::numeric_limits<float>::infinity()})});
    if (rng.Below(4) == 0)
      for (int i = 0; i < (vocab + 31) / 32; ++i)
        mask.push_back(
            static_cast<uint32_t>(rng.Below(8) == 0 ? 0xffffffff : rng.Next() & rng.Next() & rng.Next()));
    row.temperature = pick({0, 1, 0.7f, 1e-3f, 2, 100, 1e30f});
    row.top_k = static_cast<int32_t>(pick({0, 0, 1, 2, 40, 100000}));
    row.top_p = pick({1, 1, 0.9f, 0.5f, 1e-6f, 0.999f});
    row.min_p = pick({0, 0, 0.05f, 0.5f, 1});
    row.seed = rng.Next();
    row.counter = rng.Below(100);
    row.want_logprob = rng.Below(2) == 0;
    row.n_top_logprobs = static_cast<int32_t>(pick({0, 0, 1, 5, 20}));
    row.counts = counts.data();
    row.n_counts = static_cast<int32_t>(counts.size());
    row.biases = biases.data();
    row.n_biases = static_cast<int32_t>(biases.size());
    row.mask = mask.empty() ? nullptr : mask.data();
  }
};

TEST_P(SampleTest, SameTokenAsTheDefinitionInTenThousandCases) {
  Rng rng(2024);
  Buffer scratch(4000);
  for (int i = 0; i < (kInstrumented ? 1000 : 10000); ++i) {
    const Case c(rng);
    const int vocab = static_cast<int>(c.logits.size());
    TokenLogprob top[20], want_top[20];
    const SampleResult got = SampleToken(GetParam(), c.logits.data(), vocab, c.row, scratch.span(), top);
    const SampleResult want = ref::Sample(c.logits.data(), vocab, c.row, want_top);
    ASSERT_EQ(got.id, want.id) << "case " << i << " vocab " << vocab << " temperature " << c.row.temperature
                               << " top_k " << c.row.top_k << " top_p " << c.row.top_p << " min_p "
                               << c.row.min_p;
    ASSERT_TRUE(got.finite);
    ASSERT_EQ(got.n_top, want.n_top);
    const auto expect_logprob = [&](float a, float b) { ASSERT_NEAR(a, b, 1e-5 + 1e-6 * std::abs(b)) << i; };
    if (want.id >= 0) expect_logprob(got.logprob, want.logprob);
    for (int j = 0; j < want.n_top; ++j) {
      ASSERT_EQ(top[j].id, want_top[j].id) << i;
      expect_logprob(top[j].logprob, want_top[j].logprob);
    }
  }
}

TEST_P(SampleTest, WeightsEqualTheDefinitionToTheBit) {
  // Through a two-token vocabulary: the chance of token 1 is its weight over the sum; u in between decides.
  Buffer scratch(64);
  Rng rng(5);
  for (int i = 0; i < 2000; ++i) {
    const float z = static_cast<float>(-8 * rng.Uniform());
    const float logits[] = {0, z};
    SampleRow row;
    row.temperature = 1;
    row.seed = static_cast<uint64_t>(i);
    const uint64_t w = ref::SampleWeight(z), total = (uint64_t{1} << 30) + w;
    const auto target = static_cast<uint64_t>(CounterUniform(row.seed, 0) * static_cast<double>(total));
    EXPECT_EQ(SampleToken(GetParam(), logits, 2, row, scratch.span(), nullptr).id,
              target >= uint64_t{1} << 30 ? 1 : 0);
  }
}

// Pearson's chi-square over the draws of many counters; 99.9 % quantile by the Wilson-Hilferty formula.
TEST_P(SampleTest, FrequenciesFollowTheProbabilities) {
  constexpr int kVocab = 40, kDraws = kInstrumented ? 4000 : 40000;
  Rng rng(8);
  std::vector<float> logits;
  for (int i = 0; i < kVocab; ++i) logits.push_back(rng.Normal() * 1.5f);
  Buffer scratch(kVocab);
  struct Setting {
    float temperature, top_p;
    int top_k;
  };
  for (const auto& [temperature, top_p, top_k] :
       {Setting{1, 1, 0}, Setting{0.7f, 0.9f, 0}, Setting{1.5f, 1, 12}}) {
    std::vector<int> order(kVocab);
    for (int i = 0; i < kVocab; ++i) order[static_cast<size_t>(i)] = i;
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)]; });
    std::vector<double> p(kVocab, 0);
    double z = 0;
    const int limit = top_k ? top_k : kVocab;
    for (int i = 0; i < limit; ++i)
      z += std::exp(logits[static_cast<size_t>(order[static_cast<size_t>(i)])] / temperature);
    double kept = 0;
    int n = 0;
    for (; n < limit && kept < top_p; ++n)
      kept += p[static_cast<size_t>(order[static_cast<size_t>(n)])] =
          std::exp(logits[static_cast<size_t>(order[static_cast<size_t>(n)])] / temperature) / z;
    std::vector<int> seen(kVocab, 0);
    SampleRow row;
    row.temperature = temperature;
    row.top_p = top_p;
    row.top_k = top_k;
    row.seed = 99;
    for (int i = 0; i < kDraws; ++i) {
      row.counter = static_cast<uint64_t>(i);
      ++seen[static_cast<size_t>(
          SampleToken(GetParam(), logits.data(), kVocab, row, scratch.span(), nullptr).id)];
    }
    double chi2 = 0;
    for (int i = 0; i < kVocab; ++i) {
      const double expected = p[static_cast<size_t>(i)] / kept * kDraws, got = seen[static_cast<size_t>(i)];
      if (expected == 0)
        EXPECT_EQ(got, 0) << i;
      else
        chi2 += (got - expected) * (got - expected) / expected;
    }
    const double df = n - 1, h = 2 / (9 * df), quantile = df * std::pow(1 - h + 3.09 * std::sqrt(h), 3);
    EXPECT_LT(chi2, quantile) << temperature << " " << top_p << " " << top_k;
  }
}

TEST_P(SampleTest, NonFiniteLogitsAreReported) {
  Buffer scratch(1000);
  for (const float bad : {NAN, INFINITY, -INFINITY})
    for (const int at : {0, 500, 998, 999}) {
      std::vector<float> logits(1000, 1.0f);
      logits[static_cast<size_t>(at)] = bad;
      const SampleResult r =
          SampleToken(GetParam(), logits.data(), 1000, SampleRow{}, scratch.span(), nullptr);
      EXPECT_FALSE(r.finite) << bad << " at " << at;
      EXPECT_EQ(r.id, -1);
    }
}

TEST_P(SampleTest, EverythingForbiddenGivesNoToken) {
  Buffer scratch(100);
  const std::vector<float> logits(100, 0.5f);
  const std::vector<uint32_t> mask(4, 0);
  for (const float temperature : {0.0f, 1.0f}) {
    SampleRow row;
    row.temperature = temperature;
    row.mask = mask.data();
    EXPECT_EQ(SampleToken(GetParam(), logits.data(), 100, row, scratch.span(), nullptr).id, -1);
  }
}

TEST_P(SampleTest, GreedyTakesTheLowestIdOnTies) {
  Buffer scratch(70000);
  for (const int vocab : {1, 15, 16, 17, 1000, 65537}) {
    std::vector<float> logits(static_cast<size_t>(vocab), -1.0f);
    for (const int best : {vocab - 1, vocab / 2, 0}) {
      logits[static_cast<size_t>(best)] = 3;
      EXPECT_EQ(SampleToken(GetParam(), logits.data(), vocab, SampleRow{}, scratch.span(), nullptr).id, best);
    }
  }
}

TEST_P(SampleTest, Speed) {
  constexpr int kVocab = 128 * 1024;
  Buffer scratch(kVocab);
  Rng rng(3);
  std::vector<float> logits;
  for (int i = 0; i < kVocab; ++i) logits.push_back(rng.Normal() * 2.5f);
  const auto time = [&](const SampleRow& row) {
    double best = 1e9;
    TokenLogprob top[20];
    for (int i = 0; i < (kInstrumented ? 1 : 20); ++i) {
      const double start = NowSeconds();
      (void)SampleToken(GetParam(), logits.data(), kVocab, row, scratch.span(), top);
      best = std::min(best, NowSeconds() - start);
    }
    return std::to_string(best * 1e6);
  };
  SampleRow row;
  RecordProperty("greedy_us", time(row));
  row.temperature = 0.8f;
  RecordProperty("temperature_us", time(row));
  row.top_p = 0.95f;
  RecordProperty("top_p_us", time(row));
  row.top_k = 50;
  RecordProperty("top_k_top_p_us", time(row));
  row.n_top_logprobs = 20;
  RecordProperty("with_logprobs_us", time(row));
}

INSTANTIATE_TEST_SUITE_P(All, SampleTest, testing::ValuesIn(UsableIsas().begin(), UsableIsas().end()),
                         [](const auto& info) { return std::string(ToString(info.param)); });

}  // namespace
}  // namespace lathe
