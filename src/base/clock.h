// Time: of the wall, monotonic, and of a thread.
#pragma once

#include <time.h>

#include <chrono>

namespace lathe {

// Seconds on the monotonic clock, from an arbitrary start.
inline double NowSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds of processor time that the calling thread has used.
inline double ThreadSeconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace lathe
