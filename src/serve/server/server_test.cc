#include "serve/server/server.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "serve/http/raw_client.h"

namespace lathe::serve {
namespace {

void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// An engine of which only the figures matter here.
class IdleEngine final : public Engine {
 public:
  void Set(int running, int waiting, uint64_t steps) {
    const std::lock_guard lock(mutex_);
    stats_.running = running;
    stats_.waiting = waiting;
    stats_.steps = steps;
  }
  void Fail() {
    const std::lock_guard lock(mutex_);
    stats_.accepting = false;
  }
  EngineStats Stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  const ModelInfo& model() const override { return model_; }
  SamplingParams DefaultSampling() const override { return {}; }
  Expected<RequestId> Submit(Request, OutputCallback) override { return Unused(); }
  void Cancel(RequestId) override {}
  void WaitIdle() override {}
  Expected<std::vector<TokenId>> Tokenize(const std::string&, bool, bool) const override { return Unused(); }
  std::string Detokenize(const std::vector<TokenId>&, bool) const override { return {}; }
  std::string TokenBytes(TokenId) const override { return {}; }
  const std::string& ChatTemplate() const override { return model_.name; }
  Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat&, std::string*) const override {
    return Unused();
  }
  Expected<Score> ScoreWindow(const std::vector<TokenId>&) override { return Unused(); }
  Expected<std::vector<float>> Logits(const std::vector<TokenId>&) override { return Unused(); }

