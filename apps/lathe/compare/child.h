// A child process that is asked in lines and answers in lines.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"

namespace lathe::cli {

class Child {
 public:
  // Runs args[0] (looked for in PATH) with standard input and output on pipes, and standard error in the file
  // `log`. Errors: kNotFound when there is no such program, kIo.
  static Expected<Child> Start(const std::vector<std::string>& args, const std::string& log);
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  // Kills it.
  ~Child();

  // Writes `line` and a line feed. Errors: kUnavailable when it has gone, kDeadlineExceeded.
  Status WriteLine(std::string line, double deadline);
  // The next line, of at most `kMaxLine` bytes, without its line feed; `deadline` in NowSeconds. Errors:
  // kUnavailable when it ended (with the last line of its log), kDeadlineExceeded. Ctrl-C is the caller's:
  // `interrupted` is asked every 100 ms and ends the wait with kCancelled.
  Expected<std::string> ReadLine(double deadline, const std::function<bool()>& interrupted);

  static constexpr size_t kMaxLine = size_t{16} << 20;

 private:
  Child(pid_t pid, int in, int out, std::string log) : pid_(pid), in_(in), out_(out), log_(std::move(log)) {}
  Status Gone();
  pid_t pid_;
  int in_, out_;
  std::string log_, buffer_;
};

}  // namespace lathe::cli
