#include "serve/server/admission.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace lathe::serve {
namespace {

Principal Caller(const std::string& name, int max_concurrent = 0, uint64_t tokens_per_minute = 0) {
  Principal who;
  who.name = name;
  who.max_concurrent = max_concurrent;
  who.max_tokens_per_minute = tokens_per_minute;
  return who;
}

struct Outcome {
  std::shared_ptr<Admission::Ticket> ticket;
  Admission::Refusal refusal;
};

Outcome Admit(Admission& admission, const Principal& who, int requests, uint64_t tokens) {
  Outcome out;
  out.refusal.status = 0;
  out.ticket = admission.Admit(who, requests, tokens, &out.refusal);
  return out;
}

TEST(Admission, StatesDecideFirst) {
  AdmissionControl control({});
  EXPECT_EQ(Admit(control, Caller("a"), 1, 1).refusal.code, "not_ready");
  control.SetState(AdmissionControl::State::kOpen);
  EXPECT_NE(Admit(control, Caller("a"), 1, 1).ticket, nullptr);
  control.SetState(AdmissionControl::State::kDraining);
  const Outcome draining = Admit(control, Caller("a"), 1, 1);
  EXPECT_EQ(draining.refusal.status, 503);
  EXPECT_EQ(draining.refusal.code, "draining");
  EXPECT_GE(draining.refusal.retry_after_seconds, 1);
}

TEST(Admission, BoundsRequestsAndTokens) {
  AdmissionControl control({.max_requests = 3, .max_tokens = 100});
  control.SetState(AdmissionControl::State::kOpen);
  std::vector<std::shared_ptr<Admission::Ticket>> held;
  held.push_back(Admit(control, Caller("a"), 1, 60).ticket);
  ASSERT_NE(held.back(), nullptr);
  const Outcome tokens = Admit(control, Caller("b"), 1, 41);
  EXPECT_EQ(tokens.refusal.status, 429);
  EXPECT_EQ(tokens.refusal.code, "queue_full");
  EXPECT_NE(tokens.refusal.message.find("60 tokens"), std::string::npos) << tokens.refusal.message;
  held.push_back(Admit(control, Caller("b"), 1, 40).ticket);
  ASSERT_NE(held.back(), nullptr);
  EXPECT_EQ(Admit(control, Caller("c"), 2, 0).refusal.status, 429);
  // What can never fit is the request's fault, and told with the numbers.
  for (const auto& [requests, n_tokens] : {std::pair<int, uint64_t>{4, 1}, {1, 101}, {1, UINT64_MAX}}) {
    const Outcome never = Admit(control, Caller("c"), requests, n_tokens);
    EXPECT_EQ(never.refusal.status, 400);
    EXPECT_NE(never.refusal.message.find("100"), std::string::npos);
  }
  EXPECT_EQ(control.counts().requests, 2u);
  EXPECT_EQ(control.counts().tokens, 100u);
  held.clear();
  EXPECT_EQ(control.counts().requests, 0u);
  EXPECT_EQ(control.counts().tokens, 0u);
  EXPECT_NE(Admit(control, Caller("c"), 3, 100).ticket, nullptr);
  EXPECT_EQ(control.counts().refused, 5u);
}

TEST(Admission, LimitsOfAKey) {
  AdmissionControl control({});
  control.SetState(AdmissionControl::State::kOpen);
  const Principal two = Caller("two", 2);
  const Outcome first = Admit(control, two, 2, 1);
  ASSERT_NE(first.ticket, nullptr);
  const Outcome third = Admit(control, two, 1, 1);
  EXPECT_EQ(third.refusal.status, 429);
  EXPECT_EQ(third.refusal.code, "rate_limited");
  EXPECT_NE(Admit(control, Caller("other", 2), 2, 1).ticket, nullptr);

  const Principal slow = Caller("slow", 0, 600);  // 10 a second
  EXPECT_EQ(Admit(control, slow, 1, 601).refusal.status, 400);
  EXPECT_NE(Admit(control, slow, 1, 500).ticket, nullptr);
  const Outcome later = Admit(control, slow, 1, 300);
  EXPECT_EQ(later.refusal.status, 429);
  EXPECT_EQ(later.refusal.retry_after_seconds, 20);
  EXPECT_NE(Admit(control, slow, 1, 90).ticket, nullptr);
}

TEST(Admission, TicketsOutliveIt) {
  std::shared_ptr<Admission::Ticket> ticket;
  {
    AdmissionControl control({});
    control.SetState(AdmissionControl::State::kOpen);
    ticket = Admit(control, Caller("a"), 1, 1).ticket;
  }
  EXPECT_NE(ticket, nullptr);
  ticket.reset();
}

TEST(Admission, CountsHoldUnderManyThreads) {
  AdmissionControl control({.max_requests = 8, .max_tokens = 1000});
  control.SetState(AdmissionControl::State::kOpen);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        const Outcome out = Admit(control, Caller(std::to_string(t % 2)), 1 + i % 3, 10);
        EXPECT_LE(control.counts().requests, 8u);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(control.counts().requests, 0u);
  EXPECT_EQ(control.counts().tokens, 0u);
  EXPECT_EQ(control.counts().admitted + control.counts().refused, 8000u);
}

}  // namespace
}  // namespace lathe::serve
