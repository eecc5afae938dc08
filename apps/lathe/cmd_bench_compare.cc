// `lathe bench compare`: this engine beside transformers, or beside any OpenAI-compatible server, in one run.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/status.h"
#include "bench.h"
#include "bench_machine.h"
#include "commands.h"
#include "compare/chart.h"
#include "compare/journal.h"
#include "compare/peer_files.h"
#include "compare/report.h"
#include "compare/run.h"
#include "compiler/compile.h"
#include "hub_model.h"
#include "lathe/version.h"
#include "serving/models.h"
#include "terminal/format.h"
#include "terminal/interrupt.h"
#include "terminal/progress.h"

namespace lathe::cli {
namespace {

constexpr double kStartSeconds = 1800;  // a large checkpoint from a cold disk, an engine to build
constexpr const char* kModes[] = {"plain", "compiled"};

struct Options {
  ModelOptions model;
  std::vector<std::string> with;
  std::string output = "report", python = "python3", modes = "plain,compiled", inputs = "32,512,2048";
  std::string batches = "1,8,32", served_model, key_file;
  std::optional<std::string> machine_name;
  std::string model_name, command;  // as typed: a hub's name becomes a path
  ComparePlan plan;
  int seed = 0;
  bool no_fill = false, resume = false;
  TlsOptions tls;
};

Expected<std::vector<std::string>> SplitList(const char* flag, const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    out.push_back(text.substr(at, comma - at));
    if (out.back().empty()) {
      return Error(StatusCode::kInvalidArgument, "%s must be a list with commas between, but is \"%s\"", flag,
                   text.c_str());
    }
    at = comma + 1;
  }
  return out;
}

Expected<std::vector<int>> ParseCounts(const char* flag, const std::string& text, int most) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<std::string> parts, SplitList(flag, text));
  std::vector<int> out;
  for (const std::string& part : parts) {
    int value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || value < 1 || value > most) {
      return Error(StatusCode::kInvalidArgument,
                   "%s must be whole numbers in [1, %d] with commas between, but is \"%s\"", flag, most,
                   text.c_str());
    }
    out.push_back(value);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Status Check(Options* options) {
  ComparePlan& plan = options->plan;
  LATHE_ASSIGN_OR_RETURN(plan.inputs, ParseCounts("--inputs", options->inputs, 1 << 20));
  LATHE_ASSIGN_OR_RETURN(plan.batches, ParseCounts("--batches", options->batches, 4096));
  LATHE_RETURN_IF_ERROR(CheckRange("--output-len", plan.output, 1, 1 << 20));
  LATHE_RETURN_IF_ERROR(CheckRange("--rounds", plan.rounds, 1, 1000));
  LATHE_RETURN_IF_ERROR(CheckRange("--repeats", plan.repeats, 1, 60));
  LATHE_RETURN_IF_ERROR(CheckRange("--seed", options->seed, 0, 1 << 30));
  plan.fill = !options->no_fill;
  plan.seed = static_cast<uint64_t>(options->seed);
  if (!(plan.case_seconds > 0) || !(plan.limit_seconds > 0)) {
    return Error(StatusCode::kInvalidArgument,
                 "--case-seconds and --limit must be above 0, but are %g and %g", plan.case_seconds,
                 plan.limit_seconds);
  }
  if (options->with.empty()) {
    return Error(StatusCode::kInvalidArgument,
                 "--with must say with what to compare: transformers, or a server's URL");
  }
  return {};
}

// The embedded worker as a file that Python can run. Left in the report's folder: it says what was run.
Expected<std::string> WritePeer(const Options& options) {
  for (const EmbeddedFile& file : PeerFiles()) {
    const std::string path = options.output + "/" + std::string(file.name);
    LATHE_RETURN_IF_ERROR(WriteFileAtomic(path, file.bytes));
    return path;
  }
  return Error(StatusCode::kInternal, "this program carries no worker for transformers");
}

