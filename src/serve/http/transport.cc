#include "serve/http/transport.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <cerrno>

#include "base/file.h"

namespace lathe::serve {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr size_t kReadBytes = 64 << 10;
constexpr size_t kTlsReadBytes = 16 << 10;  // one record
constexpr int kReadsInARow = 4;             // then the other connections have their turn
constexpr size_t kSegments = 16;            // of one writev

void CloseSocket(tcp::socket& socket, bool reset) {
  error_code ignored;
  if (reset) socket.set_option(asio::socket_base::linger(true, 0), ignored);
  socket.close(ignored);
}

class PlainTransport final : public Transport {
 public:
  PlainTransport(asio::io_context& io, int fd) : socket_(io) {
    error_code ignored;
    socket_.assign(tcp::v4(), fd, ignored);  // the family is only used to open sockets
    socket_.non_blocking(true, ignored);
  }

  void Start(std::weak_ptr<Events> events) override {
    events_ = std::move(events);
    if (const auto keep = events_.lock()) keep->OnOpen();
    ArmRead();
  }
  void PauseReading() override { paused_ = true; }
  void ResumeReading() override {
    paused_ = false;
    ArmRead();
  }

  size_t WriteNow(const std::deque<std::string>& segments, size_t offset, bool* failed) override {
    *failed = false;
    std::array<iovec, kSegments> parts{};
    size_t n = 0;
    for (const std::string& segment : segments) {
      if (n == parts.size()) break;
      const size_t skip = n == 0 ? offset : 0;
      parts[n++] = {const_cast<char*>(segment.data()) + skip, segment.size() - skip};
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = n;
    const ssize_t sent = sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<size_t>(sent);
    *failed = errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
    return 0;
  }

  void WriteLater(const std::deque<std::string>&, size_t) override {
    socket_.async_wait(tcp::socket::wait_write, [this, keep = events_.lock()](error_code ec) {
      if (closed_ || keep == nullptr) return;
      if (ec) return keep->OnEnd();
      keep->OnWritten(0);
    });
  }

  void ShutdownSend() override {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }
  void Close(bool reset) override {
    closed_ = true;
    CloseSocket(socket_, reset);
  }

 private:
  void ArmRead() {
    if (armed_ || paused_ || closed_) return;
    armed_ = true;
    socket_.async_wait(tcp::socket::wait_read, [this, keep = events_.lock()](error_code ec) {
      armed_ = false;
      if (closed_ || keep == nullptr) return;
      if (ec) return keep->OnEnd();
      Read(*keep);
    });
  }

  void Read(Events& events) {
    static thread_local std::array<char, kReadBytes> scratch;
    for (int i = 0; i < kReadsInARow && !paused_ && !closed_; ++i) {
      error_code ec;
      const size_t n = socket_.read_some(asio::buffer(scratch), ec);
      if (ec == asio::error::would_block || ec == asio::error::interrupted) break;
      if (ec) return events.OnEnd();
      events.OnBytes({scratch.data(), n});
      if (n < scratch.size()) break;
    }
    ArmRead();
  }

  tcp::socket socket_;
  std::weak_ptr<Events> events_;
  bool armed_ = false, paused_ = false, closed_ = false;
};

class OpenSslContext final : public TlsContext {
 public:
  OpenSslContext() : context(asio::ssl::context::tls_server) {}
  asio::ssl::context context;
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(asio::io_context& io, int fd, std::shared_ptr<OpenSslContext> tls)
      : tls_(std::move(tls)), stream_(io, tls_->context) {
    error_code ignored;
    stream_.next_layer().assign(tcp::v4(), fd, ignored);
  }

  void Start(std::weak_ptr<Events> events) override {
    events_ = std::move(events);
    stream_.async_handshake(asio::ssl::stream_base::server, [this, keep = events_.lock()](error_code ec) {
      if (closed_ || keep == nullptr) return;
      if (ec) return keep->OnEnd();
      open_ = true;
      keep->OnOpen();
      ArmRead();
    });
  }
  void PauseReading() override { paused_ = true; }
  void ResumeReading() override {
    paused_ = false;
    ArmRead();
  }

