// The scheduler's records of a request and its continuations; private to runtime/sched.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/sched/scheduler.h"

namespace lathe {

struct Scheduler::Sequence {
  enum class State : uint8_t { kNew, kWaiting, kRunning, kDone };

  Sequence(RequestState* owner, int i, std::vector<TokenId> prompt);

  int n_tokens() const { return static_cast<int>(tokens.size()); }
  int n_pending() const { return n_tokens() - n_computed; }
  // Needs one row and gives one token: has its place in every step. (The mean of a prompt's hidden states
  // wants its last row too, which then gives no token.)
  bool decodes() const;
  std::span<const TokenId> generated() const {
    return std::span(tokens).subspan(static_cast<size_t>(n_prompt));
  }

  RequestState* request;
  const int index;
  const Rank rank;
  const int n_prompt;
  State state = State::kNew;
  std::vector<TokenId> tokens;  // prompt, then generated; the last one is never computed yet
  int n_computed = 0;           // tokens whose keys and values are in the cache
  int n_lost = 0;               // the most that was computed before a preemption
  bool first_pass;              // computing the request's prompt for the first time
  KvSequence kv;
  SequenceSampler sampler;
};

struct Scheduler::RequestState {
  SchedRequest spec;  // its prompt has moved into sequences[0]
  uint64_t arrival = 0;
  std::string kv_salt;  // cache_salt, and what else the prompt's keys depend on
  int max_length = 0;   // prompt and generated tokens of one continuation
  int n_open = 0;       // continuations not ended, those not forked yet included
  int cached_tokens = 0;
  bool started = false;  // admitted once
  bool forked = false;   // sequences has all n of them
  // SchedRequest::report: rows of the prompt before this position are done.
  int n_reported = 0;
  std::vector<TokenBias> report_targets;    // (n_prompt - 1) of rows on their way
  std::vector<SampledToken> prompt_report;  // kLogprobs
  std::vector<double> hidden_sum;           // kMeanHidden
  bool in_doubt = false;                    // its logits were not finite: its pages are not to be found again
  std::vector<std::unique_ptr<Sequence>> sequences;
};

inline Scheduler::Sequence::Sequence(RequestState* owner, int i, std::vector<TokenId> prompt)
    : request(owner),
      index(i),
      rank(RankOf(owner->spec.priority, owner->arrival, i)),
      n_prompt(static_cast<int>(prompt.size())),
      tokens(std::move(prompt)),
      first_pass(i == 0),
      sampler(owner->spec.policy, owner->spec.seed + static_cast<uint64_t>(i), tokens) {}

inline bool Scheduler::Sequence::decodes() const {
  return n_pending() == 1 && request->forked && request->spec.report != PromptReport::kMeanHidden;
}

inline bool Scheduler::BetterRank::operator()(const Sequence* a, const Sequence* b) const {
  return a->rank < b->rank;
}

}  // namespace lathe
