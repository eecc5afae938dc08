// No partial files when a build is stopped: lathe writes under temporary names ("NAME.tmp-PID...") beside the
// wanted one, which destructors remove, but a signal runs no destructors.
#pragma once

#include <atomic>
#include <csignal>
#include <string>
#include <thread>

namespace lathe::cli {

// While it lives, SIGINT, SIGTERM and SIGHUP remove this process's temporary files from `folder` and end it
// with exit code 128 + signal. Threads started meanwhile must end before it does. At most one lives at a
// time.
class CleanUpOnSignal {
 public:
  explicit CleanUpOnSignal(std::string folder);
  ~CleanUpOnSignal();
  CleanUpOnSignal(const CleanUpOnSignal&) = delete;
  CleanUpOnSignal& operator=(const CleanUpOnSignal&) = delete;

 private:
  void Watch();
  std::string folder_;
  sigset_t signals_{}, former_{};
  std::atomic<bool> stop_{false};
  std::thread watcher_;
};

// Has SIGINT, SIGTERM and SIGHUP end this process where it is the first one of a container: for such the
// kernel has no default action. Until something else handles them.
void EndOnSignalsAsFirstProcess();

// The folder in which `path` lies ("." for a bare name).
std::string FolderOf(const std::string& path);

}  // namespace lathe::cli
