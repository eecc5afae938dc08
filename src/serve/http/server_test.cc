#include "serve/http/server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "serve/http/raw_client.h"

namespace lathe::serve {
namespace {

void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

template <typename F>
bool Eventually(F condition, double seconds = 5) {
  const double end = NowSeconds() + seconds;
  while (!condition()) {
    if (NowSeconds() > end) return false;
    SleepMs(2);
  }
  return true;
}

// Routes that do what the tests need.
class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    options_.port = 0;
    router_.Add("GET", "/hello",
                [](auto, auto responder) { responder->Send(200, "text/plain", "hello", {}); });
    router_.Add("POST", "/echo",
                [](auto request, auto responder) { responder->Send(200, "text/plain", request->body, {}); });
    router_.Add("GET", "/head", [](auto request, auto responder) {
      std::string text;
      for (const auto& [name, value] : request->headers) text += name + "=" + value + "\n";
      responder->Send(200, "text/plain", request->request_id + " " + request->trace_id + "\n" + text, {});
    });
    router_.Add("GET", "/models/{name}", [](auto request, auto responder) {
      responder->Send(200, "text/plain", std::string(request->PathArg("name")), {});
    });
    router_.Add("GET", "/throw", [](auto, auto) { throw std::runtime_error("deliberate"); });
    router_.Add("GET", "/silent", [](auto, auto) {});
    // Kept open: the test streams into it.
    router_.Add("GET", "/stream", [this](auto, auto responder) {
      responder->OnDisconnect([this] { ++disconnects_; });
      responder->StartStream(200, "text/event-stream", {});
      const std::lock_guard lock(mutex_);
      streams_.push_back(std::move(responder));
    });
    router_.Add("POST", "/wait", [this](auto, auto responder) {
      responder->OnDisconnect([this] { ++disconnects_; });
      const std::lock_guard lock(mutex_);
      streams_.push_back(std::move(responder));
    });
  }
  ~ServerTest() override {
    {
      const std::lock_guard lock(mutex_);
      streams_.clear();
    }
    server_.reset();
  }

  void Serve() {
    auto server = HttpServer::Start(options_, &router_);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = *std::move(server);
  }
  int port() const { return server_->port(); }
  std::shared_ptr<Responder> NextStream() {
    std::shared_ptr<Responder> out;
    Eventually([&] {
      const std::lock_guard lock(mutex_);
      if (streams_.empty()) return false;
      out = std::move(streams_.front());
      streams_.erase(streams_.begin());
      return true;
    });
    return out;
  }

  HttpOptions options_;
  Router router_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Responder>> streams_;
  std::atomic<int> disconnects_{0};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
  Serve();
  RawClient client(port());
  for (int i = 0; i < 3; ++i) {
    const RawAnswer answer = client.Ask(Get("/hello"));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "hello");
    EXPECT_FALSE(answer.Field("X-Request-Id").empty());
    EXPECT_EQ(answer.Field("X-Content-Type-Options"), "nosniff");
    EXPECT_FALSE(answer.Field("Date").empty());
  }
  EXPECT_EQ(client.Ask(Post("/echo", std::string(1 << 20, 'x'))).body.size(), 1u << 20);
  EXPECT_EQ(client.Ask(Get("/models/a.B-c_9")).body, "a.B-c_9");
  EXPECT_EQ(client.Ask(Get("/models/a%2Fb")).status, 404);
  EXPECT_EQ(server_->counters().accepted, 1u);
}