 private:
  static Status Unused() { return Error(StatusCode::kUnsupported, "not of this test"); }
  mutable std::mutex mutex_;
  EngineStats stats_;  // guarded by mutex_
  ModelInfo model_;
};

EngineStats Stats(int running, int waiting, uint64_t steps) {
  EngineStats stats;
  stats.running = running;
  stats.waiting = waiting;
  stats.steps = steps;
  return stats;
}

TEST(Health, FollowsTheStepsAndNotTheQueue) {
  Health health({.unready_seconds = 10, .dead_seconds = 60});
  EXPECT_FALSE(health.Ready(0).good);  // starting
  EXPECT_TRUE(health.Live(0).good);
  health.SetPhase(Health::Phase::kServing);
  double now = 100;
  const auto run = [&](double seconds, int running, int waiting, double steps_per_second) {
    static uint64_t steps = 0;
    static double exact = 0;
    for (const double end = now + seconds; now < end; now += 0.2) {
      exact += 0.2 * steps_per_second;
      steps = static_cast<uint64_t>(exact);
      health.Sample(now, Stats(running, waiting, steps));
    }
    now -= 0.2;
  };
  run(1000, 0, 0, 0);  // nothing to do
  EXPECT_TRUE(health.Ready(now).good);
  run(1000, 256, 100000, 1);  // a full queue, slow steps
  EXPECT_TRUE(health.Ready(now).good);
  EXPECT_TRUE(health.Live(now).good);
  run(9, 256, 0, 0);
  EXPECT_TRUE(health.Ready(now).good);
  run(2, 0, 1, 0);  // waiting alone is work too
  EXPECT_FALSE(health.Ready(now).good);
  EXPECT_TRUE(health.Live(now).good);
  EXPECT_NE(health.Ready(now).reason.find("11 s"), std::string::npos) << health.Ready(now).reason;
  run(51, 1, 0, 0);
  EXPECT_FALSE(health.Live(now).good);
  run(2, 1, 0, 10);  // it got on after all
  EXPECT_TRUE(health.Ready(now).good);
  EXPECT_TRUE(health.Live(now).good);
  run(100, 0, 0, 0);
  health.Sample(now + 0.2, Stats(1, 0, 12345678));  // work after a long rest is no stall
  EXPECT_TRUE(health.Ready(now + 0.2).good);
  EXPECT_FALSE(health.Ready(now + 20).good);  // an engine that does not answer at all
  health.SetPhase(Health::Phase::kDraining);
  EXPECT_FALSE(health.Ready(now).good);
  EXPECT_TRUE(health.Live(now).good);
}

TEST(Health, AProcessThatStoodStillIsNotStalled) {
  Health health({.unready_seconds = 10, .dead_seconds = 60});
  health.SetPhase(Health::Phase::kServing);
  EngineStats stats;
  stats.accepting = true;
  stats.running = 1;
  health.Sample(100, stats);
  EXPECT_FALSE(health.Live(170).good);
  health.OnThaw(170);
  EXPECT_TRUE(health.Ready(170.2).good);
  health.Sample(170.2, stats);
  health.Sample(231, stats);  // but from then on steps must end again
  EXPECT_FALSE(health.Live(231).good);
}

TEST(Health, AnEngineThatFailedForGoodIsDeadAtOnce) {
  Health health({});
  health.SetPhase(Health::Phase::kServing);
  EngineStats stats = Stats(0, 0, 5);
  health.Sample(1, stats);
  EXPECT_TRUE(health.Live(1).good);
  stats.accepting = false;
  health.Sample(1.2, stats);
  EXPECT_FALSE(health.Live(1.2).good);
  EXPECT_FALSE(health.Ready(1.2).good);
}

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    config_.port = 0;
    config_.grace = 5;
  }
  ~ServerTest() override {
    {
      const std::lock_guard lock(mutex_);
      held_.clear();
    }
    server_.reset();
    if (!key_file_.empty()) unlink(key_file_.c_str());
  }

  // POST /work asks admission for one request and the tokens its body counts, and streams until told
  // otherwise.
  Status AddRoutes(Router* router, Admission* admission) {
    router->Add("POST", "/work", [this, admission](const auto& request, const auto& responder) {
      Admission::Refusal refusal;
      auto ticket = admission->Admit(request->principal, 1, request->body.size(), &refusal);
      if (ticket == nullptr) {
        return responder->Send(refusal.status, "text/plain", refusal.code,
                               {{"Retry-After", std::to_string(refusal.retry_after_seconds)}});
      }
      responder->OnDisconnect([this] { ++disconnects_; });
      responder->StartStream(200, "text/event-stream", {});
      responder->Write("data: begun\n\n");
      const std::lock_guard lock(mutex_);
      held_.emplace_back(responder, ticket);
    });
    return {};
  }
  Status Start() {
    auto server = Server::Start(
        engine_, config_,
        [this](Router* router, Admission* admission) { return AddRoutes(router, admission); },
        [](Router* router) {
          router->Add("GET", "/metrics",
                      [](auto, auto responder) { responder->Send(200, "text/plain", "m 1\n", {}); });
        });
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return {};
  }
  void FinishAll() {
    const std::lock_guard lock(mutex_);
    for (auto& [responder, ticket] : held_) {
      responder->Write("data: [DONE]\n\n");
      ticket.reset();
      responder->Finish();
    }
    held_.clear();
  }
  void WriteKeys(const std::string& text, mode_t mode = 0600) {
    key_file_ = "/tmp/lathe-keys-" + std::to_string(getpid()) + ".yaml";
    unlink(key_file_.c_str());
    ASSERT_TRUE(WriteFileAtomic(key_file_, text).ok());
    ASSERT_EQ(chmod(key_file_.c_str(), mode), 0);
    config_.keys_file = key_file_;
  }
  static std::string KeyLine(const std::string& name, const std::string& key, const std::string& more = "") {
    return "  - {name: " + name + ", sha256: " + KeyHashHex(HashKey(key)) + more + "}\n";
  }
  int Ask(const std::string& path, int port = 0, const std::string& fields = "") {
    return RawClient(port == 0 ? server_->port() : port).Ask(Get(path, fields)).status;
  }

  IdleEngine engine_;
  ServerConfig config_;
  std::string key_file_;
  std::mutex mutex_;
  std::vector<std::pair<std::shared_ptr<Responder>, std::shared_ptr<Admission::Ticket>>> held_;
  std::atomic<int> disconnects_{0};
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, ProbesTellTheTruth) {
  config_.stall_unready = 0.4;
  config_.stall_exit = 1.2;
  ASSERT_TRUE(Start().ok());
  for (const char* path : {"/livez", "/readyz", "/health", "/metrics"}) EXPECT_EQ(Ask(path), 200) << path;
  engine_.Set(256, 100000, 1);
  EXPECT_EQ(Ask("/livez"), 200);
  EXPECT_EQ(Ask("/readyz"), 200);
  SleepMs(800);  // no step
  EXPECT_EQ(Ask("/readyz"), 503);
  EXPECT_EQ(Ask("/health"), 503);
  EXPECT_EQ(Ask("/livez"), 200);
  EXPECT_EQ(Ask("/metrics"), 200);
  SleepMs(900);
  EXPECT_EQ(Ask("/livez"), 503);
  engine_.Set(256, 100000, 2);
  SleepMs(300);
  EXPECT_EQ(Ask("/livez"), 200);
  EXPECT_EQ(Ask("/readyz"), 200);
}

