// `lathe bench compare`: the order of a run, what is left out, workers that misbehave, and the report.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "compare/chart.h"
#include "compare/child.h"
#include "compare/contender.h"
#include "compare/report.h"
#include "compare/run.h"
#include "fixture.h"

namespace lathe::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

bool Never() { return false; }

// Answers at once with times of its own making, and notes what it was asked for.
class Scripted : public Contender {
 public:
  struct Asked {
    size_t batch, input;
    int output, room;
    TokenId first_id;
  };

  Scripted(std::string label, double first_ms, double token_ms, std::vector<std::string>* log)
      : label_(std::move(label)), first_ms_(first_ms), token_ms_(token_ms), log_(*log) {}
  const std::string& label() const override { return label_; }
  bool is_process() const override { return true; }
  void Stop() override { running_ = false; }
  Expected<ContenderFacts> Start() override {
    running_ = true;
    log_.push_back("start " + label_);
    return ContenderFacts{
        .name = label_, .detail = "scripted", .vocab = 100, .max_context = 600, .fill_tokens = 10000};
  }
  Expected<CaseSample> Run(const std::vector<std::vector<TokenId>>& prompts, int output, int room,
                           double seconds) override {
    EXPECT_TRUE(running_);
    asked.push_back({prompts.size(), prompts[0].size(), output, room, prompts[0][0]});
    const double first = first_ms_ * static_cast<double>(prompts.size() * prompts[0].size());
    const double total = first + token_ms_ * (output - 1);
    if (total > seconds * 1e3) return Error(StatusCode::kDeadlineExceeded, "late");
    if (static_cast<int>(prompts.size()) == broken_batch)
      return Error(StatusCode::kInternal, "out of memory");
    return CaseSample{first, total, 1000 * prompts.size(), std::vector<int64_t>(prompts.size(), 7)};
  }

  std::vector<Asked> asked;
  int broken_batch = 0;

 private:
  const std::string label_;
  const double first_ms_, token_ms_;
  std::vector<std::string>& log_;
  bool running_ = false;
};

struct Pair {
  std::vector<std::string> log;
  std::vector<std::unique_ptr<Contender>> contenders;
  Scripted *ours, *theirs;
  CompareState state{
      .comparison = {
          .model = "m", .machine = "a <machine>", .command = "lathe bench compare m", .date = "2026-01-02"}};
  Comparison& comparison = state.comparison;
  std::string journal;         // where to save; empty: nowhere
  int cancel_after = 1 << 20;  // cases saved

  Pair() {
    contenders.push_back(std::make_unique<Scripted>("ours", 0.01, 1.0, &log));
    contenders.push_back(std::make_unique<Scripted>("theirs", 0.05, 4.0, &log));
    ours = static_cast<Scripted*>(contenders[0].get());
    theirs = static_cast<Scripted*>(contenders[1].get());
  }
  Status Run(const ComparePlan& plan) {
    const auto save = [this](const CompareState& now) {
      if (!journal.empty()) LATHE_RETURN_IF_ERROR(SaveJournal(journal, now));
      return cancel_after-- > 0 ? Status::Ok() : Status(StatusCode::kCancelled, "interrupted");
    };
    return RunComparison(
        plan, contenders, [](const std::string&, uint64_t, uint64_t) {}, save, &state);
  }
};

ComparePlan SmallPlan() {
  return {.inputs = {32, 512, 2048}, .batches = {1, 8}, .output = 128, .rounds = 2, .repeats = 3};
}

TEST(CompareRun, CasesAreCutToTheContextAndFillTheCache) {
  const auto cases = CasesOf(SmallPlan(), 600, 10000);
  std::vector<std::string> names;
  for (const CompareCase& c : cases) names.push_back(InputName(c) + ", " + BatchName(c));
  // 512 and 2,048 both come to 600 - 128; 10,000 positions hold 62 of 160 and 16 of 600.
  EXPECT_THAT(names, ElementsAre("32 tokens in, batch 1", "32 tokens in, batch 8",
                                 "32 tokens in, batch 62 (full)", "472 tokens in, batch 1",
                                 "472 tokens in, batch 8", "472 tokens in, batch 16 (full)"));
  EXPECT_TRUE(CasesOf(SmallPlan(), 100, 10000).empty());
  EXPECT_EQ(6u, CasesOf(SmallPlan(), 0, 0).size()) << "nothing known: as asked, nothing to fill";
}

