#include "runtime/exec/cuda/step_clock.h"

#include <algorithm>
#include <utility>

namespace lathe::cuda {

Expected<StepClock> StepClock::Make(const Device& device) {
  StepClock clock;
  for (Marks& marks : clock.marks_) {
    LATHE_ASSIGN_OR_RETURN(marks.start, NewEvent(device, /*timing=*/true));
    LATHE_ASSIGN_OR_RETURN(marks.end, NewEvent(device, /*timing=*/true));
  }
  return clock;
}

Status StepClock::Start(const Stream& stream) {
  current_ = (current_ + 1) % 3;
  LATHE_RETURN_IF_ERROR(Add(&marks_[current_]));
  return stream.device()->Check(
      stream.device()->api().event_record(marks_[current_].start.get(), stream.get()), "cuEventRecord");
}

Status StepClock::End(const Stream& stream, double launch_seconds) {
  Marks& marks = marks_[current_];
  marks.launch_seconds = launch_seconds;
  marks.pending = true;
  return stream.device()->Check(stream.device()->api().event_record(marks.end.get(), stream.get()),
                                "cuEventRecord");
}

Status StepClock::AddPrevious() {
  LATHE_RETURN_IF_ERROR(Add(&marks_[(current_ + 1) % 3]));
  return Add(&marks_[(current_ + 2) % 3]);
}

Status StepClock::AddAll() {
  LATHE_RETURN_IF_ERROR(AddPrevious());
  return Add(&marks_[current_]);
}

Status StepClock::Add(Marks* marks) {
  if (!std::exchange(marks->pending, false)) return Status::Ok();
  LATHE_ASSIGN_OR_RETURN(const double ms, ElapsedMs(marks->start, marks->end));
  seconds_ += std::max(0.0, ms * 1e-3 - marks->launch_seconds);
  return Status::Ok();
}

}  // namespace lathe::cuda
