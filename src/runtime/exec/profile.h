// Where the time of a step goes: seconds of each op of a plan, by the size of the step. Off unless the
// environment has LATHE_PROFILE=1; then a table goes to stderr when the executor is closed.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "plan/plan.h"

namespace lathe {

// Not thread-safe: one thread of the team adds.
class StepProfile {
 public:
  // Null when profiling is off. `plan` must outlive it.
  static std::unique_ptr<StepProfile> FromEnvironment(const Plan& plan);
  ~StepProfile();
  StepProfile(const StepProfile&) = delete;
  StepProfile& operator=(const StepProfile&) = delete;

  void Add(const PlanOp& op, int rows, double seconds);
  // What is no op of the plan.
  void Add(const std::string& name, int rows, double seconds);

 private:
  explicit StepProfile(const Plan& plan) : plan_(plan) {}
  struct Line {
    int calls = 0;
    double seconds = 0, best = 1e9;
    double bytes = 0, flops = 0;  // of one call; matmuls only
  };
  Line& AddTo(const std::string& name, int rows, double seconds);
  const Plan& plan_;
  std::map<std::string, Line> lines_;
};

}  // namespace lathe
