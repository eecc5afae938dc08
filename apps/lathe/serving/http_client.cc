#include "serving/http_client.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <limits>
#include <optional>
#include <unordered_set>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"

namespace lathe::cli {

const char* ToString(Failure failure) {
  switch (failure) {
    case Failure::kNone: return "none";
    case Failure::kConnect: return "connect";
    case Failure::kTls: return "tls";
    case Failure::kTimeout: return "timeout";
    case Failure::kClosed: return "closed";
    case Failure::kProtocol: return "not http";
    case Failure::kAborted: return "stopped";
  }
  return "?";
}

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr size_t kReadBytes = 16 << 10;

// A body that goes to a ResponseSink piece by piece; the head goes first.
struct SinkBody {
  using value_type = ResponseSink*;
  class reader {
   public:
    // Both are filled in after this and before init.
    template <bool is_request, class Fields>
    reader(http::header<is_request, Fields>& head, value_type& sink) : head_(&head), sink_(sink) {}

    void init(const boost::optional<std::uint64_t>&, boost::beast::error_code& ec) {
      ec = {};
      const auto type = (*head_)[http::field::content_type];
      sink_->OnHead(static_cast<int>(head_->result_int()), {type.data(), type.size()});
    }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, boost::beast::error_code& ec) {
      ec = {};
      std::size_t size = 0;
      for (auto at = asio::buffer_sequence_begin(buffers); at != asio::buffer_sequence_end(buffers); ++at) {
        const asio::const_buffer part(*at);
        sink_->OnBody({static_cast<const char*>(part.data()), part.size()});
        size += part.size();
      }
      return size;
    }
    void finish(boost::beast::error_code& ec) { ec = {}; }

   private:
    const http::header<false, http::fields>* head_ = nullptr;
    ResponseSink* const& sink_;
  };
};

struct Call {
  std::string request;
  double deadline = 0;
  std::shared_ptr<ResponseSink> sink;
};

struct Shared {  // of one loop, with all its connections
  Url url;
  asio::io_context io{1};
  std::optional<asio::ssl::context> tls;
  std::vector<tcp::endpoint> endpoints;
  bool aborted = false;
};

class Connection;

// Where a connection goes when its call is over.
class Home {
 public:
  virtual void OnIdle(std::shared_ptr<Connection> connection) = 0;
  virtual void OnDead(Connection* connection) = 0;
  virtual void StartFresh(Call call) = 0;

 protected:
  ~Home() = default;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  virtual ~Connection() = default;
  virtual void Open(Call call) = 0;   // connects first
  virtual void Reuse(Call call) = 0;  // an idle one
  virtual void Abort() = 0;
};

tcp::socket& Lowest(tcp::socket& stream) { return stream; }
tcp::socket& Lowest(asio::ssl::stream<tcp::socket>& stream) { return stream.next_layer(); }

// Stream: a socket, or TLS over one.
template <typename Stream>
class ConnectionOver final : public Connection {
 public:
  template <typename... Args>
  ConnectionOver(Shared& shared, Home& home, Args&&... args)
      : shared_(shared), home_(home), stream_(std::forward<Args>(args)...), timer_(shared.io) {}

  void Open(Call call) override {
    Begin(std::move(call));
    asio::async_connect(Lowest(stream_), shared_.endpoints,
                        [self = Self()](ErrorCode ec, const tcp::endpoint&) {
                          if (ec) return self->End(Failure::kConnect, ec);
                          Lowest(self->stream_).set_option(tcp::no_delay(true), ec);
                          self->Secure();
                        });
  }

  void Reuse(Call call) override {
    reused_ = true;
    Begin(std::move(call));
    Write();
  }

  void Abort() override { Kill(Failure::kAborted); }

 private:
  std::shared_ptr<ConnectionOver> Self() {
    return std::static_pointer_cast<ConnectionOver>(this->shared_from_this());
  }

  void Begin(Call call) {
    call_ = std::move(call);
    killed_ = Failure::kNone;
    any_bytes_ = false;
    parser_.emplace();
    parser_->get().body() = call_->sink.get();
    parser_->eager(true);
    parser_->body_limit(std::numeric_limits<std::uint64_t>::max());  // none means 0 in Boost 1.74
    const double left = std::max(0.0, call_->deadline - NowSeconds());
    timer_.expires_after(std::chrono::microseconds(static_cast<int64_t>(left * 1e6)));
    timer_.async_wait([self = Self(), number = ++calls_](ErrorCode ec) {
      if (!ec && self->calls_ == number) self->Kill(Failure::kTimeout);
    });
  }

