// An engine over the fake text and the fake device, and a collector of what it delivers.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "runtime/engine/engine_core.h"
#include "runtime/engine/testing/fake_text.h"
#include "runtime/sched/testing/fake_executor.h"

namespace lathe::testing {

inline constexpr ExecutorLimits kLimits = {.max_step_rows = 64,
                                           .max_logit_rows = 32,
                                           .n_pages = 256,
                                           .page_size = 4,
                                           .max_positions = 160,
                                           .vocab = FakeText::kVocab};

// One continuation as its caller saw it.
struct Seen {
  std::string text;
  std::vector<TokenOutput> tokens;
  FinishReason finish = FinishReason::kNone;
  Status error;
  Usage usage;
  std::vector<std::string> pieces;
  std::vector<TokenOutput> prompt;
  std::vector<float> embedding;

  std::vector<TokenId> ids() const {
    std::vector<TokenId> out;
    for (const auto& t : tokens) out.push_back(t.id);
    return out;
  }
};

// Collects the deltas of any number of requests; checks what holds for all of them.
class Collector {
 public:
  OutputCallback Callback() {
    return [this](const OutputDelta& d) {
      std::lock_guard lock(mutex_);
      Seen& s = seen_[{d.request, d.index}];
      EXPECT_EQ(s.finish, FinishReason::kNone) << "a delta after the final one";
      EXPECT_EQ(ended_.count(d.request), 0u) << "a delta after the last one";
      s.text += d.text;
      s.pieces.push_back(d.text);
      s.tokens.insert(s.tokens.end(), d.tokens.begin(), d.tokens.end());
      s.prompt.insert(s.prompt.end(), d.prompt.begin(), d.prompt.end());
      s.embedding.insert(s.embedding.end(), d.embedding.begin(), d.embedding.end());
      s.finish = d.finish;
      s.error = d.error;
      s.usage = d.usage;
      if (d.last) ended_.insert(d.request);
      changed_.notify_all();
    };
  }
  const Seen& Of(RequestId id, int index = 0) {
    std::lock_guard lock(mutex_);
    return seen_[{id, index}];
  }
  bool Ended(RequestId id) {
    std::lock_guard lock(mutex_);
    return ended_.count(id) > 0;
  }
  void AwaitToken(RequestId id) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !seen_[{id, 0}].tokens.empty(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<RequestId, int>, Seen> seen_;
  std::set<RequestId> ended_;
};

struct Rig {
  using Verify = std::function<Status(const std::atomic<bool>&)>;
  explicit Rig(EngineOptions options = {}, const ExecutorLimits& limits = kLimits, Verify verify = {}) {
    auto device = std::make_unique<FakeExecutor>(limits);
    executor = device.get();
    // The tests run a second and a third time with them (CMakeLists.txt: runtime_engine_overlap_test).
    executor->ahead = std::getenv("LATHE_TEST_AHEAD") != nullptr;
    executor->overlap = executor->ahead || std::getenv("LATHE_TEST_OVERLAP") != nullptr;
    EngineParts parts;
    parts.executor = std::move(device);
    parts.text = std::make_unique<FakeText>();
    parts.info.vocab = limits.vocab;
    parts.info.eos_ids = {FakeText::kEos};
    parts.verify = std::move(verify);
    engine = MakeEngine(std::move(parts), options);
  }
  // Must be set before anything is submitted: the engine's thread reads it.
  void OnExecute(std::function<Status(const Step&)> f) { executor->on_execute = std::move(f); }

  RequestId Submit(Request r) {
    auto id = engine->Submit(std::move(r), collector.Callback());
    EXPECT_TRUE(id.ok()) << id.status().message();
    return id.ok() ? *id : 0;
  }
  Seen Run(Request r) {
    const RequestId id = Submit(std::move(r));
    engine->WaitIdle();
    EXPECT_TRUE(collector.Ended(id));
    return collector.Of(id);
  }

  Collector collector;  // outlives the engine, which calls it until it is gone
  FakeExecutor* executor = nullptr;
  std::unique_ptr<Engine> engine;
};

inline Request MakeRequest(std::vector<TokenId> ids, int max_tokens, double temperature = 0) {
  Request r;
  r.prompt = Prompt::Ids(std::move(ids));
  r.sampling.temperature = temperature;
  r.sampling.max_tokens = max_tokens;
  r.sampling.seed = 1;
  return r;
}

}  // namespace lathe::testing
