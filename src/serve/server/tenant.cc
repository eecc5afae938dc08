#include "serve/server/tenant.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace lathe::serve {

struct Tenant::Count {
  std::mutex mutex;
  std::condition_variable none;
  int held = 0;  // guarded by mutex
};

// A callback that the engine holds. It is counted until whatever it captures is gone.
struct Tenant::Call {
  Call(std::shared_ptr<Count> c, OutputCallback f) : count(std::move(c)), callback(std::move(f)) {
    const std::lock_guard lock(count->mutex);
    ++count->held;
  }
  ~Call() {
    callback = nullptr;
    const std::lock_guard lock(count->mutex);
    if (--count->held == 0) count->none.notify_all();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  std::shared_ptr<Count> count;
  OutputCallback callback;
};

Tenant::Tenant(Engine& engine) : engine_(engine), count_(std::make_shared<Count>()) {}
Tenant::~Tenant() = default;

Expected<RequestId> Tenant::Submit(Request request, OutputCallback callback) {
  auto call = std::make_shared<Call>(count_, std::move(callback));
  return engine_.Submit(std::move(request),
                        [call = std::move(call)](const OutputDelta& delta) { call->callback(delta); });
}

bool Tenant::WaitOwn(double seconds) {
  std::unique_lock lock(count_->mutex);
  return count_->none.wait_for(lock, std::chrono::duration<double>(seconds),
                               [this] { return count_->held == 0; });
}

}  // namespace lathe::serve
