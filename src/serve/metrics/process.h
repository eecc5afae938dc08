// What the operating system says about this process.
#pragma once

#include <cstdint>

namespace lathe::serve {

struct ProcessStats {
  uint64_t resident_bytes = 0;
  double cpu_seconds = 0;    // user and system
  double start_seconds = 0;  // Unix time
  uint64_t open_fds = 0, max_fds = 0;
  uint64_t threads = 0;
};

// From /proc/self; what cannot be read stays 0. Thread-safe.
ProcessStats ReadProcessStats();

}  // namespace lathe::serve
