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
#include "bench_machine.h"
#include "commands.h"
#include "serving/dataset.h"
#include "terminal/format.h"

namespace lathe::cli {
namespace {

constexpr int kWarmupRequests = 2;

struct Options : BenchOptions {
  int requests = 64, concurrency = 0;
  std::string dataset;
};

Status Check(const Options& options) {
  LATHE_RETURN_IF_ERROR(options.Check());
  LATHE_RETURN_IF_ERROR(CheckRange("--requests", options.requests, 1, 1 << 22));
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

// Tokens and times of the whole run, which began at `begin`.
std::vector<Figure> RunFigures(const std::vector<BenchRequest>& requests,
                               const std::vector<BenchTimes>& times, double begin, double* seconds) {
  double end = begin;
  uint64_t in = 0, out = 0;
  std::vector<double> first, per_token;
  for (size_t i = 0; i < times.size(); ++i) {
    const BenchTimes& t = times[i];
    end = std::max(end, t.last);
    in += requests[i].ids.size();
    out += static_cast<uint64_t>(t.tokens);
    first.push_back((t.first - t.submitted) * 1e3);
    if (t.tokens > 1) per_token.push_back((t.last - t.first) * 1e3 / (t.tokens - 1));
  }
  *seconds = end - begin;
  const auto rate = [seconds](auto n) { return static_cast<double>(n) / *seconds; };
  std::vector<Figure> figures{
      Figure::Number("seconds", "seconds", *seconds, "%.2f"),
      Figure::Count("output tokens", "output_tokens", out),
      Figure::Number("output tokens/s", "output_tokens_per_second", rate(out), "%.1f"),
      Figure::Count("prompt tokens", "prompt_tokens", in),
      Figure::Number("all tokens/s", "tokens_per_second", rate(in + out), "%.1f"),
      Figure::Number("requests/s", "requests_per_second", rate(times.size()), "%.2f"),
      Figure::Number("first token, ms, median", "first_token_ms", Percentile(first, 0.5), "%.1f")};
  if (!per_token.empty()) {
    figures.push_back(
        Figure::Number("per token, ms, median", "per_token_ms", Percentile(per_token, 0.5), "%.2f"));
  }
  return figures;
}

Expected<int> Run(const Options& options) {
  LATHE_RETURN_IF_ERROR(Check(options));
  ModelOptions open = options.model;
  LATHE_RETURN_IF_ERROR(open.Fetch());
  open.engine.max_sequences = options.concurrency;
  open.engine.max_step_tokens = options.step_tokens;
  open.engine.max_queued_requests = std::max(options.requests, 1 << 16);
  const BenchMachine machine = BenchMachine::Measure(open);
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenModel(open));
  LATHE_ASSIGN_OR_RETURN(const std::vector<BenchRequest> requests, MakeRequests(options, *engine));

  const size_t warmup = std::min<size_t>(kWarmupRequests, requests.size());
  LATHE_RETURN_IF_ERROR(
      RunBatch(*engine, {requests.begin(), requests.begin() + static_cast<ptrdiff_t>(warmup)}).status());
  const EngineStats stats_before = engine->Stats();
  const double begin = NowSeconds();
  LATHE_ASSIGN_OR_RETURN(const std::vector<BenchTimes> times, RunBatch(*engine, requests));
  double seconds = 0;
  std::vector<Figure> figures = RunFigures(requests, times, begin, &seconds);
  for (Figure& figure : EngineFigures(stats_before, engine->Stats(), seconds)) {
    figures.push_back(std::move(figure));
  }
  const ModelInfo& model = engine->model();
  std::printf("%s, %s, %s: %zu requests\n", model.name.c_str(), model.dtype.c_str(), machine.name().c_str(),
              times.size());
  std::fputs(RenderFigures(figures).c_str(), stdout);

  Json result = FiguresToJson(figures);
  result["benchmark"] = "throughput";
  result["model"] = ModelToJson(model);
  result["config"] = {{"requests", times.size()},
                      {"input_len", options.dataset.empty() ? Json(options.input_len) : Json(nullptr)},
                      {"output_len", options.dataset.empty() ? Json(options.output_len) : Json(nullptr)},
                      {"dataset", options.dataset},
                      {"concurrency", options.concurrency},
                      {"step_tokens", options.step_tokens},
                      {"warmup_requests", warmup},
                      {"seed", options.seed}};
  LATHE_RETURN_IF_ERROR(WriteBenchJson(options.json, std::move(result), machine.ToJson()));
  return kExitOk;
}

}  // namespace

void AddBenchThroughput(Command& bench) {
  auto options = std::make_shared<Options>();
  Command command =
      bench.Sub("throughput", "Output tokens a second with all requests queued at once",
                "lathe bench throughput model.lathe --requests 256 --input-len 128 --output-len 128");
  options->Declare(command);
  command.Option("--requests", &options->requests, "Requests");
  command.Option("--dataset", &options->dataset,
                 "Instead: a file of JSON lines with \"prompt\" or \"input_ids\", and \"output_tokens\"");
  command.Option("--concurrency", &options->concurrency, "Sequences running at once; 0: the engine's choice");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
