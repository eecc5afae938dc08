#include "serve/metrics/metrics.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#include "serve/metrics/histogram.h"
#include "serve/metrics/process.h"
#include "serve/metrics/testing/exposition_parser.h"

namespace lathe::serve {
namespace {

using testing::ExpositionFamily;
using testing::ExpositionParser;
using testing::Sample;

ModelInfo TestModel() {
  ModelInfo model;
  model.name = "tales \"16m\"\\\n";  // needs every escape
  model.family = "llama";
  model.dtype = "bf16";
  model.max_context = 512;
  return model;
}

EngineStats TestStats() {
  EngineStats s;
  s.running = 3, s.waiting = 2;
  s.pages_total = 100, s.pages_used = 25, s.pages_cached = 15, s.page_size = 16;
  s.steps = 7, s.prompt_tokens = 70, s.cached_tokens = 32, s.generated_tokens = (uint64_t{1} << 53) - 1;
  s.submitted = 9, s.finished = 4, s.cancelled = 2, s.failed = 1, s.preemptions = 5, s.recomputed_tokens = 6;
  s.step_seconds = 0.1, s.host_seconds = 0.02, s.device_seconds = 0.09;
  return s;
}

RequestRecord Done(int status, const char* code, const char* finish) {
  RequestRecord record;
  record.route = "/v1/chat/completions";
  record.http_status = status;
  record.error_code = code;
  record.finish = finish;
  record.prompt_tokens = 10;
  record.completion_tokens = 5;
  record.queued_seconds = 0.002;
  record.first_token_seconds = 0.1;
  record.total_seconds = 0.3;
  return record;
}

std::map<std::string, ExpositionFamily> Parse(const std::string& text) {
  ExpositionParser parser;
  EXPECT_EQ(parser.Parse(text), "") << text;
  return parser.families();
}

double Value(const std::map<std::string, ExpositionFamily>& families, const std::string& name,
             const std::map<std::string, std::string>& labels = {}) {
  for (const auto& [family_name, family] : families) {
    for (const Sample& sample : family.samples) {
      if (sample.name == name && sample.labels == labels) return sample.value;
    }
  }
  ADD_FAILURE() << name << " not found";
  return -1;
}

TEST(Metrics, Values) {
  Metrics metrics(TestModel(), "1.2.3");
  metrics.OnFirstToken(0.1);
  metrics.OnTokens(2, 0.02);
  metrics.OnTokens(0, 5);
  metrics.OnTokens(1, 0);  // a first token has none before it
  metrics.OnDone(Done(200, "", "stop"));
  metrics.OnDone(Done(200, "", "stop"));
  metrics.OnDone(Done(429, "queue_full", ""));
  const auto f = Parse(metrics.Text(TestStats()));

  EXPECT_EQ(Value(f, "lathe_requests_running"), 3);
  EXPECT_EQ(Value(f, "lathe_requests_waiting"), 2);
  EXPECT_EQ(Value(f, "lathe_kv_cache_usage_ratio"), 0.25);
  EXPECT_EQ(Value(f, "lathe_kv_pages", {{"state", "free"}}), 60);
  EXPECT_EQ(Value(f, "lathe_generated_tokens_total"), 9007199254740991.0);
  EXPECT_EQ(Value(f, "lathe_step_seconds_total", {{"part", "device"}}), 0.1);
  EXPECT_EQ(Value(f, "lathe_step_seconds_total", {{"part", "host"}}), 0.02);
  EXPECT_EQ(Value(f, "lathe_gpu_seconds_total"), 0.09);
  EXPECT_EQ(Value(f, "lathe_engine_requests_total", {{"outcome", "cancelled"}}), 2);
  EXPECT_EQ(Value(f, "lathe_prefix_cache_hits_total"), 32);

  const char* chat = "/v1/chat/completions";
  EXPECT_EQ(Value(f, "lathe_requests_total", {{"route", chat}, {"status", "200"}, {"finish", "stop"}}), 2);
  EXPECT_EQ(Value(f, "lathe_request_errors_total", {{"status", "429"}, {"code", "queue_full"}}), 1);
  EXPECT_EQ(Value(f, "lathe_request_duration_seconds_count"), 2);  // the refused one does not count
  EXPECT_NEAR(Value(f, "lathe_request_duration_seconds_sum"), 0.6, 1e-9);
  EXPECT_EQ(Value(f, "lathe_inter_token_latency_seconds_count"), 2);
  EXPECT_NEAR(Value(f, "lathe_inter_token_latency_seconds_sum"), 0.02, 1e-9);
  EXPECT_NEAR(Value(f, "lathe_time_per_output_token_seconds_sum"), 2 * 0.2 / 4, 1e-9);
  EXPECT_EQ(Value(f, "lathe_time_to_first_token_seconds_bucket", {{"le", "0.1"}}), 1);
  EXPECT_EQ(Value(f, "lathe_time_to_first_token_seconds_bucket", {{"le", "0.08"}}), 0);

  const std::map<std::string, std::string> build = {
      {"version", "1.2.3"}, {"model", TestModel().name}, {"family", "llama"}, {"dtype", "bf16"}};
  EXPECT_EQ(Value(f, "lathe_build_info", build), 1);
  EXPECT_GT(Value(f, "process_resident_memory_bytes"), 1e6);
}

// The names, types and labels that the reference endpoint picker reads from a server without an engine label.
TEST(Metrics, ModelServerProtocol) {
  Metrics metrics(TestModel(), "1");
  const auto f = Parse(metrics.Text(TestStats()));
  EXPECT_EQ(Value(f, "vllm:num_requests_waiting"), 2);
  EXPECT_EQ(Value(f, "vllm:num_requests_running"), 3);
  EXPECT_EQ(Value(f, "vllm:kv_cache_usage_perc"), 0.25);
  EXPECT_EQ(Value(f, "vllm:cache_config_info", {{"block_size", "16"}, {"num_gpu_blocks", "100"}}), 1);
  EXPECT_EQ(Value(f, "vllm:lora_requests_info",
                  {{"max_lora", "0"}, {"running_lora_adapters", ""}, {"waiting_lora_adapters", ""}}),
            0);
  for (const auto& [name, family] : f) {
    EXPECT_TRUE(!name.starts_with("vllm:") || family.type == "gauge") << name;
  }
}

// docs/metrics.md has one row `| `name` | type | `label` `label` | meaning |` for every family, and no other.
TEST(Metrics, DocumentListsExactlyWhatIsExported) {
  Metrics metrics(TestModel(), "1");
  metrics.OnDone(Done(500, "internal", "error"));
  std::map<std::string, std::string> exported, documented;
  for (const auto& [name, family] : Parse(metrics.Text(TestStats()))) {
    exported[name] = family.type;
    for (const std::string& label : family.LabelNames()) exported[name] += " " + label;
  }
  std::ifstream in(LATHE_SOURCE_DIR "/docs/metrics.md");
  ASSERT_TRUE(in.good());
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("| `")) continue;
    std::vector<std::string> cells;
    std::istringstream row(line.substr(1));
    for (std::string cell; std::getline(row, cell, '|');) cells.push_back(cell);
    ASSERT_GE(cells.size(), 4u) << line;
    const auto words = [](const std::string& cell) {
      std::set<std::string> out;
      std::istringstream split(cell);
      for (std::string word; split >> word;) {
        std::erase(word, '`');
        if (word != "-") out.insert(word);
      }
      return out;
    };
    const std::string name = *words(cells[0]).begin();
    EXPECT_FALSE(documented.contains(name)) << name;
    documented[name] = *words(cells[1]).begin();
    for (const std::string& label : words(cells[2])) documented[name] += " " + label;
  }
  EXPECT_EQ(exported, documented);
}

