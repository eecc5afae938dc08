// Where the time of a step goes on the device, and which op a fault belongs to; off unless the environment
// has LATHE_PROFILE=1 or LATHE_CUDA_SYNC=1. Steps are then launched op by op, one waiting for the other.
#pragma once

#include <memory>
#include <vector>

#include "platform/cuda/driver.h"
#include "runtime/exec/cuda/step_input.h"
#include "runtime/exec/profile.h"

namespace lathe::cuda {

class OpTimes {
 public:
  static constexpr int kRopeTable = -1, kSampling = -2, kEnd = -3;  // beside the ops of the plan

  // Null when neither is asked for. `plan` must outlive it.
  static Expected<std::unique_ptr<OpTimes>> FromEnvironment(const Plan& plan, const Device& device);

  void Start() { n_ = 0; }
  // Before op `op` is launched. With LATHE_CUDA_SYNC: a fault of the op before, by its name.
  Status Before(int op, const StepInput& input, const Stream& stream);
  // After the step has ended.
  Status Finish();

 private:
  OpTimes(const Plan& plan, bool sync) : plan_(plan), sync_(sync) {}
  std::string NameOf(int op) const;

  struct Mark {
    int op = 0, rows = 0;
    Event event;
  };
  const Plan& plan_;
  const bool sync_;
  std::unique_ptr<StepProfile> profile_;  // null: only sync
  std::vector<Mark> marks_;               // of a step, kept for the next
  size_t n_ = 0;
};

}  // namespace lathe::cuda
