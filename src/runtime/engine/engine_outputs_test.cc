// What comes out beside generated text: logprobs of the prompt, embeddings, output that fits a format.
#include <gmock/gmock.h>

#include "base/rng.h"
#include "runtime/engine/testing/rig.h"

namespace lathe {
namespace {

using testing::FakeText;
using ::testing::HasSubstr;
using testing::kLimits;
using testing::MakeRequest;
using testing::Rig;
using testing::Seen;

std::vector<TokenId> RandomPrompt(Rng* rng, int n) {
  std::vector<TokenId> ids;
  for (int i = 0; i < n; ++i) ids.push_back(1 + static_cast<TokenId>(rng->Below(FakeText::kVocab - 2)));
  return ids;
}

TEST(EngineOutputs, PromptLogprobsWhateverTheChunksAndNeighbours) {
  Rng rng(1);
  Rig alone, busy({.max_step_tokens = 7});
  for (int n : {1, 2, 6, 7, 8, 40, 100}) {
    Request r = MakeRequest(RandomPrompt(&rng, n), 3);
    r.prompt_logprobs = 2;
    const Seen want = alone.Run(r);
    for (int i = 0; i < 3; ++i) busy.Submit(MakeRequest(RandomPrompt(&rng, 20), 30));
    const Seen got = busy.Run(r);
    ASSERT_EQ(want.prompt.size(), static_cast<size_t>(n));
    ASSERT_EQ(got.prompt.size(), static_cast<size_t>(n));
    uint64_t state = 0;
    for (size_t i = 0; i < want.prompt.size(); ++i) {
      const TokenId id = (*r.prompt.ids)[i];
      EXPECT_EQ(want.prompt[i].id, id);
      EXPECT_EQ(got.prompt[i].id, id);
      if (i > 0) {
        const float logprob = testing::FakeLogprob(testing::Mix(state, static_cast<uint64_t>(id)));
        EXPECT_EQ(want.prompt[i].logprob, logprob) << i;
        EXPECT_EQ(got.prompt[i].logprob, logprob) << i;
        EXPECT_EQ(got.prompt[i].top.size(), 2u);
      }
      state = testing::Extend(state, id, static_cast<int32_t>(i), 0);
    }
    EXPECT_EQ(got.ids(), want.ids());
    EXPECT_EQ(got.usage.cached_tokens, 0);
  }
}

TEST(EngineOutputs, PromptLogprobsSurvivePreemption) {
  ExecutorLimits tight = kLimits;
  tight.n_pages = 24;
  Rig rig({.max_step_tokens = 16}, tight), alone;
  Rng rng(2);
  std::vector<std::pair<Request, RequestId>> sent;
  for (int i = 0; i < 12; ++i) {
    Request r = MakeRequest(RandomPrompt(&rng, 30), 30);
    r.prompt_logprobs = 0;
    r.n = 1 + i % 3;
    sent.emplace_back(r, rig.Submit(r));
  }
  rig.engine->WaitIdle();
  EXPECT_GT(rig.engine->Stats().preemptions, 0u);
  for (auto& [request, id] : sent) {
    const Seen want = alone.Run(request);
    const Seen got = rig.collector.Of(id);
    ASSERT_EQ(got.prompt.size(), want.prompt.size());
    for (size_t i = 0; i < want.prompt.size(); ++i) EXPECT_EQ(got.prompt[i].logprob, want.prompt[i].logprob);
    EXPECT_EQ(got.ids(), want.ids());
  }
}

TEST(EngineOutputs, EmbeddingIsTheMeanOfAllPositions) {
  Rng rng(3);
  Rig rig({.max_step_tokens = 9});
  for (int n : {1, 8, 9, 10, 77}) {
    Request r = MakeRequest(RandomPrompt(&rng, n), 0);
    r.embed = true;
    rig.Submit(MakeRequest(RandomPrompt(&rng, 20), 30));
    const Seen seen = rig.Run(r);
    std::vector<double> sum(testing::kHiddenWidth);
    std::vector<float> row;
    uint64_t state = 0;
    for (int i = 0; i < n; ++i) {
      state = testing::Extend(state, (*r.prompt.ids)[static_cast<size_t>(i)], i, 0);
      row.clear();
      testing::AppendHidden(state, &row);
      for (size_t j = 0; j < row.size(); ++j) sum[j] += static_cast<double>(row[j]);
    }
    ASSERT_EQ(seen.embedding.size(), sum.size()) << ToString(seen.finish) << " " << seen.error.message();
    for (size_t j = 0; j < sum.size(); ++j)
      EXPECT_FLOAT_EQ(seen.embedding[j], static_cast<float>(sum[j] / n));
    EXPECT_EQ(seen.finish, FinishReason::kStop);
    EXPECT_TRUE(seen.tokens.empty());
    EXPECT_EQ(seen.usage.prompt_tokens, n);
    EXPECT_EQ(seen.usage.completion_tokens, 0);
  }
  EXPECT_EQ(rig.engine->Stats().pages_used, 0);
}

TEST(EngineOutputs, FormatIsKeptAndEndsByItself) {
  Rig rig({.max_sequences = 4});
  for (int seed = 0; seed < 40; ++seed) {
    Request r = MakeRequest({1, 2, 3}, 0, 1.0);
    r.sampling.seed = static_cast<uint64_t>(seed);
    r.n = 3;
    r.format =
        OutputFormat{.kind = OutputFormat::Kind::kChoice, .source = {}, .choices = {"abc", "cab b", "a"}};
    const RequestId id = rig.Submit(r);
    rig.engine->WaitIdle();
    for (int i = 0; i < r.n; ++i) {
      const Seen& seen = rig.collector.Of(id, i);
      EXPECT_THAT(seen.text, ::testing::AnyOf("abc", "cab b", "a"));
      EXPECT_EQ(seen.finish, FinishReason::kStop);
      EXPECT_EQ(seen.tokens.back().id, FakeText::kEos);
    }
  }
}

TEST(EngineOutputs, WhatDoesNotGoTogetherIsRefused) {
  Rig rig;
  const Request base = MakeRequest({1, 2, 3}, 4);
  struct Case {
    void (*change)(Request*);
    const char* says;
  };
  const Case cases[] = {
      {[](Request* r) { r->prompt_logprobs = 21; }, "prompt_logprobs must be in [-1, 20], but is 21"},
      {[](Request* r) { r->prompt_logprobs = -2; }, "but is -2"},
      {[](Request* r) { r->embed = true, r->n = 2; }, "generates nothing"},
      {[](Request* r) { r->embed = true, r->prompt_logprobs = 0; }, "generates nothing"},
      {[](Request* r) { r->format.emplace(), r->sampling.ignore_eos = true; }, "leave ignore_eos"},
      {[](Request* r) { r->format.emplace(), r->sampling.min_tokens = 3; }, "min_tokens out"},
      {[](Request* r) { r->format.emplace(); }, "choices only"},
  };
  for (const Case& c : cases) {
    Request r = base;
    c.change(&r);
    const auto id = rig.engine->Submit(r, rig.collector.Callback());
    EXPECT_FALSE(id.ok()) << c.says;
    EXPECT_THAT(id.status().message(), HasSubstr(c.says));
  }
}

}  // namespace
}  // namespace lathe