TEST(Metrics, LabelsAreBounded) {
  Metrics metrics(TestModel(), "1");
  for (int i = 0; i < 1000; ++i) {
    const std::string code = "code" + std::to_string(i);
    RequestRecord record = Done(400, code.c_str(), "");
    metrics.OnDone(record);
  }
  const auto f = Parse(metrics.Text(TestStats()));
  EXPECT_EQ(f.at("lathe_request_errors_total").samples.size(), 65u);
  EXPECT_EQ(Value(f, "lathe_request_errors_total", {{"status", "400"}, {"code", "other"}}), 936);
}

TEST(Metrics, ThreadsAndScrapes) {
  Metrics metrics(TestModel(), "1");
  constexpr int kEach = 20000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        metrics.OnTokens(1, 0.001 * (1 + i % 100));
        if (i % 100 == 0) metrics.OnDone(Done(200, "", "stop"));
      }
    });
  }
  double last = 0;
  for (int i = 0; i < 20; ++i) {
    const double count = Value(Parse(metrics.Text(TestStats())), "lathe_inter_token_latency_seconds_count");
    EXPECT_GE(count, last);
    last = count;
  }
  for (std::thread& thread : threads) thread.join();
  const auto f = Parse(metrics.Text(TestStats()));
  EXPECT_EQ(Value(f, "lathe_inter_token_latency_seconds_count"), 4 * kEach);
  EXPECT_NEAR(Value(f, "lathe_inter_token_latency_seconds_sum"), 4 * kEach * 0.0505, 1e-3);
  EXPECT_EQ(Value(f, "lathe_request_duration_seconds_count"), 4 * kEach / 100);
}

// The engine's thread calls this for every token of a thousand streams.
TEST(Metrics, ObservingIsCheap) {
  Metrics metrics(TestModel(), "1");
  constexpr int kCalls = 1000000;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) metrics.OnTokens(1, 1e-5 * (1 + (i & 4095)));
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  printf("OnTokens: %.1f ns\n", took.count() / kCalls);
  EXPECT_LT(took.count() / kCalls, 2000);
}

