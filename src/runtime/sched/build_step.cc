// The half of the scheduler that decides what runs next.
#include <algorithm>

#include "base/check.h"
#include "runtime/sched/scheduler.h"
#include "runtime/sched/sequence.h"

namespace lathe {

const Step* Scheduler::BuildStep(double now, std::vector<SequenceEvent>* events) {
  LATHE_CHECK(!in_step_);
  ExpireDeadlines(now, events);
  started_.clear();
  moving_.clear();
  if (ahead_) return TakeAhead();
  ended_.clear();
  built_->Clear();
  preempted_ = false;
  rows_end_ = max_step_rows_;
  PlaceDecodes();
  step_decodes_ = built_->step.n_rows();
  step_long_rows_ = 0;
  if (step_decodes_ > 0 && prompt_rows_ < RowsLeft()) rows_end_ = step_decodes_ + prompt_rows_;
  PlacePrompts();
  if (built_->scheduled.empty()) PlaceFirstMoving();
  if (built_->scheduled.empty()) {
    LATHE_CHECK(requests_.empty());
    return nullptr;
  }
  kv_.CopyAhead();
  kv_.TakeMoves(&built_->step.moves);
  in_step_ = true;
  return &built_->step;
}

void Scheduler::Built::Clear() {
  step.token_ids.clear();
  step.sequences.clear();
  step.logit_rows.clear();
  step.samples.clear();
  step.want_hidden = false;
  step.moves.clear();
  step.moves_needed = 0;
  scheduled.clear();
}

const Step* Scheduler::TakeAhead() {
  ahead_ = false;
  // Nothing names them any more: those that ended since may have rows in the step.
  ended_.erase(ended_.begin(), ended_.begin() + static_cast<std::ptrdiff_t>(n_ended_before_));
  std::swap(built_, next_);
  step_decodes_ = built_->step.n_rows();
  step_long_rows_ = 0;
  in_step_ = true;
  return &built_->step;
}

const Step* Scheduler::BuildAhead() {
  LATHE_CHECK(in_step_ && !ahead_);
  if (!IsForeseeable()) return nullptr;
  next_->Clear();
  Step& step = next_->step;
  for (size_t i = 0; i < built_->scheduled.size(); ++i) {
    Sequence* seq = built_->scheduled[i].seq;
    if (seq->state == Sequence::State::kDone || EndsNow(*seq)) continue;
    const int position = seq->n_tokens();
    if (!kv_.Extend(&seq->kv, position + 1)) return nullptr;  // the next step preempts somebody
    const int row = step.n_rows();
    step.token_ids.push_back(~static_cast<int32_t>(i));
    step.sequences.push_back({.first_row = row,
                              .n_rows = 1,
                              .first_position = position,
                              .rope_length = RopeLength(*seq, position, 1),
                              .pages = seq->kv.pages.data(),
                              .n_pages = kv_.PagesFor(position + 1)});
    step.logit_rows.push_back(row);
    step.samples.push_back(seq->sampler.RowAhead(seq->generated().size() + 1));
    next_->scheduled.push_back({seq, 1, 0, 1});
  }
  if (next_->scheduled.empty()) return nullptr;
  n_ended_before_ = ended_.size();
  ahead_ = true;
  return &step;
}

// Whether the step after the one that runs holds the same sequences, but for those that end with it, and
// needs nothing but their tokens. A request that could be admitted is not kept waiting for a step more.
bool Scheduler::IsForeseeable() const {
  if (limits_.dynamic_rope || limits_.n_host_pages > 0 || step_decodes_ != built_->step.n_rows())
    return false;
  size_t n_running = 0;
  bool room = static_cast<int>(running_.size()) < max_sequences_ && !waiting_.empty() &&
              !(is_blocked_ && blocked_ == (*waiting_.begin())->rank);
  for (const Scheduled& one : built_->scheduled) {
    if (one.seq->state == Sequence::State::kDone) continue;
    if (!one.seq->sampler.policy().foreseeable()) return false;
    room |= !waiting_.empty() && EndsNow(*one.seq);
    ++n_running;
  }
  return !room && n_running == running_.size();
}

// With the token that its row in the step that runs gives.
bool Scheduler::EndsNow(const Sequence& seq) const { return seq.n_tokens() + 1 >= seq.request->max_length; }

void Scheduler::ExpireDeadlines(double now, std::vector<SequenceEvent>* events) {
  if (now < next_deadline_) return;
  std::vector<RequestId> late;
  next_deadline_ = std::numeric_limits<double>::infinity();
  for (const auto& [id, request] : requests_) {
    if (request->spec.deadline <= now) {
      late.push_back(id);
    } else {
      next_deadline_ = std::min(next_deadline_, request->spec.deadline);
    }
  }
  std::ranges::sort(late);
  for (RequestId id : late) Cancel(id, FinishReason::kDeadline, Status::Ok(), events);
}

// A row for everybody who needs just one, in order of rank. Who needs a page when there is none takes those
// of the last in rank, who therefore has no row in this step yet.
void Scheduler::PlaceDecodes() {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* seq = running_[i];
    if (!seq->decodes()) continue;
    while (seq->state == Sequence::State::kRunning && !kv_.Extend(&seq->kv, seq->n_tokens())) {
      LATHE_CHECK_GT(running_.size(), 1u);
      Preempt(running_.back());
    }
    if (seq->state == Sequence::State::kRunning && !Waits(seq)) AddSlice(seq, 1, 0, 1);
  }
}

