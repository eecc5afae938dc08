#include "compare/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/file.h"

extern char** environ;

namespace lathe::cli {
namespace {

constexpr int kPollMs = 100;
constexpr size_t kLogTail = size_t{1} << 20;

// The spawn's attributes and file actions, freed whatever happens.
struct SpawnPlan {
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t files;
  SpawnPlan() {
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&files);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
};

void CloseBoth(const int (&fds)[2]) {
  close(fds[0]);
  close(fds[1]);
}

std::string LastLine(const std::string& path) {
  const auto text = ReadFile(path, kLogTail);
  if (!text.ok()) return "";
  const size_t end = text->find_last_not_of(" \r\n\t");
  if (end == std::string::npos) return "";
  const size_t begin = text->find_last_of('\n', end);
  return text->substr(begin == std::string::npos ? 0 : begin + 1,
                      end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

}  // namespace

Expected<Child> Child::Start(const std::vector<std::string>& args, const std::string& log) {
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0) return Error(StatusCode::kIo, "pipe: %s", std::strerror(errno));
  if (pipe2(out, O_CLOEXEC) != 0) {
    CloseBoth(in);
    return Error(StatusCode::kIo, "pipe: %s", std::strerror(errno));
  }
  SpawnPlan plan;
  posix_spawn_file_actions_adddup2(&plan.files, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&plan.files, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&plan.files, STDERR_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                   0666);
  // A group of its own: Ctrl-C is for this program to deal with.
  posix_spawnattr_setflags(&plan.attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&plan.attributes, 0);
  std::vector<char*> argv;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, argv[0], &plan.files, &plan.attributes, argv.data(), environ);
  close(in[0]);
  close(out[1]);
  if (error != 0) {
    close(in[1]);
    close(out[0]);
    return Error(error == ENOENT ? StatusCode::kNotFound : StatusCode::kIo, "cannot run %s: %s",
                 args[0].c_str(), std::strerror(error));
  }
  fcntl(in[1], F_SETFL, O_NONBLOCK);
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  signal(SIGPIPE, SIG_IGN);  // a child that has gone is an error of write()
  return Child(pid, in[1], out[0], log);
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      in_(std::exchange(other.in_, -1)),
      out_(std::exchange(other.out_, -1)),
      log_(std::move(other.log_)),
      buffer_(std::move(other.buffer_)) {}

Child::~Child() {
  if (pid_ < 0) return;
  close(in_);
  close(out_);
  // The whole group: compilers that a peer has started go with it.
  kill(-pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

Status Child::Gone() {
  const std::string last = LastLine(log_);
  return Error(StatusCode::kUnavailable, "it ended%s%s (its messages: %s)", last.empty() ? "" : ": ",
               last.c_str(), log_.c_str());
}

Status Child::WriteLine(std::string line, double deadline) {
  line += '\n';
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = write(in_, line.data() + done, line.size() - done);
    if (n > 0) {
      done += static_cast<size_t>(n);
      continue;
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR) return Gone();
    if (NowSeconds() > deadline) return Error(StatusCode::kDeadlineExceeded, "it did not take its case");
    pollfd fd{in_, POLLOUT, 0};
    poll(&fd, 1, kPollMs);
  }
  return {};
}

Expected<std::string> Child::ReadLine(double deadline, const std::function<bool()>& interrupted) {
  while (true) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (buffer_.size() > kMaxLine) {
      return Error(StatusCode::kCorrupt, "it wrote a line of more than %zu bytes", kMaxLine);
    }
    if (interrupted()) return Error(StatusCode::kCancelled, "interrupted");
    if (NowSeconds() > deadline) return Error(StatusCode::kDeadlineExceeded, "no answer in time");
    pollfd fd{out_, POLLIN, 0};
    poll(&fd, 1, kPollMs);
    char bytes[65536];
    const ssize_t n = read(out_, bytes, sizeof bytes);
    if (n > 0) {
      buffer_.append(bytes, static_cast<size_t>(n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      return Gone();
    }
  }
}

}  // namespace lathe::cli
