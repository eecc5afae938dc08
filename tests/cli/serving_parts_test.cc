// The load generator's parts: addresses, events, data sets, statistics, the plot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "base/rng.h"
#include "serving/answer.h"
#include "serving/dataset.h"
#include "serving/plot.h"
#include "serving/sse.h"
#include "serving/summary.h"
#include "serving/url.h"
#include "terminal/format.h"

namespace lathe::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ServingUrl, Forms) {
  struct Case {
    const char *text, *shown, *host, *port, *path;
  };
  const Case cases[] = {
      {"http://127.0.0.1:8000", "http://127.0.0.1:8000", "127.0.0.1", "8000", ""},
      {"localhost:80", "http://localhost", "localhost", "80", ""},
      {"https://a.example/", "https://a.example", "a.example", "443", ""},
      {"https://a.example:8443/base/v1/", "https://a.example:8443/base", "a.example", "8443", "/base"},
      {"http://h/v1", "http://h", "h", "80", ""},
      {"[::1]:9000/x", "http://[::1]:9000/x", "::1", "9000", "/x"}};
  for (const Case& c : cases) {
    const auto url = ParseUrl(c.text);
    ASSERT_TRUE(url.ok()) << c.text << ": " << url.status().message();
    EXPECT_EQ(c.shown, url->ToString());
    EXPECT_EQ(c.host, url->host);
    EXPECT_EQ(c.port, url->port);
    EXPECT_EQ(c.path, url->path);
  }
  for (const char* bad : {"", "http://", "ftp://h", "h:0", "h:65536", "h:x", "http://u:p@h", "http://h/?q",
                          "a b", "[::1", "h\r\nX: y"}) {
    const auto url = ParseUrl(bad);
    ASSERT_FALSE(url.ok()) << bad;
    EXPECT_THAT(url.status().message(), HasSubstr("expected an address like"));
  }
}

std::vector<std::string> Events(const std::string& bytes, size_t cut_a, size_t cut_b, bool* whole = nullptr) {
  SseParser parser;
  std::vector<std::string> out;
  const auto add = [&out](std::string_view data) { out.emplace_back(data); };
  const std::string_view all = bytes;
  for (const std::string_view part :
       {all.substr(0, cut_a), all.substr(cut_a, cut_b - cut_a), all.substr(cut_b)}) {
    EXPECT_TRUE(parser.Feed(part, add));
  }
  if (whole != nullptr) *whole = parser.AtBoundary();
  return out;
}

TEST(ServingSse, AnyCutAndAnyLineEnd) {
  const std::string unix_text =
      ": a comment\n\ndata: {\"a\":1}\n\nevent: x\nid: 7\ndata:no blank\ndata:  two\n\ndata\ndatabase: "
      "no\n\n\n"
      "data: \xE2\x82\xAC\n\ndata: [DONE]\n\n";
  const std::vector<std::string> expected = {"{\"a\":1}", "no blank\n two", "", "\xE2\x82\xAC", "[DONE]"};
  std::string dos, mac;
  for (const char c : unix_text) {
    dos += c == '\n' ? "\r\n" : std::string(1, c);
    mac += c == '\n' ? '\r' : c;
  }
  for (const std::string& text : {unix_text, dos, mac}) {
    for (size_t a = 0; a <= text.size(); ++a) {
      for (size_t b = a; b <= text.size(); ++b) {
        bool whole = false;
        ASSERT_EQ(expected, Events(text, a, b, &whole)) << a << " " << b;
        ASSERT_TRUE(whole);
      }
    }
  }
}

TEST(ServingSse, CutOffIsSeen) {
  bool whole = true;
  EXPECT_THAT(Events("data: a\n\ndata: b\n", 3, 9, &whole), ElementsAre("a"));
  EXPECT_FALSE(whole);
}

TEST(ServingSse, EventsHaveALimit) {
  SseParser parser;
  const std::string mebibyte(1 << 20, 'x');
  const auto none = [](std::string_view) { FAIL(); };
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(parser.Feed(mebibyte, none));
  EXPECT_FALSE(parser.Feed(mebibyte, none));
}

