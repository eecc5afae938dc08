// `lathe bench throughput`: output tokens a second with everything queued at once.
//
// Uniform random ids (or a data set), fixed lengths, end of text off, no prefix cache, no detokenising
// counted, two requests to warm up; only output tokens count.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/clock.h"
#include "base/status.h"
#include "bench.h"
#include "commands.h"
#include "machine.h"
#include "model_options.h"
#include "serving/dataset.h"
#include "terminal/format.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

constexpr int kWarmupRequests = 2;

struct Options {
  ModelOptions model;
  int requests = 64, input_len = 128, output_len = 128, concurrency = 0, step_tokens = 0, seed = 0;
  std::string dataset, json;
};

Status Check(const Options& options) {
  LATHE_RETURN_IF_ERROR(CheckRange("--requests", options.requests, 1, 1 << 22));
  LATHE_RETURN_IF_ERROR(CheckRange("--input-len", options.input_len, 1, 1 << 24));
  LATHE_RETURN_IF_ERROR(CheckRange("--output-len", options.output_len, 1, 1 << 24));
  LATHE_RETURN_IF_ERROR(CheckRange("--step-tokens", options.step_tokens, 0, 1 << 20));
  return CheckRange("--concurrency", options.concurrency, 0, 4096);
}

Expected<std::vector<BenchRequest>> ReadDataset(const std::string& path, const Engine& engine) {
  LATHE_ASSIGN_OR_RETURN(std::vector<LoadPrompt> prompts,
                         ReadPromptLines(path, /*needs_output_tokens=*/true));
  std::vector<BenchRequest> out;
  for (LoadPrompt& prompt : prompts) {
    if (!prompt.messages.is_null()) {
      return Error(StatusCode::kInvalidArgument, "%s: \"messages\" are for lathe bench serving",
                   path.c_str());
    }
    LATHE_RETURN_IF_ERROR(
        CheckRange("output_tokens", prompt.output_tokens, 1, engine.model().max_context).WithContext(path));
    for (const TokenId id : prompt.ids) {
      LATHE_RETURN_IF_ERROR(CheckRange("a token id", id, 0, engine.model().vocab - 1).WithContext(path));
    }
    if (prompt.ids.empty()) {
      LATHE_ASSIGN_OR_RETURN(prompt.ids,
                             engine.Tokenize(prompt.text, /*add_special=*/true, /*parse_special=*/false));
    }
    out.push_back({std::move(prompt.ids), prompt.output_tokens});
  }
  return out;
}

Expected<std::vector<BenchRequest>> MakeRequests(const Options& options, const Engine& engine) {
  if (!options.dataset.empty()) return ReadDataset(options.dataset, engine);
  Rng rng(static_cast<uint64_t>(options.seed));
  std::vector<BenchRequest> out(static_cast<size_t>(options.requests));
  for (BenchRequest& request : out) {
    request = {RandomIds(rng, options.input_len, engine.model().vocab), options.output_len};
  }
  return out;
}

void PrintTable(const Options& options, const ModelInfo& model, double seconds, uint64_t in, uint64_t out,
                const std::vector<BenchTimes>& times, const EngineStats& stats) {
  std::vector<double> first, per_token;
  for (const BenchTimes& t : times) {
    first.push_back((t.first - t.submitted) * 1e3);
    if (t.tokens > 1) per_token.push_back((t.last - t.first) * 1e3 / (t.tokens - 1));
  }
  std::printf("%s, %s, %d threads: %zu requests\n", model.name.c_str(), model.dtype.c_str(),
              ResolveThreads(options.model.engine.threads), times.size());
  Table table({{""}, {"", Align::kRight}});
  table.AddRow({"seconds", StrFormat("%.2f", seconds)});
  table.AddRow({"output tokens", FormatCount(out)});
  table.AddRow({"output tokens/s", StrFormat("%.1f", static_cast<double>(out) / seconds)});
  table.AddRow({"prompt tokens", FormatCount(in)});
  table.AddRow({"all tokens/s", StrFormat("%.1f", static_cast<double>(in + out) / seconds)});
  table.AddRow({"requests/s", StrFormat("%.2f", static_cast<double>(times.size()) / seconds)});
  table.AddRow({"first token, ms, median", StrFormat("%.1f", Percentile(first, 0.5))});
  if (!per_token.empty()) {
    table.AddRow({"per token, ms, median", StrFormat("%.2f", Percentile(per_token, 0.5))});
  }
  table.AddRow({"preemptions", FormatCount(stats.preemptions)});
  std::fputs(table.Render().c_str(), stdout);
}

