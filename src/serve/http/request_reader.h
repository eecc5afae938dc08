// Bytes of a connection into requests: HTTP/1.1 and 1.0 by Boost.Beast's parser, with the limits and the
// refusals of ours around it. Knows no socket.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "serve/message.h"

namespace lathe::serve {

struct ReadLimits {
  size_t header_bytes = 16 << 10;  // request line and fields
  size_t body_bytes = 8 << 20;
};

// Reads one request after another. Not thread-safe.
class RequestReader {
 public:
  enum class State {
    kHead,   // waiting for (the rest of) the head
    kBody,   // the head is complete; see head()
    kDone,   // the request is complete: Take() it
    kFault,  // refused: see fault(). The connection must end after the answer
  };
  struct Fault {
    int status = 400;
    std::string code, message;
  };

  explicit RequestReader(const ReadLimits& limits);
  ~RequestReader();

  // Parses what it can of `bytes` and returns how many were used. Stops at the end of the head, and at the
  // end of the request. Of the rest, what belongs to this request must be given again, together with what
  // follows it.
  size_t Feed(std::string_view bytes);
  State state() const { return state_; }
  const Fault& fault() const { return fault_; }

  // Valid in kBody and kDone.
  const HttpRequest& head() const { return request_; }
  bool keep_alive() const { return keep_alive_; }
  bool http_1_0() const { return http_1_0_; }
  bool expects_continue() const { return expects_continue_; }
  size_t body_received() const { return request_.body.size(); }
  bool started() const { return started_; }  // a byte of this request has come

  // The request; the reader then waits for the next one.
  HttpRequest Take();

 private:
  class Parser;
  void Refuse(int status, std::string code, std::string message);
  void RefuseSyntax(int reason, std::string_view what);
  void CheckHead();

  ReadLimits limits_;
  std::unique_ptr<Parser> parser_;
  State state_ = State::kHead;
  Fault fault_;
  HttpRequest request_;
  bool keep_alive_ = false, http_1_0_ = false, expects_continue_ = false, started_ = false;
};

}  // namespace lathe::serve