TEST_F(ServerTest, KeysLimitsAndReload) {
  WriteKeys("keys:\n" + KeyLine("alice", "a", ", max_concurrent: 1") + KeyLine("bob", "b"));
  config_.management_listen = "127.0.0.1:0";
  ASSERT_TRUE(Start().ok());
  for (const char* path : {"/livez", "/readyz", "/health", "/metrics", "/", "/work", "/none"}) {
    EXPECT_EQ(Ask(path), 401) << path;
  }
  EXPECT_EQ(Ask("/livez", 0, "Authorization: Bearer a\r\n"), 200);
  // The management listener has no key, and nothing but the probes.
  const int management = server_->management_port();
  for (const char* path : {"/livez", "/readyz", "/health", "/metrics"})
    EXPECT_EQ(Ask(path, management), 200) << path;
  EXPECT_EQ(Ask("/work", management), 404);
  EXPECT_EQ(RawClient(management).Ask(Post("/work", "x")).status, 404);

  RawClient first(server_->port());
  first.Send(Post("/work", "x", "X-Api-Key: a\r\n"));
  ASSERT_TRUE(first.ReadUntil("begun"));
  const RawAnswer second = RawClient(server_->port()).Ask(Post("/work", "x", "X-Api-Key: a\r\n"));
  EXPECT_EQ(second.status, 429);
  EXPECT_EQ(second.body, "rate_limited");
  EXPECT_EQ(second.Field("Retry-After"), "1");

  WriteKeys("keys:\n" + KeyLine("carol", "c"));
  server_->Reload();
  EXPECT_EQ(Ask("/livez", 0, "X-Api-Key: a\r\n"), 401);
  EXPECT_EQ(Ask("/livez", 0, "X-Api-Key: c\r\n"), 200);
  WriteKeys("keys: nonsense\n");
  server_->Reload();  // keeps what it had
  EXPECT_EQ(Ask("/livez", 0, "X-Api-Key: c\r\n"), 200);
  FinishAll();  // alice's request was accepted, and ends well
  EXPECT_TRUE(first.ReadUntil("[DONE]"));
}

TEST_F(ServerTest, RefusesToStart) {
  WriteKeys("keys:\n" + KeyLine("alice", "a"), 0666);
  EXPECT_NE(Start().message().find("chmod"), std::string::npos);
  EXPECT_TRUE(CheckFiles(config_).message().starts_with("keys_file: "));
  config_.keys_file = "/nonexistent/keys.yaml";
  EXPECT_EQ(Start().code(), StatusCode::kNotFound);
  config_.keys_file.clear();
  config_.host = "0.0.0.0";
  EXPECT_NE(Start().message().find("--insecure-no-auth"), std::string::npos);
  config_.host = "127.0.0.1";
  ASSERT_TRUE(Start().ok());
  ServerConfig same = config_;
  config_.port = server_->port();
  auto first = std::move(server_);
  EXPECT_NE(Start().message().find("another server"), std::string::npos);
  config_ = same;
}

