// In-flight batching: which tokens of which sequences run in the next step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "lathe/request.h"
#include "runtime/kv/kv_manager.h"
#include "runtime/sample/sequence_sampler.h"
#include "runtime/sched/policy.h"
#include "runtime/step/step.h"

namespace lathe {

struct SchedulerOptions {
  int max_sequences = 256;  // running at once; lowered to what a step's rows and logit rows can hold
  int max_step_rows = 0;    // 0: the executor's
  int max_context = 0;      // prompt and generated tokens of one sequence; 0: the executor's positions
  KvOptions kv;             // its host_pages are the executor's
};

// What is wanted of the rows of the prompt itself.
enum class PromptReport : uint8_t {
  kNone,
  kLogprobs,    // of each prompt token given those before it
  kMeanHidden,  // the mean of the last hidden states; the request then ends without generating
};

// A request as the scheduler wants it: checked, tokenized.
struct SchedRequest {
  RequestId id = 0;             // unique among live requests
  std::vector<TokenId> prompt;  // passed CheckFits
  std::shared_ptr<const SamplingPolicy> policy;
  uint64_t seed = 0;  // continuation i draws with seed + i
  int n = 1;
  int priority = 0;
  double deadline = std::numeric_limits<double>::infinity();  // on the clock of BuildStep(now)
  std::string cache_salt;
  bool allow_cache = true;  // false where every row of the prompt is to be reported
  PromptReport report = PromptReport::kNone;
  int report_top = 0;  // kLogprobs: alternatives of each prompt token
};

// What happened to one continuation: a token, its end, or both.
struct SequenceEvent {
  RequestId request = 0;
  int index = 0;
  const SampledToken* token = nullptr;  // in the StepResult given to ApplyResult; null: ended without one
  FinishReason finish = FinishReason::kNone;
  Status error;           // when finish is kError
  int cached_tokens = 0;  // of the request's prompt, so far
  // With the first token: kLogprobs, one for each prompt token from the second on. Valid as long as `token`.
  const std::vector<SampledToken>* prompt = nullptr;
  std::vector<float> embedding = {};  // kMeanHidden, with the end
};

struct SchedulerStats {
  int running = 0, waiting = 0;  // sequences
  int unstarted = 0;             // requests that never ran yet
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  uint64_t preemptions = 0, recomputed_tokens = 0;
  uint64_t host_tokens = 0;  // of cached_tokens, those whose pages were in host memory
};

// Pure host code without a clock: the same calls give the same steps. Not thread-safe; owned by one thread.
//
// BuildStep and ApplyResult alternate; every other call but BuildAhead comes between an ApplyResult and the
// next BuildStep. A step holds, in order of rank: one row for every sequence
// that decodes, then chunks of prompts until max_step_rows are used. Order, preemption and why nobody
// starves: policy.h.
//
// A preempted sequence gives up its pages, keeps its tokens and is computed again when it is admitted again;
// the prefix cache often still has its pages, or host memory has. For n > 1 the prompt is computed once, its
// last row is sampled once for each continuation (as far as a step's logit rows go), and each continuation
// shares the prompt's full pages; what lies in the prompt's last, partial page it computes again.
//
// Running ahead: while a step runs of which only the tokens it gives are not known yet, BuildAhead gives the
// one after it, which takes those tokens where the device has them. BuildStep then returns that step. Rows of
// sequences that ended meanwhile are computed for nobody; the pages they write to are free already, but not
// found by anyone (a page is found once it is full of tokens whose step was applied), and who gets them next
// is computed later.
class Scheduler {
 public:
  Scheduler(const ExecutorLimits& limits, const SchedulerOptions& options);
  ~Scheduler();

  // The longest sequence: prompt and generated tokens.
  int max_context() const { return max_context_; }
  int max_sequences() const { return max_sequences_; }
  // Whether a request with such a prompt can ever run to its max_tokens (0: to one token). Errors, with the
  // numbers: kInvalidArgument (empty, longer than the context, more than the KV pool holds). May be called
  // from any thread.
  Status CheckFits(size_t n_prompt, int max_tokens) const;

  void AddRequest(SchedRequest request);
  // Ends every open continuation of a request, with an event for each; its pages are free at once. Unknown
  // ids are ignored. `error` goes with FinishReason::kError.
  void Cancel(RequestId id, FinishReason reason, const Status& error, std::vector<SequenceEvent>* events);
  // Ends one continuation, without an event (the caller found a stop string in its text).
  void FinishSequence(RequestId id, int index);
  // Ends everything with kError (the device is lost) or kCancelled.
  void CancelAll(FinishReason reason, const Status& error, std::vector<SequenceEvent>* events);

  // At most so many rows of prompts (at least 1) share a step with sequences that decode; and at most
  // `long_rows` of them (at least 1), also where nobody decodes, are of long prompts (policy.h).
  void LimitPromptRows(int rows, int long_rows) {
    prompt_rows_ = rows > 1 ? rows : 1;
    long_rows_ = long_rows > 1 ? long_rows : 1;
  }
  // Rows of prompts in the step last built, those of long ones, and sequences that decode in it.
  int step_prompt_rows() const { return built_->step.n_rows() - step_decodes_; }
  int step_long_rows() const { return step_long_rows_; }
  int step_decodes() const { return step_decodes_; }
  int n_decoding() const;  // sequences that will decode in the next step