TEST_F(ServerTest, MethodsAndPaths) {
  Serve();
  RawClient client(port());
  const RawAnswer head = client.Ask("HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.Field("Content-Length"), "5");
  const RawAnswer options = client.Ask("OPTIONS /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.Field("Allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(client.Ask("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 204);
  const RawAnswer post = client.Ask(Post("/hello", ""));
  EXPECT_EQ(post.status, 405);
  EXPECT_EQ(post.Field("Allow"), "GET, HEAD");
  const RawAnswer missing = client.Ask(Get("/nowhere"));
  EXPECT_EQ(missing.status, 404);
  EXPECT_NE(missing.body.find("\"code\":\"not_found\""), std::string::npos);
  EXPECT_EQ(client.Ask(Get("/throw")).status, 500);
  EXPECT_EQ(client.Ask(Get("/silent")).status, 500);
  EXPECT_EQ(client.Ask(Get("/hello")).status, 200);
}

TEST_F(ServerTest, IdsOfRequestAndTrace) {
  Serve();
  RawClient client(port());
  const std::string trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
  const RawAnswer own = client.Ask(Get("/head", "X-Request-Id: my-id.1\r\n" + trace));
  EXPECT_EQ(own.Field("X-Request-Id"), "my-id.1");
  EXPECT_TRUE(own.body.starts_with("my-id.1 4bf92f3577b34da6a3ce929d0e0e4736\n")) << own.body;
  const RawAnswer bad = client.Ask(Get("/head", "X-Request-Id: my id\r\n"));
  EXPECT_NE(bad.Field("X-Request-Id"), "my id");
  EXPECT_FALSE(bad.Field("X-Request-Id").empty());
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  Serve();
  RawClient client(port());
  std::string requests;
  for (int i = 0; i < 500; ++i) {
    requests += i % 3 == 0 ? Get("/hello") : Post("/echo", "body " + std::to_string(i));
  }
  std::thread sender([&] { client.Send(requests); });
  for (int i = 0; i < 500; ++i) {
    const RawAnswer answer = client.Answer();
    ASSERT_EQ(answer.status, 200) << i;
    ASSERT_EQ(answer.body, i % 3 == 0 ? "hello" : "body " + std::to_string(i));
  }
  sender.join();
}

TEST_F(ServerTest, WhatIsSentAheadWaitsInTheSocket) {
  Serve();
  RawClient client(port());
  std::string requests = Get("/stream");
  for (int i = 0; i < 300; ++i) requests += Post("/echo", std::to_string(i) + std::string(4000, 'x'));
  std::thread sender([&] { client.Send(requests); });
  const auto stream = NextStream();
  ASSERT_NE(stream, nullptr);
  SleepMs(50);
  stream->Write("data: 1\n\n");
  stream->Finish();
  EXPECT_EQ(client.Answer().body, "data: 1\n\n");
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(client.Answer().body.starts_with(std::to_string(i) + "x")) << i;
  sender.join();
}

TEST_F(ServerTest, AHalfClosedConnectionCountsAsGone) {
  Serve();
  RawClient client(port());
  client.Send(Post("/wait", "{}"));
  const auto responder = NextStream();
  ASSERT_NE(responder, nullptr);
  shutdown(client.fd(), SHUT_WR);
  EXPECT_TRUE(Eventually([&] { return disconnects_ == 1; }));
}

TEST_F(ServerTest, ChunkedBodyAndContinue) {
  Serve();
  RawClient client(port());
  client.Send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.Answer().status, 100);
  for (const char c : std::string_view("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")) client.Send({&c, 1});
  EXPECT_EQ(client.Answer().body, "hello!");
  // Refused before the body is sent.
  const RawAnswer refused = client.Ask(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(refused.status, 413);
  EXPECT_EQ(refused.Field("Connection"), "close");
  EXPECT_TRUE(client.Ends());
}

TEST_F(ServerTest, ARefusedClientStillSendingGetsTheAnswer) {
  Serve();
  RawClient client(port());
  client.Send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n");
  std::thread sender([&] { client.Send(std::string(9000000, 'x')); });
  const RawAnswer answer = client.Answer();
  EXPECT_EQ(answer.status, 413);
  EXPECT_NE(answer.body.find("8388608"), std::string::npos);
  sender.join();
}

TEST_F(ServerTest, HugeHeadsAndGarbage) {
  Serve();
  for (const auto& [bytes, status] : std::vector<std::pair<std::string, int>>{
           {Get("/hello", "X: " + std::string(20000, 'x') + "\r\n"), 431},
           {Get("/" + std::string(20000, 'x')), 431},
           {"\x16\x03\x01garbage\r\n\r\n", 400},
           {std::string(100000, 'A'), 431},
           {"GET / HTTP/3.0\r\n\r\n", 505},
           {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" +
                std::string(200000, 'e'),
            400}}) {
    RawClient client(port());
    client.Send(bytes);
    const RawAnswer answer = client.Answer();
    EXPECT_EQ(answer.status, status) << bytes.substr(0, 40);
    EXPECT_NE(answer.body.find("\"error\":{\"message\":"), std::string::npos);
    EXPECT_FALSE(answer.Field("X-Request-Id").empty());
    EXPECT_TRUE(client.Ends());
  }
  EXPECT_EQ(RawClient(port()).Ask(Get("/hello")).status, 200);
}

TEST_F(ServerTest, SlowlorisInHeadAndBody) {
  options_.read_timeout = 0.3;
  Serve();
  RawClient head(port()), body(port()), silent(port());
  body.Send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
  head.Send("GET /hello HTTP/1.1\r\n");
  const double start = NowSeconds();
  // A byte now and then does not buy a head more time.
  std::thread drip([&] {
    for (int i = 0; i < 20 && head.Send("a"); ++i) SleepMs(40);
  });
  EXPECT_EQ(head.Answer(2).status, 408);
  EXPECT_LT(NowSeconds() - start, 1.0);
  EXPECT_EQ(body.Answer(2).status, 408);
  EXPECT_TRUE(silent.Ends(2));
  EXPECT_LT(NowSeconds() - start, 2.0);
  drip.join();
}

TEST_F(ServerTest, ASlowBodyThatMovesIsRead) {
  options_.read_timeout = 0.4;
  Serve();
  RawClient client(port());
  client.Send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 8000\r\n\r\n");
  for (int i = 0; i < 8; ++i) {
    client.Send(std::string(1000, 'x'));
    SleepMs(100);
  }
  EXPECT_EQ(client.Answer().body.size(), 8000u);
}

TEST_F(ServerTest, IdleConnectionsAreClosed) {
  options_.idle_timeout = 0.2;
  Serve();
  RawClient client(port());
  EXPECT_EQ(client.Ask(Get("/hello")).status, 200);
  const double start = NowSeconds();
  EXPECT_TRUE(client.Ends(2));
  EXPECT_GT(NowSeconds() - start, 0.1);
}

TEST_F(ServerTest, OneConnectionTooMany) {
  options_.max_connections = 3;
  Serve();
  RawClient a(port()), b(port()), c(port());
  for (RawClient* client : {&a, &b, &c}) EXPECT_EQ(client->Ask(Get("/hello")).status, 200);
  RawClient d(port());
  const double start = NowSeconds();
  const RawAnswer answer = d.Ask(Get("/hello"));
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.Field("Retry-After"), "1");
  EXPECT_LT(NowSeconds() - start, 0.5);
  a.Close();
  EXPECT_TRUE(Eventually([&] { return RawClient(port()).Ask(Get("/hello")).status == 200; }));
}

TEST_F(ServerTest, LargeBodiesTogetherHaveALimit) {
  options_.max_buffered_bytes = 100000;
  Serve();
  RawClient first(port()), second(port());
  first.Send("POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 80001\r\n\r\n" + std::string(80000, 'x'));
  ASSERT_TRUE(Eventually([&] { return server_->counters().connections == 2; }));
  SleepMs(50);
  EXPECT_EQ(second.Ask(Post("/echo", std::string(50000, 'x'))).status, 503);
  first.Reset();
  EXPECT_TRUE(Eventually(
      [&] { return RawClient(port()).Ask(Post("/echo", std::string(50000, 'x'))).status == 200; }));
}

TEST_F(ServerTest, Streams) {
  Serve();
  RawClient client(port());
  client.Send(Get("/stream") + Get("/hello"));
  const auto stream = NextStream();
  ASSERT_NE(stream, nullptr);
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string event = "data: " + std::to_string(i) + "\n\n";
    expected += event;
    EXPECT_TRUE(stream->Write(event));
  }
  stream->Finish();
  EXPECT_FALSE(stream->Write("late"));
  const RawAnswer answer = client.Answer();
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(answer.body, expected);
  EXPECT_EQ(answer.Field("X-Accel-Buffering"), "no");
  EXPECT_EQ(client.Answer().body, "hello");  // the pipelined request had to wait
  EXPECT_EQ(disconnects_, 0);
}

TEST_F(ServerTest, StreamsToHttp10EndWithTheConnection) {
  Serve();
  RawClient client(port());
  client.Send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const auto stream = NextStream();
  ASSERT_NE(stream, nullptr);
  stream->Write("data: 1\n\n");
  stream->Finish();
  const RawAnswer answer = client.Answer();
  EXPECT_EQ(answer.body, "data: 1\n\n");
  EXPECT_EQ(answer.Field("Transfer-Encoding"), "");
}

TEST_F(ServerTest, SilentStreamsGetComments) {
  options_.comment_interval = 0.1;
  Serve();
  RawClient client(port());
  client.Send(Get("/stream"));
  const auto stream = NextStream();
  ASSERT_NE(stream, nullptr);
  EXPECT_TRUE(client.ReadUntil("3\r\n:\n\n\r\n", 2));
  stream->Write("data: x\n\n");
  stream->Finish();
  const RawAnswer answer = client.Answer();
  EXPECT_TRUE(answer.complete);
  EXPECT_NE(answer.body.find("data: x\n\n"), std::string::npos);
}

TEST_F(ServerTest, DisconnectsAreNoticedWithinMilliseconds) {
  Serve();
  for (const bool reset : {false, true}) {
    for (const bool streaming : {false, true}) {
      const int before = disconnects_;
      RawClient client(port());
      client.Send(streaming ? Get("/stream") : Post("/wait", "{}"));
      const auto responder = NextStream();
      ASSERT_NE(responder, nullptr);
      EXPECT_FALSE(responder->disconnected());
      reset ? client.Reset() : client.Close();
      const double start = NowSeconds();
      EXPECT_TRUE(Eventually([&] { return disconnects_ == before + 1; }));
      EXPECT_LT(NowSeconds() - start, 0.2);
      EXPECT_TRUE(responder->disconnected());
      EXPECT_FALSE(responder->Write("x"));
      // Asked for afterwards, it runs all the same.
      std::atomic<bool> ran{false};
      responder->OnDisconnect([&] { ran = true; });
      EXPECT_TRUE(Eventually([&] { return ran.load(); }));
    }
  }
  EXPECT_TRUE(Eventually([&] { return server_->counters().active == 0; }));
}

TEST_F(ServerTest, SlowReadersAreLetGo) {
  options_.write_backlog_bytes = 256 << 10;
  Serve();
  RawClient client(port(), /*receive_buffer=*/4096);
  client.Send(Get("/stream"));
  const auto stream = NextStream();
  ASSERT_NE(stream, nullptr);
  const std::string event(10000, 'x');
  size_t written = 0;
  while (stream->Write(event) && written < (64u << 20)) {
    written += event.size();
    SleepMs(1);
  }
  EXPECT_LT(written, 64u << 20);
  EXPECT_TRUE(Eventually([&] { return disconnects_ == 1; }));
  EXPECT_TRUE(stream->disconnected());
  EXPECT_TRUE(Eventually([&] { return server_->counters().connections == 0; }));
}

TEST_F(ServerTest, AReaderThatStopsIsLetGo) {
  options_.write_timeout = 0.3;
  Serve();
  RawClient client(port(), /*receive_buffer=*/4096);
  client.Send(Post("/echo", std::string(7 << 20, 'x')));
  EXPECT_TRUE(Eventually([&] { return server_->counters().connections == 0; }, 3));
}

TEST_F(ServerTest, ADroppedStreamEndsWithoutItsLastChunk) {
  Serve();
  RawClient client(port());
  client.Send(Get("/stream"));
  auto stream = NextStream();
  ASSERT_NE(stream, nullptr);
  stream->Write("data: 1\n\n");
  stream.reset();
  const RawAnswer answer = client.Answer();
  EXPECT_EQ(answer.body, "data: 1\n\n");
  EXPECT_FALSE(answer.complete);
}

TEST_F(ServerTest, DrainAndAbort) {
  Serve();
  RawClient idle(port()), streaming(port()), waiting(port()), fresh(port());
  EXPECT_EQ(idle.Ask(Get("/hello")).status, 200);
  streaming.Send(Get("/stream"));
  const auto stream = NextStream();
  ASSERT_NE(stream, nullptr);
  waiting.Send(Post("/wait", "{}"));
  const auto wait = NextStream();
  ASSERT_NE(wait, nullptr);
  server_->BeginDrain();
  EXPECT_TRUE(idle.Ends(2));
  EXPECT_EQ(fresh.Ask(Get("/hello")).Field("Connection"), "close");
  EXPECT_FALSE(server_->WaitIdle(0.05));
  stream->Write("data: 1\n\n");
  server_->AbortAll("{\"error\":1}");
  const RawAnswer streamed = streaming.Answer();
  EXPECT_EQ(streamed.body, "data: 1\n\ndata: {\"error\":1}\n\n");
  EXPECT_TRUE(streamed.complete);
  const RawAnswer waited = waiting.Answer();
  EXPECT_EQ(waited.status, 503);
  EXPECT_EQ(waited.body, "{\"error\":1}");
  EXPECT_TRUE(server_->WaitIdle(2));
  EXPECT_EQ(disconnects_, 2);
  EXPECT_FALSE(stream->Write("data: 2\n\n"));
}

TEST_F(ServerTest, AnswersMayOutliveTheServer) {
  Serve();
  RawClient client(port());
  client.Send(Get("/stream"));
  const auto stream = NextStream();
  ASSERT_NE(stream, nullptr);
  server_.reset();
  EXPECT_EQ(disconnects_, 1);
  EXPECT_FALSE(stream->Write("x"));
  stream->Finish();
}

TEST_F(ServerTest, PagesOfOtherSitesAndNames) {
  options_.require_local_host_name = true;
  Serve();
  RawClient client(port());
  EXPECT_EQ(client.Ask("GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 403);
  EXPECT_EQ(client.Ask(Get("/hello", "Sec-Fetch-Site: cross-site\r\n")).status, 200);  // a link
  EXPECT_EQ(client.Ask(Post("/echo", "x", "Sec-Fetch-Site: same-origin\r\n")).status, 200);
  EXPECT_EQ(client.Ask(Post("/echo", "x", "Sec-Fetch-Site: cross-site\r\n")).status, 403);
}

TEST_F(ServerTest, AddressFaults) {
  options_.address = "example.org";
  EXPECT_EQ(HttpServer::Start(options_, &router_).status().code(), StatusCode::kInvalidArgument);
  options_.address = "127.0.0.1";
  Serve();
  HttpOptions second = options_;
  second.port = port();
  const auto taken = HttpServer::Start(second, &router_);
  EXPECT_EQ(taken.status().code(), StatusCode::kIo);
  EXPECT_NE(taken.status().message().find(std::to_string(port())), std::string::npos);
}

// Many writers, many connections, disconnects at random moments: no answer is lost or mixed up, all are let
// go.
TEST_F(ServerTest, Storm) {
  options_.io_threads = 2;
  Serve();
  std::atomic<bool> stop{false};
  std::thread engine([&] {
    std::vector<std::pair<std::shared_ptr<Responder>, int>> running;
    while (!stop || !running.empty()) {
      {
        const std::lock_guard lock(mutex_);
        for (auto& stream : streams_) running.emplace_back(std::move(stream), 0);
        streams_.clear();
      }
      for (auto& [stream, count] : running) {
        if (!stream->Write("data: " + std::to_string(count) + "\n\n")) count = 100;
        if (++count >= 20) stream->Finish();
      }
      std::erase_if(running, [](const auto& item) { return item.second >= 20; });
      SleepMs(1);
    }
  });
  std::string expected;
  for (int i = 0; i < 20; ++i) expected += "data: " + std::to_string(i) + "\n\n";
  std::atomic<int> good{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < 8; ++t) {
    clients.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        RawClient client(port());
        client.Send(Get("/stream"));
        if ((i + t) % 3 == 0) {
          client.Read(0.02);
          (i + t) % 2 == 0 ? client.Reset() : client.Close();
          continue;
        }
        const RawAnswer answer = client.Answer();
        if (answer.complete && answer.body == expected) ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  stop = true;
  engine.join();
  EXPECT_EQ(good, 160);
  EXPECT_TRUE(
      Eventually([&] { return server_->counters().active == 0 && server_->counters().connections == 0; }));
}

}  // namespace
}  // namespace lathe::serve