TEST_F(ServerTest, QueueFullIsToldAtOnceAndLivezStaysGreen) {
  config_.max_queued_requests = 2;
  ASSERT_TRUE(Start().ok());
  RawClient a(server_->port()), b(server_->port());
  for (RawClient* client : {&a, &b}) {
    client->Send(Post("/work", "x"));
    ASSERT_TRUE(client->ReadUntil("begun"));
  }
  engine_.Set(2, 0, 1);
  const double start = NowSeconds();
  const RawAnswer refused = RawClient(server_->port()).Ask(Post("/work", "x"));
  EXPECT_LT(NowSeconds() - start, 0.5);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.body, "queue_full");
  EXPECT_EQ(Ask("/livez"), 200);
  EXPECT_EQ(Ask("/readyz"), 200);
  FinishAll();
}

TEST_F(ServerTest, SigtermFinishesWhatRunsAndRefusesTheRest) {
  ASSERT_TRUE(Start().ok());
  RawClient running(server_->port()), probe(server_->port()), late(server_->port());
  running.Send(Post("/work", "x"));
  ASSERT_TRUE(running.ReadUntil("begun"));
  int code = -1;
  std::thread server([&] { code = RunUntilSignal(*server_, config_); });
  SleepMs(100);
  kill(getpid(), SIGHUP);  // without keys and TLS: nothing to read again
  SleepMs(50);
  kill(getpid(), SIGTERM);
  for (int i = 0; i < 500 && server_->health().phase() != Health::Phase::kDraining; ++i) SleepMs(2);
  EXPECT_EQ(probe.Ask(Get("/readyz")).status, 503);
  EXPECT_EQ(Ask("/livez"), 200);
  const RawAnswer refused = late.Ask(Post("/work", "x"));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.body, "draining");
  EXPECT_EQ(refused.Field("Connection"), "close");
  EXPECT_EQ(code, -1);  // still waiting
  FinishAll();
  EXPECT_TRUE(running.ReadUntil("[DONE]"));
  server.join();
  EXPECT_EQ(code, 0);
  EXPECT_EQ(disconnects_, 0);
}

TEST_F(ServerTest, AfterTheGraceTimeStreamsEndWithAnError) {
  ASSERT_TRUE(Start().ok());
  RawClient running(server_->port());
  running.Send(Post("/work", "x"));
  ASSERT_TRUE(running.ReadUntil("begun"));
  const double start = NowSeconds();
  EXPECT_FALSE(server_->Drain(0.2));
  EXPECT_LT(NowSeconds() - start, 2.0);
  const RawAnswer answer = running.Answer();
  EXPECT_TRUE(answer.complete);
  EXPECT_NE(answer.body.find("\"code\":\"shutting_down\""), std::string::npos);
  EXPECT_TRUE(running.Ends());
  EXPECT_EQ(disconnects_, 1);
}

TEST_F(ServerTest, AStalledEngineEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  config_.stall_unready = 0.1;
  config_.stall_exit = 0.3;
  EXPECT_EXIT(
      {
        engine_.Set(1, 0, 1);
        if (Start().ok()) _exit(RunUntilSignal(*server_, config_));
      },
      testing::ExitedWithCode(kExitUnhealthy), "");
}

TEST_F(ServerTest, AFailedEngineEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        engine_.Fail();
        if (Start().ok()) _exit(RunUntilSignal(*server_, config_));
      },
      testing::ExitedWithCode(kExitUnhealthy), "");
}

TEST_F(ServerTest, ASecondSignalEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        std::thread killer([] {
          SleepMs(200);
          kill(getpid(), SIGTERM);
          SleepMs(100);
          kill(getpid(), SIGTERM);
        });
        killer.detach();
        if (Start().ok()) {
          RawClient running(server_->port());
          running.Send(Post("/work", "x"));
          _exit(RunUntilSignal(*server_, config_));
        }
      },
      testing::ExitedWithCode(128 + SIGTERM), "");
}

}  // namespace
}  // namespace lathe::serve
