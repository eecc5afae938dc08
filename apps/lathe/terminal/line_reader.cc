#include "terminal/line_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace lathe::cli {
namespace {

bool SetUtf8Erase(int fd, bool on) {
  termios settings{};
  if (tcgetattr(fd, &settings) != 0) return false;
  const bool was = (settings.c_iflag & IUTF8) != 0;
  if (was == on) return false;
  settings.c_iflag ^= IUTF8;
  return tcsetattr(fd, TCSANOW, &settings) == 0;
}

int OpenOnceMore(int fd) {
  if (isatty(fd) == 0) return -1;
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

}  // namespace

LineReader::LineReader(int fd, int wake_fd)
    : fd_(fd), wake_fd_(wake_fd), own_fd_(OpenOnceMore(fd)), restore_(SetUtf8Erase(fd, true)) {}

LineReader::~LineReader() {
  if (own_fd_ >= 0) close(own_fd_);
  if (restore_) SetUtf8Erase(fd_, false);
}

ReadOutcome LineReader::Next(std::string* line) {
  while (true) {
    const size_t newline = buffer_.find('\n');
    if (newline != std::string::npos || (end_ && !buffer_.empty())) {
      *line = buffer_.substr(0, newline);
      buffer_.erase(0, newline == std::string::npos ? newline : newline + 1);
      if (line->ends_with('\r')) line->pop_back();
      return ReadOutcome::kLine;
    }
    if (end_) return ReadOutcome::kEnd;
    const int from = own_fd_ >= 0 ? own_fd_ : fd_;
    pollfd waiting[] = {{from, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
    if (poll(waiting, 2, -1) < 0 && errno != EINTR) end_ = true;
    if (waiting[1].revents != 0) {
      buffer_.clear();
      return ReadOutcome::kInterrupted;
    }
    if (waiting[0].revents == 0) continue;
    char chunk[4096];
    const ssize_t n = read(from, chunk, sizeof chunk);
    if (n > 0) {
      buffer_.append(chunk, static_cast<size_t>(n));
    } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
      end_ = true;
    }
  }
}

}  // namespace lathe::cli
