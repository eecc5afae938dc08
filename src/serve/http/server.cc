#include "serve/http/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <future>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "serve/http/connection.h"
#include "serve/http/loop.h"

namespace lathe::serve {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// Connections beyond the limit that are told so; those beyond these are closed without a word.
constexpr int kPoliteRefusals = 64;
constexpr int kOtherFiles = 128;  // descriptors that the rest of the process may need

void SetInt(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

// No delay for small events; a peer that vanished without a word is noticed within a minute.
void TuneSocket(int fd) {
  SetInt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetInt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  SetInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  SetInt(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  SetInt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 30000);
}

// Room for the connections among the process's descriptors.
void RaiseFileLimit(int connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t want = static_cast<rlim_t>(connections + kPoliteRefusals + kOtherFiles);
  if (limit.rlim_cur >= want) return;
  limit.rlim_cur = std::min(want, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
}

Expected<tcp::endpoint> ParseAddress(const std::string& address, int port) {
  if (port < 0 || port > 65535) {
    return Error(StatusCode::kInvalidArgument, "the port must be in [0, 65535], but is %d", port);
  }
  error_code ec;
  const auto ip = asio::ip::make_address(address == "localhost" ? "127.0.0.1" : address, ec);
  if (ec) {
    return Error(StatusCode::kInvalidArgument,
                 "the address to listen on must be an IP address or localhost, but is '%s'", address.c_str());
  }
  return tcp::endpoint(ip, static_cast<uint16_t>(port));
}

class Server final : public HttpServer {
 public:
  Server(const HttpOptions& options, const Router* router) : shared_(std::make_shared<ServerShared>()) {
    shared_->options = options;
    shared_->router = router;
    shared_->tls = !options.tls_cert_file.empty();
    for (int i = 0; i < options.io_threads; ++i) loops_.push_back(std::make_shared<Loop>());
    acceptor_.emplace(loops_.front()->io());
    retry_.emplace(loops_.front()->io());
  }

  ~Server() override {
    if (started_) {
      std::promise<void> closed;
      loops_.front()->Post([&] {
        CloseAcceptor();
        closed.set_value();
      });
      closed.get_future().wait();
      shared_->workers->Stop();  // handlers run to their end while answers can still be sent
      for (const auto& loop : loops_) loop->Stop();
    }
    acceptor_.reset();
    retry_.reset();
  }

  Status Open() {
    const HttpOptions& options = shared_->options;
    LATHE_ASSIGN_OR_RETURN(const tcp::endpoint endpoint, ParseAddress(options.address, options.port));
    if (shared_->tls) LATHE_RETURN_IF_ERROR(ReloadTls());
    RaiseFileLimit(options.max_connections);
    error_code ec;
    acceptor_->open(endpoint.protocol(), ec);
    if (!ec) acceptor_->set_option(tcp::acceptor::reuse_address(true), ec);
    if (!ec) acceptor_->bind(endpoint, ec);
    if (!ec) acceptor_->listen(4096, ec);
    if (!ec) acceptor_->non_blocking(true, ec);
    if (ec) {
      return Error(StatusCode::kIo, "cannot listen on %s port %d: %s; is another server running there?",
                   options.address.c_str(), options.port, ec.message().c_str());
    }
    port_ = acceptor_->local_endpoint(ec).port();
    shared_->workers = std::make_unique<WorkerPool>(std::max(1, options.workers));
    const double shortest = std::min(
        {options.read_timeout, options.idle_timeout, options.write_timeout, options.comment_interval, 1.0});
    for (const auto& loop : loops_) loop->Start(std::max(shortest / 4, 0.01));
    started_ = true;
    loops_.front()->Post([this] { Accept(); });
    return {};
  }

  int port() const override { return port_; }

  Counters counters() const override {
    return {.accepted = shared_->accepted,
            .refused_connections = shared_->refused_connections,
            .requests = shared_->requests,
            .connections = shared_->connections,
            .active = shared_->active};
  }

  void BeginDrain() override { shared_->draining = true; }

  bool WaitIdle(double seconds) override {
    const double end = NowSeconds() + seconds;
    while (shared_->active.load() > 0) {
      if (NowSeconds() >= end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  void AbortAll(const std::string& error_json) override {
    for (const auto& loop : loops_) {
      loop->Post([loop, error_json] {
        for (const auto& connection : loop->Connections()) connection->AbortExchange(error_json);
      });
    }
  }

  Status ReloadTls() override {
    const HttpOptions& options = shared_->options;
    if (!shared_->tls) return {};
    LATHE_ASSIGN_OR_RETURN(auto fresh, TlsContext::Load(options.tls_cert_file, options.tls_key_file));
    const std::lock_guard lock(tls_mutex_);
    tls_ = std::move(fresh);
    return {};
  }

 private:
  void Accept() {
    acceptor_->async_accept([this](error_code ec, tcp::socket socket) {
      if (ec == asio::error::operation_aborted || closing_) return;
      if (ec) return AcceptLater();  // out of descriptors, usually
      Adopt(std::move(socket));
      Accept();
    });
  }

  void AcceptLater() {
    retry_->expires_after(std::chrono::milliseconds(50));
    retry_->async_wait([this](error_code ec) {
      if (!ec && !closing_) Accept();
    });
  }

  void Adopt(tcp::socket socket) {
    error_code ec;
    const std::string client = socket.remote_endpoint(ec).address().to_string();
    if (ec) return;
    const int connections = shared_->connections.load();
    const bool refused = connections >= shared_->options.max_connections;
    if (refused && (shared_->tls || connections >= shared_->options.max_connections + kPoliteRefusals)) {
      shared_->refused_connections.fetch_add(1);
      return;
    }
    const int fd = socket.release(ec);
    if (ec) return;
    TuneSocket(fd);
    shared_->accepted.fetch_add(1);
    const std::shared_ptr<Loop> loop = loops_[next_loop_++ % loops_.size()];
    std::shared_ptr<TlsContext> tls;
    {
      const std::lock_guard lock(tls_mutex_);
      tls = tls_;
    }
    auto transport =
        tls == nullptr ? MakePlainTransport(loop->io(), fd) : MakeTlsTransport(loop->io(), fd, tls);
    auto connection = std::make_shared<Connection>(shared_, loop, std::move(transport), client);
    loop->Post([loop, connection = std::move(connection), refused] {
      loop->Add(connection);
      refused ? connection->StartRefused() : connection->Start();
    });
  }

  void CloseAcceptor() {
    closing_ = true;
    error_code ignored;
    acceptor_->close(ignored);
    retry_->cancel();
  }

  std::shared_ptr<ServerShared> shared_;
  std::vector<std::shared_ptr<Loop>> loops_;
  std::optional<tcp::acceptor> acceptor_;
  std::optional<asio::steady_timer> retry_;
  size_t next_loop_ = 0;
  int port_ = 0;
  bool started_ = false, closing_ = false;
  std::mutex tls_mutex_;
  std::shared_ptr<TlsContext> tls_;  // guarded by tls_mutex_
};

}  // namespace

Expected<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpOptions& options, const Router* router) {
  auto server = std::make_unique<Server>(options, router);
  LATHE_RETURN_IF_ERROR(server->Open());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace lathe::serve
