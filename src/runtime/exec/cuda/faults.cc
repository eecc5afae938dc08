#include "runtime/exec/cuda/faults.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/clock.h"

namespace lathe::cuda {
namespace {

constexpr double kSpinSeconds = 0.05;
constexpr double kDefaultTimeout = 60;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Expected<InjectedFault> ParseInjectedFault(const char* text) {
  InjectedFault fault;
  if (text == nullptr || *text == '\0') return fault;
  for (const auto& [name, kind] : {std::pair{"launch:", InjectedFault::kLaunch},
                                   {"hang:", InjectedFault::kHang},
                                   {"nan:", InjectedFault::kNan},
                                   {"load:", InjectedFault::kLoad}}) {
    if (std::strncmp(text, name, std::strlen(name)) != 0) continue;
    char* end = nullptr;
    fault.step = std::strtoll(text + std::strlen(name), &end, 10);
    fault.kind = kind;
    if (*end == '\0' && fault.step > 0) return fault;
  }
  return Error(
      StatusCode::kInvalidArgument,
      "LATHE_FAULT must be launch:N, hang:N or nan:N with the number of a step, or load:N with a number "
      "of seconds, but is '%s'",
      text);
}

Expected<double> ParseStepTimeout(const char* text) {
  if (text == nullptr || *text == '\0') return kDefaultTimeout;
  char* end = nullptr;
  const double seconds = std::strtod(text, &end);
  if (*end == '\0' && std::isfinite(seconds) && seconds > 0) return seconds;
  return Error(StatusCode::kInvalidArgument,
               "LATHE_STEP_TIMEOUT must be a positive number of seconds, but is '%s'", text);
}

Status WaitForEvent(const Event& event, double timeout, bool hang) {
  const Device& device = *event.device();
  const double start = NowSeconds();
  for (;;) {
    const abi::Result result = hang ? abi::kErrorNotReady : device.api().event_query(event.get());
    if (result == abi::kSuccess) return Status::Ok();
    if (result != abi::kErrorNotReady) return device.Check(result, "cuEventQuery");
    const double waited = NowSeconds() - start;
    if (waited > timeout)
      return Error(StatusCode::kDeadlineExceeded, "it did not end within %g seconds (LATHE_STEP_TIMEOUT)",
                   timeout);
    if (waited < kSpinSeconds)
      Pause();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

}  // namespace lathe::cuda
