// Threads that run handlers.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lathe::serve {

// Two lines: requests without a body (probes, metrics, lists) pass those whose bodies have yet to be parsed.
// Bounded by the number of connections, each of which has one request at a time.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);
  ~WorkerPool() { Stop(); }
  // Runs what is queued, then joins. Others may still call Run.
  void Stop();
  // Any thread. False, and `task` is dropped, once the pool is being stopped.
  bool Run(bool quick, std::function<void()> task);

 private:
  void Loop();
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> quick_, slow_;  // guarded by mutex_
  bool stopping_ = false;                           // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace lathe::serve
