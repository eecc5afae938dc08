#include "serve/server/admission.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clock.h"
#include "base/status.h"

namespace lathe::serve {
namespace {

// Half of what is known of the rate at which tokens are given back is from the last ten seconds or so.
constexpr double kRateSeconds = 15;

int WholeSeconds(double seconds) { return static_cast<int>(std::clamp(std::ceil(seconds), 1.0, 60.0)); }

using Count = unsigned long long;

}  // namespace

struct AdmissionControl::Book {
  struct Caller {
    uint64_t requests = 0;
    double tokens_left = 0, updated = 0;  // of this minute's bucket
    bool seen = false;
  };

  std::mutex mutex;  // guards everything below
  State state = State::kStarting;
  Counts counts;
  std::map<std::string, Caller> callers;  // by name of the key: as many as there are keys
  double released = 0, released_at = 0;   // tokens given back lately, decayed

  void Release(const std::string& name, uint64_t requests, uint64_t tokens) {
    const std::lock_guard lock(mutex);
    counts.requests -= requests;
    counts.tokens -= tokens;
    callers[name].requests -= requests;
    const double now = NowSeconds();
    released = released * std::exp((released_at - now) / kRateSeconds) + static_cast<double>(tokens);
    released_at = now;
  }
  // Until about `tokens` are given back, by the rate of late.
  int SecondsUntil(uint64_t tokens) const {
    const double rate = released * std::exp((released_at - NowSeconds()) / kRateSeconds) / kRateSeconds;
    return rate > 0 ? WholeSeconds(static_cast<double>(tokens) / rate) : 1;
  }
};

class AdmissionControl::Held final : public Ticket {
 public:
  Held(std::shared_ptr<Book> book, std::string name, uint64_t requests, uint64_t tokens)
      : book_(std::move(book)), name_(std::move(name)), requests_(requests), tokens_(tokens) {}
  ~Held() override { book_->Release(name_, requests_, tokens_); }

 private:
  const std::shared_ptr<Book> book_;
  const std::string name_;
  const uint64_t requests_, tokens_;
};

AdmissionControl::AdmissionControl(const AdmissionLimits& limits)
    : limits_(limits), book_(std::make_shared<Book>()) {}
AdmissionControl::~AdmissionControl() = default;

void AdmissionControl::SetState(State state) {
  const std::lock_guard lock(book_->mutex);
  book_->state = state;
}

AdmissionControl::State AdmissionControl::state() const {
  const std::lock_guard lock(book_->mutex);
  return book_->state;
}

AdmissionControl::Counts AdmissionControl::counts() const {
  const std::lock_guard lock(book_->mutex);
  return book_->counts;
}

std::shared_ptr<Admission::Ticket> AdmissionControl::Admit(const Principal& who, int requests,
                                                           uint64_t tokens, Refusal* refusal) {
  const auto want = static_cast<uint64_t>(std::max(requests, 1));
  const std::lock_guard lock(book_->mutex);
  const auto refuse = [&](int status, const char* code, std::string message, int seconds) {
    ++book_->counts.refused;
    *refusal = {
        .status = status, .code = code, .message = std::move(message), .retry_after_seconds = seconds};
    return nullptr;
  };
  if (book_->state == State::kStarting) return refuse(503, "not_ready", "the model is not loaded yet", 1);
  if (book_->state == State::kDraining) {
    return refuse(503, "draining", "the server is shutting down; send the request to another", 1);
  }

  const Counts& counts = book_->counts;
  if (want > limits_.max_requests || tokens > limits_.max_tokens) {
    return refuse(
        400, "request_too_large",
        StrFormat("the request asks for %llu sequences and up to %llu tokens, but the server never takes "
                  "more than %llu and %llu",
                  Count{want}, Count{tokens}, Count{limits_.max_requests}, Count{limits_.max_tokens}),
        0);
  }
  if (counts.requests + want > limits_.max_requests) {
    return refuse(429, "queue_full",
                  StrFormat("%llu sequences are in the queue, which holds %llu; try again later",
                            Count{counts.requests}, Count{limits_.max_requests}),
                  1);
  }
  if (tokens > limits_.max_tokens - counts.tokens) {
    return refuse(
        429, "queue_full",
        StrFormat("%llu tokens are in the queue, which holds %llu, and the request may need %llu; try again "
                  "later, or with a smaller max_tokens",
                  Count{counts.tokens}, Count{limits_.max_tokens}, Count{tokens}),
        book_->SecondsUntil(tokens - (limits_.max_tokens - counts.tokens)));
  }

  Book::Caller& caller = book_->callers[who.name];
  if (who.max_concurrent > 0 && caller.requests + want > static_cast<uint64_t>(who.max_concurrent)) {
    return refuse(429, "rate_limited",
                  StrFormat("this API key has %llu sequences running or waiting, and may have %d",
                            Count{caller.requests}, who.max_concurrent),
                  1);
  }
  if (who.max_tokens_per_minute > 0) {
    const auto most = static_cast<double>(who.max_tokens_per_minute);
    const double now = NowSeconds();
    caller.tokens_left =
        caller.seen ? std::min(most, caller.tokens_left + (now - caller.updated) * most / 60) : most;
    caller.updated = now;
    caller.seen = true;
    const auto need = static_cast<double>(tokens);
    if (need > most) {
      return refuse(
          400, "request_too_large",
          StrFormat("the request may need %llu tokens, and this API key may use %llu a minute; lower "
                    "max_tokens",
                    Count{tokens}, Count{who.max_tokens_per_minute}),
          0);
    }
    if (need > caller.tokens_left) {
      return refuse(
          429, "rate_limited",
          StrFormat("the request may need %llu tokens, and this API key has %.0f left of its %llu a minute",
                    Count{tokens}, caller.tokens_left, Count{who.max_tokens_per_minute}),
          WholeSeconds((need - caller.tokens_left) * 60 / most));
    }
    caller.tokens_left -= need;
  }
  caller.requests += want;
  book_->counts.requests += want;
  book_->counts.tokens += tokens;
  ++book_->counts.admitted;
  return std::make_shared<Held>(book_, who.name, want, tokens);
}

}  // namespace lathe::serve
