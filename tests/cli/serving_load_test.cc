// The load generator against a fake server: what it sends, counts, times and survives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/json.h"
#include "fake_server.h"
#include "fixture.h"
#include "serving/load.h"
#include "serving/summary.h"

namespace lathe::cli {
namespace {

using ::lathe::testing::Chunk;
using ::lathe::testing::FakeServer;
using ::lathe::testing::JsonAnswer;
using ::lathe::testing::StreamEnd;
using ::lathe::testing::StreamHead;
using ::testing::HasSubstr;

void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

std::string TextEvent(const std::string& text) {
  return "data: {\"choices\":[{\"text\":\"" + text + "\"}]}\n\n";
}
std::string UsageEvent(int prompt, int completion) {
  return "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":" + std::to_string(prompt) +
         ",\"completion_tokens\":" + std::to_string(completion) + "}}\n\n";
}
constexpr char kDone[] = "data: [DONE]\n\n";

// `tokens` events `gap_ms` apart, the usage and the end.
bool SayStream(const FakeServer::Say& say, int tokens, int gap_ms) {
  if (!say(StreamHead())) return false;
  for (int i = 0; i < tokens; ++i) {
    if (i > 0) SleepMs(gap_ms);
    if (!say(Chunk(TextEvent("a")))) return false;
  }
  return say(Chunk(UsageEvent(8, tokens)) + Chunk(kDone) + StreamEnd());
}

LoadPlan ClosedPlan(int concurrency, uint64_t requests) {
  return {.level = {.concurrency = concurrency}, .requests = requests, .timeout = 5};
}

LoadResult Load(
    const FakeServer& server, const LoadPlan& plan, LoadProgress* progress = nullptr,
    const std::function<void()>& tick = [] {}) {
  const auto url = ParseUrl(server.Url());
  const MakeRequest make = [&](uint64_t index, int* asked) {
    *asked = 4;
    LoadPrompt prompt;
    prompt.text = "number " + std::to_string(index);
    return MakeHttpRequest(*url, RequestForm{.model = "m"}, prompt, 4);
  };
  LoadProgress own;
  auto result = RunLoad(*url, {}, plan, make, progress != nullptr ? progress : &own, tick);
  EXPECT_TRUE(result.ok()) << result.status().message();
  return std::move(result).value();
}

TEST(ServingLoad, ClosedLoopKeepsConnections) {
  const FakeServer server([](const auto&, const auto& say) { return SayStream(say, 4, 1); });
  for (const int threads : {1, 2}) {
    LoadPlan plan = ClosedPlan(8, 60);
    plan.threads = threads;
    const LoadResult result = Load(server, plan);
    const Summary summary = Summarise(result);
    EXPECT_EQ(60u, summary.good);
    EXPECT_EQ(0u, summary.failed);
    EXPECT_EQ(240u, summary.output_tokens);
    EXPECT_EQ(480u, summary.prompt_tokens);
    EXPECT_EQ(0u, summary.short_outputs);
    EXPECT_EQ(180u, summary.gap.count);
    EXPECT_GE(summary.first.at[0], 0);
    EXPECT_GE(summary.whole.at[0], 3);
  }
  EXPECT_EQ(16, server.connections());
  std::set<std::string> bodies;
  for (const auto& asked : server.asked()) bodies.insert(asked.body);
  EXPECT_EQ(60u, bodies.size());
}

TEST(ServingLoad, TimesAreMeasured) {
  const FakeServer server([](const auto&, const auto& say) {
    SleepMs(30);
    return SayStream(say, 3, 20);
  });
  const Summary summary = Summarise(Load(server, ClosedPlan(2, 6)));
  EXPECT_GE(summary.first.at[0], 29);
  EXPECT_LT(summary.first.at[0], 200);
  EXPECT_GE(summary.gap.at[0], 19);
  EXPECT_GE(summary.whole.at[0], 69);
  EXPECT_GE(summary.longest_gap, 0.019);
}

// A server that does one request at a time, 20 ms each, is asked for 100 a second: the queue is charged to
// it, counting from when requests should have been sent.
TEST(ServingLoad, OpenLoopCountsFromTheScheduledTime) {
  std::mutex one_at_a_time;
  const FakeServer server([&](const auto&, const auto& say) {
    const std::lock_guard lock(one_at_a_time);
    SleepMs(20);
    return SayStream(say, 1, 0);
  });
  LoadPlan plan{.level = {.rate = 100}, .requests = 40, .timeout = 5, .seed = 3};
  const LoadResult result = Load(server, plan);
  const Summary summary = Summarise(result);
  EXPECT_EQ(40u, summary.good);
  EXPECT_GE(summary.seconds, 0.8);
  EXPECT_GE(summary.first.at.back(), 150);  // the last ones have waited for the whole queue
  EXPECT_LT(summary.lag.at[0], 20);         // while the generator itself was on time
  for (size_t i = 1; i < result.outcomes.size(); ++i) {
    EXPECT_GE(result.outcomes[i].scheduled, result.outcomes[i - 1].scheduled);
  }
}

TEST(ServingLoad, PoissonArrivalsHaveTheRate) {
  const FakeServer server([](const auto&, const auto& say) { return SayStream(say, 1, 0); });
  const LoadResult result =
      Load(server, {.level = {.rate = 400}, .duration = 0.5, .timeout = 5, .threads = 2});
  EXPECT_GT(result.outcomes.size(), 140u);  // 200 expected, 14 the deviation
  EXPECT_LT(result.outcomes.size(), 260u);
  EXPECT_LE(result.outcomes.back().scheduled - result.begin, 0.5);
}

TEST(ServingLoad, DurationEndsAClosedLoop) {
  const FakeServer server([](const auto&, const auto& say) { return SayStream(say, 2, 5); });
  LoadPlan plan = ClosedPlan(4, 0);
  plan.duration = 0.2;
  const LoadResult result = Load(server, plan);
  EXPECT_GT(result.outcomes.size(), 20u);
  EXPECT_LT(result.end - result.begin, 1.0);
}

TEST(ServingLoad, FaultsByKind) {
  std::atomic<int> number{0};
  const FakeServer server([&](const auto&, const auto& say) {
    switch (number++ % 6) {
      case 0: return say(JsonAnswer(429, R"({"error":{"message":"full"}})"));
      case 1: say(StreamHead() + Chunk(TextEvent("a"))); return false;  // closes in the middle
      case 2: say("this is no HTTP\r\n\r\n"); return false;
      case 3:
        return say(StreamHead() + Chunk("data: {\"error\":{\"message\":\"lost\"}}\n\n") + Chunk(kDone) +
                   StreamEnd());
      case 4: return say(StreamHead() + Chunk(TextEvent("a")) + StreamEnd());  // no [DONE]
      default: SleepMs(500); return false;
    }
  });
  LoadPlan plan = ClosedPlan(1, 6);
  plan.timeout = 0.2;
  const Summary summary = Summarise(Load(server, plan));
  EXPECT_EQ(0u, summary.good);
  EXPECT_EQ(6u, summary.failed);
  const std::map<std::string, uint64_t> expected{
      {"http 429", 1}, {"cut off", 2}, {"not http", 1}, {"error event", 1}, {"timeout", 1}};
  EXPECT_EQ(expected, summary.errors);
  EXPECT_EQ("full", summary.error_samples.at("http 429"));
}

TEST(ServingLoad, NobodyThere) {
  std::string address;
  {
    const FakeServer gone([](const auto&, const auto&) { return false; });
    address = gone.Url();
  }
  const auto url = ParseUrl(address);
  const auto out = RunOne(*url, {}, "GET / HTTP/1.1\r\n\r\n", 1);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ("connect", out->error);
  EXPECT_EQ(StatusCode::kUnavailable, Get(*url, {}, "GET / HTTP/1.1\r\n\r\n", 1).status().code());
  const auto unknown = ParseUrl("http://no-such-host.invalid");
  EXPECT_EQ(StatusCode::kUnavailable, RunOne(*unknown, {}, "", 1).status().code());
}

TEST(ServingLoad, AConnectionClosedWhileIdleIsNoFault) {
  std::atomic<int> number{0};
  const FakeServer server(
      [&](const auto&, const auto& say) { return SayStream(say, 1, 0) && number++ % 2 == 1; });
  const Summary summary = Summarise(Load(server, ClosedPlan(1, 20)));
  EXPECT_EQ(20u, summary.good);
  EXPECT_EQ(0u, summary.failed);
}

TEST(ServingLoad, StopEndsSoon) {
  const FakeServer server([](const auto&, const auto& say) { return SayStream(say, 200, 10); });
  LoadProgress progress;
  const double begin = NowSeconds();
  const LoadResult result = Load(server, ClosedPlan(4, 100), &progress, [&] {
    if (NowSeconds() - begin > 0.1) progress.stop = true;
  });
  EXPECT_LT(NowSeconds() - begin, 1.5);
  EXPECT_EQ(4u, result.stopped);
  EXPECT_TRUE(result.outcomes.empty());
}

TEST(ServingLoad, AnswersInSmallPieces) {
  const std::string all = StreamHead() + Chunk(TextEvent("a") + "da") +
                          Chunk("ta: {\"text\":\"b\"}\r\n\r\n") + Chunk(UsageEvent(1, 2)) + Chunk(kDone) +
                          StreamEnd();
  const FakeServer server([&](const auto&, const auto& say) {
    for (const char c : all) {
      if (!say(std::string(1, c))) return false;
    }
    return true;
  });
  const Summary summary = Summarise(Load(server, ClosedPlan(1, 3)));
  EXPECT_EQ(3u, summary.good);
  EXPECT_EQ(6u, summary.output_tokens);
}

TEST(ServingLoad, ThousandStreams) {
  const FakeServer server([](const auto&, const auto& say) { return SayStream(say, 3, 1); });
  const Summary summary = Summarise(Load(server, ClosedPlan(500, 1000)));
  EXPECT_EQ(1000u, summary.good);
  EXPECT_EQ(3000u, summary.output_tokens);
}

// The whole command, against servers of several habits.
class ServingCommand : public ::lathe::testing::CliTest {
 protected:
  ::lathe::testing::ProcessResult Bench(const FakeServer& server, std::vector<std::string> args) {
    std::vector<std::string> all{"bench", "serving", server.Url()};
    all.insert(all.end(), args.begin(), args.end());
    return Lathe(std::move(all));
  }
};

constexpr char kModels[] = R"({"object":"list","data":[{"id":"fake","meta":{"n_vocab":50}}]})";

FakeServer::Script Habits(bool takes_ids, bool takes_options) {
  return [=](const FakeServer::Asked& asked, const FakeServer::Say& say) {
    if (asked.head.starts_with("GET /v1/models")) return say(JsonAnswer(200, kModels));
    const bool refused = (!takes_ids && asked.body.find("\"prompt\":[") != std::string::npos) ||
                         (!takes_options && asked.body.find("stream_options") != std::string::npos);
    if (refused) return say(JsonAnswer(400, R"({"error":{"message":"unknown"}})"));
    return SayStream(say, 4, 1);
  };
}

TEST_F(ServingCommand, WritesTableJsonAndPlot) {
  const FakeServer server(Habits(true, true));
  const std::string json = dir() + "/out.json", svg = dir() + "/out.svg";
  const auto result = Bench(server, {"--sweep", "1,4", "--requests", "12", "--dataset", "random:8/4",
                                     "--ignore-eos", "--json", json, "--raw", "--svg", svg});
  ASSERT_EQ(0, result.exit_code) << result.err;
  for (const char* part : {"fake, completions, random, 8 in / 4 out, as ids", "1 at once", "4 at once",
                           "12 good, 0 failed", "TTFT p50"}) {
    EXPECT_THAT(result.out, HasSubstr(part));
  }
  const auto document = ParseJson(::lathe::testing::ReadWhole(json), "out.json");
  ASSERT_TRUE(document.ok());
  EXPECT_EQ("serving", (*document)["benchmark"]);
  ASSERT_EQ(2u, (*document)["runs"].size());
  EXPECT_EQ(48, (*document)["runs"][1]["output_tokens"]);
  EXPECT_EQ(12u, (*document)["runs"][1]["requests"].size());
  EXPECT_THAT(::lathe::testing::ReadWhole(svg), HasSubstr("<svg"));
  for (const auto& asked : server.asked()) {
    if (asked.body.empty()) continue;
    const auto body = ParseJson(asked.body, "body");
    ASSERT_TRUE(body.ok());
    EXPECT_EQ(8u, (*body)["prompt"].size());
    for (const Json& id : (*body)["prompt"]) EXPECT_LT(id.get<int>(), 50);
    EXPECT_TRUE((*body)["ignore_eos"].get<bool>());
  }
}

TEST_F(ServingCommand, AdaptsToTheServer) {
  const FakeServer text_only(Habits(false, true));
  EXPECT_THAT(Bench(text_only, {"--requests", "3"}).out, HasSubstr("as text"));
  const FakeServer old(Habits(false, false));
  const auto result = Bench(old, {"--requests", "3"});
  EXPECT_EQ(0, result.exit_code) << result.err;
  EXPECT_EQ(std::string::npos, old.asked().back().body.find("stream_options"));
}

TEST_F(ServingCommand, FilesAndKeys) {
  ::lathe::testing::WriteWhole(
      dir() + "/prompts.jsonl",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"output_tokens\":7}\n");
  ::lathe::testing::WriteWhole(dir() + "/key", "  secret-key\n");
  const FakeServer server(Habits(true, true));
  const auto result = Bench(server, {"--dataset", "prompts", dir() + "/prompts.jsonl", "--requests", "2",
                                     "--api-key-file", dir() + "/key", "--max-output", "5"});
  ASSERT_EQ(0, result.exit_code) << result.err;
  const auto last = server.asked().back();
  EXPECT_THAT(last.head, HasSubstr("POST /v1/chat/completions"));
  EXPECT_THAT(last.head, HasSubstr("Authorization: Bearer secret-key"));
  EXPECT_THAT(last.body, HasSubstr("\"max_tokens\":5"));
  EXPECT_EQ(std::string::npos, (result.out + result.err).find("secret"));
}

TEST_F(ServingCommand, Faults) {
  const FakeServer server(Habits(true, true));
  using Args = std::vector<std::string>;
  const std::pair<Args, const char*> cases[] = {{{"--rate", "1", "--concurrency", "2"}, "give one of"},
                                                {{"--rate", "0"}, "--rate must be"},
                                                {{"--concurrency", "0"}, "requests at once must be in"},
                                                {{"--sweep", "1,,2"}, "--sweep must be numbers"},
                                                {{"--sweep", "1,2,"}, "--sweep must be numbers"},
                                                {{"--dataset", "sharegpt"}, "needs a file"},
                                                {{"--dataset", "random:1/1", "file"}, "takes no file"},
                                                {{"--dataset", "prompts", "missing.jsonl"}, "missing.jsonl"},
                                                {{"--endpoint", "responses"}, "--endpoint must be"},
                                                {{"--requests", "0"}, "--requests must be"},
                                                {{"--timeout", "0"}, "--timeout above 0"},
                                                {{"--api-key-file", "missing"}, "missing"}};
  for (const auto& [args, part] : cases) ::lathe::testing::ExpectFault(Bench(server, args), part);
  ::lathe::testing::ExpectFault(Lathe({"bench", "serving", "http://127.0.0.1:1"}),
                                "is a server running there?");
  const FakeServer broken([](const auto& asked, const auto& say) {
    return say(asked.body.empty() ? JsonAnswer(200, kModels)
                                  : JsonAnswer(401, R"({"error":{"message":"no key"}})"));
  });
  ::lathe::testing::ExpectFault(Bench(broken, {}), "the first request failed: http 401 (no key)");
}

}  // namespace
}  // namespace lathe::cli