TEST(ServingAnswer, ScanChunk) {
  struct Case {
    const char* json;
    bool text, parse;
  };
  const Case cases[] = {
      {R"({"choices":[{"delta":{"content":"a"}}]})", true, false},
      {R"({"choices":[{"delta":{"content" : "a"}}],"usage":null})", true, false},
      {R"({"choices":[{"delta":{"role":"assistant","content":""}}]})", false, false},
      {R"({"choices":[{"delta":{"content":null}}]})", false, false},
      {R"({"choices":[{"text":"","index":0},{"text":"b"}]})", true, false},
      {R"({"choices":[{"delta":{"reasoning_content":"hm"}}]})", true, false},
      {R"({"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{"}}]}}]})", true, false},
      {R"({"choices":[{"text":"","token_ids":[7]}]})", true, false},
      {R"({"choices":[{"text":"","token_ids":[],"prompt_token_ids":[7]}]})", false, false},
      {R"({"choices":[],"usage":{"prompt_tokens":1}})", false, true},
      {R"({"error":{"message":"no"}})", false, true},
      {R"({"choices":[{"text":"\"content\":\"x","usage\":{":""}]})", true, false},
      {R"({"note":"\"content\":\"x\" and \"usage\":{}"})", false, false},
      {R"({"type":"content","other":"text"})", false, false},
      {R"({"content")", false, false},
      {R"({"content":)", false, false},
      {"", false, false}};
  for (const Case& c : cases) {
    EXPECT_EQ(c.text, ScanChunk(c.json).has_text) << c.json;
    EXPECT_EQ(c.parse, ScanChunk(c.json).worth_parsing) << c.json;
  }
}

TEST(ServingAnswer, ReadsAStream) {
  Outcome out;
  AnswerReader reader(&out);
  reader.OnHead(200, "text/event-stream; charset=utf-8");
  reader.OnBody("data: {\"choices\":[{\"text\":\"a\"}]}\n\nda");
  reader.OnBody("ta: {\"choices\":[{\"text\":\"b\"}]}\n\n");
  reader.OnBody(
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n");
  reader.OnEnd(Failure::kNone, "");
  EXPECT_TRUE(out.good()) << out.error;
  EXPECT_EQ(2, out.events);
  EXPECT_EQ(1u, out.gaps.size());
  EXPECT_EQ(7, out.prompt_tokens);
  EXPECT_EQ(3, out.tokens());
}

TEST(ServingAnswer, KindsOfFaults) {
  struct Case {
    int status;
    const char *type, *body;
    Failure failure;
    const char *kind, *detail;
  };
  const Case cases[] = {
      {429, "application/json", R"({"error":{"message":"the queue is full","code":"queue_full"}})",
       Failure::kNone, "http 429", "the queue is full"},
      {500, "text/html", "<h1>oh</h1>", Failure::kNone, "http 500", "<h1>oh</h1>"},
      {200, "application/json", "{}", Failure::kNone, "no stream", "not text/event-stream"},
      {200, "text/event-stream", "data: {\"text\":\"a\"}\n\n", Failure::kNone, "cut off", "without [DONE]"},
      {200, "text/event-stream", "data: {\"text\":\"a\"}\n\n", Failure::kClosed, "cut off", "reset"},
      {200, "text/event-stream", "data: {\"error\":{\"message\":\"deadline\"}}\n\ndata: [DONE]\n\n",
       Failure::kNone, "error event", "deadline"},
      {200, "text/event-stream", "data: {\"error\":\n\ndata: [DONE]\n\n", Failure::kNone, "cut off", ""},
      {200, "text/event-stream", "data: {\"error\":1,\n\ndata: [DONE]\n\n", Failure::kNone, "bad event",
       "event"},
      {0, "", "", Failure::kConnect, "connect", "reset"},
      {0, "", "", Failure::kTimeout, "timeout", ""}};
  for (const Case& c : cases) {
    Outcome out;
    AnswerReader reader(&out);
    if (c.status != 0) reader.OnHead(c.status, c.type);
    reader.OnBody(c.body);
    reader.OnEnd(c.failure, "reset");
    if (std::string(c.kind) == "cut off" && std::string(c.detail).empty()) {
      EXPECT_TRUE(out.good());  // a broken chunk that claims nothing is no fault of the stream's
      continue;
    }
    EXPECT_EQ(c.kind, out.error) << c.body;
    EXPECT_THAT(out.detail, HasSubstr(c.detail)) << c.body;
  }
}

TEST(ServingAnswer, Requests) {
  const auto url = ParseUrl("https://h:444/base");
  RequestForm form;
  form.model = "m\"";
  form.api_key = "k1";
  form.ignore_eos = true;
  LoadPrompt prompt;
  prompt.text = "hi";
  prompt.ids = {1, 2};
  std::string request = MakeHttpRequest(*url, form, prompt, 9);
  EXPECT_THAT(request, HasSubstr("POST /base/v1/completions HTTP/1.1\r\nHost: h:444\r\n"));
  EXPECT_THAT(request, HasSubstr("Authorization: Bearer k1\r\n"));
  const std::string body = request.substr(request.find("\r\n\r\n") + 4);
  EXPECT_EQ(R"({"model":"m\"","prompt":[1,2],"max_tokens":9,"temperature":0.0,"stream":true,)"
            R"("stream_options":{"include_usage":true},"ignore_eos":true})",
            body);
  EXPECT_THAT(request, HasSubstr("Content-Length: " + std::to_string(body.size()) + "\r\n"));
  form.as_ids = form.ask_usage = form.ignore_eos = false;
  EXPECT_THAT(MakeHttpRequest(*url, form, prompt, 9), HasSubstr(R"("prompt":"hi")"));
  form.chat = true;
  request = MakeHttpRequest(*url, form, prompt, 9);
  EXPECT_THAT(request, HasSubstr("POST /base/v1/chat/completions"));
  EXPECT_THAT(request, HasSubstr(R"("messages":[{"role":"user","content":"hi"}])"));
}

