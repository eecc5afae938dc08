// A loop of HTTP/1.1 requests on one thread, thousands at once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "serving/url.h"

namespace lathe::cli {

enum class Failure { kNone, kConnect, kTls, kTimeout, kClosed, kProtocol, kAborted };

// "connect", "timeout", ...
const char* ToString(Failure failure);

// Gets one answer, on the loop's thread.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  virtual void OnHead(int status, std::string_view content_type) = 0;
  virtual void OnBody(std::string_view bytes) = 0;  // decoded, in pieces
  // Exactly once, last; the sink may be destroyed in it. `detail` is the system's word for the failure.
  virtual void OnEnd(Failure failure, const std::string& detail) = 0;
};

struct TlsOptions {
  std::string ca_file;    // PEM; "": the system's
  bool insecure = false;  // any certificate
};

// Owns one thread's sockets and timers. Connections are kept and used again. Everything but Post, Abort and
// the constructor runs on the thread that is in Run().
class HttpLoop {
 public:
  // Looks the host up. Errors: kUnavailable when its name is unknown; kNotFound, kCorrupt for the CA file.
  static Expected<std::unique_ptr<HttpLoop>> Create(const Url& url, const TlsOptions& tls);
  virtual ~HttpLoop() = default;

  // Runs `work` on the loop's thread, as soon as it can or at `when` (NowSeconds()).
  virtual void Post(std::function<void()> work) = 0;  // thread-safe
  virtual void At(double when, std::function<void()> work) = 0;

  // Sends `request` (whole bytes) and reads the answer into `sink`. Ends with kTimeout after `timeout`
  // seconds.
  virtual void Start(std::string request, double timeout, std::shared_ptr<ResponseSink> sink) = 0;

  // Until there is nothing left to do.
  virtual void Run() = 0;
  // Ends Run() soon: what is under way ends with kAborted, timers are forgotten. Thread-safe.
  virtual void Abort() = 0;
};

}  // namespace lathe::cli
