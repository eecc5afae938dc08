#include "fake_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace lathe::testing {
namespace {

constexpr int kPollMs = 20;

// The length of the body that `head` announces.
size_t BodyLength(const std::string& head) {
  const size_t at = head.find("Content-Length: ");
  return at == std::string::npos ? 0 : std::strtoul(head.c_str() + at + 16, nullptr, 10);
}

}  // namespace

FakeServer::FakeServer(Script script) : script_(std::move(script)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 1024) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::perror("fake server");
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

FakeServer::~FakeServer() {
  stop_ = true;
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  close(listener_);
}

std::string FakeServer::Url() const { return "http://127.0.0.1:" + std::to_string(port_); }

std::vector<FakeServer::Asked> FakeServer::asked() const {
  const std::lock_guard lock(mutex_);
  return asked_;
}

void FakeServer::Accept() {
  while (!stop_) {
    pollfd waiting{listener_, POLLIN, 0};
    if (poll(&waiting, 1, kPollMs) <= 0) continue;
    const int socket = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ++connections_;
    threads_.emplace_back([this, socket] { Serve(socket); });
  }
}

void FakeServer::Serve(int socket) {
  const Say say = [socket](const std::string& bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t n = send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += static_cast<size_t>(n);
    }
    return true;
  };
  std::string in;
  bool open = true;
  while (open && !stop_) {
    const size_t end = in.find("\r\n\r\n");
    if (end != std::string::npos && in.size() >= end + 4 + BodyLength(in.substr(0, end))) {
      const size_t length = BodyLength(in.substr(0, end));
      const Asked asked{in.substr(0, end + 2), in.substr(end + 4, length)};
      in.erase(0, end + 4 + length);
      {
        const std::lock_guard lock(mutex_);
        asked_.push_back(asked);
      }
      open = script_(asked, say);
      continue;
    }
    pollfd waiting{socket, POLLIN, 0};
    if (poll(&waiting, 1, kPollMs) <= 0) continue;
    char bytes[8192];
    const ssize_t n = recv(socket, bytes, sizeof bytes, 0);
    open = n > 0;
    if (open) in.append(bytes, static_cast<size_t>(n));
  }
  close(socket);
}

std::string JsonAnswer(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) +
         " X\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

std::string StreamHead() {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
}

std::string Chunk(const std::string& bytes) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return size + bytes + "\r\n";
}

std::string StreamEnd() { return "0\r\n\r\n"; }

}  // namespace lathe::testing
