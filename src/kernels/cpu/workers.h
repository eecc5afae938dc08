// The Worker structs of a team: per-thread scratch and the task counters, reused from op to op.
//
// Inside one Team::Run the ops of a step follow each other like this, on every thread:
//   for (int i = 0; i < n_ops; ++i) { op[i](params[i], workers.Get(index, i)); workers.Finish(index, i); }
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

#include "kernels/api/kernel.h"
#include "platform/team.h"

namespace lathe {

class Workers {
 public:
  // Allocates kScratchBytes a thread, touched first by the thread that will use it. `team` must outlive this.
  explicit Workers(Team& team);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  Team& team() const { return team_; }
  // The worker of thread `index` for the op number `op` of this Run (0, 1, 2, ...).
  Worker Get(int index, int op) {
    return {.index = index,
            .count = team_.size(),
            .next_task = &counters_[op & 1].value,
            .scratch = {scratch_[static_cast<size_t>(index)], kScratchBytes}};
  }
  // Ends op number `op`: barrier, and its task counter is ready for op + 2.
  void Finish(int index, int op) {
    team_.Barrier();
    if (index == 0) counters_[op & 1].value.store(0, std::memory_order_relaxed);
  }

  // Runs one op alone on the whole team.
  template <typename Fn, typename Params>
  void RunOne(Fn fn, const Params& params) {
    team_.Run([&](int index) {
      fn(params, Get(index, 0));
      Finish(index, 0);
    });
  }

 private:
  struct alignas(64) Counter {
    std::atomic<int> value{0};
  };
  Team& team_;
  Counter counters_[2];
  std::vector<std::byte*> scratch_;
};

}  // namespace lathe
