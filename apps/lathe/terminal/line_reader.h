// Lines from standard input. On a terminal the kernel edits them (with UTF-8 aware erase), so nothing of it
// is done here.
#pragma once

#include <string>

namespace lathe::cli {

enum class ReadOutcome { kLine, kEnd, kInterrupted };

class LineReader {
 public:
  // Reads from `fd`. On a terminal it makes erase remove whole characters (IUTF8) until destruction.
  // `wake_fd` (Interrupt::fd, or -1): when it is readable, waiting for a line ends.
  explicit LineReader(int fd, int wake_fd = -1);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its end ("\n" or "\r\n"); a last line without one counts. kInterrupted: wake_fd
  // became readable first; what was typed of that line is dropped.
  ReadOutcome Next(std::string* line);

 private:
  int fd_, wake_fd_;
  // The terminal opened once more, not to block: Ctrl-C has the kernel drop what was typed, which may come
  // between seeing that there is something and reading it. -1: no terminal.
  int own_fd_ = -1;
  bool restore_ = false;
  bool end_ = false;
  std::string buffer_;
};

}  // namespace lathe::cli
