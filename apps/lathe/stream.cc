#include "stream.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/clock.h"

namespace lathe::cli {

struct Stream::Shared {
  mutable std::mutex mutex;
  std::condition_variable arrived;
  std::deque<OutputDelta> queue;
  StreamTimes times;
};

Stream::Stream(Engine& engine, std::shared_ptr<Shared> shared)
    : engine_(engine), shared_(std::move(shared)) {}

Expected<std::unique_ptr<Stream>> Stream::Start(Engine& engine, Request request) {
  auto shared = std::make_shared<Shared>();
  shared->times.submitted = NowSeconds();
  auto callback = [shared](const OutputDelta& delta) {
    const double now = NowSeconds();
    const std::lock_guard lock(shared->mutex);
    if (!delta.tokens.empty()) {
      if (shared->times.first_token == 0) shared->times.first_token = now;
      shared->times.last_token = now;
    }
    shared->queue.push_back(delta);
    shared->arrived.notify_one();
  };
  auto id = engine.Submit(std::move(request), std::move(callback));
  if (!id.ok()) return id.status();
  std::unique_ptr<Stream> stream(new Stream(engine, std::move(shared)));
  stream->id_ = *id;
  return stream;
}

Stream::~Stream() {
  if (!done_) Cancel();
  while (!done_) Next(1.0);
}

std::optional<OutputDelta> Stream::Next(double timeout_seconds) {
  std::unique_lock lock(shared_->mutex);
  shared_->arrived.wait_for(lock, std::chrono::duration<double>(timeout_seconds),
                            [&] { return !shared_->queue.empty(); });
  if (shared_->queue.empty()) return std::nullopt;
  OutputDelta delta = std::move(shared_->queue.front());
  shared_->queue.pop_front();
  done_ = delta.last;
  return delta;
}

void Stream::Cancel() { engine_.Cancel(id_); }

StreamTimes Stream::times() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->times;
}

}  // namespace lathe::cli
