// For tests: a socket that sends exactly what it is told and reads answers by hand.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace lathe::serve {

struct RawAnswer {
  int status = 0;
  std::string head;  // status line and fields
  std::string body;  // chunks put together
  bool complete = false;

  std::string Field(std::string_view name) const {
    const size_t at = head.find("\r\n" + std::string(name) + ": ");
    if (at == std::string::npos) return {};
    const size_t start = at + name.size() + 4;
    return head.substr(start, head.find("\r\n", start) - start);
  }
};

class RawClient {
 public:
  explicit RawClient(int port, int receive_buffer = 0) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  ~RawClient() { Close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void Reset() {
    const linger hard{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    Close();
  }
  // False when the server closed meanwhile.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  // More bytes into buffer(); false at the end of the connection or after `seconds`.
  bool Read(double seconds = 5) {
    pollfd wait{fd_, POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(seconds * 1000)) <= 0) return false;
    char bytes[1 << 16];
    const ssize_t n = recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }
  bool ReadUntil(std::string_view needle, double seconds = 5) {
    const double end = NowSeconds() + seconds;
    while (buffer_.find(needle) == std::string::npos) {
      const double left = end - NowSeconds();
      if (left <= 0 || !Read(left)) return false;
    }
    return true;
  }
  // The server ends the connection within `seconds`; what it sends before is thrown away.
  bool Ends(double seconds = 5) {
    const double end = NowSeconds() + seconds;
    while (!ended_) {
      const double left = end - NowSeconds();
      if (left <= 0) return false;
      Read(left);
    }
    return true;
  }
  // The next answer. `without_body`: of a HEAD.
  RawAnswer Answer(double seconds = 5, bool without_body = false) {
    RawAnswer out;
    if (!ReadUntil("\r\n\r\n", seconds)) return out;
    const size_t end = buffer_.find("\r\n\r\n") + 4;
    out.head = buffer_.substr(0, end);
    buffer_.erase(0, end);
    out.status = std::atoi(out.head.c_str() + 9);
    if (without_body || out.status == 204 || out.status == 100) {
      out.complete = true;
    } else if (!out.Field("Content-Length").empty()) {
      const size_t want = std::strtoull(out.Field("Content-Length").c_str(), nullptr, 10);
      while (buffer_.size() < want && Read(seconds)) {
      }
      out.complete = buffer_.size() >= want;
      out.body = buffer_.substr(0, want);
      buffer_.erase(0, want);
    } else if (out.Field("Transfer-Encoding") == "chunked") {
      ReadChunks(&out, seconds);
    } else {
      while (Read(seconds)) {
      }
      out.complete = ended_;
      out.body = std::move(buffer_);
      buffer_.clear();
    }
    return out;
  }
  RawAnswer Ask(std::string_view request, double seconds = 5) {
    Send(request);
    return Answer(seconds, request.starts_with("HEAD "));
  }
  const std::string& buffer() const { return buffer_; }

 private:
  void ReadChunks(RawAnswer* out, double seconds) {
    while (ReadUntil("\r\n", seconds)) {
      const size_t line = buffer_.find("\r\n");
      const size_t size = std::strtoull(buffer_.c_str(), nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2) {
        if (!Read(seconds)) return;
      }
      out->body += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) {
        out->complete = true;
        return;
      }
    }
  }

  int fd_ = -1;
  bool connected_ = false, ended_ = false;
  std::string buffer_;
};

inline std::string Get(std::string_view path, std::string_view fields = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(fields) + "\r\n";
}
inline std::string Post(std::string_view path, std::string_view body, std::string_view fields = "") {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(fields) + "\r\n" + std::string(body);
}

}  // namespace lathe::serve