Expected<std::vector<std::unique_ptr<Contender>>> MakeContenders(const Options& options,
                                                                 const std::string& self,
                                                                 const std::function<bool()>& interrupted) {
  std::vector<std::unique_ptr<Contender>> out;
  std::vector<std::string> ours{self, "bench", "worker"};
  const std::vector<std::string> model = options.model.ToArgs();
  ours.insert(ours.end(), model.begin(), model.end());
  out.push_back(
      MakeWorker("lathe", std::move(ours), options.output + "/lathe.log", kStartSeconds, interrupted));
  for (const std::string& with : options.with) {
    if (with != "transformers") {
      LATHE_ASSIGN_OR_RETURN(const Url url, ParseUrl(with));
      LATHE_ASSIGN_OR_RETURN(const std::string key, ReadApiKey(options.key_file));
      out.push_back(MakeServer(url, options.tls, options.served_model, key, interrupted));
      continue;
    }
    if (!DirExists(options.model.path)) {
      return Error(
          StatusCode::kInvalidArgument,
          "%s is no checkpoint's folder, which transformers needs: name the folder instead of an engine",
          options.model.path.c_str());
    }
    LATHE_ASSIGN_OR_RETURN(const std::string worker, WritePeer(options));
    LATHE_ASSIGN_OR_RETURN(const std::vector<std::string> modes, SplitList("--modes", options.modes));
    for (const std::string& mode : modes) {
      if (std::find(std::begin(kModes), std::end(kModes), mode) == std::end(kModes)) {
        return Error(StatusCode::kInvalidArgument,
                     "--modes must be out of plain and compiled, but has \"%s\"", mode.c_str());
      }
      std::vector<std::string> args{options.python, worker, options.model.path, "--mode", mode};
      args.insert(args.end(), {"--device", IsForGpu(options.model) ? "cuda" : "cpu"});
      if (options.model.engine.threads > 0)
        args.insert(args.end(), {"--threads", std::to_string(options.model.engine.threads)});
      out.push_back(MakeWorker("transformers, " + mode, std::move(args),
                               options.output + "/transformers." + mode + ".log", kStartSeconds,
                               interrupted));
    }
  }
  return out;
}

std::string Today() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  return StrFormat("%04d-%02d-%02d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

std::string MachineName(const Options& options, const BenchMachine& machine) {
  if (options.machine_name) return *options.machine_name;
  const Json json = machine.ToJson();
  const std::string cpu = json.value("cpu", std::string());
  return cpu.empty() ? machine.name() : cpu + ", " + machine.name();
}

std::string CommandText(const Options& options) {
  std::string out = "lathe bench compare";
  for (const std::string& arg : options.model.ToArgs()) out += " " + arg;
  for (const std::string& with : options.with) out += " --with " + with;
  out +=
      StrFormat(" --inputs %s --batches %s --output-len %d --rounds %d --repeats %d", options.inputs.c_str(),
                options.batches.c_str(), options.plan.output, options.plan.rounds, options.plan.repeats);
  if (options.no_fill) out += " --no-fill";
  return out + " -o " + options.output;
}

// A repository's weights where transformers, too, is to run them; else what runs best here.
Status Fetch(Options* options) {
  ModelOptions& model = options->model;
  const bool weights = std::count(options->with.begin(), options->with.end(), "transformers") > 0;
  LATHE_ASSIGN_OR_RETURN(model.path, LocalPath({.model = model.path,
                                                .dtype = model.dtype,
                                                .target = model.target,
                                                .device = model.engine.device,
                                                .want = weights ? hub::Want::kWeights : hub::Want::kEither}));
  return {};
}

Status WriteAll(const Options& options, const Comparison& comparison, const BenchMachine& machine) {
  LATHE_RETURN_IF_ERROR(
      WriteBenchJson(options.output + "/result.json", ComparisonToJson(comparison), machine.ToJson()));
  for (const Chart& chart : ChartsOf(comparison)) {
    LATHE_RETURN_IF_ERROR(WriteFileAtomic(options.output + "/" + chart.file + ".svg", RenderChart(chart)));
  }
  return WriteFileAtomic(options.output + "/report.html", RenderReport(comparison));
}

// What decides on the results beside what CommandText shows.
std::string SettingsText(const Options& options) {
  return StrFormat("%s, lathe %s, --modes %s --python %s --seed %d --limit %g --case-seconds %g",
                   options.command.c_str(), kVersionString, options.modes.c_str(), options.python.c_str(),
                   options.seed, options.plan.limit_seconds, options.plan.case_seconds);
}

// Where to begin: with --resume, where an earlier run of the same command into the same folder was
// interrupted.
Expected<CompareState> Begin(const Options& options, const std::string& journal) {
  CompareState state{.comparison = {.model = options.model_name, .command = options.command, .date = Today()},
                     .settings = SettingsText(options)};
  if (!options.resume || !FileExists(journal)) return state;
  LATHE_ASSIGN_OR_RETURN(CompareState earlier, LoadJournal(journal));
  if (earlier.settings == state.settings) return earlier;
  return Error(StatusCode::kMismatch,
               "%s is of another comparison (%s), but this is (%s): run without --resume to begin anew",
               journal.c_str(), earlier.settings.c_str(), state.settings.c_str());
}

Expected<int> Run(Options* options) {
  LATHE_RETURN_IF_ERROR(Check(options));
  options->model_name = ModelNameOf(options->model.path);
  options->command = CommandText(*options);
  const std::string journal = options->output + "/unfinished.json";
  LATHE_RETURN_IF_ERROR(Fetch(options));
  LATHE_RETURN_IF_ERROR(MakeDirs(options->output));
  Interrupt interrupt;
  bool interrupted = false;
  const auto ask = [&] { return interrupted = interrupted || interrupt.Taken(); };
  LATHE_ASSIGN_OR_RETURN(const auto contenders, MakeContenders(*options, "/proc/self/exe", ask));
  Progress bar(STDERR_FILENO);
  const auto progress = [&bar](const std::string& what, uint64_t done, uint64_t total) {
    bar.Update(what, done, total, Unit::kItems);
  };
  LATHE_ASSIGN_OR_RETURN(CompareState state, Begin(*options, journal));
  Comparison& comparison = state.comparison;
  const auto save = [&journal](const CompareState& now) { return SaveJournal(journal, now); };
  const Status status = RunComparison(options->plan, contenders, progress, save, &state);
  bar.Clear();
  if (status.code() == StatusCode::kCancelled) {
    std::fprintf(stderr, "lathe: interrupted; the same command with --resume goes on from here\n");
    return kExitInterrupted;
  }
  LATHE_RETURN_IF_ERROR(status);
  const BenchMachine machine = BenchMachine::Measure(options->model);
  comparison.machine = MachineName(*options, machine);
  LATHE_RETURN_IF_ERROR(WriteAll(*options, comparison, machine));
  std::error_code ignored;
  std::filesystem::remove(journal, ignored);
  std::printf("%s, %s\n\n%s", comparison.model.c_str(), comparison.machine.c_str(),
              RenderTables(comparison).c_str());
  std::printf("\nreport: %s/report.html\n", options->output.c_str());
  return kExitOk;
}

}  // namespace