std::string WriteTemp(const std::string& name, const std::string& content) {
  const std::string path = ::testing::TempDir() + "/serving-" + name;
  std::ofstream(path) << content;
  return path;
}

TEST(ServingDataset, Spec) {
  const auto random = ParseDatasetSpec("random:12/34");
  ASSERT_TRUE(random.ok());
  EXPECT_EQ(12, random->input_tokens);
  EXPECT_EQ(34, random->output_tokens);
  EXPECT_EQ(DatasetSpec::Kind::kShareGpt, ParseDatasetSpec("sharegpt")->kind);
  EXPECT_EQ(DatasetSpec::Kind::kPrompts, ParseDatasetSpec("prompts")->kind);
  for (const char* bad :
       {"", "random:", "random:1", "random:0/1", "random:1/0", "random:1/2x", "random:-1/2", "gsm8k"}) {
    EXPECT_FALSE(ParseDatasetSpec(bad).ok()) << bad;
  }
}

TEST(ServingDataset, PromptLines) {
  const std::string path = WriteTemp("prompts.jsonl",
                                     "{\"prompt\": \"a\", \"output_tokens\": 5}\n\n{\"input_ids\": [1, 2]}\n"
                                     "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n");
  const auto prompts = ReadPromptLines(path, false);
  ASSERT_TRUE(prompts.ok()) << prompts.status().message();
  ASSERT_EQ(3u, prompts->size());
  EXPECT_EQ("a", (*prompts)[0].text);
  EXPECT_EQ(5, (*prompts)[0].output_tokens);
  EXPECT_THAT((*prompts)[1].ids, ElementsAre(1, 2));
  EXPECT_EQ(1u, (*prompts)[2].messages.size());
  EXPECT_THAT(ReadPromptLines(path, true).status().message(), HasSubstr("line 3"));
  for (const char* bad : {"", "[]", "{}", "{\"prompt\":1}", "{\"prompt\":\"a\",\"input_ids\":[1]}",
                          "{\"input_ids\":[-1]}", "{\"input_ids\":[1.5]}", "{\"input_ids\":\"x\"}",
                          "{\"messages\":[]}", "{\"prompt\":\"a\",\"output_tokens\":0}", "{"}) {
    EXPECT_FALSE(ReadPromptLines(WriteTemp("bad.jsonl", bad), false).ok()) << bad;
  }
}

