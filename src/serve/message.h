// What the HTTP layer hands to a handler, and what a handler answers through. Nothing here knows JSON or
// models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe::serve {

// Who asks: from the key file, or the anonymous principal when the server runs without keys.
struct Principal {
  std::string name = "anonymous";  // of the key; safe to log
  std::string salt;                // parts the prefix cache; never comes from the client
  int priority_cap = 0;            // a request's `priority` is cut to this
  int max_concurrent = 0;          // 0: no limit of its own
  uint64_t max_tokens_per_minute = 0;
};

// A whole request: the body is complete and within its limit. Header names are lower case.
struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // decoded, without the query
  std::string query;   // raw, without '?'
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::pair<std::string, std::string>> path_args;  // {name} parts of the route
  std::string body;
  std::string client;      // address, for logs
  std::string request_id;  // made by the server, or the client's X-Request-Id when it is well-formed
  std::string trace_id;    // of a well-formed W3C traceparent; "" otherwise
  Principal principal;
  double received = 0;  // MonotonicSeconds() when the last byte of the body was there

  std::string_view Header(std::string_view lower_case_name) const;  // "" when absent
  std::string_view PathArg(std::string_view name) const;
};

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// The answer to one request. Exactly one of Send, or StartStream + Write* + Finish, is used; what comes after
// the end, or after the client is gone, is dropped. Thread-safe; never blocks. The transport adds
// Content-Length or chunked coding, Date, X-Request-Id and the security headers.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void Send(int status, std::string_view content_type, std::string body, HeaderList extra = {}) = 0;

  // A body of unknown length (server-sent events: the transport writes a ":" comment after 10 s of silence
  // when content_type is text/event-stream).
  virtual void StartStream(int status, std::string_view content_type, HeaderList extra = {}) = 0;
  // False when the client is gone or too slow (its unread bytes passed the limit; it was disconnected).
  virtual bool Write(std::string bytes) = 0;
  virtual void Finish() = 0;

  // Runs once, on an I/O thread, when the client goes away before the answer is complete (at once if it
  // already has). Must not block.
  virtual void OnDisconnect(std::function<void()> callback) = 0;
  virtual bool disconnected() const = 0;
};

// Runs on a worker thread (never on an I/O thread); may answer later from any other thread.
using Handler = std::function<void(std::shared_ptr<const HttpRequest>, std::shared_ptr<Responder>)>;

}  // namespace lathe::serve
