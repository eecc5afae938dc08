#include "serve/server/health.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>

#include "base/clock.h"
#include "base/status.h"
#include "serve/quote.h"

namespace lathe::serve {

void Health::Sample(double now, const EngineStats& stats) {
  const std::lock_guard lock(mutex_);
  const bool working = stats.running + stats.waiting > 0;
  if (!sampled_ || !working || !working_ || stats.steps != steps_) progress_ = now;
  sampled_ = true;
  working_ = working;
  failed_ = !stats.accepting;
  steps_ = stats.steps;
  sampled_at_ = now;
  running_ = stats.running;
  waiting_ = stats.waiting;
}

void Health::OnThaw(double now) {
  const std::lock_guard lock(mutex_);
  progress_ = sampled_at_ = now;
}

double Health::StalledSeconds(double now) const {
  const std::lock_guard lock(mutex_);
  if (!sampled_) return 0;
  // Between two samples nothing is known; a second without one is a sign of its own.
  const double unheard = now - sampled_at_ > 1 ? now - sampled_at_ : 0;
  return std::max(unheard, working_ ? now - progress_ : 0.0);
}

bool Health::Failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

Health::Answer Health::Judge(double now, double limit) const {
  if (Failed()) return {false, "the engine failed for good; the process ends, to be started again"};
  const double stalled = StalledSeconds(now);
  if (stalled < limit) return {true, {}};
  return {false, StrFormat("the engine has work and ended no step for %.0f s", stalled)};
}

Health::Answer Health::Live(double now) const { return Judge(now, limits_.dead_seconds); }

Health::Answer Health::Ready(double now) const {
  switch (phase()) {
    case Phase::kStarting: return {false, "the model is not loaded yet"};
    case Phase::kDraining: return {false, "the server is shutting down"};
    case Phase::kServing: break;
  }
  return Judge(now, limits_.unready_seconds);
}

void RegisterHealth(Router* router, const Health* health) {
  const auto add = [&](const char* path, Health::Answer (Health::*judge)(double) const) {
    router->Add("GET", path, [health, judge](const auto&, const auto& responder) {
      const Health::Answer answer = (health->*judge)(NowSeconds());
      if (answer.good) return responder->Send(200, "application/json", "{\"status\":\"ok\"}", {});
      responder->Send(503, "application/json",
                      "{\"status\":\"unavailable\",\"reason\":" + QuoteJson(answer.reason) + "}",
                      {{"Retry-After", "1"}});
    });
  };
  add("/livez", &Health::Live);
  add("/readyz", &Health::Ready);
  add("/health", &Health::Ready);
}

HealthSampler::HealthSampler(const Engine& engine, Health* health, double interval_seconds) {
  health->Sample(NowSeconds(), engine.Stats());
  thread_ = std::thread([this, &engine, health, interval_seconds] {
    pthread_setname_np(pthread_self(), "lathe-health");
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, std::chrono::duration<double>(interval_seconds),
                           [this] { return stopping_; })) {
      lock.unlock();
      health->Sample(NowSeconds(), engine.Stats());
      lock.lock();
    }
  });
}

HealthSampler::~HealthSampler() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

}  // namespace lathe::serve
