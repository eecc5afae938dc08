#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "lathe/request.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(SamplingParams, DefaultsAndEdgesAreValid) {
  SamplingParams p;
  EXPECT_TRUE(p.Validate(10).ok());
  p.temperature = 0, p.top_p = 1e-9, p.min_p = 1, p.repetition_penalty = 10, p.presence_penalty = -2;
  p.frequency_penalty = 2, p.logprobs = 20, p.max_tokens = 5, p.min_tokens = 5, p.top_k = 1 << 30;
  p.stop.assign(16, std::string(256, 'x'));
  p.logit_bias.assign(1024, {9, -100.0});
  p.bad_words.assign(64, "x");
  p.stop_ids = {0, 9};
  EXPECT_TRUE(p.Validate(10).ok()) << p.Validate(10).message();
}

TEST(SamplingParams, EveryFieldIsRefusedOutsideItsRange) {
  struct Case {
    const char* field;
    const char* shown;  // the range or the value found
    std::function<void(SamplingParams&)> set;
  };
  std::vector<Case> cases = {
      {"top_k", "-1", [](auto& p) { p.top_k = -1; }},
      {"max_tokens", "-3", [](auto& p) { p.max_tokens = -3; }},
      {"min_tokens", "-1", [](auto& p) { p.min_tokens = -1; }},
      {"min_tokens", "max_tokens (4), but is 5", [](auto& p) { p.max_tokens = 4, p.min_tokens = 5; }},
      {"logprobs", "[-1, 20], but is 21", [](auto& p) { p.logprobs = 21; }},
      {"logprobs", "-2", [](auto& p) { p.logprobs = -2; }},
      {"stop", "17", [](auto& p) { p.stop.assign(17, "x"); }},
      {"stop[1]", "has 0",
       [](auto& p) {
         p.stop = {"a", ""};
       }},
      {"stop[0]", "has 257", [](auto& p) { p.stop = {std::string(257, 'a')}; }},
      {"bad_words", "65", [](auto& p) { p.bad_words.assign(65, "x"); }},
      {"bad_words[0]", "has 0", [](auto& p) { p.bad_words = {""}; }},
      {"stop_ids[1]", "[0, 10), but is 10",
       [](auto& p) {
         p.stop_ids = {3, 10};
       }},
      {"stop_ids[0]", "-1", [](auto& p) { p.stop_ids = {-1}; }},
      {"logit_bias", "1025",
       [](auto& p) {
         p.logit_bias.assign(1025, {1, 0.0});
       }},
      {"logit_bias[0]", "10",
       [](auto& p) {
         p.logit_bias = {{10, 0.0}};
       }},
      {"logit_bias of token 2", "[-100, 100], but is 100.5",
       [](auto& p) {
         p.logit_bias = {{2, 100.5}};
       }},
      {"logit_bias of token 2", "nan",
       [](auto& p) {
         p.logit_bias = {{2, kNan}};
       }},
  };
  struct Real {
    const char* field;
    const char* range;
    double SamplingParams::*member;
    double low, high;
  };
  const Real reals[] = {{"temperature", "[0, 100]", &SamplingParams::temperature, -0.01, 100.01},
                        {"top_p", "(0, 1]", &SamplingParams::top_p, 0, 1.01},
                        {"min_p", "[0, 1]", &SamplingParams::min_p, -0.01, 1.01},
                        {"repetition_penalty", "(0, 10]", &SamplingParams::repetition_penalty, 0, 10.1},
                        {"presence_penalty", "[-2, 2]", &SamplingParams::presence_penalty, -2.1, 2.1},
                        {"frequency_penalty", "[-2, 2]", &SamplingParams::frequency_penalty, -2.1, 2.1}};
  for (const Real& r : reals) {
    for (double bad : {r.low, r.high, kNan, kInf, -kInf}) {
      cases.push_back({r.field, r.range, [=](auto& p) { p.*r.member = bad; }});
    }
  }
  for (const Case& c : cases) {
    SamplingParams p;
    c.set(p);
    const Status status = p.Validate(10);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.field;
    EXPECT_THAT(status.message(), HasSubstr(c.field));
    EXPECT_THAT(status.message(), HasSubstr(c.shown));
  }
}

}  // namespace
}  // namespace lathe
