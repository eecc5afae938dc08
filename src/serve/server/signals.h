// SIGTERM, SIGINT and SIGHUP while a server runs.
#pragma once

#include <csignal>

namespace lathe::serve {

// Catches the three while it lives; one at a time. A second SIGTERM or SIGINT ends the process at once with
// 128 + its number.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  enum class Event { kNone, kStop, kReload };
  // The next signal, or kNone after `seconds`. One thread.
  Event Wait(double seconds);

 private:
  struct sigaction former_[3]{};
};

}  // namespace lathe::serve
