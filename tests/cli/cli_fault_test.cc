// What goes wrong: one clear sentence, exit 1 (usage: 2), and nothing left behind.
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "fixture.h"

namespace lathe::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CliFault : public CliTest {};

TEST_F(CliFault, UsageFaultsExitTwoAndNameTheWayToHelp) {
  struct Case {
    std::vector<std::string> args;
    const char* part;
  };
  const std::vector<Case> cases = {
      {{"frobnicate"}, "unknown command \"frobnicate\""},
      {{"rnu"}, "unknown command \"rnu\""},
      {{"buidl", "x"}, "did you mean build?"},
      {{"--frob"}, "unknown flag \"--frob\" for lathe"},
      {{"run", "m", "p", "--frob"}, "unknown flag \"--frob\" for lathe run"},
      {{"run", "m", "p", "--temprature", "1"}, "did you mean --temperature?"},
      {{"run", "m", "p", "extra"}, "unknown argument \"extra\" for lathe run"},
      {{"run"}, "lathe run needs MODEL"},
      {{"run", "m", "p", "--max-tokens", "many"}, "--max-tokens: expected a whole number, found \"many\""},
      {{"run", "m", "p", "--max-tokens", "1.5"}, "expected a whole number, found \"1.5\""},
      {{"run", "m", "p", "--max-tokens", "99999999999"}, "found \"99999999999\""},
      {{"run", "m", "p", "--temperature", "hot"}, "expected a number, found \"hot\""},
      {{"run", "m", "p", "--temperature", "nan"}, "expected a number, found \"nan\""},
      {{"run", "m", "p", "--top-p", ""}, "expected a number, found \"\""},
      {{"run", "m", "p", "--seed", "-1"}, "expected a whole number from 0"},
      {{"run", "m", "p", "--kv-bytes", "12Q"}, "expected a size in bytes"},
      {{"run", "m", "p", "--logit-bias", "5"}, "expected TOKEN_ID:BIAS"},
      {{"run", "m", "p", "--stop-id", "x"}, "expected a token id"},
      {{"run", "m", "p", "--seed"}, "--seed"},
      {{"run", "m", "p", "--seed", "1", "--seed", "2"}, "--seed"},
      {{"build"}, "lathe build needs DIR"},
      {{"synth", "-o", "x"}, "lathe synth needs --config"},
      {{"bench", "speed"}, "unknown command \"speed\" for lathe bench"},
      {{"eval", "perplexity", "m"}, "lathe eval perplexity needs FILE"},
      {{"inspect", "m", "--all"}, "unknown flag \"--all\""},
  };
  for (const Case& c : cases) {
    std::string line;
    for (const std::string& arg : c.args) line += arg + " ";
    SCOPED_TRACE(line);
    const ProcessResult result = Lathe(c.args);
    ExpectUsage(result, c.part);
    EXPECT_THAT(result.err, HasSubstr("\nTry: lathe"));
  }
  // A missing command prints the help, on stderr.
  for (const std::vector<std::string>& args : {std::vector<std::string>{}, {"bench"}, {"eval"}}) {
    const ProcessResult result = Lathe(args);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, HasSubstr("Commands:"));
  }
}

