// One connection: reads requests in order, hands each to its handler, sends its answer, then the next.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "serve/http/auth.h"
#include "serve/http/exchange.h"
#include "serve/http/request_reader.h"
#include "serve/http/server.h"
#include "serve/http/transport.h"
#include "serve/http/worker_pool.h"

namespace lathe::serve {

// What all connections of a server share. Outlives them: they hold it.
struct ServerShared {
  HttpOptions options;
  const Router* router = nullptr;
  std::unique_ptr<WorkerPool> workers;
  bool tls = false;
  std::atomic<bool> draining{false};
  std::atomic<uint64_t> accepted{0}, refused_connections{0}, requests{0};
  std::atomic<int> connections{0}, active{0};
  // Of bodies being read or handled; owned by the requests too, which may outlive the server.
  std::shared_ptr<std::atomic<size_t>> buffered = std::make_shared<std::atomic<size_t>>(0);
};

// All members are called on the I/O thread of `loop`.
class Connection final : public Transport::Events, public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ServerShared> shared, std::shared_ptr<Loop> loop,
             std::unique_ptr<Transport> transport, std::string client);
  ~Connection() override;

  void Start();
  // One connection too many: 503, and the end.
  void StartRefused();
  void OnAnswer(const std::shared_ptr<Exchange>& exchange);
  void OnTick(double now);
  void AbortExchange(std::string_view error_json);
  // Ends it now, whatever it does.
  void Kill() { Close(/*reset=*/false); }

  void OnOpen() override;
  void OnBytes(std::string_view bytes) override;
  void OnEnd() override;
  void OnWritten(size_t n) override;

 private:
  enum class State { kOpening, kReading, kAnswering, kLingering, kClosed };

  void Process();
  bool CheckHead();
  bool CountBody();
  void Dispatch();
  void Refuse(int status, std::string_view code, std::string_view message, HeaderList extra = {});
  void BeginExchange(bool keep_alive);
  void EndExchange(bool client_gone);
  void Flush();
  void Sent(size_t n);
  void AfterFlush();
  void Linger();
  void Close(bool reset);
  bool BodyIsLate(double now) const;

  const std::shared_ptr<ServerShared> shared_;
  const std::shared_ptr<Loop> loop_;
  const std::unique_ptr<Transport> transport_;
  const std::string client_;
  State state_ = State::kOpening;

  RequestReader reader_;
  std::string in_;  // received, not yet used
  bool head_checked_ = false, first_request_ = true, refused_connection_ = false;
  size_t body_counted_ = 0;  // of the body being read, in shared_->buffered
  double since_ = 0;         // when the present wait began: for bytes, for the rest of a head, for the end
  double head_done_ = 0, last_body_ = 0;

  // The request being answered, or about to be.
  std::string request_id_, trace_id_;
  Principal principal_;
  std::shared_ptr<Exchange> exchange_;
  const Route* route_ = nullptr;
  std::string method_;
  double received_ = 0;
  uint64_t answer_bytes_ = 0;
  bool answer_complete_ = false, close_after_ = false;

  std::deque<std::string> out_;
  size_t out_offset_ = 0;     // of the first segment, sent already
  size_t interim_bytes_ = 0;  // at the front of out_, of no exchange
  bool write_pending_ = false;
  double last_progress_ = 0;
};

}  // namespace lathe::serve