TEST(CompareRun, RoundsTurnAndAllSeeTheSamePrompts) {
  Pair pair;
  ASSERT_TRUE(pair.Run(SmallPlan()).ok());
  EXPECT_THAT(pair.log, ElementsAre("start ours", "start theirs", "start ours", "start theirs",
                                    "start theirs", "start ours"));
  ASSERT_EQ(pair.ours->asked.size(), pair.theirs->asked.size());
  std::vector<TokenId> firsts;
  for (size_t i = 0; i < pair.ours->asked.size(); ++i) {
    EXPECT_EQ(pair.ours->asked[i].first_id, pair.theirs->asked[i].first_id);
    firsts.push_back(pair.ours->asked[i].first_id);
  }
  // Of a round: start-up, then each of six cases once to warm up (4 tokens, room for 128) and three times.
  ASSERT_EQ(2u * (1 + 6 * 4), firsts.size());
  EXPECT_EQ(1, pair.ours->asked[0].output);
  EXPECT_EQ(4, pair.ours->asked[1].output);
  EXPECT_EQ(128, pair.ours->asked[1].room);
  EXPECT_EQ(128, pair.ours->asked[2].output);
  const CaseResult& result = pair.comparison.contenders[0].cases[0];
  EXPECT_EQ(6u, result.first_ms.size());
  EXPECT_DOUBLE_EQ(0.32, MedianOf(result.first_ms));
  EXPECT_DOUBLE_EQ(1.0, MedianOf(result.per_token_ms));
  EXPECT_NEAR(128e3 / (0.32 + 127), MedianOf(result.tokens_per_second), 1e-6);
  EXPECT_NEAR(4.0, TimesBetter(kCompareMetrics[2], result, pair.comparison.contenders[1].cases[0]), 1e-9);
  EXPECT_EQ(2u, pair.comparison.contenders[0].startup_seconds.size());
  const Agreement agreement =
      AgreeOnFirstTokens(pair.comparison.contenders[0], pair.comparison.contenders[1]);
  EXPECT_EQ(agreement.total, agreement.same);
  EXPECT_EQ(1u + 8 + 62 + 1 + 8 + 16, agreement.total);
}

// All that a comparison found, but for times that a clock measured.
std::string Found(const Comparison& comparison) {
  Json json = ComparisonToJson(comparison);
  for (Json& contender : json["contenders"]) {
    EXPECT_EQ(contender["startup_seconds"]["samples"].size(), static_cast<size_t>(comparison.rounds));
    contender.erase("startup_seconds");
  }
  return DumpJson(json);
}

// Interrupted after every number of cases, and gone on from the file: the same result, and no case twice.
TEST(CompareRun, GoesOnWhereItWasInterrupted) {
  const std::string path = ::testing::TempDir() + "compare_journal_" + std::to_string(getpid()) + ".json";
  Pair whole;
  ASSERT_TRUE(whole.Run(SmallPlan()).ok());
  const std::string want = Found(whole.comparison);
  for (int n = 0; n < 24; ++n) {
    Pair first, second;
    first.journal = path;
    first.cancel_after = n;
    ASSERT_EQ(first.Run(SmallPlan()).code(), StatusCode::kCancelled);
    auto state = LoadJournal(path);
    ASSERT_TRUE(state.ok()) << state.status().message();
    second.state = *std::move(state);
    ASSERT_TRUE(second.Run(SmallPlan()).ok());
    EXPECT_EQ(Found(second.comparison), want) << n;
    EXPECT_EQ(first.ours->asked.size() + second.ours->asked.size(), whole.ours->asked.size()) << n;
  }
  for (const char* text : {"", "{", "[]", "{}", R"({"turn": "x"})"}) {
    ::lathe::testing::WriteWhole(path, text);
    EXPECT_FALSE(LoadJournal(path).ok()) << text;
  }
  std::filesystem::remove(path);
}