  // The next step, or null when nothing is to be done. First ends what is past its deadline. The step stays
  // as it is until ApplyResult, and what it points to until BuildAhead. Where a step was built ahead it is
  // that.
  const Step* BuildStep(double now, std::vector<SequenceEvent>* events);
  // Between BuildStep and ApplyResult, once: the step after, if all rows of the one that runs decode and only
  // their tokens are missing to know it; else null. Token ~i stands for that of logit row i of the one that
  // runs. Its page tables stay as they are until the ApplyResult of the step that runs.
  const Step* BuildAhead();
  // A step was built ahead, which BuildStep has not returned yet.
  bool is_ahead() const { return ahead_; }
  // Requests of which the step last built is the first.
  std::span<const RequestId> started() const { return started_; }
  // The result of the step last built. Appends an event for each token.
  void ApplyResult(const StepResult& result, std::vector<SequenceEvent>* events);
  // The step last built was not run to its end: forgets it, and the one built ahead (the caller ends what was
  // in them).
  void DropStep() { in_step_ = ahead_ = false; }

  bool idle() const { return requests_.empty() && !ahead_; }
  SchedulerStats stats() const;
  KvManager& kv() { return kv_; }
  const KvManager& kv() const { return kv_; }

  // Aborts when state contradicts itself.
  void CheckInvariants() const;

 private:
  struct Sequence;
  struct RequestState;
  struct BetterRank {
    bool operator()(const Sequence* a, const Sequence* b) const;
  };
  struct Scheduled {
    Sequence* seq;
    int n_rows;
    int n_reports;  // logit rows for SchedRequest::report, before the others
    int n_logits;   // 0: rows in the middle of a prompt
  };
  struct Built {
    Step step;
    std::vector<Scheduled> scheduled;  // (step.sequences.size())
    void Clear();
  };

  // Building (build_step.cc).
  const Step* TakeAhead();
  bool IsForeseeable() const;
  bool EndsNow(const Sequence& seq) const;
  void ExpireDeadlines(double now, std::vector<SequenceEvent>* events);
  void PlaceDecodes();
  bool Waits(Sequence* seq);
  void PlaceFirstMoving();
  void PlacePrompts();
  void PlaceChunk(Sequence* seq, int max_rows, bool wait = false);
  int RowsFor(const Sequence& seq, size_t next) const;
  bool IsLong(const Sequence& seq) const;
  bool TryAdmit(Sequence* seq);
  void CountCached(RequestState* request, int tokens, uint64_t restored_before);
  void Preempt(Sequence* seq);
  void AddSlice(Sequence* seq, int n_rows, int n_reports, int n_logits);
  int ReportFirst(const Sequence& seq) const;
  int ReportRows(const Sequence& seq, int n_rows) const;
  int RopeLength(const Sequence& seq, int first, int n_rows) const;
  int RopeRows(const Sequence& seq, int n_rows) const;
  int RowsLeft() const { return rows_end_ - built_->step.n_rows(); }
  int LogitsLeft() const { return limits_.max_logit_rows - static_cast<int>(built_->step.logit_rows.size()); }

  // Results and life cycle (scheduler.cc).
  void ApplyReport(Sequence* seq, std::span<const SampledToken> rows, std::span<const float> hidden,
                   std::vector<SequenceEvent>* events);
  void ApplyTokens(Sequence* seq, std::span<const SampledToken> tokens, std::vector<SequenceEvent>* events);
  void ForkRequest(Sequence* parent, std::span<const SampledToken> tokens,
                   std::vector<SequenceEvent>* events);
  bool TryShare(const Sequence& parent, Sequence* child);
  void AddToken(Sequence* seq, const SampledToken& token, std::vector<SequenceEvent>* events);
  void EnterRunning(Sequence* seq);
  void LeaveRunning(Sequence* seq);
  void EndSequence(Sequence* seq);
  RequestState* Find(RequestId id);

  const ExecutorLimits limits_;
  const int max_context_;
  const int max_step_rows_;
  const int max_sequences_;
  KvManager kv_;

  std::unordered_map<RequestId, std::unique_ptr<RequestState>> requests_;
  std::vector<std::unique_ptr<RequestState>> ended_;  // kept until the step that may name them is over
  std::vector<Sequence*> running_;                    // by rank
  std::set<Sequence*, BetterRank> waiting_;           // hold no pages
  uint64_t n_arrived_ = 0;
  double next_deadline_ = std::numeric_limits<double>::infinity();
  // Admission of the sequence of this rank failed and no page was given up since: no use in trying again.
  Rank blocked_;
  bool is_blocked_ = false;

  std::unique_ptr<Built> built_ = std::make_unique<Built>();
  std::unique_ptr<Built> next_ = std::make_unique<Built>();  // when ahead_
  std::vector<RequestId> started_;
  std::vector<Sequence*> prompts_;  // scratch
  std::vector<Sequence*> moving_;   // sit this step out, since pages of theirs are on their way; by rank
  int prompt_rows_ = std::numeric_limits<int>::max();
  int long_rows_ = std::numeric_limits<int>::max();
  int step_decodes_ = 0;
  int step_long_rows_ = 0;
  int prompt_half_ = 0;  // half of the rows that prompts may have in the step being built
  int rows_end_ = 0;     // of the step being built: what prompts may fill it to
  bool in_step_ = false;
  bool ahead_ = false;
  size_t n_ended_before_ = 0;  // of ended_: when next_ was built
  bool preempted_ = false;     // in this step

  SchedulerStats counters_;
};

}  // namespace lathe
