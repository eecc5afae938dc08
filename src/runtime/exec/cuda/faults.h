// Faults of the device that tests ask for by the environment, and waiting for a step with an end to patience.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "platform/cuda/driver.h"

namespace lathe::cuda {

// LATHE_FAULT=launch:N, hang:N or nan:N: in step N (from 1 on) a launch fails, the end of the step is never
// seen, or the first row of logits has a NaN. LATHE_FAULT=load:N: loading waits N seconds between looking
// what memory is free and taking it, so that somebody else can.
struct InjectedFault {
  enum Kind { kNone, kLaunch, kHang, kNan, kLoad } kind = kNone;
  int64_t step = 0;  // kLoad: seconds
  bool In(Kind k, int64_t now) const { return kind == k && step == now; }
};
// kInvalidArgument for anything else; kNone when it is not set.
Expected<InjectedFault> ParseInjectedFault(const char* text);

// Seconds of LATHE_STEP_TIMEOUT, 60 when it is not set. kInvalidArgument for what is no positive number.
Expected<double> ParseStepTimeout(const char* text);

// Waits until `event` is reached. kDeadlineExceeded after `timeout` seconds: the device hangs. `hang`: as if
// it did. The thread spins at first (a step lasts milliseconds, waking up costs a twentieth of one), then
// naps.
Status WaitForEvent(const Event& event, double timeout, bool hang);

}  // namespace lathe::cuda
