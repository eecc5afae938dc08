// The half of the scheduler that keeps requests: arrival, results, ends. What runs next: build_step.cc.
#include "runtime/sched/scheduler.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "runtime/sched/sequence.h"

namespace lathe {
namespace {

KvOptions KvOptionsOf(const SchedulerOptions& options, const ExecutorLimits& limits) {
  KvOptions kv = options.kv;
  kv.host_pages = limits.n_host_pages;
  return kv;
}

int OrDefault(int value, int fallback) { return value > 0 ? std::min(value, fallback) : fallback; }

// What the device says of the token after n_tokens others.
Status CheckToken(const SampledToken& token, int n_tokens, int vocab) {
  if (!token.finite) {
    return Error(StatusCode::kInternal,
                 "a logit after %d tokens was not finite: this prompt drives the model out of range; an "
                 "engine in fp16 "
                 "may do it in bf16 (lathe build --dtype bf16)",
                 n_tokens);
  }
  if (token.id == -1) {
    return Error(
        StatusCode::kInvalidArgument,
        "every token is forbidden after %d tokens: allow one by bad_words, min_tokens and logit_bias",
        n_tokens);
  }
  LATHE_CHECK(token.id >= 0 && token.id < vocab);
  return Status::Ok();
}

}  // namespace

Scheduler::Scheduler(const ExecutorLimits& limits, const SchedulerOptions& options)
    : limits_(limits),
      max_context_(OrDefault(options.max_context, limits.max_positions)),
      max_step_rows_(OrDefault(options.max_step_rows, limits.max_step_rows)),
      max_sequences_(std::min({std::max(options.max_sequences, 1), max_step_rows_, limits.max_logit_rows})),
      kv_(limits.n_pages, limits.page_size, KvOptionsOf(options, limits)) {
  LATHE_CHECK_GT(max_sequences_, 0);
  LATHE_CHECK_GT(max_context_, 0);
}

Scheduler::~Scheduler() = default;

Status Scheduler::CheckFits(size_t n_prompt, int max_tokens) const {
  if (n_prompt == 0)
    return Error(StatusCode::kInvalidArgument, "the prompt must have at least one token, but is empty");
  if (n_prompt >= static_cast<size_t>(max_context_)) {
    return Error(
        StatusCode::kInvalidArgument,
        "the prompt has %zu tokens, but the context holds %d with at least one generated token: shorten "
        "the prompt",
        n_prompt, max_context_);
  }
  const int64_t wanted = static_cast<int64_t>(n_prompt) + std::max(max_tokens, 1);
  const int64_t length = std::min<int64_t>(wanted, max_context_);
  const int64_t capacity = static_cast<int64_t>(limits_.n_pages) * limits_.page_size;
  if (length - 1 <= capacity) return Status::Ok();  // the last token's keys are never needed
  return Error(
      StatusCode::kInvalidArgument,
      "the request needs the KV cache of %lld tokens (%zu of the prompt, up to %d generated), but all of "
      "it holds %lld: lower max_tokens or raise the KV budget",
      static_cast<long long>(length - 1), n_prompt, std::max(max_tokens, 1),
      static_cast<long long>(capacity));
}

void Scheduler::AddRequest(SchedRequest spec) {
  LATHE_CHECK(!in_step_);
  LATHE_CHECK_GT(spec.n, 0);
  const SamplingParams& params = spec.policy->params();
  LATHE_CHECK(CheckFits(spec.prompt.size(), params.max_tokens).ok());

  auto owned = std::make_unique<RequestState>();
  RequestState* request = owned.get();
  LATHE_CHECK(requests_.emplace(spec.id, std::move(owned)).second);
  const auto n_prompt = static_cast<int64_t>(spec.prompt.size());
  request->arrival = n_arrived_++;
  request->n_open = spec.n;
  request->forked = spec.n == 1;
  const int64_t capacity = static_cast<int64_t>(limits_.n_pages) * limits_.page_size + 1;
  int64_t length = std::min<int64_t>(max_context_, capacity);
  if (params.max_tokens > 0) length = std::min(length, n_prompt + params.max_tokens);
  request->max_length = static_cast<int>(length);
  const bool scaled = limits_.dynamic_rope && n_prompt > limits_.dynamic_rope_from;
  const int32_t rope = scaled ? static_cast<int32_t>(n_prompt) : 0;
  request->kv_salt.assign(sizeof(rope), '\0');
  std::memcpy(request->kv_salt.data(), &rope, sizeof(rope));
  request->kv_salt += spec.cache_salt;
  next_deadline_ = std::min(next_deadline_, spec.deadline);
  ++counters_.unstarted;

  std::vector<TokenId> prompt = std::move(spec.prompt);
  request->spec = std::move(spec);
  request->sequences.reserve(static_cast<size_t>(request->spec.n));
  request->sequences.push_back(std::make_unique<Sequence>(request, 0, std::move(prompt)));
  Sequence* first = request->sequences[0].get();
  first->state = Sequence::State::kWaiting;
  waiting_.insert(first);
}

Scheduler::RequestState* Scheduler::Find(RequestId id) {
  const auto it = requests_.find(id);
  return it == requests_.end() ? nullptr : it->second.get();
}

void Scheduler::Cancel(RequestId id, FinishReason reason, const Status& error,
                       std::vector<SequenceEvent>* events) {
  LATHE_CHECK(!in_step_);
  RequestState* request = Find(id);
  if (request == nullptr) return;
  const int n_made = static_cast<int>(request->sequences.size());
  for (int i = 0; i < request->spec.n; ++i) {
    if (i < n_made && request->sequences[static_cast<size_t>(i)]->state == Sequence::State::kDone) continue;
    events->push_back({.request = id,
                       .index = i,
                       .finish = reason,
                       .error = error,
                       .cached_tokens = request->cached_tokens});
  }
  request->n_open -= request->spec.n - n_made;
  for (const auto& seq : request->sequences) {
    if (seq->state != Sequence::State::kDone) EndSequence(seq.get());
  }
}

void Scheduler::CancelAll(FinishReason reason, const Status& error, std::vector<SequenceEvent>* events) {
  std::vector<std::pair<uint64_t, RequestId>> ids;
  for (const auto& [id, request] : requests_) ids.emplace_back(request->arrival, id);
  std::ranges::sort(ids);
  for (const auto& [arrival, id] : ids) Cancel(id, reason, error, events);
}

void Scheduler::FinishSequence(RequestId id, int index) {
  LATHE_CHECK(!in_step_);
  RequestState* request = Find(id);
  if (request == nullptr || static_cast<size_t>(index) >= request->sequences.size()) return;
  Sequence* seq = request->sequences[static_cast<size_t>(index)].get();
  if (seq->state != Sequence::State::kDone) EndSequence(seq);
}

void Scheduler::ApplyResult(const StepResult& result, std::vector<SequenceEvent>* events) {
  LATHE_CHECK(in_step_);
  LATHE_CHECK_EQ(result.tokens.size(), built_->step.logit_rows.size());
  in_step_ = false;
  kv_.SetMovesDone(result.moves_done);
  std::span<const SampledToken> tokens = result.tokens;
  std::span<const float> hidden = result.hidden;
  const size_t n_hidden = built_->step.want_hidden ? hidden.size() / built_->step.logit_rows.size() : 0;
  for (const Scheduled& done : built_->scheduled) {
    const auto reports = tokens.first(static_cast<size_t>(done.n_reports));
    const auto mine = tokens.subspan(reports.size(), static_cast<size_t>(done.n_logits));
    const auto states = hidden.first(n_hidden * reports.size());
    tokens = tokens.subspan(reports.size() + mine.size());
    hidden = hidden.subspan(n_hidden * (reports.size() + mine.size()));
    Sequence* seq = done.seq;
    if (seq->state == Sequence::State::kDone) continue;  // another continuation failed its request just now
    const int again = std::min(seq->n_computed + done.n_rows, seq->n_lost) - seq->n_computed;
    counters_.recomputed_tokens += static_cast<uint64_t>(std::max(0, again));
    seq->n_computed += done.n_rows;
    kv_.Commit(&seq->kv, seq->tokens, seq->n_computed);
    if (done.n_reports > 0) ApplyReport(seq, reports, states, events);
    if (done.n_logits > 0 && seq->state != Sequence::State::kDone) ApplyTokens(seq, mine, events);
  }
}

// Rows of the prompt that were asked about. The last one of an embedding ends its request.
void Scheduler::ApplyReport(Sequence* seq, std::span<const SampledToken> rows, std::span<const float> hidden,
                            std::vector<SequenceEvent>* events) {
  RequestState& request = *seq->request;
  for (const SampledToken& row : rows) {
    const Status error = CheckToken(row, request.n_reported + 1, limits_.vocab);
    ++request.n_reported;
    if (error.ok()) continue;
    request.in_doubt = !row.finite;
    Cancel(request.spec.id, FinishReason::kError, error, events);
    return;
  }
  if (request.spec.report == PromptReport::kLogprobs) {
    request.prompt_report.insert(request.prompt_report.end(), rows.begin(), rows.end());
    return;
  }
  const size_t width = hidden.size() / rows.size();
  request.hidden_sum.resize(width);
  for (size_t i = 0; i < hidden.size(); ++i) request.hidden_sum[i % width] += static_cast<double>(hidden[i]);
  if (request.n_reported < seq->n_prompt) return;
  SequenceEvent& event = events->emplace_back();
  event.request = request.spec.id;
  event.finish = FinishReason::kStop;
  for (double sum : request.hidden_sum) event.embedding.push_back(static_cast<float>(sum / seq->n_prompt));
  EndSequence(seq);
}

void Scheduler::ApplyTokens(Sequence* seq, std::span<const SampledToken> tokens,
                            std::vector<SequenceEvent>* events) {
  for (const SampledToken& token : tokens) {
    const Status error = CheckToken(token, seq->n_tokens(), limits_.vocab);
    if (error.ok()) continue;
    seq->request->in_doubt = !token.finite;
    Cancel(seq->request->spec.id, FinishReason::kError, error, events);
    return;
  }
  if (seq->request->forked) {
    AddToken(seq, tokens[0], events);
  } else {
    ForkRequest(seq, tokens, events);
  }
}

// The prompt of a request with n > 1 is computed: its other continuations begin, those with a token from this
// step's last row and, where logit rows were too few, those without.
void Scheduler::ForkRequest(Sequence* parent, std::span<const SampledToken> tokens,
                            std::vector<SequenceEvent>* events) {
  RequestState* request = parent->request;
  request->forked = true;
  for (int i = 1; i < request->spec.n; ++i) {
    request->sequences.push_back(std::make_unique<Sequence>(request, i, parent->tokens));
    Sequence* child = request->sequences.back().get();
    if (static_cast<size_t>(i) < tokens.size()) AddToken(child, tokens[static_cast<size_t>(i)], events);
    if (child->state == Sequence::State::kDone || TryShare(*parent, child)) continue;
    child->state = Sequence::State::kWaiting;
    waiting_.insert(child);
  }
  AddToken(parent, tokens[0], events);
}

// Lets a new continuation run at once on the prompt's full pages, under the rules of any admission.
bool Scheduler::TryShare(const Sequence& parent, Sequence* child) {
  if (static_cast<int>(running_.size()) >= max_sequences_) return false;
  if (!waiting_.empty() && BetterRank()(*waiting_.begin(), child)) return false;
  const int shareable = std::min(parent.n_prompt, child->n_tokens() - 1);  // one token is computed
  const int n_shared = shareable / kv_.page_size();
  const int reserve = AdmissionReserve(static_cast<int>(running_.size()), kv_.n_pages());
  if (kv_.PagesFor(child->n_tokens()) - n_shared + reserve > kv_.n_available()) return false;
  child->n_computed = kv_.Fork(parent.kv, shareable, &child->kv);
  LATHE_CHECK(kv_.Extend(&child->kv, child->n_tokens()));
  EnterRunning(child);
  return true;
}

void Scheduler::AddToken(Sequence* seq, const SampledToken& token, std::vector<SequenceEvent>* events) {
  const SamplingPolicy& policy = seq->sampler.policy();
  const int index = seq->n_tokens() - seq->n_prompt;
  seq->tokens.push_back(token.id);
  const bool allowed = seq->sampler.Add(token.id);
  seq->first_pass = false;
  ++counters_.generated_tokens;
  FinishReason finish = FinishReason::kNone;
  Status error;
  if (!allowed) {
    finish = FinishReason::kError;
    error = Error(StatusCode::kInternal, "token %d left the language of the output format", token.id);
  } else if (policy.Ends(token.id, index)) {
    finish = FinishReason::kStop;
  } else if (seq->n_tokens() >= seq->request->max_length) {
    finish = FinishReason::kLength;
  }
  events->push_back({.request = seq->request->spec.id,
                     .index = seq->index,
                     .token = &token,
                     .finish = finish,
                     .error = std::move(error),
                     .cached_tokens = seq->request->cached_tokens});
  if (index == 0 && seq->index == 0 && seq->request->spec.report == PromptReport::kLogprobs)
    events->back().prompt = &seq->request->prompt_report;
  if (finish != FinishReason::kNone) EndSequence(seq);
}

void Scheduler::EnterRunning(Sequence* seq) {
  seq->state = Sequence::State::kRunning;
  running_.insert(std::ranges::upper_bound(running_, seq, BetterRank()), seq);
}

void Scheduler::LeaveRunning(Sequence* seq) {
  const auto it = std::ranges::lower_bound(running_, seq, BetterRank());
  LATHE_CHECK(it != running_.end() && *it == seq);
  running_.erase(it);
  if (seq->request->in_doubt) {
    kv_.Discard(&seq->kv);
  } else {
    kv_.Free(&seq->kv);
  }
  is_blocked_ = false;
}

void Scheduler::EndSequence(Sequence* seq) {
  if (seq->state == Sequence::State::kRunning) LeaveRunning(seq);
  if (seq->state == Sequence::State::kWaiting) waiting_.erase(seq);
  seq->state = Sequence::State::kDone;
  RequestState* request = seq->request;
  if (--request->n_open > 0) return;
  if (!request->started) --counters_.unstarted;
  const auto it = requests_.find(request->spec.id);
  ended_.push_back(std::move(it->second));
  requests_.erase(it);
}

SchedulerStats Scheduler::stats() const {
  SchedulerStats s = counters_;
  s.running = static_cast<int>(running_.size());
  s.waiting = static_cast<int>(waiting_.size());
  return s;
}

void Scheduler::CheckInvariants() const {
  size_t n_running = 0, n_waiting = 0;
  int unstarted = 0;
  for (const auto& [id, request] : requests_) {
    LATHE_CHECK_EQ(id, request->spec.id);
    LATHE_CHECK_EQ(request->sequences.size(), request->forked ? static_cast<size_t>(request->spec.n) : 1u);
    int open = request->spec.n - static_cast<int>(request->sequences.size());
    for (const auto& seq : request->sequences) {
      const bool running = seq->state == Sequence::State::kRunning;
      const bool waiting = seq->state == Sequence::State::kWaiting;
      LATHE_CHECK_EQ(running, seq->kv.active);
      if (!running && !waiting) continue;
      ++open;
      n_running += running;
      n_waiting += waiting;
      LATHE_CHECK_GT(seq->n_pending(), 0);
      LATHE_CHECK_LT(seq->n_tokens(), request->max_length);
      if (waiting) LATHE_CHECK_EQ(waiting_.count(seq.get()), 1u);
      if (running) LATHE_CHECK_LE(kv_.PagesFor(seq->n_computed), static_cast<int>(seq->kv.pages.size()));
    }
    LATHE_CHECK_EQ(open, request->n_open);
    LATHE_CHECK_GT(open, 0);
    unstarted += !request->started;
  }
  LATHE_CHECK_EQ(n_running, running_.size());
  LATHE_CHECK_EQ(n_waiting, waiting_.size());
  LATHE_CHECK_EQ(unstarted, counters_.unstarted);
  LATHE_CHECK_LE(running_.size(), static_cast<size_t>(max_sequences_));
  LATHE_CHECK(std::ranges::is_sorted(running_, BetterRank()));
  std::vector<const KvSequence*> live;
  for (const Sequence* seq : running_) live.push_back(&seq->kv);
  kv_.CheckInvariants(live);
}

}  // namespace lathe
