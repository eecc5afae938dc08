// The run of a comparison: every contender through every case, in rounds whose order turns.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compare/comparison.h"
#include "compare/contender.h"
#include "compare/journal.h"

namespace lathe::cli {

struct ComparePlan {
  std::vector<int> inputs, batches;  // ascending
  bool fill = true;                  // one more batch: what fills the first contender's KV cache
  int output = 128;
  int rounds = 1, repeats = 3;
  double case_seconds = 30;    // repetitions of a case end after this much
  double limit_seconds = 240;  // a case that takes longer, or must, is left out
  uint64_t seed = 0;
};

// Told before each case. `done` of `total` cases of all rounds.
using CompareProgress = std::function<void(const std::string& what, uint64_t done, uint64_t total)>;

// The cases of a plan for a model of `max_context` positions (0: unknown) and a cache of `fill_tokens`:
// prompts that would not fit are as long as do. Ascending, so that what is too slow shows early.
std::vector<CompareCase> CasesOf(const ComparePlan& plan, int max_context, uint64_t fill_tokens);

// The least seconds that `c` can take, given that `before`, an earlier case with less to do, took what
// `result` says: prompts scale with their tokens, further tokens cost as much as before at least. 0: nothing
// known.
double LeastSeconds(const CompareCase& c, const CompareCase& before, const CaseResult& result);

// Called after each case, and when all contenders are known; a Status that is not Ok ends the run.
using CompareSave = std::function<Status(const CompareState& state)>;

// Fills in cases and contenders; with a state that has begun, goes on from there. Every contender is started
// once before anything is timed, so faults come early and files are in the page cache. Errors: that of a
// contender that cannot start, kCancelled.
Status RunComparison(const ComparePlan& plan, const std::vector<std::unique_ptr<Contender>>& contenders,
                     const CompareProgress& progress, const CompareSave& save, CompareState* state);

}  // namespace lathe::cli