  void Secure() {
    if constexpr (std::is_same_v<Stream, tcp::socket>) {
      Write();
    } else {
      SSL_set_tlsext_host_name(stream_.native_handle(), shared_.url.host.c_str());
      stream_.set_verify_callback(asio::ssl::host_name_verification(shared_.url.host));
      stream_.async_handshake(asio::ssl::stream_base::client, [self = Self()](ErrorCode ec) {
        if (ec) return self->End(Failure::kTls, ec);
        self->Write();
      });
    }
  }

  void Write() {
    asio::async_write(stream_, asio::buffer(call_->request), [self = Self()](ErrorCode ec, size_t) {
      // A server may answer and close before it has read all: what it said is still there to be read.
      if (ec && ec != asio::error::broken_pipe && ec != asio::error::connection_reset) {
        return self->End(Failure::kClosed, ec);
      }
      self->Read();
    });
  }

  void Read() {
    stream_.async_read_some(asio::buffer(in_.data() + kept_, in_.size() - kept_),
                            [self = Self()](ErrorCode ec, size_t n) {
                              if (ec) return self->OnReadError(ec);
                              self->any_bytes_ = true;
                              self->OnBytes(n);
                            });
  }

  void OnBytes(size_t n) {
    const size_t size = kept_ + n;
    size_t used = 0;
    ErrorCode ec;
    while (used < size && !parser_->is_done()) {
      const size_t taken = parser_->put(asio::const_buffer(in_.data() + used, size - used), ec);
      used += taken;
      if (ec == http::error::need_more) {
        ec = {};
        break;
      }
      if (ec) return End(Failure::kProtocol, ec);
      if (taken == 0) break;
    }
    kept_ = size - used;
    std::copy(in_.begin() + static_cast<ptrdiff_t>(used), in_.begin() + static_cast<ptrdiff_t>(size),
              in_.begin());
    if (parser_->is_done()) return End(Failure::kNone, {});
    if (kept_ == in_.size()) return End(Failure::kProtocol, http::error::buffer_overflow);
    Read();
  }

  void OnReadError(ErrorCode ec) {
    if (ec == asio::error::eof && parser_->is_header_done()) {
      ErrorCode at_end;
      parser_->put_eof(at_end);
      if (!at_end && parser_->is_done()) return End(Failure::kNone, {});
    }
    End(Failure::kClosed, ec);
  }

  // Ends the call by closing the socket under its operation, whose handler then comes to End.
  void Kill(Failure why) {
    if (!call_ || killed_ != Failure::kNone) return;
    killed_ = why;
    ErrorCode ignored;
    Lowest(stream_).close(ignored);
  }

  void End(Failure failure, ErrorCode ec) {
    const auto self = Self();  // keeps this alive over what home_ does
    timer_.cancel();
    if (killed_ != Failure::kNone) failure = killed_;
    const bool whole = failure == Failure::kNone;
    const bool keep = whole && parser_->get().keep_alive() && kept_ == 0;
    Call call = std::move(*call_);
    call_.reset();
    parser_.reset();
    kept_ = 0;
    if (keep) {
      home_.OnIdle(self);
    } else {
      ErrorCode ignored;
      Lowest(stream_).close(ignored);
      home_.OnDead(this);
    }
    // A server may close an idle connection just as it is used again: that is no failure of the server's.
    if (failure == Failure::kClosed && reused_ && !any_bytes_) return home_.StartFresh(std::move(call));
    call.sink->OnEnd(failure, ec ? ec.message() : "");
  }

  Shared& shared_;
  Home& home_;
  Stream stream_;
  asio::steady_timer timer_;
  std::optional<Call> call_;
  std::optional<http::response_parser<SinkBody>> parser_;
  std::array<char, kReadBytes> in_;
  uint64_t calls_ = 0;
  size_t kept_ = 0;  // bytes of in_ that the parser has not taken yet
  Failure killed_ = Failure::kNone;
  bool reused_ = false, any_bytes_ = false;
};

