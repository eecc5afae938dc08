#include "runtime/exec/cuda/op_times.h"

#include <cstdlib>
#include <string>

namespace lathe::cuda {

Expected<std::unique_ptr<OpTimes>> OpTimes::FromEnvironment(const Plan& plan, const Device& device) {
  const char* sync = std::getenv("LATHE_CUDA_SYNC");
  std::unique_ptr<OpTimes> times(new OpTimes(plan, sync != nullptr && std::string(sync) == "1"));
  times->profile_ = StepProfile::FromEnvironment(plan);
  if (times->profile_ == nullptr && !times->sync_) return std::unique_ptr<OpTimes>();
  times->marks_.resize(plan.ops.size() + 3);
  for (Mark& mark : times->marks_) {
    LATHE_ASSIGN_OR_RETURN(mark.event, NewEvent(device, /*timing=*/true));
  }
  return times;
}

std::string OpTimes::NameOf(int op) const {
  if (op == kRopeTable) return "rope_table";
  if (op == kSampling) return "sample";
  const PlanOp& def = plan_.ops[static_cast<size_t>(op)];
  return def.layer < 0 ? std::string(ToString(def.kind))
                       : StrFormat("%s of layer %d", ToString(def.kind), def.layer);
}

Status OpTimes::Before(int op, const StepInput& input, const Stream& stream) {
  if (sync_ && n_ > 0) LATHE_RETURN_IF_ERROR(Synchronize(stream).WithContext(NameOf(marks_[n_ - 1].op)));
  Mark& mark = marks_[n_++];
  mark.op = op;
  const bool at_logits = op == kSampling || (op >= 0 && plan_.ops[static_cast<size_t>(op)].logit_rows);
  mark.rows = at_logits ? input.logit_rows : input.rows;
  const Device& device = *stream.device();
  return device.Check(device.api().event_record(mark.event.get(), stream.get()), "cuEventRecord");
}

Status OpTimes::Finish() {
  for (size_t i = 0; i + 1 < n_ && profile_ != nullptr; ++i) {
    LATHE_ASSIGN_OR_RETURN(const double ms, ElapsedMs(marks_[i].event, marks_[i + 1].event));
    const Mark& mark = marks_[i];
    if (mark.op >= 0)
      profile_->Add(plan_.ops[static_cast<size_t>(mark.op)], mark.rows, ms * 1e-3);
    else
      profile_->Add(NameOf(mark.op), mark.rows, ms * 1e-3);
  }
  n_ = 0;
  return Status::Ok();
}

}  // namespace lathe::cuda
