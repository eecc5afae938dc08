#include "runtime/sample/sequence_sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/rng.h"

namespace lathe {
namespace {

std::shared_ptr<const SamplingPolicy> Policy(SamplingParams params, std::vector<TokenId> eos = {2},
                                             std::vector<std::vector<TokenId>> bad = {}) {
  return std::make_shared<SamplingPolicy>(std::move(params), eos, std::move(bad));
}

// Biases of a row by id; each id at most once.
std::map<TokenId, float> Biases(const SampleRow& row) {
  std::map<TokenId, float> out;
  for (int i = 0; i < row.n_biases; ++i)
    EXPECT_TRUE(out.emplace(row.biases[i].id, row.biases[i].bias).second);
  return out;
}

const float kForbidden = -INFINITY;

TEST(SequenceSampler, CopiesThePlainFields) {
  SamplingParams p;
  p.temperature = 0.5, p.top_k = 7, p.top_p = 0.25, p.min_p = 0.125, p.logprobs = 3;
  p.repetition_penalty = 1.5, p.frequency_penalty = 0.75, p.presence_penalty = -0.5;
  SequenceSampler sampler(Policy(p), 99, {});
  const SampleRow row = sampler.Row(std::vector<TokenId>{5, 6});
  EXPECT_EQ(row.temperature, 0.5f);
  EXPECT_EQ(row.top_k, 7);
  EXPECT_EQ(row.top_p, 0.25f);
  EXPECT_EQ(row.min_p, 0.125f);
  EXPECT_EQ(row.repetition_penalty, 1.5f);
  EXPECT_EQ(row.frequency_penalty, 0.75f);
  EXPECT_EQ(row.presence_penalty, -0.5f);
  EXPECT_EQ(row.seed, 99u);
  EXPECT_EQ(row.counter, 2u);
  EXPECT_TRUE(row.want_logprob);
  EXPECT_EQ(row.n_top_logprobs, 3);
  EXPECT_EQ(row.mask, nullptr);
}

TEST(SequenceSampler, LogprobsOnlyWhenAsked) {
  SamplingParams p;
  SequenceSampler none(Policy(p), 0, {});
  EXPECT_FALSE(none.Row({}).want_logprob);
  p.logprobs = 0;
  SequenceSampler chosen(Policy(p), 0, {});
  EXPECT_TRUE(chosen.Row({}).want_logprob);
  EXPECT_EQ(chosen.Row({}).n_top_logprobs, 0);
}

TEST(SequenceSampler, CountsEqualARecount) {
  Rng rng(5);
  for (int round = 0; round < 50; ++round) {
    SamplingParams p;
    p.repetition_penalty = round % 2 ? 1.1 : 1.0;
    p.frequency_penalty = 0.5;
    std::vector<TokenId> prompt(rng.Below(300));
    for (auto& t : prompt) t = static_cast<TokenId>(rng.Below(round < 25 ? 20 : 100000));
    SequenceSampler sampler(Policy(p), 0, prompt);
    std::map<TokenId, std::pair<int, int>> expected;
    if (round % 2) {
      for (TokenId t : prompt) ++expected[t].first;
    }
    std::vector<TokenId> generated;
    for (int i = 0; i < 200; ++i) {
      const auto t = static_cast<TokenId>(rng.Below(40));
      sampler.Add(t);
      generated.push_back(t);
      ++expected[t].second;
    }
    const SampleRow row = sampler.Row(generated);
    ASSERT_EQ(static_cast<size_t>(row.n_counts), expected.size());
    for (int i = 0; i < row.n_counts; ++i) {
      EXPECT_EQ(expected[row.counts[i].id], std::pair(row.counts[i].in_prompt, row.counts[i].in_output));
    }
  }
}

TEST(SequenceSampler, NoPenaltiesNoCounts) {
  SequenceSampler sampler(Policy({}), 0, std::vector<TokenId>{1, 2, 3});
  sampler.Add(4);
  EXPECT_EQ(sampler.Row(std::vector<TokenId>{4}).n_counts, 0);
}

TEST(SequenceSampler, MinTokensForbidsEveryEnd) {
  SamplingParams p;
  p.min_tokens = 2;
  p.stop_ids = {7};
  p.logit_bias = {{2, 5.0}, {3, 1.0}, {3, -1.5}};
  const auto policy = Policy(p, {2, 9});
  SequenceSampler sampler(policy, 0, {});
  const std::map<TokenId, float> before = {{2, kForbidden}, {3, -1.5f}, {7, kForbidden}, {9, kForbidden}};
  EXPECT_EQ(Biases(sampler.Row({})), before);
  EXPECT_EQ(Biases(sampler.Row(std::vector<TokenId>{1})), before);
  EXPECT_EQ(Biases(sampler.Row(std::vector<TokenId>{1, 1})),
            (std::map<TokenId, float>{{2, 5.f}, {3, -1.5f}}));
  EXPECT_FALSE(policy->Ends(2, 1));
  EXPECT_TRUE(policy->Ends(2, 2));
  EXPECT_TRUE(policy->Ends(7, 2));
  EXPECT_FALSE(policy->Ends(3, 2));
}

TEST(SequenceSampler, IgnoreEosKeepsStopIds) {
  SamplingParams p;
  p.ignore_eos = true;
  p.stop_ids = {7};
  const auto policy = Policy(p, {2, 9});
  EXPECT_FALSE(policy->Ends(2, 0));
  EXPECT_FALSE(policy->Ends(9, 0));
  EXPECT_TRUE(policy->Ends(7, 0));
}

TEST(SequenceSampler, BadWordsForbidTheirLastTokenAfterTheirStart) {
  SamplingParams p;
  p.logit_bias = {{12, 3.0}};
  SequenceSampler sampler(Policy(p, {2}, {{5}, {10, 11, 12}, {11, 12}, {11, 13}}), 0, {});
  const auto row = [&](std::vector<TokenId> generated) { return Biases(sampler.Row(generated)); };
  const std::map<TokenId, float> plain = {{5, kForbidden}, {12, 3.f}};
  EXPECT_EQ(row({}), plain);
  EXPECT_EQ(row({10}), plain);
  EXPECT_EQ(row({11}), (std::map<TokenId, float>{{5, kForbidden}, {12, kForbidden}, {13, kForbidden}}));
  EXPECT_EQ(row({10, 11}), (std::map<TokenId, float>{{5, kForbidden}, {12, kForbidden}, {13, kForbidden}}));
  EXPECT_EQ(row({11, 4}), plain);
}

}  // namespace
}  // namespace lathe