  size_t WriteNow(const std::deque<std::string>&, size_t, bool* failed) override {
    *failed = false;
    return 0;
  }
  void WriteLater(const std::deque<std::string>& segments, size_t offset) override {
    const std::string& first = segments.front();
    stream_.async_write_some(asio::buffer(first.data() + offset, first.size() - offset),
                             [this, keep = events_.lock()](error_code ec, size_t n) {
                               if (closed_ || keep == nullptr) return;
                               if (ec) return keep->OnEnd();
                               keep->OnWritten(n);
                             });
  }
  void ShutdownSend() override {
    if (open_ && !closed_) stream_.async_shutdown([keep = events_.lock()](error_code) {});
  }
  void Close(bool reset) override {
    closed_ = true;
    CloseSocket(stream_.next_layer(), reset);
  }

 private:
  void ArmRead() {
    if (armed_ || paused_ || closed_ || !open_) return;
    armed_ = true;
    stream_.async_read_some(asio::buffer(buffer_), [this, keep = events_.lock()](error_code ec, size_t n) {
      armed_ = false;
      if (closed_ || keep == nullptr) return;
      if (ec) return keep->OnEnd();
      keep->OnBytes({buffer_.data(), n});
      ArmRead();
    });
  }

  std::shared_ptr<OpenSslContext> tls_;
  asio::ssl::stream<tcp::socket> stream_;
  std::weak_ptr<Events> events_;
  std::array<char, kTlsReadBytes> buffer_;
  bool open_ = false, armed_ = false, paused_ = false, closed_ = false;
};

int SelectHttp11(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                 unsigned int offered_size, void*) {
  static const unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, offered, offered_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

Status TlsFault(const std::string& file, const char* what, const error_code& ec) {
  return Error(StatusCode::kInvalidArgument, "%s is not a usable %s in PEM form: %s", file.c_str(), what,
               ec.message().c_str());
}

}  // namespace

Expected<std::shared_ptr<TlsContext>> TlsContext::Load(const std::string& cert_file,
                                                       const std::string& key_file) {
  for (const std::string& file : {cert_file, key_file}) {
    LATHE_RETURN_IF_ERROR(ReadFile(file, 1 << 20).status().WithContext("TLS"));
  }
  auto tls = std::make_shared<OpenSslContext>();
  error_code ec;
  using asio::ssl::context;
  tls->context.set_options(context::no_tlsv1 | context::no_tlsv1_1 | context::no_compression |
                               SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_IGNORE_UNEXPECTED_EOF,
                           ec);
  SSL_CTX* native = tls->context.native_handle();
  if (SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION) != 1) {
    return Error(StatusCode::kUnsupported, "OpenSSL of this build cannot speak TLS 1.2");
  }
  SSL_CTX_set_alpn_select_cb(native, SelectHttp11, nullptr);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  tls->context.use_certificate_chain_file(cert_file, ec);
  if (ec) return TlsFault(cert_file, "certificate chain", ec);
  tls->context.use_private_key_file(key_file, context::pem, ec);
  if (ec) return TlsFault(key_file, "private key", ec);
  if (SSL_CTX_check_private_key(native) != 1) {
    return Error(StatusCode::kInvalidArgument, "the key in %s does not belong to the certificate in %s",
                 key_file.c_str(), cert_file.c_str());
  }
  return std::shared_ptr<TlsContext>(std::move(tls));
}

std::unique_ptr<Transport> MakePlainTransport(asio::io_context& io, int fd) {
  return std::make_unique<PlainTransport>(io, fd);
}

std::unique_ptr<Transport> MakeTlsTransport(asio::io_context& io, int fd, std::shared_ptr<TlsContext> tls) {
  return std::make_unique<TlsTransport>(io, fd, std::static_pointer_cast<OpenSslContext>(std::move(tls)));
}

}  // namespace lathe::serve
