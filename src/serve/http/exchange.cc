#include "serve/http/exchange.h"

#include <utility>

#include "base/status.h"
#include "serve/http/head.h"
#include "serve/http/loop.h"
#include "serve/quote.h"

namespace lathe::serve {
namespace {

// Small writes are put together up to this size; a longer body is moved, not copied.
constexpr size_t kSegmentBytes = 16 << 10;

bool BodyAllowed(int status) { return status >= 200 && status != 204 && status != 304; }

}  // namespace

Exchange::Exchange(std::shared_ptr<Loop> loop, std::weak_ptr<Connection> connection, Config config)
    : loop_(std::move(loop)),
      connection_(std::move(connection)),
      config_(std::move(config)),
      close_(!config_.keep_alive) {}

std::string Exchange::Head(int status, std::string_view content_type, const HeaderList& extra,
                           std::string_view length) {
  status_.store(status, std::memory_order_relaxed);
  return FormatHead({.status = status,
                     .content_type = content_type,
                     .request_id = config_.request_id,
                     .content_length = length,
                     .chunked = chunked_,
                     .close = close_,
                     .keep_alive_1_0 = config_.http_1_0 && !close_,
                     .tls = config_.tls},
                    extra);
}

void Exchange::Append(std::string_view a, std::string_view b, std::string_view c) {
  const size_t size = a.size() + b.size() + c.size();
  if (pending_.empty() || pending_.back().size() + size > kSegmentBytes) pending_.emplace_back();
  pending_.back().append(a).append(b).append(c);
  backlog_.fetch_add(size, std::memory_order_relaxed);
}

void Exchange::AppendChunk(std::string_view bytes) {
  if (bytes.empty() || config_.head_only) return;  // an empty chunk would end the stream
  if (!chunked_) return Append(bytes);
  char size[20];
  const int digits = std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  Append({size, static_cast<size_t>(digits)}, bytes, "\r\n");
}

bool Exchange::MarkDirtyLocked() { return !std::exchange(dirty_, true); }

void Exchange::Wake(bool dirty) {
  if (dirty) loop_->MarkDirty(shared_from_this());
}

void Exchange::Send(int status, std::string_view content_type, std::string body, HeaderList extra) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kWaiting) return;
    phase_ = Phase::kComplete;
    on_disconnect_ = nullptr;
    if (gone_) {
      status_.store(status, std::memory_order_relaxed);
    } else {
      const bool with_body = BodyAllowed(status);
      Append(Head(status, with_body ? content_type : std::string_view{}, extra,
                  with_body ? std::to_string(body.size()) : std::string{}));
      if (with_body && !config_.head_only && !body.empty()) {
        backlog_.fetch_add(body.size(), std::memory_order_relaxed);
        pending_.push_back(std::move(body));
      }
    }
    wake = MarkDirtyLocked();
  }
  Wake(wake);
}

void Exchange::StartStream(int status, std::string_view content_type, HeaderList extra) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kWaiting) return;
    phase_ = Phase::kStreaming;
    if (gone_) return;
    chunked_ = !config_.http_1_0;
    if (!chunked_) close_ = true;  // the end of the connection is the end of the body
    const bool events = content_type.starts_with("text/event-stream");
    if (events)
      extra.emplace_back("X-Accel-Buffering", "no");  // proxies of nginx's kind pass events on at once
    event_stream_.store(events && !config_.head_only, std::memory_order_relaxed);
    Append(Head(status, content_type, extra, {}));
    wake = MarkDirtyLocked();
  }
  Wake(wake);
}

bool Exchange::Write(std::string_view bytes) {
  if (gone_.load(std::memory_order_acquire)) return false;
  bool wake = false, fits = true;
  {
    const std::lock_guard lock(mutex_);
    if (gone_ || phase_ != Phase::kStreaming) return false;
    if (backlog_.load(std::memory_order_relaxed) + bytes.size() > config_.backlog_limit) {
      overflow_ = true;
      fits = false;
      gone_ = true;
    } else {
      AppendChunk(bytes);
    }
    wake = MarkDirtyLocked();
  }
  Wake(wake);
  return fits;
}

void Exchange::FinishLocked() {
  phase_ = Phase::kComplete;
  on_disconnect_ = nullptr;
  if (!gone_ && chunked_ && !config_.head_only) Append("0\r\n\r\n");
}

void Exchange::Finish() {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kStreaming) return;
    FinishLocked();
    wake = MarkDirtyLocked();
  }
  Wake(wake);
}

void Exchange::Abandon() {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kComplete) return;
    if (phase_ == Phase::kStreaming) close_ = true;
  }
  Send(500, "application/json",
       ErrorJson("the request was dropped inside the server; its id tells where to look", "server_error",
                 "internal_error"),
       {});
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kStreaming) return;
    // Without the last chunk, so that the client can tell the stream from a whole one.
    phase_ = Phase::kComplete;
    wake = MarkDirtyLocked();
  }
  Wake(wake);
}

void Exchange::Abort(std::string_view error_json) {
  std::function<void()> callback;
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kComplete || gone_) return;
    callback = std::exchange(on_disconnect_, nullptr);
    close_ = true;
    if (phase_ == Phase::kWaiting) {
      Append(Head(503, "application/json", {}, std::to_string(error_json.size())));
      if (!config_.head_only) Append(error_json);
      phase_ = Phase::kComplete;
    } else {
      if (event_stream_) AppendChunk("data: " + std::string(error_json) + "\n\n");
      FinishLocked();
    }
    gone_ = true;
    wake = MarkDirtyLocked();
  }
  Wake(wake);
  if (callback) callback();
}

void Exchange::OnDisconnect(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!gone_) {
      if (phase_ != Phase::kComplete) on_disconnect_ = std::move(callback);
      return;
    }
  }
  loop_->Post(std::move(callback));
}

void Exchange::MarkGone() {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    callback = std::exchange(on_disconnect_, nullptr);
    pending_.clear();
  }
  if (callback) callback();
}

Exchange::Taken Exchange::Take(std::deque<std::string>* out) {
  const std::lock_guard lock(mutex_);
  dirty_ = false;
  Taken taken{.complete = phase_ == Phase::kComplete, .close = close_, .overflow = overflow_};
  for (std::string& segment : pending_) {
    taken.bytes += segment.size();
    out->push_back(std::move(segment));
  }
  pending_.clear();
  return taken;
}

void Exchange::WriteComment() {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (gone_ || phase_ != Phase::kStreaming) return;
    AppendChunk(":\n\n");
    wake = MarkDirtyLocked();
  }
  Wake(wake);
}

}  // namespace lathe::serve
