#include "serve/http/loop.h"

#include <pthread.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "serve/http/connection.h"
#include "serve/http/exchange.h"

namespace lathe::serve {

namespace asio = boost::asio;

struct Loop::Context {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(io);
  asio::steady_timer timer{io};
};

Loop::Loop() : context_(std::make_unique<Context>()) {}

Loop::~Loop() { LATHE_CHECK(!thread_.joinable()); }

asio::io_context& Loop::io() { return context_->io; }

void Loop::Start(double tick_seconds) {
  tick_seconds_ = tick_seconds;
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "lathe-io");
    Tick();
    context_->io.run();
  });
}

void Loop::Stop() {
  if (stopped_.exchange(true) || !thread_.joinable()) return;
  asio::post(context_->io, [this] {
    for (const auto& connection : Connections()) connection->Kill();
    connections_.clear();
    context_->timer.cancel();
    context_->work.reset();  // the thread ends once what was begun has been told of the closed sockets
  });
  thread_.join();
  const std::lock_guard lock(mutex_);
  dirty_.clear();
}

void Loop::Post(std::function<void()> task) {
  if (stopped_) return task();
  asio::post(context_->io, std::move(task));
}

void Loop::MarkDirty(std::shared_ptr<Exchange> exchange) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    first = dirty_.empty();
    dirty_.push_back(std::move(exchange));
  }
  if (first) asio::post(context_->io, [this] { Drain(); });
}

void Loop::Drain() {
  {
    const std::lock_guard lock(mutex_);
    drained_.swap(dirty_);
  }
  for (const auto& exchange : drained_) {
    if (const auto connection = exchange->connection().lock()) connection->OnAnswer(exchange);
  }
  drained_.clear();
}

void Loop::Add(std::shared_ptr<Connection> connection) { connections_.insert(std::move(connection)); }
void Loop::Remove(const std::shared_ptr<Connection>& connection) { connections_.erase(connection); }
std::vector<std::shared_ptr<Connection>> Loop::Connections() const {
  return {connections_.begin(), connections_.end()};
}

void Loop::Tick() {
  const double now = NowSeconds();
  for (const auto& connection : Connections()) connection->OnTick(now);
  context_->timer.expires_after(std::chrono::microseconds(static_cast<int64_t>(tick_seconds_ * 1e6)));
  context_->timer.async_wait([this](const boost::system::error_code& ec) {
    if (!ec && !stopped_) Tick();
  });
}

}  // namespace lathe::serve
