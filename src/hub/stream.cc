#include "hub/stream.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/clock.h"
#include "base/file.h"
#include "hub/digest.h"
#include "hub/names.h"

namespace lathe::hub {
namespace {

constexpr double kPollSeconds = 0.5;  // how late a cancellation may be noticed
constexpr size_t kMaxProxyHead = 16 << 10;

// Where distributions keep the authorities when OpenSSL's own place (Debian's, compiled in) is empty.
constexpr const char* kBundles[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                    "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};

std::string SslError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "the connection was cut";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "unknown error";
}

// OpenSSL writes with write(), which raises SIGPIPE when the other end is gone: kept away for a moment, since
// a library has no business with the whole process's signals.
class NoSigPipe {
 public:
  NoSigPipe() {
    sigset_t pending;
    sigemptyset(&set_);
    sigaddset(&set_, SIGPIPE);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &set_, &former_);
  }
  ~NoSigPipe() {
    const timespec none{};
    if (!was_pending_) sigtimedwait(&set_, nullptr, &none);
    pthread_sigmask(SIG_SETMASK, &former_, nullptr);
  }

 private:
  sigset_t set_{}, former_{};
  bool was_pending_ = false;
};

}  // namespace

Expected<std::unique_ptr<TlsContext>> TlsContext::Create() {
  std::unique_ptr<TlsContext> made(new TlsContext(SSL_CTX_new(TLS_client_method())));
  SSL_CTX* context = made->context_;
  if (context == nullptr) return Error(StatusCode::kInternal, "cannot start TLS: %s", SslError().c_str());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  const char* file = std::getenv("SSL_CERT_FILE");
  if (file != nullptr && *file != '\0') {
    if (!FileExists(file))
      return Error(StatusCode::kNotFound, "SSL_CERT_FILE names '%s', which is not there", file);
    if (SSL_CTX_load_verify_locations(context, file, nullptr) != 1)
      return Error(StatusCode::kCorrupt, "'%s' (SSL_CERT_FILE) holds no PEM certificates: %s", file,
                   SslError().c_str());
    return made;
  }
  SSL_CTX_set_default_verify_paths(context);
  for (const char* bundle : kBundles)
    if (FileExists(bundle) && SSL_CTX_load_verify_locations(context, bundle, nullptr) == 1) break;
  ERR_clear_error();
  return made;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

Expected<std::unique_ptr<Stream>> Stream::Open(const Url& server, const std::optional<Url>& proxy,
                                               const TlsContext& tls, const StreamOptions& options) {
  std::unique_ptr<Stream> stream(new Stream(-1, options));
  LATHE_RETURN_IF_ERROR(stream->Connect(proxy ? *proxy : server));
  if (!server.tls) return stream;
  if (proxy) LATHE_RETURN_IF_ERROR(stream->Tunnel(server, *proxy));
  LATHE_RETURN_IF_ERROR(stream->StartTls(server, tls));
  return stream;
}

Stream::~Stream() {
  SSL_free(ssl_);
  if (fd_ >= 0) ::close(fd_);
}

Status Stream::Wait(short events, double seconds, const char* doing) {
  const double deadline = NowSeconds() + seconds;
  for (;;) {
    if (options_.cancel != nullptr && options_.cancel->load()) return {StatusCode::kCancelled, "stopped"};
    const double left = deadline - NowSeconds();
    if (left <= 0)
      return Error(StatusCode::kUnavailable, "%s: no byte for %g s while %s", peer_.c_str(), seconds, doing);
    pollfd waiting{fd_, events, 0};
    if (::poll(&waiting, 1, static_cast<int>(std::min(left, kPollSeconds) * 1000) + 1) > 0)
      return Status::Ok();
  }
}

Status Stream::Connect(const Url& url) {
  peer_ = url.Authority();
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
  int error = ::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  if (error == EAI_NONAME || error == EAI_ADDRFAMILY) {  // a machine that has the loopback device alone
    hints.ai_flags = AI_NUMERICSERV;
    error = ::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  }
  if (error != 0)
    return Error(StatusCode::kUnavailable, "the host '%s' is unknown (%s); is there a network?",
                 url.host.c_str(), ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  Status last;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
    if (fd_ < 0) continue;
    int problem = ::connect(fd_, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    if (problem == EINPROGRESS) {
      last = Wait(POLLOUT, options_.connect_timeout, "connecting");
      if (last.code() == StatusCode::kCancelled) return last;
      if (!last.ok()) continue;
      socklen_t size = sizeof problem;
      ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &problem, &size);
    }
    if (problem == 0) {
      const int on = 1;
      ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      return Status::Ok();
    }
    last = Error(StatusCode::kUnavailable, "cannot connect to %s: %s", peer_.c_str(), std::strerror(problem));
  }
  return last.ok() ? Error(StatusCode::kUnavailable, "cannot connect to %s", peer_.c_str()) : last;
}

Status Stream::Tunnel(const Url& server, const Url& proxy) {
  const std::string to = server.Authority(true);
  std::string request =
      "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\nUser-Agent: " + options_.user_agent + "\r\n";
  if (!proxy.user_info.empty()) request += "Proxy-Authorization: Basic " + Base64(proxy.user_info) + "\r\n";
  LATHE_RETURN_IF_ERROR(Write(request + "\r\n"));
  // Byte by byte: what comes after the head belongs to TLS.
  std::string head;
  while (!head.ends_with("\r\n\r\n")) {
    char c = 0;
    LATHE_ASSIGN_OR_RETURN(const size_t n, Read(&c, 1));
    if (n == 0 || head.size() >= kMaxProxyHead)
      return Error(StatusCode::kUnavailable, "the proxy %s gave no whole answer to CONNECT", peer_.c_str());
    head += c;
  }
  if (head.size() < 13 || !head.starts_with("HTTP/1.") || head[9] != '2')
    return Error(StatusCode::kInvalidArgument, "the proxy %s does not let us through to %s: %s",
                 peer_.c_str(), to.c_str(), Quoted(head.substr(0, head.find('\r'))).c_str());
  peer_ = to;
  return Status::Ok();
}

Status Stream::StartTls(const Url& server, const TlsContext& tls) {
  ssl_ = SSL_new(tls.get());
  if (ssl_ == nullptr || SSL_set_fd(ssl_, fd_) != 1)
    return Error(StatusCode::kInternal, "cannot start TLS: %s", SslError().c_str());
  in6_addr address{};
  const bool numeric = ::inet_pton(AF_INET, server.host.c_str(), &address) == 1 ||
                       ::inet_pton(AF_INET6, server.host.c_str(), &address) == 1;
  if (numeric) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), server.host.c_str());
  } else {
    SSL_set_tlsext_host_name(ssl_, server.host.c_str());
    SSL_set1_host(ssl_, server.host.c_str());
  }
  for (;;) {
    int result = 0;
    {
      const NoSigPipe guard;
      result = SSL_connect(ssl_);
    }
    if (result == 1) return Status::Ok();
    const long verdict = SSL_get_verify_result(ssl_);
    if (verdict != X509_V_OK) {
      ERR_clear_error();
      return Error(
          StatusCode::kMismatch,
          "the certificate of %s does not hold (%s); if a proxy of yours signs for it, name its authority in "
          "SSL_CERT_FILE",
          server.host.c_str(), X509_verify_cert_error_string(verdict));
    }
    LATHE_RETURN_IF_ERROR(AfterSsl(result, "starting TLS"));
  }
}

