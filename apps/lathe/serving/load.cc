#include "serving/load.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <thread>

#include "base/clock.h"
#include "base/rng.h"
#include "base/status.h"

namespace lathe::cli {
namespace {

constexpr auto kTick = std::chrono::milliseconds(20);

// Every stream is a file descriptor.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

class Collector : public AnswerReader {
 public:
  Collector(Outcome* out, std::function<void()> on_end) : AnswerReader(out), on_end_(std::move(on_end)) {}
  void OnEnd(Failure failure, const std::string& detail) override {
    AnswerReader::OnEnd(failure, detail);
    on_end_();
  }

 private:
  std::function<void()> on_end_;
};

// One thread's part of a run: every `threads`-th arrival, or its share of the requests at once.
class Worker {
 public:
  Worker(HttpLoop& loop, const LoadPlan& plan, const MakeRequest& make, LoadProgress* progress, double begin,
         std::atomic<uint64_t>* next)
      : loop_(loop), plan_(plan), make_(make), progress_(progress), begin_(begin), next_(next) {}

  // Arrival `index` of all is at `when`; those of this worker are every `stride`-th.
  void OpenLoop(std::vector<std::pair<uint64_t, double>> arrivals) {
    arrivals_ = std::move(arrivals);
    loop_.Post([this] { Arrive(0); });
  }

  void ClosedLoop(int slots) {
    loop_.Post([this, slots] {
      for (int i = 0; i < slots; ++i) Next();
    });
  }

  std::deque<Outcome>& outcomes() { return outcomes_; }

 private:
  void Arrive(size_t i) {
    for (; i < arrivals_.size(); ++i) {
      const auto [index, when] = arrivals_[i];
      if (when > NowSeconds()) return loop_.At(when, [this, i] { Arrive(i); });
      Send(index, when, [] {});
    }
  }

  // The next request of a closed loop, in the slot whose last one is over.
  void Next() {
    if (plan_.duration > 0 && NowSeconds() >= begin_ + plan_.duration) return;
    if (progress_->stop) return;
    const uint64_t index = next_->fetch_add(1);
    if (plan_.requests > 0 && index >= plan_.requests) return;
    // Through the loop, so that requests that fail at once do not pile up on the stack.
    Send(index, NowSeconds(), [this] { loop_.Post([this] { Next(); }); });
  }

  void Send(uint64_t index, double scheduled, std::function<void()> then) {
    Outcome& out = outcomes_.emplace_back();
    out.scheduled = scheduled;
    std::string request = make_(index, &out.asked_tokens);
    out.sent = NowSeconds();
    progress_->started.fetch_add(1, std::memory_order_relaxed);
    auto sink = std::make_shared<Collector>(&out, [this, &out, then = std::move(then)] {
      progress_->done.fetch_add(1, std::memory_order_relaxed);
      if (!out.good()) progress_->failed.fetch_add(1, std::memory_order_relaxed);
      then();
    });
    loop_.Start(std::move(request), plan_.timeout, std::move(sink));
  }

  HttpLoop& loop_;
  const LoadPlan& plan_;
  const MakeRequest& make_;
  LoadProgress* const progress_;
  const double begin_;
  std::atomic<uint64_t>* const next_;
  std::vector<std::pair<uint64_t, double>> arrivals_;
  std::deque<Outcome> outcomes_;  // addresses stay
};

// Seconds after the begin at which requests arrive: a Poisson process of `rate`.
std::vector<double> PoissonArrivals(const LoadPlan& plan) {
  Rng rng(SplitMix64(plan.seed));
  std::vector<double> out;
  double at = 0;
  while (plan.requests == 0 || out.size() < plan.requests) {
    at += -std::log(1 - rng.Uniform()) / plan.level.rate;
    if (plan.duration > 0 && at >= plan.duration) break;
    out.push_back(at);
  }
  return out;
}

LoadResult Gather(std::vector<std::unique_ptr<Worker>>& workers, const LoadPlan& plan, double begin) {
  LoadResult result;
  result.level = plan.level;
  result.begin = result.end = begin;
  for (const auto& worker : workers) {
    for (Outcome& out : worker->outcomes()) {
      if (out.error == ToString(Failure::kAborted)) {
        ++result.stopped;
        continue;
      }
      result.end = std::max(result.end, out.end);
      result.outcomes.push_back(std::move(out));
    }
  }
  std::sort(result.outcomes.begin(), result.outcomes.end(),
            [](const Outcome& a, const Outcome& b) { return a.scheduled < b.scheduled; });
  return result;
}

// Keeps a document.
class Keeper : public ResponseSink {
 public:
  explicit Keeper(Document* out, Status* status) : out_(out), outcome_(status) {}
  void OnHead(int status, std::string_view) override { out_->status = status; }
  void OnBody(std::string_view bytes) override { out_->body += bytes; }
  void OnEnd(Failure failure, const std::string& detail) override {
    if (failure == Failure::kNone) return;
    *outcome_ = Error(StatusCode::kUnavailable, "no answer (%s%s%s)", ToString(failure),
                      detail.empty() ? "" : ": ", detail.c_str());
  }