void AddBenchCompare(Command& bench) {
  auto options = std::make_shared<Options>();
  Command command =
      bench.Sub("compare", "This engine beside transformers or a server, with a report of charts",
                "lathe bench compare models/tales-16m --with transformers -o report/");
  options->model.Declare(command);
  command.Repeated(
      "--with", "WHAT",
      "transformers (plain and compiled), or the URL of an OpenAI-compatible server; may be repeated",
      [options](const std::string& text) {
        options->with.push_back(text);
        return Status::Ok();
      });
  command.Option("-o,--output", &options->output, "Folder for result.json, charts and report.html");
  command.Option("--inputs", &options->inputs, "Tokens of the prompts");
  command.Option("--batches", &options->batches, "Prompts at once");
  command.Flag("--no-fill", &options->no_fill,
               "Leave out the batch that fills this engine's KV cache (256 at most)");
  command.Option("--output-len", &options->plan.output, "Tokens of each answer");
  command.Option("--rounds", &options->plan.rounds, "Rounds; in each, every contender starts anew");
  command.Option("--repeats", &options->plan.repeats, "Repetitions of a case in a round");
  command.Option("--case-seconds", &options->plan.case_seconds, "No further repetition after so long");
  command.Option("--limit", &options->plan.limit_seconds, "Seconds after which a case is given up");
  command.Flag("--resume", &options->resume,
               "Go on where the same command into the same folder was interrupted");
  command.Option("--modes", &options->modes, "Of transformers: plain, compiled");
  command.Option("--python", &options->python, "Python with torch and transformers");
  command.Option("--model", &options->served_model, "The model's name on a server; empty: its first");
  command.Option("--api-key-file", &options->key_file, "File with the key to send to a server");
  command.Option("--ca-file", &options->tls.ca_file, "PEM certificates to trust for https");
  command.Option("--machine-name", &options->machine_name, "What the report calls this machine",
                 "what it finds");
  command.Option("--seed", &options->seed, "Of the random prompts");
  command.OnRun([options] { return Run(options.get()); });
}

}  // namespace lathe::cli