TEST(CompareRun, WhatTakesTooLongIsLeftOutWithItsReason) {
  Pair pair;
  ComparePlan plan = SmallPlan();
  plan.limit_seconds = 0.515;  // theirs take 128 x 4 ms and 0.05 ms a prompt token
  plan.fill = false;
  pair.theirs->broken_batch = 8;
  ASSERT_TRUE(pair.Run(plan).ok());
  const auto& cases = pair.comparison.contenders[1].cases;
  EXPECT_EQ("", cases[0].missing);
  EXPECT_EQ("out of memory", cases[1].missing);
  EXPECT_THAT(cases[2].missing, HasSubstr("left out: would take more than"));
  EXPECT_TRUE(cases[2].first_ms.empty());
  EXPECT_EQ("", pair.comparison.contenders[0].cases[2].missing);
  const std::string report = RenderReport(pair.comparison);
  EXPECT_THAT(report, HasSubstr("out of memory"));
  EXPECT_THAT(RenderTables(pair.comparison), HasSubstr("-"));
}

TEST(CompareRun, LeastSecondsNeverScalesDown) {
  const CompareCase small{.batch = 1, .input = 32, .output = 101},
      large{.batch = 8, .input = 64, .output = 101};
  const CaseResult result{.first_ms = {100}, .per_token_ms = {10}, .tokens_per_second = {1}};
  EXPECT_DOUBLE_EQ(0.1 * 16 / 2 + 1, LeastSeconds(large, small, result));
  EXPECT_DOUBLE_EQ(0.1 + 1, LeastSeconds(small, small, result));
  EXPECT_DOUBLE_EQ(0, LeastSeconds(small, large, result));
  EXPECT_DOUBLE_EQ(0, LeastSeconds(large, small, {}));
}

TEST(CompareReport, ShowsAllNumbersAndEscapesWhatIsForeign) {
  Pair pair;
  ASSERT_TRUE(pair.Run(SmallPlan()).ok());
  const std::string report = RenderReport(pair.comparison);
  EXPECT_THAT(report, HasSubstr("a &lt;machine&gt;"));
  EXPECT_THAT(report, Not(HasSubstr("<machine>")));
  for (const char* fetched : {"src=", "href=", "@import", "url("})
    EXPECT_THAT(report, Not(HasSubstr(fetched)));
  EXPECT_THAT(report, HasSubstr("theirs has the same first token in 96 of 96 prompts"));
  EXPECT_THAT(report, HasSubstr("4.00× slower"));
  std::vector<std::string> files;
  for (const Chart& chart : ChartsOf(pair.comparison)) {
    files.push_back(chart.file);
    const std::string svg = RenderChart(chart);
    EXPECT_THAT(svg, ::testing::EndsWith("</svg>\n"));
    EXPECT_THAT(svg, HasSubstr("ours"));
  }
  EXPECT_THAT(files, ElementsAre("tokens_per_second", "first_token_ms", "per_token_ms", "startup", "memory"));
  const Json json = ComparisonToJson(pair.comparison);
  EXPECT_EQ(2u, json["contenders"].size());
  EXPECT_EQ(6u, json["contenders"][1]["cases"].size());
  EXPECT_EQ(62, json["contenders"][1]["cases"][2]["batch"]);
}

// Workers that are a line of shell.
class CompareWorker : public ::lathe::testing::CliTest {
 protected:
  std::unique_ptr<Contender> Worker(const std::string& script) {
    return MakeWorker("peer", {"/bin/sh", "-c", script}, dir() + "/peer.log", 5, Never);
  }
  static constexpr char kHello[] = R"(echo '{"ready":true,"name":"p 1","vocab":10,"max_context":50}'; )";
};

TEST_F(CompareWorker, AnswersAreRead) {
  const auto worker =
      Worker(std::string(kHello) +
             R"(read line; echo '{"first_ms":1.5,"total_ms":9,"memory_bytes":5,"first_tokens":[3]}')");
  const auto facts = worker->Start();
  ASSERT_TRUE(facts.ok()) << facts.status().message();
  EXPECT_EQ("p 1", facts->name);
  EXPECT_EQ(50, facts->max_context);
  const auto sample = worker->Run({{1, 2}}, 4, 4, 5);
  ASSERT_TRUE(sample.ok()) << sample.status().message();
  EXPECT_EQ(1.5, sample->first_ms);
  EXPECT_THAT(sample->first_tokens, ElementsAre(3));
}