TEST_F(CliFault, EveryInvalidSamplingValueIsNamedBeforeTheModelIsTouched) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--temperature", "-0.1"}, "--temperature must be in [0, 100], but is -0.1"},
      {{"--temperature", "100.5"}, "--temperature must be in [0, 100], but is 100.5"},
      {{"--top-p", "0"}, "--top-p must be in (0, 1], but is 0"},
      {{"--top-p", "1.01"}, "--top-p must be"},
      {{"--top-k", "-1"}, "--top-k must be 0 or more, but is -1"},
      {{"--min-p", "-0.5"}, "--min-p must be in [0, 1], but is -0.5"},
      {{"--min-p", "2"}, "--min-p must be"},
      {{"--repetition-penalty", "0"}, "--repetition-penalty must be in (0, 10], but is 0"},
      {{"--repetition-penalty", "11"}, "--repetition-penalty must be"},
      {{"--presence-penalty", "-3"}, "--presence-penalty must be in [-2, 2], but is -3"},
      {{"--presence-penalty", "2.5"}, "--presence-penalty must be"},
      {{"--frequency-penalty", "-2.5"}, "--frequency-penalty must be"},
      {{"--frequency-penalty", "3"}, "--frequency-penalty must be in [-2, 2], but is 3"},
      {{"--max-tokens", "-1"}, "--max-tokens must be 0 or more, but is -1"},
      {{"--min-tokens", "-1"}, "--min-tokens must be 0 or more, but is -1"},
      {{"--min-tokens", "9", "--max-tokens", "5"}, "--min-tokens must not exceed max_tokens (5), but is 9"},
      {{"--logprobs", "21"}, "--logprobs must be in [-1, 20], but is 21"},
      {{"--logprobs", "-2"}, "--logprobs must be"},
      {{"-n", "0"}, "--n must be in [1, 64], but is 0"},
      {{"-n", "65"}, "--n must be in [1, 64], but is 65"},
      {{"--stop", ""}, "--stop[0] must have 1 to 256 bytes, but has 0"},
      {{"--stop", std::string(257, 'x')}, "--stop[0] must have 1 to 256 bytes, but has 257"},
      {{"--stop-id", "-1"}, "--stop-id[0] must be a token id"},
      {{"--logit-bias", "-1:1"}, "--logit-bias[0] must be a token id"},
      {{"--logit-bias", "1:101"}, "--logit-bias of token 1 must be in [-100, 100], but is 101"},
      {{"--bad-word", ""}, "--bad-word[0] must have"},
      {{"--threads", "-1"}, "--threads must be"},
      {{"--context", "-1"}, "--context must be"},
      {{"--dtype", "f16"}, "--dtype must be auto, bf16, fp16, f32 or fp8, but is \"f16\""},
  };
  for (const auto& [flags, part] : cases) {
    SCOPED_TRACE(flags[0] + " " + flags[1]);
    std::vector<std::string> args = {"run", dir() + "/absent", "p"};
    args.insert(args.end(), flags.begin(), flags.end());
    ExpectFault(Lathe(args), part);
  }
  std::vector<std::string> stops = {"run", "absent", "p"};
  for (int i = 0; i < 17; ++i) stops.insert(stops.end(), {"--stop", "x" + std::to_string(i)});
  ExpectFault(Lathe(stops), "--stop has 17 entries, but may have at most 16");
  // Ids are only known to be too large once the model is there.
  ExpectFault(Lathe({"run", Engine(), "p", "--stop-id", "8192"}),
              "--stop-id[0] must be a token id in [0, 8192)");
  ExpectFault(Lathe({"run", Engine(), "p", "--logit-bias", "99999:1"}), "--logit-bias[0] must be a token id");
}

