// Running the program in a test: to its end, or talking to it over a pseudo-terminal.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::testing {

struct ProcessResult {
  int exit_code = -1;  // -1: killed by `signal` or by the deadline
  int signal = 0;
  std::string out, err;
  int out_reads = 0;             // reads that brought standard output
  double first_out_seconds = 0;  // from exec to the first byte of standard output
  double seconds = 0;
};

struct ProcessOptions {
  std::string input = {};                     // standard input, then its end
  std::vector<std::string> environment = {};  // "NAME=value", over the test's own
  uint64_t max_file_bytes = 0;                // RLIMIT_FSIZE: a disk that is full after so many; 0: none
  int interrupt_after_reads = 0;              // sends SIGINT after so many reads of output; 0: never
  double deadline_seconds = 120;
};

// args[0] is the program.
ProcessResult RunProcess(const std::vector<std::string>& args, const ProcessOptions& options = {});

// A program on a pseudo-terminal of 100 columns.
class TerminalProcess {
 public:
  TerminalProcess(const std::vector<std::string>& args, const std::vector<std::string>& environment);
  ~TerminalProcess();  // kills it if it still runs
  TerminalProcess(const TerminalProcess&) = delete;
  TerminalProcess& operator=(const TerminalProcess&) = delete;

  // Types `text` ("\x03" is Ctrl-C, "\x04" Ctrl-D).
  void Type(const std::string& text);
  // Reads until `text` has appeared after all earlier matches; false when the deadline passes or the program
  // ends.
  bool WaitFor(const std::string& text, double deadline_seconds = 60);
  // Reads to the end; the exit code, or -1 when it was killed by a signal or the deadline passed.
  int WaitForExit(double deadline_seconds = 60);
  // All that the program has shown.
  const std::string& screen() const { return screen_; }

 private:
  bool ReadSome(double deadline);
  pid_t pid_ = -1;
  int terminal_ = -1;
  std::string screen_;
  size_t matched_ = 0;
};

}  // namespace lathe::testing