 private:
  Document* const out_;
  Status* const outcome_;
};

Status RunAlone(const Url& url, const TlsOptions& tls, std::string request, double timeout,
                std::shared_ptr<ResponseSink> sink) {
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<HttpLoop> loop, HttpLoop::Create(url, tls));
  loop->Post([&loop = *loop, timeout, request = std::move(request), sink = std::move(sink)]() mutable {
    loop.Start(std::move(request), timeout, std::move(sink));
  });
  loop->Run();
  return {};
}

}  // namespace

Expected<LoadResult> RunLoad(const Url& url, const TlsOptions& tls, const LoadPlan& plan,
                             const MakeRequest& make_request, LoadProgress* progress,
                             const std::function<void()>& tick) {
  RaiseFileLimit();
  const int n =
      std::max(1, plan.level.concurrency > 0 ? std::min(plan.threads, plan.level.concurrency) : plan.threads);
  std::vector<std::unique_ptr<HttpLoop>> loops;
  for (int i = 0; i < n; ++i) {
    LATHE_ASSIGN_OR_RETURN(std::unique_ptr<HttpLoop> loop, HttpLoop::Create(url, tls));
    loops.push_back(std::move(loop));
  }
  const std::vector<double> arrivals = plan.level.rate > 0 ? PoissonArrivals(plan) : std::vector<double>();
  const double begin = NowSeconds();
  std::atomic<uint64_t> next{0};
  std::vector<std::unique_ptr<Worker>> workers;
  for (int i = 0; i < n; ++i) {
    workers.push_back(
        std::make_unique<Worker>(*loops[static_cast<size_t>(i)], plan, make_request, progress, begin, &next));
    if (plan.level.rate > 0) {
      std::vector<std::pair<uint64_t, double>> mine;
      for (size_t k = static_cast<size_t>(i); k < arrivals.size(); k += static_cast<size_t>(n)) {
        mine.emplace_back(k, begin + arrivals[k]);
      }
      workers.back()->OpenLoop(std::move(mine));
    } else {
      workers.back()->ClosedLoop(plan.level.concurrency / n + (i < plan.level.concurrency % n ? 1 : 0));
    }
  }
  std::atomic<int> running{n};
  std::vector<std::thread> threads;
  for (const auto& loop : loops) {
    threads.emplace_back([&loop = *loop, &running] {
      loop.Run();
      running.fetch_sub(1);
    });
  }
  for (bool aborted = false; running.load() > 0;) {
    std::this_thread::sleep_for(kTick);
    tick();
    if (progress->stop && !aborted) {
      for (const auto& loop : loops) loop->Abort();
      aborted = true;
    }
  }
  for (std::thread& thread : threads) thread.join();
  return Gather(workers, plan, begin);
}

Expected<Outcome> RunOne(const Url& url, const TlsOptions& tls, std::string request, double timeout) {
  Outcome out;
  out.scheduled = out.sent = NowSeconds();
  LATHE_RETURN_IF_ERROR(
      RunAlone(url, tls, std::move(request), timeout, std::make_shared<AnswerReader>(&out)));
  return out;
}

Expected<Document> Get(const Url& url, const TlsOptions& tls, std::string request, double timeout) {
  Document out;
  Status status;
  LATHE_RETURN_IF_ERROR(
      RunAlone(url, tls, std::move(request), timeout, std::make_shared<Keeper>(&out, &status)));
  LATHE_RETURN_IF_ERROR(status);
  return out;
}

}  // namespace lathe::cli