TEST_F(CliFault, WhatIsNotThereIsNamed) {
  const std::string absent = dir() + "/absent";
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{"run", absent, "p"},
                                             {"chat", absent},
                                             {"build", absent, "-o", dir() + "/x.lathe"},
                                             {"convert", absent, "-o", dir() + "/x"},
                                             {"inspect", absent},
                                             {"bench", "latency", absent},
                                             {"bench", "throughput", absent},
                                             {"eval", "perplexity", Engine(), absent},
                                             {"synth", "--config", absent, "-o", dir() + "/x"}}) {
    SCOPED_TRACE(args[0]);
    ExpectFault(Lathe(args), "absent");
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(CliFault, WhatIsNoEngineIsNotRun) {
  const std::string engine = ReadWhole(Engine());
  ASSERT_GT(engine.size(), 1u << 20);
  std::string flipped_header = engine, flipped_manifest = engine, other_magic = engine;
  flipped_header[20] = static_cast<char>(flipped_header[20] ^ 0x40);
  flipped_manifest[engine.size() - 10] = static_cast<char>(flipped_manifest[engine.size() - 10] ^ 0x01);
  other_magic[0] = 'x';
  const std::vector<std::pair<const char*, std::string>> files = {
      {"empty", ""},
      {"text", "hello\n"},
      {"zeros", std::string(100000, '\0')},
      {"cut in the header", engine.substr(0, 1000)},
      {"cut in the weights", engine.substr(0, engine.size() / 2)},
      {"cut by a byte", engine.substr(0, engine.size() - 1)},
      {"flipped header", flipped_header},
      {"flipped manifest", flipped_manifest},
      {"other magic", other_magic}};
  const std::string path = dir() + "/bad.lathe";
  for (const auto& [what, content] : files) {
    SCOPED_TRACE(what);
    WriteWhole(path, content);
    ExpectFault(Lathe({"run", path, "p"}), path);
    ExpectFault(Lathe({"inspect", path}), path);
  }
  // A flipped weight: small engines are checked whole before they run.
  std::string flipped_weight = engine;
  flipped_weight[engine.size() / 2] = static_cast<char>(flipped_weight[engine.size() / 2] ^ 0x10);
  WriteWhole(path, flipped_weight);
  ExpectFault(Lathe({"inspect", path, "--verify"}), path);
  ExpectFault(Lathe({"run", path, "p"}), path);
}

TEST_F(CliFault, ADirectoryThatHoldsNoModel) {
  std::filesystem::create_directory(dir() + "/empty");
  ExpectFault(Lathe({"run", dir() + "/empty", "p"}), "config.json");
  ExpectFault(Lathe({"inspect", dir() + "/empty"}), "is a directory");
  ExpectFault(Lathe({"build", dir() + "/empty", "-o", dir() + "/x.lathe"}), "config.json");
  EXPECT_THAT(Files(), ElementsAre("empty"));
}

TEST_F(CliFault, APromptLongerThanTheContext) {
  std::string prompt;
  for (int i = 0; i < 200; ++i) prompt += "king ";
  ExpectFault(Lathe({"run", Engine(), prompt, "--context", "64"}), "64");
  ExpectFault(Lathe({"run", Engine(), "p", "--context", "100000"}), "2048");
  ExpectFault(Lathe({"run", Engine(), "p", "--kv-bytes", "1K"}), "KV");
}

TEST_F(CliFault, AnOutputThatCannotBeWrittenLeavesNothing) {
  const std::string missing = dir() + "/no/such/folder/m.lathe";
  ExpectFault(Lathe({"build", TalesModel(), "-o", missing, "--no-tune", "-q"}), "no/such/folder");
  WriteWhole(dir() + "/file", "x");
  ExpectFault(Lathe({"build", TalesModel(), "-o", dir() + "/file/m.lathe", "--no-tune", "-q"}), "file");
  ExpectFault(Lathe({"convert", TalesModel(), "-o", dir() + "/file"}), "file");
  ExpectFault(Lathe({"bench", "throughput", Engine(), "--requests", "1", "--output-len", "1", "--concurrency",
                     "70000"}),
              "--concurrency");
  EXPECT_THAT(Files(), ElementsAre("file"));
}

TEST_F(CliFault, ADiskThatFillsUpLeavesNothing) {
  const ProcessOptions full = {.max_file_bytes = 1 << 20};
  ExpectFault(Lathe({"build", TalesModel(), "-o", dir() + "/m.lathe", "--no-tune", "-q"}, full), "m.lathe");
  EXPECT_THAT(Files(), IsEmpty());
  ExpectFault(Lathe({"convert", TalesModel(), "-o", dir() + "/ckpt"}, full), "ckpt");
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(CliFault, AFailedBuildKeepsTheEngineThatWasThere) {
  const std::string path = dir() + "/m.lathe";
  WriteWhole(path, "the old one");
  ExpectFault(Lathe({"build", TalesModel(), "-o", path, "--no-tune", "-q"}, {.max_file_bytes = 1 << 20}),
              "m.lathe");
  EXPECT_EQ(ReadWhole(path), "the old one");
  EXPECT_THAT(Files(), ElementsAre("m.lathe"));
}

TEST_F(CliFault, OptionsOfTheBuildOutOfRange) {
  const std::string out = dir() + "/m.lathe";
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--dtype", "int3"}),
              "--dtype must be auto, bf16, fp16, f32 or fp8");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--target", "cpu:sse9"}), "cpu:sse9");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--tp", "0"}), "tp");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--numeric", "fp4"}),
              "--numeric must be");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--dtype", "fp8"}), "--target cuda");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--kv-dtype", "int4"}),
              "--kv-dtype must be auto, bf16, fp16 or fp8");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--fp8-scales", "row"}),
              "--fp8-scales must be channel or tensor");
  ExpectFault(
      Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--dtype", "fp8", "--fp8-keep", "last,up"}),
      "there is \"up\"");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--fp8-keep", "first"}),
              "needs the dtype fp8");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--target", "cuda:sm_70"}),
              "cuda:sm_90a, cuda:sm_100a");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--target", "sm_90", "--tp", "2"}),
              "runs on one GPU");
  ExpectFault(Lathe({"build", TalesModel(), "-o", out, "--no-tune", "--disable-pass", "nothing"}), "nothing");
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(CliFault, ABadDatasetNamesItsLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"prompt\":\"a\",\"output_tokens\":3}\n{oops\n", "line 2"},
      {"[]\n", "expected a JSON object"},
      {"{\"prompt\":\"a\"}\n", "output_tokens"},
      {"{\"output_tokens\":3}\n", "one of \"prompt\", \"input_ids\""},
      {"{\"input_ids\":[99999],\"output_tokens\":3}\n", "99999"},
      {"{\"input_ids\":[\"a\"],\"output_tokens\":3}\n", "array of token ids"},
      {"{\"prompt\":\"a\",\"output_tokens\":0}\n", "output_tokens must be in"},
      {"\n", "has no requests"}};
  for (const auto& [content, part] : cases) {
    SCOPED_TRACE(content);
    WriteWhole(dir() + "/d.jsonl", content);
    ExpectFault(Lathe({"bench", "throughput", Engine(), "--dataset", dir() + "/d.jsonl"}), part);
  }
}

