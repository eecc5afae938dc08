// `lathe bench latency`: how long the first token and each further one take at a fixed batch.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <span>
#include <thread>

#include "base/clock.h"
#include "base/status.h"
#include "bench.h"
#include "bench_machine.h"
#include "commands.h"
#include "terminal/format.h"
#include "terminal/progress.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

struct Options : BenchOptions {
  int batch = 1, iterations = 10, warmup = 2;
  double pause = 0;
};

// One value for each iteration.
struct Samples {
  std::vector<double> first_ms, token_ms, tokens_per_second, gbps, percent;
};

Status Check(const Options& options) {
  LATHE_RETURN_IF_ERROR(options.Check());
  LATHE_RETURN_IF_ERROR(CheckRange("--batch", options.batch, 1, 4096));
  LATHE_RETURN_IF_ERROR(CheckRange("--iterations", options.iterations, 1, 1 << 20));
  if (!(options.pause >= 0 && options.pause <= 3600))
    return {StatusCode::kInvalidArgument, "--pause must be 0 to 3600 seconds"};
  return CheckRange("--warmup", options.warmup, 0, 1 << 20);
}

// Adds one iteration's figures. The bytes of a decode step: all weights once, and the keys and values of
// each sequence at its mean length.
void AddSample(const Options& options, const ModelInfo& model, const std::vector<BenchTimes>& times,
               Samples* samples) {
  double first = 0, begin = times[0].submitted, decode_begin = 0, end = 0;
  for (const BenchTimes& t : times) {
    first = std::max(first, t.first - t.submitted);
    begin = std::min(begin, t.submitted);
    decode_begin = std::max(decode_begin, t.first);
    end = std::max(end, t.last);
  }
  samples->first_ms.push_back(first * 1e3);
  samples->tokens_per_second.push_back(static_cast<double>(options.batch) * options.output_len /
                                       (end - begin));
  if (options.output_len < 2 || end <= decode_begin) return;
  const double per_step = (end - decode_begin) / (options.output_len - 1);
  const double mean_length = options.input_len + options.output_len / 2.0;
  const double bytes = static_cast<double>(model.weight_bytes) +
                       options.batch * mean_length * static_cast<double>(model.kv_bytes_per_token);
  samples->token_ms.push_back(per_step * 1e3);
  samples->gbps.push_back(bytes / per_step / 1e9);
}

struct Metric {
  const char* label;
  const char* key;
  const std::vector<double>* values;
  const char* format;
};

constexpr std::pair<const char*, double> kColumns[] = {
    {"min", 0}, {"median", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}};

// One row a metric, for people; the same into `json`.
std::string RenderMetrics(std::span<const Metric> metrics, Json* json) {
  std::vector<Table::Column> columns{{""}};
  for (const auto& [name, p] : kColumns) columns.push_back({name, Align::kRight});
  Table table(std::move(columns));
  *json = Json::object();
  for (const Metric& metric : metrics) {
    if (metric.values->empty()) continue;
    std::vector<std::string> row{metric.label};
    Json& cells = (*json)[metric.key] = Json::object();
    for (const auto& [name, p] : kColumns) {
      const Figure cell = Figure::Number("", name, Percentile(*metric.values, p), metric.format);
      row.push_back(cell.text);
      cells[name] = cell.value;
    }
    table.AddRow(std::move(row));
  }
  return table.Render();
}