TEST(Histogram, BoundsAreInclusive) {
  Histogram histogram({1, 2, 4}, 0.5);
  for (const double value : {-3.0, 0.0, 1.0, 1.5, 2.0, 4.0, 4.1, 1e30}) histogram.Observe(value);
  histogram.Observe(std::numeric_limits<double>::quiet_NaN());
  histogram.Observe(3, 10);
  const auto snapshot = histogram.Take();
  EXPECT_EQ(snapshot.cumulative, (std::vector<uint64_t>{3, 5, 16, 18}));
  EXPECT_EQ(snapshot.sum, 1 + 1.5 + 2 + 4 + 4 + 1e9 + 30);
}

TEST(Process, IsRead) {
  const ProcessStats p = ReadProcessStats();
  EXPECT_GT(p.resident_bytes, uint64_t{1} << 20);
  EXPECT_GE(p.threads, 1u);
  EXPECT_GE(p.open_fds, 3u);
  EXPECT_GE(p.max_fds, p.open_fds);
  const double now = static_cast<double>(time(nullptr));
  EXPECT_LT(std::abs(now - p.start_seconds), 600);
}

TEST(ExpositionParser, IsStrict) {
  const struct {
    const char *text, *fault;
  } kCases[] = {
      {"", "no end"},
      {"a 1\n", "outside of its family"},
      {"# HELP a_total h.\n# TYPE a_total counter\na_total 1", "no end"},
      {"# HELP a_total h.\n# TYPE a_total counter\na_total -1\n", "impossible"},
      {"# HELP a h.\n# TYPE a counter\na 1\n", "_total"},
      {"# HELP a h.\n# TYPE a gauge\na{b=\"c} 1\n", "bad labels"},
      {"# HELP a h.\n# TYPE a gauge\na{b=\"\\x\"} 1\n", "bad labels"},
      {"# HELP a h.\n# TYPE a gauge\na 1x\n", "bad value"},
      {"# HELP a h.\n# TYPE a gauge\na 1\na 1\n", "twice"},
      {"# HELP a h.\n# TYPE a gauge\na 1\n# HELP a h.\n", "twice"},
      {"# HELP a h.\n# TYPE a gauge\n\n", "neither"},
      {"# HELP a h.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n", "whole"},
      {"# HELP a h.\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
       "order"},
      {"# HELP a h.\n# TYPE a gauge\na{b=\"\\\"\\\\\\n\"} +Inf\n", ""},
  };
  for (const auto& c : kCases) {
    const std::string fault = ExpositionParser().Parse(c.text);
    EXPECT_NE(fault.find(c.fault), std::string::npos) << c.text << fault;
    EXPECT_EQ(fault.empty(), *c.fault == '\0') << c.text << fault;
  }
}

// An engine that has nothing but numbers.
class StatsEngine : public Engine {
 public:
  const ModelInfo& model() const override { return model_; }
  SamplingParams DefaultSampling() const override { return {}; }
  Expected<RequestId> Submit(Request, OutputCallback) override { return No(); }
  void Cancel(RequestId) override {}
  void WaitIdle() override {}
  EngineStats Stats() const override { return TestStats(); }
  Expected<std::vector<TokenId>> Tokenize(const std::string&, bool, bool) const override { return No(); }
  std::string Detokenize(const std::vector<TokenId>&, bool) const override { return ""; }
  std::string TokenBytes(TokenId) const override { return ""; }
  const std::string& ChatTemplate() const override { return empty_; }
  Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat&, std::string*) const override { return No(); }
  Expected<Score> ScoreWindow(const std::vector<TokenId>&) override { return No(); }
  Expected<std::vector<float>> Logits(const std::vector<TokenId>&) override { return No(); }

 private:
  static Status No() { return {StatusCode::kUnsupported, "numbers only"}; }
  ModelInfo model_ = TestModel();
  std::string empty_;
};

class OneAnswer : public Responder {
 public:
  void Send(int status, std::string_view type, std::string body, HeaderList) override {
    text = std::to_string(status) + " " + std::string(type) + "\n" + body;
  }
  void StartStream(int, std::string_view, HeaderList) override {}
  bool Write(std::string) override { return false; }
  void Finish() override {}
  void OnDisconnect(std::function<void()>) override {}
  bool disconnected() const override { return false; }

  std::string text;
};

TEST(Metrics, Route) {
  Metrics metrics(TestModel(), "1");
  StatsEngine engine;
  Router router;
  RegisterMetrics(&router, &metrics, &engine);
  const auto match = router.Find("GET", "/metrics");
  ASSERT_NE(match.route, nullptr);
  auto answer = std::make_shared<OneAnswer>();
  match.route->handler(std::make_shared<HttpRequest>(), answer);
  const std::string head = "200 text/plain; version=0.0.4; charset=utf-8\n";
  ASSERT_TRUE(answer->text.starts_with(head));
  EXPECT_EQ(Value(Parse(answer->text.substr(head.size())), "lathe_requests_running"), 3);
}

}  // namespace
}  // namespace lathe::serve
