// An I/O thread: an Asio context, its connections, and the list of answers that have something to send.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace lathe::serve {

class Connection;
class Exchange;

class Loop : public std::enable_shared_from_this<Loop> {
 public:
  Loop();
  ~Loop();
  // `tick_seconds`: how often connections look at their clocks.
  void Start(double tick_seconds);
  // Ends the thread, once and from another thread. Answers may outlive it: their writes go nowhere.
  void Stop();

  // Any thread. Runs `task` on the I/O thread; at once and here when that has ended.
  void Post(std::function<void()> task);
  // `exchange` has something to send. Only the first call since the last turn of the thread wakes it.
  void MarkDirty(std::shared_ptr<Exchange> exchange);

  // I/O thread only.
  boost::asio::io_context& io();
  void Add(std::shared_ptr<Connection> connection);
  void Remove(const std::shared_ptr<Connection>& connection);
  std::vector<std::shared_ptr<Connection>> Connections() const;

 private:
  struct Context;
  void Drain();
  void Tick();
  std::unique_ptr<Context> context_;
  std::thread thread_;
  double tick_seconds_ = 0.25;
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::vector<std::shared_ptr<Exchange>> dirty_;    // guarded by mutex_
  std::vector<std::shared_ptr<Exchange>> drained_;  // I/O thread; keeps its capacity
};

}  // namespace lathe::serve