Expected<int> Run(const Options& options) {
  LATHE_RETURN_IF_ERROR(Check(options));
  ModelOptions open = options.model;
  open.engine.max_sequences = options.concurrency;
  open.engine.max_step_tokens = options.step_tokens;
  open.engine.max_queued_requests = std::max(options.requests, 1 << 16);
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenModel(open));
  LATHE_ASSIGN_OR_RETURN(const std::vector<BenchRequest> requests, MakeRequests(options, *engine));
  const MachineRoofs roofs = MeasureRoofsNow(options.model.engine.threads);

  const size_t warmup = std::min<size_t>(kWarmupRequests, requests.size());
  LATHE_RETURN_IF_ERROR(
      RunBatch(*engine, {requests.begin(), requests.begin() + static_cast<ptrdiff_t>(warmup)}).status());
  const EngineStats stats_before = engine->Stats();
  const double begin = NowSeconds();
  LATHE_ASSIGN_OR_RETURN(const std::vector<BenchTimes> times, RunBatch(*engine, requests));
  double end = begin;
  uint64_t in = 0, out = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    end = std::max(end, times[i].last);
    in += requests[i].ids.size();
    out += static_cast<uint64_t>(times[i].tokens);
  }
  EngineStats stats = engine->Stats();
  stats.preemptions -= stats_before.preemptions;
  const double seconds = end - begin;
  PrintTable(options, engine->model(), seconds, in, out, times, stats);

  const Json result{{"benchmark", "throughput"},
                    {"model", ModelToJson(engine->model())},
                    {"config",
                     {{"requests", times.size()},
                      {"input_len", options.dataset.empty() ? Json(options.input_len) : Json(nullptr)},
                      {"output_len", options.dataset.empty() ? Json(options.output_len) : Json(nullptr)},
                      {"dataset", options.dataset},
                      {"concurrency", options.concurrency},
                      {"step_tokens", options.step_tokens},
                      {"warmup_requests", warmup},
                      {"seed", options.seed}}},
                    {"seconds", seconds},
                    {"output_tokens", out},
                    {"prompt_tokens", in},
                    {"output_tokens_per_second", static_cast<double>(out) / seconds},
                    {"preemptions", stats.preemptions}};
  LATHE_RETURN_IF_ERROR(
      WriteBenchJson(options.json, result, MachineToJson(roofs, options.model.engine.threads)));
  return kExitOk;
}

}  // namespace

void AddBenchThroughput(Command& bench) {
  auto options = std::make_shared<Options>();
  Command command =
      bench.Sub("throughput", "Output tokens a second with all requests queued at once",
                "lathe bench throughput model.lathe --requests 256 --input-len 128 --output-len 128");
  options->model.Declare(command);
  command.Option("--requests", &options->requests, "Requests");
  command.Option("--input-len", &options->input_len, "Prompt tokens of each (random ids)");
  command.Option("--output-len", &options->output_len, "Tokens to generate for each");
  command.Option("--dataset", &options->dataset,
                 "Instead: a file of JSON lines with \"prompt\" or \"input_ids\", and \"output_tokens\"");
  command.Option("--concurrency", &options->concurrency, "Sequences running at once; 0: the engine's 256");
  command.Option("--step-tokens", &options->step_tokens, "Tokens of one step at most; 0: the engine's 512");
  command.Option("--seed", &options->seed, "Of the random prompts");
  command.Option("--json", &options->json, "Write the result to this file as well");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
