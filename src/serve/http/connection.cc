#include "serve/http/connection.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/status.h"
#include "serve/http/fields.h"
#include "serve/http/head.h"
#include "serve/http/loop.h"
#include "serve/quote.h"

namespace lathe::serve {
namespace {

// Requests that a client may send ahead of their turn; more stays in the socket.
constexpr size_t kPipelinedBytes = 64 << 10;
// A body slower than this on the whole is one that only holds the connection.
constexpr double kMinBodyBytesPerSecond = 4096;
constexpr double kLingerSeconds = 2;

// A page of another site makes the browser send this, with the browser's stored password if there is one.
bool IsForeignPage(const HttpRequest& head, bool key_in_header) {
  if (key_in_header || head.method == "GET" || head.method == "HEAD") return false;
  const std::string_view site = head.Header("sec-fetch-site");
  return site == "cross-site" || site == "same-site";
}

void RunHandler(const Handler& handler, std::shared_ptr<const HttpRequest> request,
                std::shared_ptr<Responder> responder) {
  // Ours throw nothing, but libraries below may (memory).
  try {
    handler(std::move(request), responder);
  } catch (const std::exception&) {
    responder->Send(500, "application/json",
                    ErrorJson("the request failed inside the server; its id tells where to look",
                              "server_error", "internal_error"));
  }
}

}  // namespace

Connection::Connection(std::shared_ptr<ServerShared> shared, std::shared_ptr<Loop> loop,
                       std::unique_ptr<Transport> transport, std::string client)
    : shared_(std::move(shared)),
      loop_(std::move(loop)),
      transport_(std::move(transport)),
      client_(std::move(client)),
      reader_(shared_->options.read_limits),
      since_(NowSeconds()) {
  shared_->connections.fetch_add(1);
}

Connection::~Connection() { shared_->connections.fetch_sub(1); }

void Connection::Start() { transport_->Start(weak_from_this()); }

void Connection::StartRefused() {
  refused_connection_ = true;
  shared_->refused_connections.fetch_add(1);
  const std::string body =
      ErrorJson(StrFormat("all %d connections are taken; try again soon", shared_->options.max_connections),
                ErrorType(503), "too_many_connections");
  out_.push_back(FormatHead({.status = 503,
                             .content_type = "application/json",
                             .request_id = NewRequestId(),
                             .content_length = std::to_string(body.size()),
                             .close = true},
                            {{"Retry-After", "1"}}) +
                 body);
  interim_bytes_ = out_.back().size();
  Start();
}

void Connection::OnOpen() {
  since_ = NowSeconds();
  state_ = State::kReading;
  if (refused_connection_) {
    close_after_ = true;
    state_ = State::kAnswering;
    answer_complete_ = true;
    Flush();
  }
}

void Connection::OnBytes(std::string_view bytes) {
  if (state_ == State::kLingering || refused_connection_) return;  // nobody reads it any more
  in_.append(bytes);
  if (state_ == State::kReading) Process();
  if (state_ == State::kAnswering && in_.size() > kPipelinedBytes) transport_->PauseReading();
}

void Connection::Process() {
  const double now = NowSeconds();
  size_t used = 0;
  while (state_ == State::kReading) {
    const bool had_started = reader_.started();
    const size_t n = reader_.Feed(std::string_view(in_).substr(used));
    used += n;
    if (!had_started && reader_.started()) since_ = now;
    if (reader_.state() == RequestReader::State::kFault) {
      const RequestReader::Fault fault = reader_.fault();
      Refuse(fault.status, fault.code, fault.message);
      break;
    }
    if (reader_.state() != RequestReader::State::kHead && !head_checked_) {
      head_checked_ = true;
      head_done_ = last_body_ = now;
      if (!CheckHead()) break;
    }
    if (n > 0 && head_checked_) last_body_ = now;
    if (!CountBody()) break;
    if (reader_.state() == RequestReader::State::kDone) {
      Dispatch();
    } else if (n == 0) {
      break;
    }
  }
  in_.erase(0, used);
  if (state_ == State::kReading && in_.size() > shared_->options.read_limits.header_bytes + kPipelinedBytes) {
    Refuse(400, "bad_request", "a chunk's size line or the trailers of the body are too long");
  }
}

bool Connection::CountBody() {
  const size_t received = reader_.body_received();
  const size_t more = received - body_counted_;
  body_counted_ = received;
  const size_t total = shared_->buffered->fetch_add(more) + more;
  if (total <= shared_->options.max_buffered_bytes) return true;
  Refuse(503, "server_busy", "too many large requests are being read at once; try again soon",
         {{"Retry-After", "1"}});
  return false;
}

// Before the body: ids, who asks, and whether we want to hear the rest. False: refused.
bool Connection::CheckHead() {
  const HttpRequest& head = reader_.head();
  const std::string_view wished = head.Header("x-request-id");
  request_id_ = IsRequestId(wished) ? std::string(wished) : NewRequestId();
  trace_id_ = TraceId(head.Header("traceparent"));
  principal_ = Principal{};
  method_ = head.method;

  std::string_view presented = head.Header("x-api-key");
  bool key_in_header = !presented.empty();
  std::optional<std::string> key;
  if (presented.empty() && !head.Header("authorization").empty()) {
    key = KeyOfAuthorization(head.Header("authorization"));
    if (key) presented = *key;
    key_in_header = !EqualsIgnoreCase(head.Header("authorization").substr(0, 5), "basic");
  }
  if (shared_->options.authenticator != nullptr) {
    auto verdict = shared_->options.authenticator->Authorize(presented, client_);
    if (!verdict.principal && verdict.too_many_failures) {
      Refuse(429, "too_many_failures",
             "too many requests of this address had no valid API key; wait a minute",
             {{"Retry-After", "60"}});
      return false;
    }
    if (!verdict.principal) {
      Refuse(401, "invalid_api_key",
             presented.empty() ? "this server needs an API key: send it as 'Authorization: Bearer KEY'"
                               : "the API key is not valid",
             {{"WWW-Authenticate", "Basic realm=\"lathe\", charset=\"UTF-8\""}});
      return false;
    }
    principal_ = *std::move(verdict.principal);
  } else {
    key_in_header = false;
    if (shared_->options.require_local_host_name && !head.Header("host").empty() &&
        !IsLocalHostName(head.Header("host"))) {
      Refuse(403, "host_not_allowed",
             "a server without API keys answers only to localhost or an IP address in the Host header");
      return false;
    }
  }
  if (IsForeignPage(head, key_in_header)) {
    Refuse(403, "cross_site_request", "a page of another site may not use this server through the browser");
    return false;
  }
  if (reader_.state() == RequestReader::State::kBody && reader_.expects_continue()) {
    out_.push_back("HTTP/1.1 100 Continue\r\n\r\n");
    interim_bytes_ += out_.back().size();
    Flush();
  }
  return state_ == State::kReading;
}

void Connection::BeginExchange(bool keep_alive) {
  const bool draining = shared_->draining.load();
  exchange_ =
      std::make_shared<Exchange>(loop_, weak_from_this(),
                                 Exchange::Config{.request_id = request_id_,
                                                  .keep_alive = keep_alive && !draining,
                                                  .http_1_0 = reader_.http_1_0(),
                                                  .head_only = method_ == "HEAD",
                                                  .tls = shared_->tls,
                                                  .backlog_limit = shared_->options.write_backlog_bytes});
  state_ = State::kAnswering;
  answer_complete_ = close_after_ = false;
  answer_bytes_ = 0;
  received_ = last_progress_ = NowSeconds();
  route_ = nullptr;
  shared_->active.fetch_add(1);
  shared_->requests.fetch_add(1);
}

// Answers without a handler. A request that is not wholly read ends the connection.
void Connection::Refuse(int status, std::string_view code, std::string_view message, HeaderList extra) {
  if (!head_checked_) {  // a fault before there was a head to look at
    request_id_ = NewRequestId();
    trace_id_.clear();
    principal_ = Principal{};
    method_.clear();
  }
  const bool whole = reader_.state() == RequestReader::State::kDone;
  BeginExchange(whole && reader_.keep_alive());
  exchange_->Send(status, "application/json", ErrorJson(message, ErrorType(status), code), std::move(extra));
}

void Connection::Dispatch() {
  const HttpRequest& head = reader_.head();
  const Router::Match match = shared_->router->Find(head.method, head.path);
  if (head.method == "OPTIONS" && (match.path_known || head.path == "*") && match.route == nullptr) {
    BeginExchange(reader_.keep_alive());
    return exchange_->Send(204, {}, {},
                           {{"Allow", match.path_known ? match.allow + ", OPTIONS" : "GET, POST"}});
  }
  if (match.route == nullptr) {
    if (!match.path_known)
      return Refuse(404, "not_found", "there is no such path here; /openapi.json lists all");
    return Refuse(405, "method_not_allowed",
                  "the path is served, but not with this method; see the Allow header",
                  {{"Allow", match.allow}});
  }
  BeginExchange(reader_.keep_alive());
  route_ = match.route;
  HttpRequest taken = reader_.Take();
  taken.path_args = match.path_args;
  taken.client = client_;
  taken.request_id = request_id_;
  taken.trace_id = trace_id_;
  taken.principal = principal_;
  taken.received = received_;
  // The body counts until the last holder of the request lets it go.
  auto release = [buffered = shared_->buffered,
                  bytes = std::exchange(body_counted_, 0)](const HttpRequest* request) {
    delete request;
    buffered->fetch_sub(bytes);
  };
  std::shared_ptr<const HttpRequest> request(new HttpRequest(std::move(taken)), std::move(release));
  const bool quick = request->body.empty();
  const auto responder = std::make_shared<ExchangeResponder>(exchange_);
  const bool queued = shared_->workers->Run(
      quick, [handler = &route_->handler, request = std::move(request), responder]() mutable {
        RunHandler(*handler, std::move(request), std::move(responder));
      });
  if (queued) return;
  // It came while the drained server was already being taken down.
  responder->Send(
      503, "application/json",
      ErrorJson("the server is shutting down; send the request to another", ErrorType(503), "shutting_down"),
      {});
}

void Connection::OnAnswer(const std::shared_ptr<Exchange>& exchange) {
  if (exchange != exchange_ || state_ != State::kAnswering) return;
  if (out_.empty()) last_progress_ = NowSeconds();
  const Exchange::Taken taken = exchange->Take(&out_);
  if (taken.overflow) return Close(/*reset=*/true);
  answer_bytes_ += taken.bytes;
  answer_complete_ = taken.complete;
  close_after_ = taken.close;
  Flush();
}

void Connection::Flush() {
  while (!out_.empty() && !write_pending_) {
    bool failed = false;
    const size_t n = transport_->WriteNow(out_, out_offset_, &failed);
    if (failed) return OnEnd();
    Sent(n);
    if (n > 0) continue;
    write_pending_ = true;
    transport_->WriteLater(out_, out_offset_);
  }
  if (out_.empty()) AfterFlush();
}

void Connection::OnWritten(size_t n) {
  write_pending_ = false;
  if (state_ == State::kClosed) return;
  Sent(n);
  Flush();
}

void Connection::Sent(size_t n) {
  if (n == 0) return;
  last_progress_ = NowSeconds();
  const size_t interim = std::min(n, interim_bytes_);
  interim_bytes_ -= interim;
  if (exchange_ != nullptr) exchange_->OnSent(n - interim);
  out_offset_ += n;
  while (!out_.empty() && out_offset_ >= out_.front().size()) {
    out_offset_ -= out_.front().size();
    out_.pop_front();
  }
}

// All that there is has been sent.
void Connection::AfterFlush() {
  if (state_ != State::kAnswering || !answer_complete_) return;
  EndExchange(/*client_gone=*/false);
  if (close_after_) return Linger();
  state_ = State::kReading;
  since_ = NowSeconds();
  first_request_ = head_checked_ = false;
  if (reader_.state() == RequestReader::State::kDone) reader_.Take();  // refused, but wholly read
  shared_->buffered->fetch_sub(std::exchange(body_counted_, 0));
  transport_->ResumeReading();
  // From the loop and not from here: a long pipeline would nest as deep.
  if (!in_.empty()) {
    loop_->Post([self = shared_from_this()] {
      if (self->state_ == State::kReading) self->Process();
    });
  }
}

void Connection::EndExchange(bool client_gone) {
  if (exchange_ == nullptr) return;
  const std::shared_ptr<Exchange> exchange = std::move(exchange_);
  exchange_ = nullptr;
  if (client_gone) exchange->MarkGone();
  shared_->active.fetch_sub(1);
  if (!shared_->options.on_access) return;
  shared_->options.on_access(
      {.method = method_,
       .route = route_ == nullptr ? std::string_view{} : std::string_view(route_->pattern),
       .request_id = request_id_,
       .trace_id = trace_id_,
       .principal = principal_.name,
       .client = client_,
       .status = exchange->status(),
       .bytes = answer_bytes_,
       .seconds = NowSeconds() - received_,
       .client_gone = client_gone});
}

// The end is told to the client, and what it still sends is read away for a moment: closing at once would
// reset the connection, and the answer with it.
void Connection::Linger() {
  state_ = State::kLingering;
  since_ = NowSeconds();
  in_.clear();
  in_.shrink_to_fit();
  transport_->ShutdownSend();
  transport_->ResumeReading();
}

void Connection::OnEnd() {
  if (state_ == State::kClosed) return;
  Close(/*reset=*/false);
}

void Connection::Close(bool reset) {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  const auto self = shared_from_this();
  EndExchange(/*client_gone=*/true);
  shared_->buffered->fetch_sub(std::exchange(body_counted_, 0));
  transport_->Close(reset);
  loop_->Remove(self);
}

void Connection::AbortExchange(std::string_view error_json) {
  if (exchange_ != nullptr) exchange_->Abort(error_json);
}

bool Connection::BodyIsLate(double now) const {
  const HttpOptions& options = shared_->options;
  if (now - last_body_ > options.read_timeout) return true;
  return now - head_done_ >
         options.read_timeout + static_cast<double>(reader_.body_received()) / kMinBodyBytesPerSecond;
}

void Connection::OnTick(double now) {
  const HttpOptions& options = shared_->options;
  switch (state_) {
    case State::kOpening:
      if (now - since_ > options.read_timeout) Close(/*reset=*/false);
      break;
    case State::kReading:
      if (!reader_.started()) {
        const double limit = first_request_ ? options.read_timeout : options.idle_timeout;
        if (now - since_ > limit || (shared_->draining && !first_request_)) Close(/*reset=*/false);
      } else if (head_checked_ ? BodyIsLate(now) : now - since_ > options.read_timeout) {
        Refuse(408, "request_timeout",
               StrFormat("the rest of the request did not come within %g s", options.read_timeout));
      }
      break;
    case State::kAnswering:
      if (!out_.empty()) {
        if (now - last_progress_ > options.write_timeout) Close(/*reset=*/true);
      } else if (exchange_ != nullptr && exchange_->is_event_stream() &&
                 now - last_progress_ > options.comment_interval) {
        exchange_->WriteComment();
      }
      break;
    case State::kLingering:
      if (now - since_ > std::min(kLingerSeconds, options.read_timeout)) Close(/*reset=*/false);
      break;
    case State::kClosed: break;
  }
}

}  // namespace lathe::serve