TEST(ServingDataset, ShareGpt) {
  const std::string words(40, 'w');
  const std::string good =
      "{\"conversations\":[{\"from\":\"system\",\"value\":\"s\"},{\"from\":\"human\",\"value\":\"" + words +
      "\"},{\"from\":\"gpt\",\"value\":\"" + words + words + "\"}]}";
  const std::string others =
      ",{\"conversations\":[]},{\"conversations\":[{\"from\":\"human\",\"value\":\"short\"},{\"from\":"
      "\"gpt\",\"value\":\"x\"}]},"
      "{\"conversations\":[{\"from\":\"human\",\"value\":\"" +
      std::string(5000, 'l') + "\"},{\"from\":\"gpt\",\"value\":\"" + words +
      "\"}]},{\"conversations\":[{\"from\":\"gpt\",\"value\":\"first\"}]},{\"conversations\":[{\"from\":"
      "\"human\"}]}";
  const auto prompts = ReadShareGpt(WriteTemp("share.json", "[" + good + others + "]"));
  ASSERT_TRUE(prompts.ok()) << prompts.status().message();
  ASSERT_EQ(1u, prompts->size());
  EXPECT_EQ(words, (*prompts)[0].text);
  EXPECT_EQ(20, (*prompts)[0].output_tokens);
  for (const char* bad : {"{}", "[]", "[1]", "[{\"conversations\":1}]", "nothing"}) {
    EXPECT_FALSE(ReadShareGpt(WriteTemp("bad.json", bad)).ok()) << bad;
  }
}

TEST(ServingDataset, RandomPromptsDependOnSeedAndIndexAlone) {
  const auto ids = RandomPromptIds(1, 2, 50, 100);
  EXPECT_EQ(50u, ids.size());
  for (const TokenId id : ids) EXPECT_TRUE(id >= 0 && id < 100);
  EXPECT_EQ(ids, RandomPromptIds(1, 2, 50, 100));
  EXPECT_NE(ids, RandomPromptIds(1, 3, 50, 100));
  EXPECT_NE(ids, RandomPromptIds(2, 2, 50, 100));
  const std::string text = RandomPromptText(1, 2, 20);
  EXPECT_EQ(19, std::count(text.begin(), text.end(), ' '));
  EXPECT_NE(text, RandomPromptText(1, 3, 20));
}

