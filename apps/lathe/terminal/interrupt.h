// Ctrl-C as a question that the program asks, not as a death.
#pragma once

namespace lathe::cli {

// While it lives, SIGINT is noted and nothing else. At most one lives at a time. The former handler comes
// back with the destructor.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // True once for the presses since the last call. Any thread.
  bool Taken();
  // Readable while a press is waiting: for poll(), beside the keyboard.
  int fd() const;
};

}  // namespace lathe::cli