Status Stream::AfterSsl(int result, const char* doing) {
  const int error = errno;
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ: return Wait(POLLIN, options_.idle_timeout, doing);
    case SSL_ERROR_WANT_WRITE: return Wait(POLLOUT, options_.idle_timeout, doing);
    case SSL_ERROR_SYSCALL:
      if (error != 0 && ERR_peek_error() == 0)
        return Error(StatusCode::kUnavailable, "%s: %s while %s", peer_.c_str(), std::strerror(error), doing);
      [[fallthrough]];
    default:
      return Error(StatusCode::kUnavailable, "%s: %s while %s", peer_.c_str(), SslError().c_str(), doing);
  }
}

Expected<size_t> Stream::Read(char* out, size_t size) {
  for (;;) {
    if (ssl_ != nullptr) {
      size_t n = 0;
      errno = 0;
      const int result = SSL_read_ex(ssl_, out, size, &n);
      if (result == 1) return n;
      if (SSL_get_error(ssl_, result) == SSL_ERROR_ZERO_RETURN) return size_t{0};
      LATHE_RETURN_IF_ERROR(AfterSsl(result, "reading"));
      continue;
    }
    const ssize_t n = ::recv(fd_, out, size, 0);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
      return Error(StatusCode::kUnavailable, "%s: %s while reading", peer_.c_str(), std::strerror(errno));
    LATHE_RETURN_IF_ERROR(Wait(POLLIN, options_.idle_timeout, "reading"));
  }
}

Status Stream::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    if (ssl_ != nullptr) {
      size_t n = 0;
      int result = 0;
      {
        const NoSigPipe guard;
        errno = 0;
        result = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &n);
      }
      if (result == 1) {
        bytes.remove_prefix(n);
      } else {
        LATHE_RETURN_IF_ERROR(AfterSsl(result, "writing"));
      }
      continue;
    }
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
      return Error(StatusCode::kUnavailable, "%s: %s while writing", peer_.c_str(), std::strerror(errno));
    LATHE_RETURN_IF_ERROR(Wait(POLLOUT, options_.idle_timeout, "writing"));
  }
  return Status::Ok();
}

bool Stream::Quiet() const {
  pollfd waiting{fd_, POLLIN, 0};
  return ::poll(&waiting, 1, 0) == 0 && (ssl_ == nullptr || SSL_pending(ssl_) == 0);
}

}  // namespace lathe::hub
