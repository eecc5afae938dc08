#include "terminal/cleanup.h"

#include <pthread.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "terminal/terminal.h"

namespace lathe::cli {
namespace fs = std::filesystem;
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr long kPollNanoseconds = 10'000'000;

void RemoveTemporaries(const std::string& folder) {
  const std::string mark = ".tmp-" + std::to_string(getpid());
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const size_t at = name.rfind(mark);
    if (at == std::string::npos) continue;
    const size_t after = at + mark.size();  // the number must end there: 12 is not 123
    if (after == name.size() || name[after] == '-') found.push_back(it->path());
  }
  for (const fs::path& path : found) fs::remove_all(path, error);
}

}  // namespace

void EndOnSignalsAsFirstProcess() {
  if (getpid() != 1) return;
  struct sigaction action {};
  action.sa_handler = [](int signal) { _exit(128 + signal); };
  for (const int signal : kSignals) sigaction(signal, &action, nullptr);
}

std::string FolderOf(const std::string& path) {
  size_t end = path.size();
  while (end > 1 && path[end - 1] == '/') --end;
  const std::string folder = fs::path(path.substr(0, end)).parent_path().string();
  return folder.empty() ? "." : folder;
}

// A thread waits for the signals, so that removing files need not be done inside a handler.
CleanUpOnSignal::CleanUpOnSignal(std::string folder) : folder_(std::move(folder)) {
  sigemptyset(&signals_);
  for (const int signal : kSignals) sigaddset(&signals_, signal);
  pthread_sigmask(SIG_BLOCK, &signals_, &former_);
  watcher_ = std::thread([this] { Watch(); });
}

CleanUpOnSignal::~CleanUpOnSignal() {
  stop_ = true;
  watcher_.join();
  pthread_sigmask(SIG_SETMASK, &former_, nullptr);
}

void CleanUpOnSignal::Watch() {
  const timespec wait{0, kPollNanoseconds};
  while (!stop_) {
    const int signal = sigtimedwait(&signals_, nullptr, &wait);
    if (signal <= 0) continue;
    RemoveTemporaries(folder_);
    if (DescribeTerminal(STDERR_FILENO).interactive) WriteAll(STDERR_FILENO, "\r\x1b[K");
    _exit(128 + signal);
  }
}

}  // namespace lathe::cli