// Whether pages of a sequence are on their way, so that it sits this step out.
bool Scheduler::Waits(Sequence* seq) {
  if (seq->kv.ready_at <= kv_.moves_done()) return false;
  moving_.push_back(seq);
  return true;
}

// Everybody waits for pages: the step does, for those of the first in rank.
void Scheduler::PlaceFirstMoving() {
  if (moving_.empty()) return;
  Sequence* first = *std::ranges::min_element(moving_, BetterRank());
  PlaceChunk(first, RowsFor(*first, prompts_.size()), /*wait=*/true);
}

// The rest of the rows: prompts of running and of waiting sequences, by rank. When the best of the waiting
// cannot be admitted, nobody behind it is either.
void Scheduler::PlacePrompts() {
  prompts_.clear();
  for (Sequence* seq : running_) {
    if (!seq->decodes()) prompts_.push_back(seq);
  }
  prompt_half_ = RowsLeft() / 2;
  bool may_admit = !preempted_;
  for (size_t next = 0; RowsLeft() > 0;) {
    Sequence* seq = next < prompts_.size() ? prompts_[next] : nullptr;
    if (may_admit && !waiting_.empty() && (seq == nullptr || BetterRank()(*waiting_.begin(), seq))) {
      Sequence* head = *waiting_.begin();
      may_admit = static_cast<int>(running_.size()) < max_sequences_ && TryAdmit(head);
      if (may_admit) PlaceChunk(head, RowsFor(*head, next));
      continue;
    }
    if (seq == nullptr) break;
    ++next;
    PlaceChunk(seq, RowsFor(*seq, next));
  }
}

bool Scheduler::TryAdmit(Sequence* seq) {
  if (is_blocked_ && blocked_ == seq->rank) return false;
  RequestState& request = *seq->request;
  const int reserve = AdmissionReserve(static_cast<int>(running_.size()), kv_.n_pages());
  const uint64_t restored = kv_.counters().restored;
  const int found = kv_.Admit(&seq->kv, seq->tokens, request.kv_salt, request.spec.allow_cache, reserve);
  if (found < 0) {
    is_blocked_ = true;
    blocked_ = seq->rank;
    return false;
  }
  waiting_.erase(seq);
  seq->n_computed = found;
  EnterRunning(seq);
  if (!request.started) {
    request.started = true;
    started_.push_back(request.spec.id);
    --counters_.unstarted;
    CountCached(&request, found, restored);
    counters_.prompt_tokens += static_cast<uint64_t>(seq->n_prompt);
  }
  return true;
}

// `tokens` of a prompt were found; pages that were restored since `restored_before` are among them.
void Scheduler::CountCached(RequestState* request, int tokens, uint64_t restored_before) {
  request->cached_tokens += tokens;
  counters_.cached_tokens += static_cast<uint64_t>(tokens);
  counters_.host_tokens +=
      (kv_.counters().restored - restored_before) * static_cast<uint64_t>(kv_.page_size());
}

// Rows that a prompt may take of those left. One that does not end with this step leaves up to half of what
// prompts have in it to short ones behind (prompts_[next] and on), which would otherwise wait for its end.
int Scheduler::RowsFor(const Sequence& seq, size_t next) const {
  const int left = RowsLeft(), half = prompt_half_;
  const int most = IsLong(seq) ? std::min(left, long_rows_ - step_long_rows_) : left;
  if (seq.n_pending() <= most) return most;
  int wanted = 0;
  const auto add = [&](const Sequence& other) {
    if (other.n_pending() <= half) wanted += other.n_pending();
  };
  for (size_t i = next; i < prompts_.size() && wanted < half; ++i) add(*prompts_[i]);
  const bool may_admit = static_cast<int>(running_.size()) < max_sequences_ && !is_blocked_;
  for (auto it = waiting_.begin(); may_admit && it != waiting_.end() && wanted < half; ++it) add(**it);
  return std::max(0, std::min(most, left - std::min(wanted, half)));
}

bool Scheduler::IsLong(const Sequence& seq) const { return IsLongPrompt(seq.n_prompt, max_step_rows_); }

int Scheduler::n_decoding() const {
  return static_cast<int>(std::ranges::count_if(running_, [](const Sequence* s) { return s->decodes(); }));
}

