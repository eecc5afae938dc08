// A run of load: requests at Poisson arrivals (open loop) or so many at once (closed loop).
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <vector>

#include "serving/answer.h"

namespace lathe::cli {

// Exactly one of the two is set.
struct LoadLevel {
  double rate = 0;      // requests a second, each at its own moment whatever became of those before
  int concurrency = 0;  // requests under way at any moment
};

struct LoadPlan {
  LoadLevel level;
  uint64_t requests = 0;  // 0: as many as begin within `duration`
  double duration = 0;    // seconds in which requests begin; 0: until `requests` have
  double timeout = 600;   // seconds for one request
  int threads = 1;
  uint64_t seed = 0;
};

// Makes the bytes of request number `index`, and says in *asked_tokens how many tokens it asks for. Called on
// the threads of the run.
using MakeRequest = std::function<std::string(uint64_t index, int* asked_tokens)>;

// How far a run is. Written by its threads.
struct LoadProgress {
  std::atomic<uint64_t> started{0}, done{0}, failed{0};
  std::atomic<bool> stop{false};  // set by the caller: abort what is under way and end
};

struct LoadResult {
  LoadLevel level;
  double begin = 0, end = 0;      // first request's scheduled time, last one's end
  std::vector<Outcome> outcomes;  // without those that were stopped
  uint64_t stopped = 0;
};

// Runs it all; `tick` is called on this thread every 20 ms. Errors: those of HttpLoop::Create.
Expected<LoadResult> RunLoad(const Url& url, const TlsOptions& tls, const LoadPlan& plan,
                             const MakeRequest& make_request, LoadProgress* progress,
                             const std::function<void()>& tick);

// One request, outside of any run.
Expected<Outcome> RunOne(const Url& url, const TlsOptions& tls, std::string request, double timeout);

// GETs a small document: status and body. Errors: kUnavailable when there is no answer.
struct Document {
  int status = 0;
  std::string body;
};
Expected<Document> Get(const Url& url, const TlsOptions& tls, std::string request, double timeout);

}  // namespace lathe::cli
