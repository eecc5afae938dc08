// Seams between the protocol (serve/openai), admission and metrics, so that each can be tested alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "serve/message.h"

namespace lathe::serve {

// The bounded queue. Thread-safe.
class Admission {
 public:
  // Held by a request from admission to its end; releasing it gives its tokens back.
  class Ticket {
   public:
    virtual ~Ticket() = default;
  };
  struct Refusal {
    int status = 429;     // 429: full or over the caller's own limit; 503: draining or not ready
    std::string code;     // "queue_full", "rate_limited", "draining", "not_ready"
    std::string message;  // one sentence with the numbers
    int retry_after_seconds = 1;
  };
  virtual ~Admission() = default;
  // tokens: prompt + n x max_tokens. Null and `refusal` filled when there is no room. Takes microseconds.
  virtual std::shared_ptr<Ticket> Admit(const Principal& who, int requests, uint64_t tokens,
                                        Refusal* refusal) = 0;
};

// What happened to one generation, told to metrics and the access log. No prompt or output text is ever in
// here.
struct RequestRecord {
  std::string_view route;  // the pattern
  std::string_view request_id, trace_id, principal;
  int http_status = 200;
  std::string_view error_code;  // "" when fine: "context_length_exceeded", "queue_full", ...
  std::string_view finish;      // "stop", "length", "tool_calls", "cancelled", "deadline", "error"
  bool streamed = false;
  int prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, n = 1;
  double queued_seconds = 0, first_token_seconds = 0, total_seconds = 0;  // from HttpRequest::received
};

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void OnFirstToken(double seconds_since_received) = 0;
  // A continuation got `tokens` more, `gap_seconds` after the ones before.
  virtual void OnTokens(int tokens, double gap_seconds) = 0;
  virtual void OnDone(const RequestRecord& record) = 0;
};

}  // namespace lathe::serve