TEST(ServingStats, PercentilesSortOnce) {
  const double ps[] = {0, 0.5, 0.9, 1};
  EXPECT_THAT(Percentiles({4, 1, 3, 2, 5}, ps), ElementsAre(1, 3, ::testing::DoubleNear(4.6, 1e-12), 5));
  EXPECT_THAT(Percentiles({}, ps), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(Percentiles({7}, ps), ElementsAre(7, 7, 7, 7));
}

Outcome Good(double scheduled, double first, double end, int tokens, std::vector<float> gaps) {
  Outcome out;
  out.scheduled = scheduled;
  out.sent = scheduled + 0.001;
  out.first = first;
  out.last = out.end = end;
  out.events = static_cast<int>(gaps.size()) + 1;
  out.completion_tokens = tokens;
  out.prompt_tokens = 10;
  out.asked_tokens = 4;
  out.gaps = std::move(gaps);
  return out;
}

LoadResult ThreeRequests() {
  LoadResult result;
  result.level.concurrency = 2;
  result.begin = 100;
  result.end = 104;
  result.outcomes = {Good(100, 100.5, 102, 4, {0.5f, 0.75f, 0.25f}), Good(101, 101.25, 104, 2, {2.75f})};
  Outcome& failed = result.outcomes.emplace_back();
  failed.error = "http 429";
  failed.detail = "full";
  failed.scheduled = failed.sent = 101;
  return result;
}

TEST(ServingStats, Summary) {
  const Summary summary = Summarise(ThreeRequests());
  EXPECT_EQ(2u, summary.good);
  EXPECT_EQ(1u, summary.failed);
  EXPECT_EQ(1u, summary.errors.at("http 429"));
  EXPECT_EQ(6u, summary.output_tokens);
  EXPECT_EQ(20u, summary.prompt_tokens);
  EXPECT_EQ(1u, summary.short_outputs);
  EXPECT_TRUE(summary.tokens_from_usage);
  EXPECT_DOUBLE_EQ(4, summary.seconds);
  EXPECT_DOUBLE_EQ(1.5, summary.Rate(summary.output_tokens));
  EXPECT_DOUBLE_EQ(375, summary.first.mean);
  EXPECT_DOUBLE_EQ(500, summary.first.at.back());
  EXPECT_EQ(4u, summary.gap.count);
  EXPECT_DOUBLE_EQ(2.75, summary.longest_gap);
  EXPECT_DOUBLE_EQ((500 + 2750) / 2.0, summary.per_token.mean);
  EXPECT_DOUBLE_EQ(2500, summary.whole.mean);
  const std::string shown = RenderSummary(summary);
  for (const char* part :
       {"TTFT", "ITL", "2 good, 1 failed", "server's usage", "http 429", "full", "longest gap"}) {
    EXPECT_THAT(shown, HasSubstr(part));
  }
  const Json json = SummaryToJson(summary);
  EXPECT_EQ("usage", json["tokens_counted_by"]);
  EXPECT_EQ(2, json["concurrency"]);
  EXPECT_DOUBLE_EQ(500, json["ttft_ms"]["max"].get<double>());
  EXPECT_EQ(1, json["errors"]["http 429"]["count"]);
  EXPECT_EQ(3u, OutcomesToJson(ThreeRequests()).size());
}

TEST(ServingStats, WithoutUsageEventsAreCounted) {
  LoadResult result = ThreeRequests();
  result.outcomes[0].completion_tokens = -1;
  const Summary summary = Summarise(result);
  EXPECT_FALSE(summary.tokens_from_usage);
  EXPECT_THAT(RenderSummary(summary), HasSubstr("events with text"));
  EXPECT_TRUE(SummaryToJson(summary)["prompt_tokens"].is_null());
}

TEST(ServingStats, NothingGood) {
  LoadResult result;
  result.level.rate = 3;
  EXPECT_THAT(RenderSummary(Summarise(result)), HasSubstr("0 good, 0 failed"));
}

TEST(ServingPlot, Ticks) {
  EXPECT_THAT(Ticks(10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(Ticks(0, 5), ElementsAre(0, 0.2, 0.4, ::testing::DoubleEq(0.6), 0.8, 1));
  for (const double top : {1e-4, 0.7, 1.0, 3.0, 42.0, 999.0, 1e7, std::nan("")}) {
    for (const int most : {2, 6, 10}) {
      const auto ticks = Ticks(top, most);
      EXPECT_GE(ticks.size(), 2u) << top;
      EXPECT_LE(ticks.size(), static_cast<size_t>(most) + 1) << top;
      if (top > 0) {
        EXPECT_GE(ticks.back(), top * (1 - 1e-9));
      }
    }
  }
}

// Every element is closed, in order.
bool IsBalanced(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = xml.find('<'); at != std::string::npos; at = xml.find('<', at + 1)) {
    const size_t end = xml.find('>', at);
    if (end == std::string::npos) return false;
    const std::string tag = xml.substr(at + 1, end - at - 1);
    if (tag.ends_with('/')) continue;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
    } else {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  return open.empty();
}

TEST(ServingPlot, IsWellFormed) {
  std::vector<Summary> summaries{Summarise(ThreeRequests()), Summarise(ThreeRequests())};
  summaries[1].level = {.rate = 2.5};
  const std::string plot = RenderPlot(summaries, "a <model> & \"more\"");
  EXPECT_TRUE(IsBalanced(plot)) << plot;
  EXPECT_THAT(plot, HasSubstr("a &lt;model&gt; &amp; &quot;more&quot;"));
  EXPECT_THAT(plot, HasSubstr(">2.5/s<"));
  EXPECT_EQ(std::string::npos, plot.find("nan"));
  const LoadResult nothing;
  EXPECT_TRUE(IsBalanced(RenderPlot({Summarise(nothing)}, "")));
  EXPECT_TRUE(IsBalanced(RenderPlot({}, "")));
}

}  // namespace
}  // namespace lathe::cli
