// One engine step as the scheduler hands it to the executor: which tokens of which sequences run now, where
// their keys and values live, and for which rows a next token is wanted. Plain data; the executor never
// decides anything, the scheduler never computes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/api/sample.h"

namespace lathe {

// The rows [first_row, first_row + n_rows) of a step belong to one sequence, consecutive positions.
struct SeqSlice {
  int32_t first_row = 0;
  int32_t n_rows = 0;
  int32_t first_position = 0;      // position of the first row; keys 0 .. first_position-1 are in the cache
  int32_t rope_length = 0;         // sequence length that decides a dynamic RoPE base; see ModelSpec
  const int32_t* pages = nullptr;  // page table: ceil((first_position + n_rows) / page_size) page ids
  int32_t n_pages = 0;
};

// A copy of one KV page, all layers of it.
struct PageMove {
  int32_t device_page = 0;
  int32_t host_page = 0;
  bool to_host = false;  // else to the device
};

struct Step {
  // (n_rows); ~i: the token of logit row i of the step before, which may still run (StepExecutor::runs_ahead)
  std::vector<int32_t> token_ids;
  std::vector<SeqSlice> sequences;  // cover all rows, in order
  // Rows whose logits are computed, ascending; sampled with the params of the same index. A row may stand
  // several times: continuations of one prompt draw their first tokens from its last row.
  std::vector<int32_t> logit_rows;
  std::vector<SampleRow> samples;  // (logit_rows.size())
  bool want_logits = false;        // also copy out raw logits (evaluation); size in StepResult::logits
  bool want_hidden = false;        // also copy out the last hidden state of the logit rows (embeddings)
  // Moves of pages that begin with this step, in this order and after those of all earlier steps.
  std::vector<PageMove> moves;
  // The step computes when so many moves, counted from the first step on, are over; others may run beside it.
  int64_t moves_needed = 0;

  int n_rows() const { return static_cast<int>(token_ids.size()); }
};

// Result for one logit row.
struct SampledToken {
  int32_t id = -1;
  float logprob = 0;              // of `id`, under the raw distribution (before temperature and filters)
  bool finite = true;             // false: a logit was NaN or Inf; the request must fail
  std::vector<TokenLogprob> top;  // n_top_logprobs most likely, descending
};

struct StepResult {
  std::vector<SampledToken> tokens;  // (logit_rows)
  std::vector<float> logits;         // (logit_rows, vocab) when want_logits
  std::vector<float> hidden;         // (logit_rows, hidden) when want_hidden: after the final norm
  int64_t moves_done = 0;            // moves of pages that are over, counted from the first step on
};

// What the executor can hold; fixed at load.
struct ExecutorLimits {
  int max_step_rows = 0;  // rows of one step
  int max_logit_rows = 0;
  int n_pages = 0;        // KV pages of the pool
  int page_size = 0;      // tokens a page
  int n_host_pages = 0;   // pages of host memory that moves may name
  int max_positions = 0;  // longest sequence
  int vocab = 0;
  bool dynamic_rope = false;  // prefix pages depend on SeqSlice::rope_length beyond original_max_positions
  int dynamic_rope_from = 0;
};

// Runs steps on a device. One thread at a time. Implemented by runtime/exec (CPU), runtime/dist (ranks), and
// by a fake in scheduler tests.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;
  virtual const ExecutorLimits& limits() const = 0;
  // Runs one step to its end. A failure is a device fault: every request in the step fails with it.
  virtual Status Execute(const Step& step, StepResult* result) = 0;

  // Execute in two halves. Where the device works by itself meanwhile (overlaps), the caller has the time
  // between them for other things; `step` and what it points to stay as they are until Finish has returned.
  // After a Begin that fails there is no Finish.
  virtual bool overlaps() const { return false; }
  virtual Status Begin(const Step& step) {
    begun_ = &step;
    return Status::Ok();
  }
  virtual Status Finish(StepResult* result) { return Execute(*begun_, result); }

  // Whether a second step may begin before the first is finished, with tokens that the first gives; Finish is
  // then for the one begun first. Steps compute in the order in which they began. What a step points to is
  // read in its Begin alone.
  virtual bool runs_ahead() const { return false; }

  // Seconds that the device computed, by its own clock, in all steps but one that runs; 0 where that is not
  // known.
  virtual double device_seconds() { return 0; }

 private:
  const Step* begun_ = nullptr;
};

}  // namespace lathe
