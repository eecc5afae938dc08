// How long the device computed, by its own clock: two events a step, read while the next one runs, so that
// nothing waits for them.
#pragma once

#include "platform/cuda/driver.h"

namespace lathe::cuda {

// Of one stream, whose steps never overlap. Not thread-safe.
class StepClock {
 public:
  static Expected<StepClock> Make(const Device& device);

  // Before the first launch of a step; its upload has been asked for. The step three before it has ended, and
  // is added.
  Status Start(const Stream& stream);
  // Behind everything that the step asked for. `launch_seconds`: what the host took to launch a graph, which
  // the device may have waited for behind Start.
  Status End(const Stream& stream, double launch_seconds);
  // Adds all but the step that was started last; they have ended, and this one may run.
  Status AddPrevious();
  // Adds all that were not added yet; they have ended.
  Status AddAll();
  // Of all steps added. A lower bound, within some microseconds a step: the time to launch a graph is taken
  // off.
  double seconds() const { return seconds_; }

 private:
  struct Marks {
    Event start, end;
    double launch_seconds = 0;
    bool pending = false;
  };
  Status Add(Marks* marks);

  Marks marks_[3];
  int current_ = 0;  // of the step that was started last
  double seconds_ = 0;
};

}  // namespace lathe::cuda
