// `lathe bench serving`: load on any OpenAI-compatible server, ours and others' alike.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <thread>

#include "base/file.h"
#include "base/status.h"
#include "bench.h"
#include "commands.h"
#include "serving/dataset.h"
#include "serving/load.h"
#include "serving/models.h"
#include "serving/plot.h"
#include "serving/summary.h"
#include "terminal/format.h"
#include "terminal/interrupt.h"
#include "terminal/progress.h"

namespace lathe::cli {
namespace {

constexpr int kDefaultRequests = 100;
constexpr int kDefaultOutput = 128;
// Ids below this are in the vocabulary of any model, when neither the server nor the user says how large it
// is.
constexpr int kSafeVocab = 1000;

struct Options {
  std::string url, dataset = "random:128/128", json, svg, key_file, fields;
  std::optional<std::string> dataset_file, endpoint, model, sweep, sweep_rates;
  std::optional<double> rate;
  std::optional<int> concurrency, requests, vocab;
  double duration = 0, timeout = 600, temperature = 0;
  int warmup = 2, threads = 1, seed = 0, max_output = 0;
  bool ignore_eos = false, text = false, raw = false;
  TlsOptions tls;
};

// All that a run needs, found before it begins.
struct Bench {
  Url url;
  RequestForm form;
  DatasetSpec spec;
  std::vector<LoadPrompt> prompts;  // of a file
  std::vector<LoadLevel> levels;
  int vocab = kSafeVocab;
};

Expected<std::vector<double>> ParseList(const char* flag, const std::string& text) {
  std::vector<double> out;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at <= end;) {
    const char* const comma = std::find(at, end, ',');
    double value = 0;
    const auto [stop, error] = std::from_chars(at, comma, value);
    if (error != std::errc() || stop != comma || !(value > 0) || value > 1e6) {
      return Error(StatusCode::kInvalidArgument,
                   "%s must be numbers above 0 with commas between, but is \"%s\"", flag, text.c_str());
    }
    out.push_back(value);
    at = comma + 1;
  }
  return out;
}

Expected<std::vector<LoadLevel>> ReadLevels(const Options& options) {
  const int given = options.rate.has_value() + options.concurrency.has_value() + options.sweep.has_value() +
                    options.sweep_rates.has_value();
  if (given > 1) {
    return Error(StatusCode::kInvalidArgument,
                 "give one of --rate, --concurrency, --sweep and --sweep-rates, not %d of them", given);
  }
  if (options.rate) {
    if (*options.rate > 0 && *options.rate <= 1e6) return std::vector<LoadLevel>{{.rate = *options.rate}};
    return Error(StatusCode::kInvalidArgument, "--rate must be in (0, 1000000], but is %g", *options.rate);
  }
  std::vector<LoadLevel> levels;
  if (options.sweep_rates) {
    LATHE_ASSIGN_OR_RETURN(const std::vector<double> rates, ParseList("--sweep-rates", *options.sweep_rates));
    for (const double rate : rates) levels.push_back({.rate = rate});
    return levels;
  }
  std::vector<double> counts{static_cast<double>(options.concurrency.value_or(1))};
  if (options.sweep) {
    LATHE_ASSIGN_OR_RETURN(counts, ParseList("--sweep", *options.sweep));
  }
  for (const double count : counts) {
    LATHE_RETURN_IF_ERROR(CheckRange("requests at once", static_cast<int64_t>(count), 1, 1 << 16));
    levels.push_back({.concurrency = static_cast<int>(count)});
  }
  return levels;
}

Status Check(const Options& options) {
  LATHE_RETURN_IF_ERROR(CheckRange("--requests", options.requests.value_or(1), 1, 1 << 26));
  LATHE_RETURN_IF_ERROR(CheckRange("--warmup", options.warmup, 0, 1 << 20));
  LATHE_RETURN_IF_ERROR(CheckRange("--threads", options.threads, 1, 64));
  LATHE_RETURN_IF_ERROR(CheckRange("--vocab", options.vocab.value_or(1), 1, 1 << 24));
  LATHE_RETURN_IF_ERROR(CheckRange("--max-output", options.max_output, 0, 1 << 24));
  if (options.endpoint && *options.endpoint != "chat" && *options.endpoint != "completions") {
    return Error(StatusCode::kInvalidArgument, "--endpoint must be chat or completions, but is \"%s\"",
                 options.endpoint->c_str());
  }
  if (!(options.duration >= 0 && options.timeout > 0)) {
    return Error(StatusCode::kInvalidArgument,
                 "--duration must be at least 0 and --timeout above 0, but they are %g and %g",
                 options.duration, options.timeout);
  }
  return {};
}

// --fields: an object, which every request's body takes over.
Expected<Json> ReadFields(const std::string& text) {
  if (text.empty()) return Json::object();
  LATHE_ASSIGN_OR_RETURN(Json fields, ParseJson(text, "--fields"));
  if (fields.is_object()) return fields;
  return Error(StatusCode::kInvalidArgument, "--fields must be a JSON object, but is a JSON %s",
               fields.type_name());
}

// Fills in what the server's list of models says: its name, and its vocabulary where it tells (llama.cpp
// does).
Status ChooseModel(const Options& options, Bench* bench) {
  const auto served = AskForModel(bench->url, options.tls, bench->form);
  if (!served.ok()) {
    return options.model && served.status().code() == StatusCode::kNotFound ? Status::Ok() : served.status();
  }
  if (!options.model) bench->form.model = served->id;
  if (!options.vocab && served->vocab) bench->vocab = *served->vocab;
  return {};
}

// Request number `index` of level number `level`: prompts of no two requests are the same, unless a file's
// run out.
std::string Make(const Options& options, const Bench& bench, size_t level, uint64_t index,
                 int* asked_tokens) {
  if (bench.spec.kind != DatasetSpec::Kind::kRandom) {
    const LoadPrompt& prompt = bench.prompts[index % bench.prompts.size()];
    *asked_tokens = prompt.output_tokens > 0 ? prompt.output_tokens : kDefaultOutput;
    if (options.max_output > 0) *asked_tokens = std::min(*asked_tokens, options.max_output);
    return MakeHttpRequest(bench.url, bench.form, prompt, *asked_tokens);
  }
  const uint64_t seed = static_cast<uint64_t>(options.seed) * 1000003 + level;
  LoadPrompt prompt;
  if (!bench.form.chat && bench.form.as_ids) {
    prompt.ids = RandomPromptIds(seed, index, bench.spec.input_tokens, bench.vocab);
  } else {
    prompt.text = RandomPromptText(seed, index, bench.spec.input_tokens);
  }
  *asked_tokens = bench.spec.output_tokens;
  return MakeHttpRequest(bench.url, bench.form, prompt, *asked_tokens);
}

// Warm-up requests have numbers that no run uses.
constexpr uint64_t kWarmupIndex = uint64_t{1} << 60;

// The first request, in the form that this server takes: ids or text, with or without stream_options.
Status Probe(const Options& options, Bench* bench) {
  const bool random = bench->spec.kind == DatasetSpec::Kind::kRandom;
  bench->form.as_ids = !options.text;
  Outcome last;
  for (const bool usage : {true, false}) {
    for (const bool ids : {true, false}) {
      if (ids && (options.text || bench->form.chat || !random)) continue;
      bench->form.ask_usage = usage;
      if (random) bench->form.as_ids = ids;
      int asked = 0;
      std::string request = Make(options, *bench, 0, kWarmupIndex, &asked);
      LATHE_ASSIGN_OR_RETURN(last, RunOne(bench->url, options.tls, std::move(request), options.timeout));
      if (last.good()) return {};
      const bool refused = last.error == "http 400" || last.error == "http 422" || last.error == "http 500";
      if (!refused) break;
    }
  }
  return Error(StatusCode::kUnavailable, "%s: the first request failed: %s (%s)",
               bench->url.ToString().c_str(), last.error.c_str(), last.detail.c_str());
}

Expected<Bench> Prepare(const Options& options) {
  LATHE_RETURN_IF_ERROR(Check(options));
  Bench bench;
  LATHE_ASSIGN_OR_RETURN(bench.url, ParseUrl(options.url));
  LATHE_ASSIGN_OR_RETURN(bench.levels, ReadLevels(options));
  LATHE_ASSIGN_OR_RETURN(bench.spec, ParseDatasetSpec(options.dataset));
  const bool random = bench.spec.kind == DatasetSpec::Kind::kRandom;
  if (random == options.dataset_file.has_value()) {
    return Error(StatusCode::kInvalidArgument,
                 random ? "--dataset %s takes no file" : "--dataset %s needs a file after it",
                 options.dataset.c_str());
  }
  if (!random) {
    LATHE_ASSIGN_OR_RETURN(bench.prompts, bench.spec.kind == DatasetSpec::Kind::kShareGpt
                                              ? ReadShareGpt(*options.dataset_file)
                                              : ReadPromptLines(*options.dataset_file, false));
  }
  const bool has_messages = std::any_of(bench.prompts.begin(), bench.prompts.end(),
                                        [](const LoadPrompt& prompt) { return !prompt.messages.is_null(); });
  const bool has_ids = std::any_of(bench.prompts.begin(), bench.prompts.end(),
                                   [](const LoadPrompt& prompt) { return !prompt.ids.empty(); });
  const bool chat_by_default = has_messages || bench.spec.kind == DatasetSpec::Kind::kShareGpt;
  bench.form.chat = options.endpoint ? *options.endpoint == "chat" : chat_by_default;
  if (bench.form.chat ? has_ids : has_messages) {
    return Error(StatusCode::kInvalidArgument, "%s has %s, which --endpoint %s cannot take",
                 options.dataset_file->c_str(), has_ids ? "input_ids" : "messages",
                 bench.form.chat ? "chat" : "completions");
  }
  bench.form.ignore_eos = options.ignore_eos;
  bench.form.temperature = options.temperature;
  bench.form.model = options.model.value_or("");
  LATHE_ASSIGN_OR_RETURN(bench.form.fields, ReadFields(options.fields));
  bench.vocab = options.vocab.value_or(kSafeVocab);
  LATHE_ASSIGN_OR_RETURN(bench.form.api_key, ReadApiKey(options.key_file));
  LATHE_RETURN_IF_ERROR(ChooseModel(options, &bench));
  LATHE_RETURN_IF_ERROR(Probe(options, &bench));
  return bench;
}

LoadPlan PlanFor(const Options& options, const LoadLevel& level) {
  LoadPlan plan{.level = level,
                .duration = options.duration,
                .timeout = options.timeout,
                .threads = options.threads,
                .seed = static_cast<uint64_t>(options.seed)};
  if (options.requests) {
    plan.requests = static_cast<uint64_t>(*options.requests);
  } else if (options.duration == 0) {
    plan.requests = static_cast<uint64_t>(std::max(kDefaultRequests, 4 * level.concurrency));
  }
  return plan;
}

Expected<LoadResult> RunLevel(const Options& options, const Bench& bench, size_t i, Interrupt* interrupt,
                              bool* interrupted) {
  const auto make = [&](uint64_t index, int* asked) { return Make(options, bench, i, index, asked); };
  LoadProgress quiet;
  if (options.warmup > 1) {
    const LoadPlan warm{
        .level = {.concurrency = std::min(options.warmup, std::max(1, bench.levels[i].concurrency))},
        .requests = static_cast<uint64_t>(options.warmup - 1),
        .timeout = options.timeout};
    const auto warm_up = [&](uint64_t index, int* asked) { return make(kWarmupIndex + 1 + index, asked); };
    LATHE_RETURN_IF_ERROR(RunLoad(bench.url, options.tls, warm, warm_up, &quiet, [] {}).status());
  }
  const LoadPlan plan = PlanFor(options, bench.levels[i]);
  LoadProgress state;
  Progress bar(STDERR_FILENO);
  const auto tick = [&] {
    if (interrupt->Taken()) state.stop = *interrupted = true;
    const uint64_t done = state.done, started = state.started, failed = state.failed;
    std::string label = LevelName(bench.levels[i]) +
                        StrFormat(", %llu running", static_cast<unsigned long long>(started - done));
    if (failed > 0)
      label =
          LevelName(bench.levels[i]) + StrFormat(", %llu failed", static_cast<unsigned long long>(failed));
    bar.Update(label, done, plan.requests, Unit::kItems);
  };
  return RunLoad(bench.url, options.tls, plan, make, &state, tick);
}

std::string DatasetName(const Options& options, const Bench& bench) {
  if (bench.spec.kind != DatasetSpec::Kind::kRandom) return options.dataset + " " + *options.dataset_file;
  return StrFormat("random, %d in / %d out, as %s", bench.spec.input_tokens, bench.spec.output_tokens,
                   bench.form.as_ids && !bench.form.chat ? "ids" : "text");
}

Json ConfigToJson(const Options& options, const Bench& bench) {
  return Json{{"url", bench.url.ToString()},
              {"endpoint", bench.form.chat ? "chat" : "completions"},
              {"model", bench.form.model},
              {"dataset", DatasetName(options, bench)},
              {"vocab", bench.form.as_ids ? Json(bench.vocab) : Json(nullptr)},
              {"requests", options.requests ? Json(*options.requests) : Json(nullptr)},
              {"duration", options.duration},
              {"warmup", options.warmup},
              {"threads", options.threads},
              {"timeout", options.timeout},
              {"ignore_eos", options.ignore_eos},
              {"temperature", options.temperature},
              {"seed", options.seed}};
}

Expected<int> Run(const Options& options) {
  LATHE_ASSIGN_OR_RETURN(const Bench bench, Prepare(options));
  std::printf("%s: %s, %s, %s\n", bench.url.ToString().c_str(), bench.form.model.c_str(),
              bench.form.chat ? "chat" : "completions", DatasetName(options, bench).c_str());
  std::fflush(stdout);
  Interrupt interrupt;
  bool interrupted = false;
  std::vector<Summary> summaries;
  Json runs = Json::array();
  for (size_t i = 0; i < bench.levels.size() && !interrupted; ++i) {
    LATHE_ASSIGN_OR_RETURN(const LoadResult result, RunLevel(options, bench, i, &interrupt, &interrupted));
    const Summary& summary = summaries.emplace_back(Summarise(result));
    std::printf("\n%s\n%s", LevelName(summary.level).c_str(), RenderSummary(summary).c_str());
    std::fflush(stdout);
    runs.push_back(SummaryToJson(summary));
    if (options.raw) runs.back()["requests"] = OutcomesToJson(result);
  }
  if (summaries.size() > 1) std::printf("\n%s", RenderSweep(summaries).c_str());
  if (!options.svg.empty()) {
    const std::string title = bench.form.model + ", " + DatasetName(options, bench);
    LATHE_RETURN_IF_ERROR(WriteFileAtomic(options.svg, RenderPlot(summaries, title)));
  }
  const Json client{{"cpus", std::thread::hardware_concurrency()}};
  LATHE_RETURN_IF_ERROR(WriteBenchJson(
      options.json, Json{{"benchmark", "serving"}, {"config", ConfigToJson(options, bench)}, {"runs", runs}},
      client));
  if (interrupted) return kExitInterrupted;
  const bool any_good =
      std::any_of(summaries.begin(), summaries.end(), [](const Summary& s) { return s.good > 0; });
  return any_good ? kExitOk : kExitFault;
}

}  // namespace

