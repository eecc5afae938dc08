#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "base/check.h"
#include "base/clock.h"

namespace lathe::testing {
namespace {

// In the child: becomes the program, or exits with 127.
[[noreturn]] void Exec(const std::vector<std::string>& args, const std::vector<std::string>& environment) {
  for (const std::string& entry : environment) {
    const size_t equals = entry.find('=');
    setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
  }
  std::vector<char*> argv;
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    LATHE_CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_end = ends[0];
    write_end = ends[1];
  }
};

// One read into *to. False at the end.
bool Drain(int fd, std::string* to) {
  char chunk[65536];
  const ssize_t n = read(fd, chunk, sizeof chunk);
  if (n > 0) to->append(chunk, static_cast<size_t>(n));
  return n > 0;
}

// Moves bytes between the test and the child until both outputs are closed.
void Pump(pid_t pid, int in, int out, int err, const ProcessOptions& options, double start,
          ProcessResult* result) {
  fcntl(in, F_SETFL, O_NONBLOCK);
  size_t written = 0;
  bool killed = false;
  while (out >= 0 || err >= 0) {
    if (in >= 0 && written == options.input.size()) {
      close(in);
      in = -1;
    }
    pollfd fds[] = {{in, POLLOUT, 0}, {out, POLLIN, 0}, {err, POLLIN, 0}};
    poll(fds, 3, 100);
    if (!killed && NowSeconds() - start > options.deadline_seconds) {
      kill(pid, SIGKILL);
      killed = true;
    }
    if (in >= 0 && fds[0].revents != 0) {
      const ssize_t n = write(in, options.input.data() + written, options.input.size() - written);
      if (n > 0) {
        written += static_cast<size_t>(n);
      } else {
        written = options.input.size();  // the child does not read it
      }
    }
    if (out >= 0 && fds[1].revents != 0) {
      if (result->out_reads == 0) result->first_out_seconds = NowSeconds() - start;
      if (Drain(out, &result->out)) {
        ++result->out_reads;
        if (result->out_reads == options.interrupt_after_reads) kill(pid, SIGINT);
      } else {
        close(out);
        out = -1;
      }
    }
    if (err >= 0 && fds[2].revents != 0 && !Drain(err, &result->err)) {
      close(err);
      err = -1;
    }
  }
  if (in >= 0) close(in);
}

}  // namespace

ProcessResult RunProcess(const std::vector<std::string>& args, const ProcessOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  Pipe in, out, err;
  const double start = NowSeconds();
  const pid_t pid = fork();
  LATHE_CHECK(pid >= 0);
  if (pid == 0) {
    std::signal(SIGPIPE, SIG_DFL);
    dup2(in.read_end, STDIN_FILENO);
    dup2(out.write_end, STDOUT_FILENO);
    dup2(err.write_end, STDERR_FILENO);
    if (options.max_file_bytes > 0) {
      const rlimit limit{options.max_file_bytes, options.max_file_bytes};
      setrlimit(RLIMIT_FSIZE, &limit);
      std::signal(SIGXFSZ, SIG_IGN);  // write() then fails, as on a full disk
    }
    Exec(args, options.environment);
  }
  close(in.read_end);
  close(out.write_end);
  close(err.write_end);
  ProcessResult result;
  Pump(pid, in.write_end, out.read_end, err.read_end, options, start, &result);
  int status = 0;
  waitpid(pid, &status, 0);
  result.seconds = NowSeconds() - start;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

TerminalProcess::TerminalProcess(const std::vector<std::string>& args,
                                 const std::vector<std::string>& environment) {
  winsize size{};
  size.ws_row = 40;
  size.ws_col = 100;
  pid_ = forkpty(&terminal_, nullptr, nullptr, &size);
  LATHE_CHECK(pid_ >= 0);
  if (pid_ == 0) Exec(args, environment);
}

TerminalProcess::~TerminalProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(terminal_);
}

void TerminalProcess::Type(const std::string& text) {
  LATHE_CHECK_EQ(write(terminal_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

bool TerminalProcess::ReadSome(double deadline) {
  pollfd fd{terminal_, POLLIN, 0};
  const double left = deadline - NowSeconds();
  if (left <= 0 || poll(&fd, 1, static_cast<int>(left * 1000) + 1) <= 0) return false;
  return Drain(terminal_, &screen_);
}

bool TerminalProcess::WaitFor(const std::string& text, double deadline_seconds) {
  const double deadline = NowSeconds() + deadline_seconds;
  while (true) {
    if (const size_t at = screen_.find(text, matched_); at != std::string::npos) {
      matched_ = at + text.size();
      return true;
    }
    if (!ReadSome(deadline)) return false;
  }
}

int TerminalProcess::WaitForExit(double deadline_seconds) {
  const double deadline = NowSeconds() + deadline_seconds;
  while (ReadSome(deadline)) {
  }
  if (NowSeconds() >= deadline) return -1;  // the destructor kills it
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace lathe::testing
