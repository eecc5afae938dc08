// Ctrl-C as a question that the program asks, not as a death: while an Interrupt lives, SIGINT is counted and
// system calls return EINTR.
#pragma once

namespace lathe::cli {

// At most one lives at a time. The former handler comes back with the destructor.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // True once for the presses since the last call. Any thread.
  bool Taken();
  // Whether a press is waiting; does not take it. Any thread.
  bool Pending() const;
};

}  // namespace lathe::cli