TEST_F(CliFault, ATextTooShortToScore) {
  WriteWhole(dir() + "/t.txt", "Once.\n");
  ExpectFault(Lathe({"eval", "perplexity", Engine(), dir() + "/t.txt"}), "too few for one window of 1024");
  ExpectFault(Lathe({"eval", "perplexity", Engine(), dir() + "/t.txt", "--window", "4096"}),
              "--window must be");
  ExpectFault(Lathe({"eval", "perplexity", Engine(), dir() + "/t.txt", "--window", "1"}), "--window must be");
}

TEST_F(CliFault, InterruptingARunStopsItAndExits130) {
  const ProcessResult run =
      Lathe({"run", Engine(), "Once", "--temperature", "0", "--max-tokens", "0", "--ignore-eos"},
            {.interrupt_after_reads = 3});
  EXPECT_EQ(run.exit_code, 130) << run.err;
  EXPECT_THAT(run.out, EndsWith("\n"));
}

TEST_F(CliFault, AClosedPipeEndsTheProgramQuietly) {
  const ProcessResult run = RunProcess(
      {"/bin/sh", "-c",
       std::string(LATHE_PROGRAM) + " run " + Engine() + " Once --max-tokens 0 --ignore-eos | head -c 20"});
  EXPECT_EQ(run.out.size(), 20u);
  EXPECT_EQ(run.err, "");
}

TEST_F(CliFault, AFullDiskBehindStandardOutputIsReported) {
  const ProcessResult run =
      RunProcess({"/bin/sh", "-c",
                  std::string(LATHE_PROGRAM) + " run " + Engine() + " Once --max-tokens 4 > /dev/full"});
  ExpectFault(run, "standard output cannot be written");
}

}  // namespace
}  // namespace lathe::testing
