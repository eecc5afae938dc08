// Is the engine getting on? From its steps, not from the mere fact that this process answers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "lathe/engine.h"
#include "serve/router.h"

namespace lathe::serve {

struct HealthLimits {
  double unready_seconds = 10;  // work and no step for so long: not ready
  double dead_seconds = 60;     // and for so long: not alive
};

// Thread-safe. A long queue is work, not a fault: what counts is whether steps end.
class Health {
 public:
  enum class Phase { kStarting, kServing, kDraining };
  struct Answer {
    bool good = false;
    std::string reason;  // one sentence when not good
  };

  explicit Health(const HealthLimits& limits) : limits_(limits) {}

  // What the engine says now; called several times a second. `now`: NowSeconds().
  void Sample(double now, const EngineStats& stats);
  // The whole process stood still until now (a paused container, a debugger): that is no stall of the
  // engine's.
  void OnThaw(double now);
  // The engine failed for good: only a restart helps.
  bool Failed() const;
  // Work was there and no step ended for so long. An engine that no longer answers Sample's caller counts
  // too.
  double StalledSeconds(double now) const;

  Answer Live(double now) const;
  Answer Ready(double now) const;
  void SetPhase(Phase phase) { phase_.store(phase); }
  Phase phase() const { return phase_.load(); }
  double dead_seconds() const { return limits_.dead_seconds; }

 private:
  Answer Judge(double now, double limit) const;

  const HealthLimits limits_;
  std::atomic<Phase> phase_{Phase::kStarting};
  mutable std::mutex mutex_;
  bool sampled_ = false, working_ = false, failed_ = false;  // guarded by mutex_, as what follows
  uint64_t steps_ = 0;
  double progress_ = 0;  // when a step was last known to have ended, or nothing was to be done
  double sampled_at_ = 0;
  int running_ = 0, waiting_ = 0;
};

// GET /livez, /readyz and /health (as /readyz): 200 or 503 with a JSON object. `health` must outlive the
// router.
void RegisterHealth(Router* router, const Health* health);

// A thread that samples `engine` until it is destroyed.
class HealthSampler {
 public:
  HealthSampler(const Engine& engine, Health* health, double interval_seconds);
  ~HealthSampler();

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace lathe::serve