// All iterations; *engine_figures is of the measured ones.
Expected<Samples> Measure(Engine& engine, const Options& options, std::vector<Figure>* engine_figures) {
  Rng rng(static_cast<uint64_t>(options.seed));
  Samples samples;
  Progress progress(STDERR_FILENO);
  EngineStats before;
  double begin = 0;
  for (int i = -options.warmup; i < options.iterations; ++i) {
    const int of = i < 0 ? options.warmup : options.iterations;
    progress.Update(i < 0 ? "warming up" : "measuring", static_cast<uint64_t>(i < 0 ? i + of : i),
                    static_cast<uint64_t>(of), Unit::kItems);
    std::vector<BenchRequest> batch(static_cast<size_t>(options.batch));
    for (BenchRequest& request : batch) {
      request = {RandomIds(rng, options.input_len, engine.model().vocab), options.output_len};
    }
    if (i == 0) {
      before = engine.Stats();
      begin = NowSeconds();
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(options.pause));
    LATHE_ASSIGN_OR_RETURN(const std::vector<BenchTimes> times, RunBatch(engine, batch));
    if (i >= 0) AddSample(options, engine.model(), times, &samples);
  }
  *engine_figures = EngineFigures(before, engine.Stats(), NowSeconds() - begin);
  return samples;
}

Expected<int> Run(const Options& options) {
  LATHE_RETURN_IF_ERROR(Check(options));
  ModelOptions open = options.model;
  LATHE_RETURN_IF_ERROR(open.Fetch());
  open.engine.max_sequences = std::max(open.engine.max_sequences, options.batch);
  open.engine.max_step_tokens = options.step_tokens;
  BenchMachine machine = BenchMachine::Measure(open);
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, OpenModel(open));
  const ModelInfo& model = engine->model();
  std::vector<Figure> engine_figures;
  LATHE_ASSIGN_OR_RETURN(Samples samples, Measure(*engine, options, &engine_figures));
  machine.MeasureAgain();
  if (machine.read_gbps() > 0) {
    for (const double gbps : samples.gbps) samples.percent.push_back(100 * gbps / machine.read_gbps());
  }

  const Metric metrics[] = {{"first token, ms", "first_token_ms", &samples.first_ms, "%.2f"},
                            {"per token, ms", "per_token_ms", &samples.token_ms, "%.3f"},
                            {"tokens/s", "tokens_per_second", &samples.tokens_per_second, "%.1f"},
                            {"weights + KV, GB/s", "gbps", &samples.gbps, "%.2f"},
                            {"of measured read, %", "percent_of_read", &samples.percent, "%.1f"}};
  Json json_metrics;
  const std::string table = RenderMetrics(metrics, &json_metrics);
  std::printf("%s, %s, %s: batch %d, %d tokens in, %d out, %d iterations\n", model.name.c_str(),
              model.dtype.c_str(), machine.name().c_str(), options.batch, options.input_len,
              options.output_len, options.iterations);
  std::printf("%s\n%s", table.c_str(), RenderFigures(engine_figures).c_str());
  if (machine.read_gbps() > 0) std::printf("measured read bandwidth: %.1f GB/s\n", machine.read_gbps());

  const Json result{{"benchmark", "latency"},
                    {"model", ModelToJson(model)},
                    {"config",
                     {{"input_len", options.input_len},
                      {"output_len", options.output_len},
                      {"batch", options.batch},
                      {"step_tokens", options.step_tokens},
                      {"iterations", options.iterations},
                      {"warmup", options.warmup},
                      {"pause", options.pause},
                      {"seed", options.seed}}},
                    {"metrics", json_metrics},
                    {"engine", FiguresToJson(engine_figures)}};
  LATHE_RETURN_IF_ERROR(WriteBenchJson(options.json, result, machine.ToJson()));
  return kExitOk;
}

}  // namespace

void AddBenchLatency(Command& bench) {
  auto options = std::make_shared<Options>();
  Command command =
      bench.Sub("latency", "Time to the first token and for each further one, at a fixed batch",
                "lathe bench latency model.lathe --input-len 512 --output-len 128 --json out.json");
  options->Declare(command);
  command.Option("--batch", &options->batch, "Requests at once");
  command.Option("--iterations", &options->iterations, "Measured repetitions");
  command.Option("--warmup", &options->warmup, "Repetitions before that");
  command.Option("--pause", &options->pause, "Seconds without work before each, as between rare requests");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
