// A server of few words, for tests of the load generator: one thread a connection, answers as a script says.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace lathe::testing {

class FakeServer {
 public:
  struct Asked {
    std::string head;  // request line and headers
    std::string body;
  };
  // Writes to the client; false when it is gone.
  using Say = std::function<bool(const std::string& bytes)>;
  // Answers one request; false closes the connection.
  using Script = std::function<bool(const Asked& asked, const Say& say)>;

  explicit FakeServer(Script script);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::string Url() const;  // "http://127.0.0.1:PORT"
  int connections() const { return connections_; }
  std::vector<Asked> asked() const;

 private:
  void Accept();
  void Serve(int socket);
  Script script_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<int> connections_{0};
  mutable std::mutex mutex_;
  std::vector<Asked> asked_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// A JSON answer with Content-Length.
std::string JsonAnswer(int status, const std::string& body);
// The head of a chunked text/event-stream, one chunk of it, and its end.
std::string StreamHead();
std::string Chunk(const std::string& bytes);
std::string StreamEnd();

}  // namespace lathe::testing
