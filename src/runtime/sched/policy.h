// Decisions of the scheduler as pure functions; the mechanism that carries them out is scheduler.cc.
//
// Nobody starves. Every sequence has a Rank that is fixed when its request arrives, and the order of ranks is
// total. Only finitely many requests ever rank before a given one: those that arrived earlier, and of later
// ones with a priority higher by d at most the next d * kOvertake. The sequence that ranks first of all
// - is never preempted while another sequence runs, since the victim is always the one that ranks last; and
//   alone it fits, since a request that cannot is refused when it arrives;
// - gets its row in every step once it decodes: all decoding sequences fit one step (max_sequences <=
//   max_step_rows) and are placed before any prompt;
// - gets rows of every step while its prompt is computed: sequences that decode are fewer than rows then, and
//   prompts are served by rank;
// - is admitted: while it waits nobody that ranks behind it is, so the running ones, whose lengths are
//   bounded, end, and when nobody runs it is admitted with no reserve.
// Steps that it sits out while pages of it are on their way to or from host memory come on top: moves are
// performed one after another, so those that it waits for are over in bounded time, whoever adds others.
// So it ends after boundedly many steps, and by induction so does everybody.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>

namespace lathe {

// Lower is served earlier.
struct Rank {
  int64_t place = 0;
  uint64_t arrival = 0;  // number of the request
  int32_t index = 0;     // continuation
  friend auto operator<=>(const Rank&, const Rank&) = default;
};

// One level of priority is worth this many places in the line: far more than are ever waiting at once in
// normal service, so that priorities are strict there, and yet an endless stream of urgent requests cannot
// hold back a modest one for ever.
inline constexpr int64_t kOvertake = 65536;

inline Rank RankOf(int priority, uint64_t arrival, int index) {
  return {static_cast<int64_t>(arrival) - static_cast<int64_t>(priority) * kOvertake, arrival, index};
}

// Pages that must stay available after a sequence is admitted beside `n_running` others. Each of them may
// take a page at any step; with one page in hand for each (up to an eighth of the pool) an admission is not
// undone by a preemption a step later. With nobody running everything may be used.
inline int AdmissionReserve(int n_running, int n_pages) {
  return std::min(n_running, std::max(n_pages / 8, 1));
}

// A prompt of more than this many whole steps is long: it takes its rows little by little, since who decodes
// beside it would notice every one of its steps. A shorter one is over before that matters, and making it
// wait would keep the batch small.
inline constexpr int kLongPromptSteps = 8;

inline bool IsLongPrompt(int n_prompt, int max_step_rows) {
  return n_prompt / kLongPromptSteps > max_step_rows;
}

}  // namespace lathe