TEST_F(CompareWorker, MisbehaviourIsASentence) {
  struct Case {
    const char *script, *part;
  };
  const Case cases[] = {{"echo 'no module named torch' >&2; exit 3", "it ended: no module named torch"},
                        {"echo '{\"error\":\"cannot import torch\"}'", "cannot import torch"},
                        {"echo hello", "peer"},
                        {"echo '[1]'", "wrote no object"},
                        {"echo '{\"ready\":true}'", "name"}};
  for (const Case& c : cases) {
    const auto facts = Worker(c.script)->Start();
    ASSERT_FALSE(facts.ok()) << c.script;
    EXPECT_THAT(facts.status().message(), HasSubstr(c.part)) << c.script;
  }
  const auto none = MakeWorker("peer", {"/nowhere/python"}, dir() + "/none.log", 5, Never)->Start();
  ASSERT_FALSE(none.ok());
  EXPECT_THAT(none.status().message(), HasSubstr("cannot run /nowhere/python"));
}

TEST_F(CompareWorker, OneThatHangsIsKilledWithItsChildren) {
  const auto worker =
      Worker(std::string(kHello) + "read line; sleep 100 & echo $! > " + dir() + "/pid; wait");
  ASSERT_TRUE(worker->Start().ok());
  const double begin = NowSeconds();
  const auto sample = worker->Run({{1}}, 1, 1, 0.3);
  EXPECT_EQ(StatusCode::kDeadlineExceeded, sample.status().code());
  EXPECT_LT(NowSeconds() - begin, 3);
  const std::string pid = ::lathe::testing::ReadWhole(dir() + "/pid");
  // Killed, and soon at most waiting for whoever adopted it.
  const auto is_gone = [path = "/proc/" + pid.substr(0, pid.find('\n')) + "/stat"] {
    const auto stat = ReadFile(path);
    return !stat.ok() || stat->find(") Z ") != std::string::npos;
  };
  for (int i = 0; i < 1000 && !is_gone(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(is_gone());
  EXPECT_EQ(StatusCode::kUnavailable, worker->Run({{1}}, 1, 1, 1).status().code())
      << "it has to be started again";
}

TEST_F(CompareWorker, TheProgramWritesItsReport) {
  // A stand-in for transformers, four times as slow as its script says.
  ::lathe::testing::WriteWhole(
      dir() + "/python", std::string("#!/bin/sh\n") +
                             R"(echo '{"ready":true,"name":"stand-in 1.0","vocab":8192,"max_context":2048}'
while read line; do echo '{"first_ms":400,"total_ms":4000,"memory_bytes":1000000}'; done
)");
  ASSERT_EQ(0, chmod((dir() + "/python").c_str(), 0755));
  const auto result = Lathe({"bench",
                             "compare",
                             ::lathe::testing::TalesModel(),
                             "--with",
                             "transformers",
                             "--modes",
                             "plain",
                             "--python",
                             dir() + "/python",
                             "--inputs",
                             "16,64",
                             "--batches",
                             "1,4",
                             "--output-len",
                             "8",
                             "--repeats",
                             "2",
                             "--no-fill",
                             "-o",
                             dir() + "/report"});
  ASSERT_EQ(0, result.exit_code) << result.err;
  EXPECT_THAT(result.out, HasSubstr("64 tokens in, batch 4"));
  EXPECT_THAT(result.out, HasSubstr("stand-in 1.0"));
  const auto json = ReadJsonFile(dir() + "/report/result.json");
  ASSERT_TRUE(json.ok()) << json.status().message();
  const Json& ours = (*json)["contenders"][0];
  EXPECT_THAT(ours["name"].get<std::string>(), HasSubstr("lathe"));
  EXPECT_GT(ours["startup_seconds"]["median"].get<double>(), 0);
  EXPECT_GT(ours["cases"][3]["tokens_per_second"]["median"].get<double>(), 0);
  EXPECT_GT(ours["cases"][3]["memory_bytes"].get<uint64_t>(), uint64_t{10} << 20);
  EXPECT_NEAR(3600.0 / 7, (*json)["contenders"][1]["cases"][0]["per_token_ms"]["median"].get<double>(), 1e-6);
  for (const char* file : {"report.html", "tokens_per_second.svg", "startup.svg", "memory.svg"}) {
    EXPECT_TRUE(FileExists(dir() + "/report/" + file)) << file;
  }
}

// A contender that is killed in the middle leaves a file that --resume goes on from.
TEST_F(CompareWorker, AnInterruptedComparisonGoesOn) {
  const std::string python = dir() + "/python", report = dir() + "/report";
  const auto write = [&](const char* body) {
    ::lathe::testing::WriteWhole(
        python, std::string("#!/bin/sh\n") +
                    R"(echo '{"ready":true,"name":"stand-in","vocab":8192,"max_context":2048}'
)" + body);
    ASSERT_EQ(0, chmod(python.c_str(), 0755));
  };
  const std::vector<std::string> command{"bench",
                                         "compare",
                                         ::lathe::testing::TalesModel(),
                                         "--with",
                                         "transformers",
                                         "--modes",
                                         "plain",
                                         "--python",
                                         python,
                                         "--inputs",
                                         "16",
                                         "--batches",
                                         "1,2",
                                         "--output-len",
                                         "4",
                                         "--repeats",
                                         "1",
                                         "--no-fill",
                                         "-o",
                                         report};
  auto resumed = command;
  resumed.push_back("--resume");
  // Interrupts its parent at the third question: start-up, warming up, the first case.
  write(
      "n=0\nwhile read line; do n=$((n+1)); [ $n -eq 4 ] && kill -INT $PPID; echo "
      "'{\"first_ms\":400,\"total_ms\":4000}'; done\n");
  const auto stopped = Lathe(command);
  EXPECT_EQ(130, stopped.exit_code) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("--resume"));
  EXPECT_FALSE(FileExists(report + "/result.json"));
  const auto journal = ReadJsonFile(report + "/unfinished.json");
  ASSERT_TRUE(journal.ok()) << journal.status().message();
  EXPECT_EQ((*journal)["turn"], 1);
  write("while read line; do echo '{\"first_ms\":100,\"total_ms\":1000}'; done\n");
  auto other = resumed;
  *std::ranges::find(other, "4") = "5";  // --output-len
  ::lathe::testing::ExpectFault(Lathe(other), "another comparison");
  other = resumed;
  *std::ranges::find(other, "plain") = "compiled";
  ::lathe::testing::ExpectFault(Lathe(other), "another comparison");
  const auto result = Lathe(resumed);
  ASSERT_EQ(0, result.exit_code) << result.err;
  const auto json = ReadJsonFile(report + "/result.json");
  ASSERT_TRUE(json.ok()) << json.status().message();
  EXPECT_EQ((*json)["contenders"][1]["cases"][1]["first_token_ms"]["median"], 100);
  EXPECT_FALSE(FileExists(report + "/unfinished.json"));
}

TEST_F(CompareWorker, FaultsOfTheCommandLine) {
  using ::lathe::testing::ExpectFault;
  ExpectFault(Lathe({"bench", "compare", "m"}), "--with");
  ExpectFault(Lathe({"bench", "compare", "m.lathe", "--with", "transformers", "-o", dir() + "/r"}),
              "no checkpoint's folder");
  ExpectFault(
      Lathe({"bench", "compare", "m", "--with", "http://127.0.0.1:1", "--inputs", "3,x", "-o", dir() + "/r"}),
      "--inputs");
  ExpectFault(Lathe({"bench", "compare", ::lathe::testing::TalesModel(), "--with", "http://127.0.0.1:1", "-o",
                     dir() + "/r"}),
              "is a server running there?");
  ExpectFault(Lathe({"bench", "compare", ::lathe::testing::TalesModel(), "--with", "transformers", "--python",
                     "/nowhere/python", "-o", dir() + "/r"}),
              "cannot run /nowhere/python");
}

}  // namespace
}  // namespace lathe::cli
