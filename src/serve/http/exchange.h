// One request's answer on its way: handlers and the engine write into it from any thread, the I/O thread
// takes out.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "serve/message.h"

namespace lathe::serve {

class Loop;
class Connection;

// Thread-safe. Many writes between two turns of the I/O thread cost one wake-up of it (Loop::MarkDirty).
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  struct Config {
    std::string request_id;
    bool keep_alive = true;
    bool http_1_0 = false;
    bool head_only = false;  // HEAD: the answer's head alone is sent
    bool tls = false;
    size_t backlog_limit = 4 << 20;  // bytes written and not yet taken by the socket
  };
  Exchange(std::shared_ptr<Loop> loop, std::weak_ptr<Connection> connection, Config config);

  // Responder's calls.
  void Send(int status, std::string_view content_type, std::string body, HeaderList extra);
  void StartStream(int status, std::string_view content_type, HeaderList extra);
  bool Write(std::string_view bytes);
  void Finish();
  void OnDisconnect(std::function<void()> callback);
  bool disconnected() const { return gone_.load(std::memory_order_acquire); }
  // Nobody will answer any more: 500, or the end of a stream that was begun.
  void Abandon();

  // The I/O thread's calls.
  // Ends the answer now: 503 when none was begun, an error event in a stream of events. The handler sees a
  // disconnect.
  void Abort(std::string_view error_json);
  struct Taken {
    bool complete = false;  // nothing follows
    bool close = false;     // the connection must end with it
    bool overflow = false;  // the client is too slow
    size_t bytes = 0;       // added to `out`
  };
  Taken Take(std::deque<std::string>* out);
  void OnSent(size_t n) { backlog_.fetch_sub(n, std::memory_order_relaxed); }
  void WriteComment();
  // The client is gone: writes fail from now on, the OnDisconnect callback runs (once).
  void MarkGone();
  bool is_event_stream() const { return event_stream_.load(std::memory_order_relaxed); }
  int status() const { return status_.load(std::memory_order_relaxed); }
  std::weak_ptr<Connection>& connection() { return connection_; }

 private:
  enum class Phase { kWaiting, kStreaming, kComplete };
  std::string Head(int status, std::string_view content_type, const HeaderList& extra,
                   std::string_view length);
  void Append(std::string_view a, std::string_view b = {}, std::string_view c = {});
  void AppendChunk(std::string_view bytes);
  void FinishLocked();
  bool MarkDirtyLocked();
  void Wake(bool dirty);

  const std::shared_ptr<Loop> loop_;
  std::weak_ptr<Connection> connection_;
  const Config config_;
  std::atomic<bool> gone_{false}, event_stream_{false};
  std::atomic<size_t> backlog_{0};
  std::atomic<int> status_{0};

  std::mutex mutex_;  // guards what follows
  Phase phase_ = Phase::kWaiting;
  bool close_ = false, overflow_ = false, dirty_ = false, chunked_ = false;
  std::deque<std::string> pending_;
  std::function<void()> on_disconnect_;
};

// What handlers hold. When the last copy goes and no answer was given, the client gets a 500 rather than
// silence.
class ExchangeResponder final : public Responder {
 public:
  explicit ExchangeResponder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~ExchangeResponder() override { exchange_->Abandon(); }
  void Send(int status, std::string_view content_type, std::string body, HeaderList extra) override {
    exchange_->Send(status, content_type, std::move(body), std::move(extra));
  }
  void StartStream(int status, std::string_view content_type, HeaderList extra) override {
    exchange_->StartStream(status, content_type, std::move(extra));
  }
  bool Write(std::string bytes) override { return exchange_->Write(bytes); }
  void Finish() override { exchange_->Finish(); }
  void OnDisconnect(std::function<void()> callback) override { exchange_->OnDisconnect(std::move(callback)); }
  bool disconnected() const override { return exchange_->disconnected(); }

 private:
  const std::shared_ptr<Exchange> exchange_;
};

}  // namespace lathe::serve
