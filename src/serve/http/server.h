// The HTTP server: sockets, TLS, limits, keys in front of the router, workers behind it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "serve/http/auth.h"
#include "serve/http/request_reader.h"
#include "serve/router.h"

namespace lathe::serve {

// One answered (or abandoned) request, for the access log. Views live during the call.
struct AccessRecord {
  std::string_view method, route, request_id, trace_id, principal, client;  // route: the pattern; "" for none
  int status = 0;  // 0: the client went before there was one
  uint64_t bytes = 0;
  double seconds = 0;  // from the end of the request's body (or its refusal) to the end of the answer
  bool client_gone = false;
};

struct HttpOptions {
  std::string address = "127.0.0.1";        // an IP literal, or "localhost"
  int port = 8000;                          // 0: any free one
  std::string tls_cert_file, tls_key_file;  // both or neither
  int io_threads = 1;
  int workers = 2;
  ReadLimits read_limits;
  int max_connections = 1024;
  size_t max_buffered_bytes = 256 << 20;  // request bodies of all connections together
  size_t write_backlog_bytes = 4 << 20;   // of one connection
  double read_timeout =
      10;  // a head must be whole by then; a body must make progress, and 4 KB/s on the whole
  double idle_timeout = 75;      // between requests of a connection
  double write_timeout = 30;     // a client that takes nothing of its answer for so long is let go
  double comment_interval = 10;  // ":" into a silent stream of events
  // Anonymous service on loopback: a Host that somebody else's DNS could have pointed here is refused (403).
  bool require_local_host_name = false;
  std::shared_ptr<Authenticator> authenticator;        // null: everybody is anonymous
  std::function<void(const AccessRecord&)> on_access;  // on an I/O thread; must not block
};

// Thread-safe, but for Stop and destruction.
class HttpServer {
 public:
  struct Counters {
    uint64_t accepted = 0, refused_connections = 0, requests = 0;
    int connections = 0, active = 0;  // active: requests not wholly answered
  };

  // Binds and serves. `router` must outlive the server and stay as it is. Errors name the address or the
  // file.
  static Expected<std::unique_ptr<HttpServer>> Start(const HttpOptions& options, const Router* router);
  virtual ~HttpServer() = default;  // stops

  virtual int port() const = 0;
  virtual Counters counters() const = 0;

  // Answers end their connections from now on and idle connections are closed; new ones are still served.
  virtual void BeginDrain() = 0;
  // Waits until no request is active; false when `seconds` were not enough.
  virtual bool WaitIdle(double seconds) = 0;
  // Ends what is active: `error_json` as a 503, or as the last event of a stream. Handlers see disconnects.
  virtual void AbortAll(const std::string& error_json) = 0;
  // Reads certificate and key again, for connections to come.
  virtual Status ReloadTls() = 0;
};

}  // namespace lathe::serve