class AsioLoop final : public HttpLoop, public Home {
 public:
  explicit AsioLoop(const Url& url) { shared_.url = url; }

  Status Init(const TlsOptions& tls) {
    ErrorCode ec;
    tcp::resolver resolver(shared_.io);
    for (const auto& found : resolver.resolve(shared_.url.host, shared_.url.port, ec)) {
      shared_.endpoints.push_back(found.endpoint());
    }
    if (ec || shared_.endpoints.empty()) {
      return Error(StatusCode::kUnavailable, "the host \"%s\" is unknown: %s", shared_.url.host.c_str(),
                   ec.message().c_str());
    }
    return shared_.url.tls ? InitTls(tls) : Status();
  }

  void Post(std::function<void()> work) override { asio::post(shared_.io, std::move(work)); }

  void At(double when, std::function<void()> work) override {
    auto timer = std::make_shared<asio::steady_timer>(shared_.io);
    timer->expires_after(
        std::chrono::nanoseconds(static_cast<int64_t>(std::max(0.0, when - NowSeconds()) * 1e9)));
    timers_.insert(timer);
    timer->async_wait([this, timer, work = std::move(work)](ErrorCode ec) {
      timers_.erase(timer);
      if (!ec && !shared_.aborted) work();
    });
  }

  void Start(std::string request, double timeout, std::shared_ptr<ResponseSink> sink) override {
    Call call{std::move(request), NowSeconds() + timeout, std::move(sink)};
    if (shared_.aborted) return call.sink->OnEnd(Failure::kAborted, "");
    if (idle_.empty()) return StartFresh(std::move(call));
    const std::shared_ptr<Connection> connection = std::move(idle_.back());
    idle_.pop_back();
    connection->Reuse(std::move(call));
  }

  void Run() override {
    shared_.io.restart();
    shared_.io.run();
  }

  void Abort() override {
    Post([this] {
      shared_.aborted = true;
      for (const auto& timer : timers_) timer->cancel();
      const std::unordered_set<std::shared_ptr<Connection>> all = live_;
      for (const auto& connection : all) connection->Abort();
    });
  }

 private:
  Status InitTls(const TlsOptions& options) {
    shared_.tls.emplace(asio::ssl::context::tls_client);
    ErrorCode ec;
    if (options.insecure) {
      shared_.tls->set_verify_mode(asio::ssl::verify_none, ec);
      return {};
    }
    shared_.tls->set_verify_mode(asio::ssl::verify_peer, ec);
    if (options.ca_file.empty()) {
      shared_.tls->set_default_verify_paths(ec);
      return {};
    }
    LATHE_ASSIGN_OR_RETURN(const std::string pem, ReadFile(options.ca_file, 16 << 20));
    shared_.tls->add_certificate_authority(asio::buffer(pem), ec);
    if (!ec) return {};
    return Error(StatusCode::kCorrupt, "%s holds no PEM certificate: %s", options.ca_file.c_str(),
                 ec.message().c_str());
  }

  void StartFresh(Call call) override {
    std::shared_ptr<Connection> connection;
    if (shared_.tls) {
      connection = std::make_shared<ConnectionOver<asio::ssl::stream<tcp::socket>>>(shared_, *this,
                                                                                    shared_.io, *shared_.tls);
    } else {
      connection = std::make_shared<ConnectionOver<tcp::socket>>(shared_, *this, shared_.io);
    }
    live_.insert(connection);
    connection->Open(std::move(call));
  }

  void OnIdle(std::shared_ptr<Connection> connection) override { idle_.push_back(std::move(connection)); }
  void OnDead(Connection* connection) override { live_.erase(connection->shared_from_this()); }

  Shared shared_;  // first: connections and timers refer to its io_context
  std::unordered_set<std::shared_ptr<Connection>> live_;  // busy and idle
  std::vector<std::shared_ptr<Connection>> idle_;
  std::unordered_set<std::shared_ptr<asio::steady_timer>> timers_;
};

}  // namespace

Expected<std::unique_ptr<HttpLoop>> HttpLoop::Create(const Url& url, const TlsOptions& tls) {
  auto loop = std::make_unique<AsioLoop>(url);
  LATHE_RETURN_IF_ERROR(loop->Init(tls));
  return std::unique_ptr<HttpLoop>(std::move(loop));
}

}  // namespace lathe::cli
