// Monotonic time.
#pragma once

#include <chrono>

namespace lathe {

// Seconds on the monotonic clock, from an arbitrary start.
inline double NowSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace lathe
