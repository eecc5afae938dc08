#include "serve/http/worker_pool.h"

#include <pthread.h>

#include <utility>

namespace lathe::serve {

WorkerPool::WorkerPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

void WorkerPool::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool WorkerPool::Run(bool quick, std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    (quick ? quick_ : slow_).push_back(std::move(task));
  }
  ready_.notify_one();
  return true;
}

void WorkerPool::Loop() {
  pthread_setname_np(pthread_self(), "lathe-worker");
  std::unique_lock lock(mutex_);
  while (true) {
    ready_.wait(lock, [this] { return stopping_ || !quick_.empty() || !slow_.empty(); });
    auto& line = quick_.empty() ? slow_ : quick_;
    if (line.empty()) return;
    {
      const std::function<void()> task = std::move(line.front());
      line.pop_front();
      lock.unlock();
      task();
    }
    lock.lock();
  }
}

}  // namespace lathe::serve
