// One connection to a server: TCP, through a proxy if asked, with TLS if its address says so. Blocking calls
// with time limits, for threads of their own.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "hub/url.h"

struct ssl_ctx_st;
struct ssl_st;

namespace lathe::hub {

// What TLS trusts: the system's authorities, or the file that SSL_CERT_FILE names. Shared by connections.
class TlsContext {
 public:
  // Errors: kNotFound, kCorrupt for a certificate file that cannot be read.
  static Expected<std::unique_ptr<TlsContext>> Create();
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ssl_ctx_st* get() const { return context_; }

 private:
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

struct StreamOptions {
  double connect_timeout = 10;                // seconds, for each address of a host
  double idle_timeout = 10;                   // seconds in which not a byte comes or goes
  const std::atomic<bool>* cancel = nullptr;  // looked at twice a second; kCancelled
  std::string user_agent;                     // for the proxy
};

// Faults that trying again may mend are kUnavailable; a certificate that does not hold is kMismatch.
class Stream {
 public:
  // `proxy`: an HTTP proxy; https goes through it by CONNECT, http is sent to it as it is.
  static Expected<std::unique_ptr<Stream>> Open(const Url& server, const std::optional<Url>& proxy,
                                                const TlsContext& tls, const StreamOptions& options);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Up to `size` bytes, as soon as there are any; 0: the other end has closed.
  Expected<size_t> Read(char* out, size_t size);
  Status Write(std::string_view bytes);
  // True when nothing has come (not even an end) since the last answer: an idle connection may be used again.
  bool Quiet() const;

 private:
  Stream(int fd, StreamOptions options) : fd_(fd), options_(std::move(options)) {}
  Status Wait(short events, double seconds, const char* doing);
  Status Connect(const Url& url);
  Status Tunnel(const Url& server, const Url& proxy);
  Status StartTls(const Url& server, const TlsContext& tls);
  // What an SSL call's result asks for: Ok after waiting for it.
  Status AfterSsl(int result, const char* doing);

  int fd_ = -1;
  ssl_st* ssl_ = nullptr;
  StreamOptions options_;
  std::string peer_;  // for messages
};

}  // namespace lathe::hub