// wait: for pages of the sequence that are on their way; else it sits the step out.
void Scheduler::PlaceChunk(Sequence* seq, int max_rows, bool wait) {
  const uint64_t restored = kv_.counters().restored;
  const int adopted = kv_.Adopt(&seq->kv, seq->tokens, seq->n_computed) - seq->n_computed;
  seq->n_computed += adopted;
  if (seq->first_pass) CountCached(seq->request, adopted, restored);
  if (!wait && Waits(seq)) return;

  int n_rows = RopeRows(*seq, std::min(seq->n_pending(), max_rows));
  int n_reports = ReportRows(*seq, n_rows);
  if (n_reports > LogitsLeft()) {
    n_reports = LogitsLeft();
    n_rows = ReportFirst(*seq) + n_reports - seq->n_computed;
  }
  int n_logits = 0;
  if (n_rows == seq->n_pending() && seq->request->spec.report != PromptReport::kMeanHidden) {
    const int wanted = seq->request->forked ? 1 : seq->request->spec.n;
    n_logits = std::min(wanted, LogitsLeft() - n_reports);
    if (n_logits == 0) --n_rows;  // its last row waits for a step that can sample it
  }
  if (n_rows <= 0) return;
  if (IsLong(*seq)) step_long_rows_ += n_rows;
  AddSlice(seq, n_rows, n_reports, n_logits);
}

// The first position from the sequence's pending ones on that is still to be reported.
int Scheduler::ReportFirst(const Sequence& seq) const {
  return std::max(seq.n_computed, seq.request->n_reported);
}

// Logit rows that the next n_rows need for the report of the prompt. They are the last rows of those, but for
// the prompt's very last where that gives the first token instead.
int Scheduler::ReportRows(const Sequence& seq, int n_rows) const {
  const PromptReport report = seq.request->spec.report;
  if (report == PromptReport::kNone || seq.index != 0) return 0;
  const int end = report == PromptReport::kMeanHidden ? seq.n_prompt : seq.n_prompt - 1;
  return std::max(0, std::min(end, seq.n_computed + n_rows) - ReportFirst(seq));
}

void Scheduler::Preempt(Sequence* seq) {
  ++counters_.preemptions;
  preempted_ = true;
  LeaveRunning(seq);
  seq->n_lost = std::max(seq->n_lost, seq->n_computed);
  seq->n_computed = 0;
  seq->first_pass = false;
  seq->state = Sequence::State::kWaiting;
  waiting_.insert(seq);
}

// Dynamic RoPE: the prompt is rotated for its whole length, however it is cut; a generated token for the
// length it was generated at, also when it is computed again.
int Scheduler::RopeLength(const Sequence& seq, int first, int n_rows) const {
  return first < seq.n_prompt ? seq.n_prompt : first + n_rows;
}

// So rows with distinct rotations cannot share a slice: rows of it that may be computed at once.
int Scheduler::RopeRows(const Sequence& seq, int n_rows) const {
  if (!limits_.dynamic_rope) return n_rows;
  const int first = seq.n_computed;
  if (first < seq.n_prompt) return std::min(n_rows, seq.n_prompt - first);
  return std::min(n_rows, std::max(1, limits_.dynamic_rope_from - first));
}

void Scheduler::AddSlice(Sequence* seq, int n_rows, int n_reports, int n_logits) {
  const int first_row = built_->step.n_rows();
  const int first = seq->n_computed;
  if (seq->kv.ready_at > kv_.moves_done())
    built_->step.moves_needed = std::max(built_->step.moves_needed, seq->kv.ready_at);
  const auto begin = seq->tokens.begin() + first;
  built_->step.token_ids.insert(built_->step.token_ids.end(), begin, begin + n_rows);
  built_->step.sequences.push_back({.first_row = first_row,
                                    .n_rows = n_rows,
                                    .first_position = first,
                                    .rope_length = RopeLength(*seq, first, n_rows),
                                    .pages = seq->kv.pages.data(),
                                    .n_pages = kv_.PagesFor(first + n_rows)});
  RequestState& request = *seq->request;
  const bool hidden = request.spec.report == PromptReport::kMeanHidden;
  if (n_reports > 0) {
    built_->step.want_hidden |= hidden;
    request.report_targets.resize(static_cast<size_t>(seq->n_prompt));
  }
  for (int i = 0; i < n_reports; ++i) {
    const int at = ReportFirst(*seq) + i;
    built_->step.logit_rows.push_back(first_row + at - first);
    if (hidden) {
      built_->step.samples.emplace_back();
      continue;
    }
    built_->step.samples.push_back(ForcedRow(seq->tokens[static_cast<size_t>(at) + 1],
                                             &request.report_targets[static_cast<size_t>(at)]));
    built_->step.samples.back().n_top_logprobs = request.spec.report_top;
  }
  for (int i = 0; i < n_logits; ++i) {
    built_->step.logit_rows.push_back(first_row + n_rows - 1);
    built_->step.samples.push_back(seq->sampler.Row(seq->generated()));
    built_->step.samples.back().seed += static_cast<uint64_t>(i);  // continuation i of a prompt
  }
  built_->scheduled.push_back({seq, n_rows, n_reports, n_logits});
}

}  // namespace lathe