void AddBenchServing(Command& bench) {
  auto options = std::make_shared<Options>();
  Command command =
      bench.Sub("serving", "Load an OpenAI-compatible server and measure how it answers",
                "lathe bench serving http://127.0.0.1:8000 --concurrency 64 --dataset random:128/128");
  command.Argument("URL", &options->url, "The server, with or without /v1");
  command.Argument("FILE", &options->dataset_file, "The data set's file, for --dataset sharegpt and prompts");
  command.Option("--concurrency", &options->concurrency, "Requests at once, each followed by another", "1");
  command.Option("--rate", &options->rate, "Instead: requests a second, arriving at random (Poisson)",
                 "none");
  command.Option("--sweep", &options->sweep, "Instead: a run for each of these numbers at once (1,2,4,8)",
                 "none");
  command.Option("--sweep-rates", &options->sweep_rates, "Instead: a run for each of these rates", "none");
  command.Option("--dataset", &options->dataset,
                 "random:IN/OUT (tokens), sharegpt FILE, or prompts FILE (JSON lines)");
  command.Option("--requests", &options->requests, "Requests of a run", "100, or 4 for each at once");
  command.Option("--duration", &options->duration, "Seconds in which requests begin; 0: until all have");
  command.Option("--model", &options->model, "Model to ask for", "the server's first");
  command.Option("--endpoint", &options->endpoint, "chat or completions", "what fits the data set");
  command.Option("--max-output", &options->max_output,
                 "Cut max_tokens of a file's requests to this; 0: do not");
  command.Flag("--ignore-eos", &options->ignore_eos,
               "Ask the server to go on after an end of text (not all know it)");
  command.Flag("--text", &options->text, "Send random prompts as text even where ids are taken");
  command.Option("--vocab", &options->vocab, "Random ids are below this", "the server's, or 1000");
  command.Option("--temperature", &options->temperature, "Of sampling");
  command.Option(
      "--fields", &options->fields,
      "JSON object to add to every request; with {\"return_token_ids\":true} gaps are those between "
      "tokens, also of tokens without text");
  command.Option("--api-key-file", &options->key_file, "File with the key to send");
  command.Option("--ca-file", &options->tls.ca_file, "PEM certificates to trust for https");
  command.Flag("--insecure", &options->tls.insecure, "Accept any certificate");
  command.Option("--warmup", &options->warmup, "Requests before each run");
  command.Option("--threads", &options->threads, "Threads that send and read");
  command.Option("--timeout", &options->timeout, "Seconds for one request");
  command.Option("--seed", &options->seed, "Of prompts and arrivals");
  command.Option("--json", &options->json, "Write the result to this file as well");
  command.Flag("--raw", &options->raw, "With --json: every request's own figures too");
  command.Option("--svg", &options->svg, "Write a throughput-latency plot to this file");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
