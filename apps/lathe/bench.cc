#include "bench.h"

#include <cstdio>

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "lathe/version.h"
#include "terminal/format.h"
#include "terminal/table.h"

namespace lathe::cli {

std::vector<TokenId> RandomIds(Rng& rng, int n, int vocab) {
  std::vector<TokenId> ids(static_cast<size_t>(n));
  for (TokenId& id : ids) id = static_cast<TokenId>(rng.Below(static_cast<uint64_t>(vocab)));
  return ids;
}

Request MakeBenchRequest(const BenchRequest& request) {
  Request out;
  out.prompt = Prompt::Ids(request.ids);
  out.sampling.temperature = 0;
  out.sampling.ignore_eos = true;
  out.sampling.max_tokens = request.output_tokens;
  out.allow_cache = false;
  return out;
}

Expected<std::vector<BenchTimes>> RunBatch(Engine& engine, const std::vector<BenchRequest>& requests) {
  // Each element is written by the engine's thread alone until WaitIdle has returned.
  std::vector<BenchTimes> times(requests.size());
  Status submit;
  for (size_t i = 0; i < requests.size() && submit.ok(); ++i) {
    BenchTimes* const mine = &times[i];
    mine->submitted = NowSeconds();
    const auto id = engine.Submit(MakeBenchRequest(requests[i]), [mine](const OutputDelta& delta) {
      if (!delta.tokens.empty()) {
        mine->last = NowSeconds();
        if (mine->tokens == 0) {
          mine->first = mine->last;
          mine->first_token = delta.tokens.front().id;
        }
        mine->tokens += static_cast<int>(delta.tokens.size());
      }
      if (delta.finish == FinishReason::kError) mine->error = delta.error;
    });
    submit = id.status();
  }
  engine.WaitIdle();
  LATHE_RETURN_IF_ERROR(submit);
  for (size_t i = 0; i < times.size(); ++i) {
    LATHE_RETURN_IF_ERROR(times[i].error);
    if (times[i].tokens != requests[i].output_tokens) {
      return Error(StatusCode::kInternal, "request %zu gave %d tokens, expected %d", i, times[i].tokens,
                   requests[i].output_tokens);
    }
  }
  return times;
}

void BenchOptions::Declare(Command& command) {
  model.Declare(command);
  command.Option("--input-len", &input_len, "Prompt tokens of each request (random ids)");
  command.Option("--output-len", &output_len, "Tokens to generate for each");
  command.Option("--step-tokens", &step_tokens, "Tokens of one step at most; 0: the engine's choice");
  command.Option("--seed", &seed, "Of the random prompts");
  command.Option("--json", &json, "Write the result to this file as well");
}

Status BenchOptions::Check() const {
  LATHE_RETURN_IF_ERROR(CheckRange("--input-len", input_len, 1, 1 << 24));
  LATHE_RETURN_IF_ERROR(CheckRange("--output-len", output_len, 1, 1 << 24));
  return CheckRange("--step-tokens", step_tokens, 0, 1 << 20);
}

Figure Figure::Number(const char* label, const char* key, double value, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return {label, key, value, text};
}

Figure Figure::Count(const char* label, const char* key, uint64_t value) {
  return {label, key, value, FormatCount(value)};
}

std::string RenderFigures(std::span<const Figure> figures) {
  Table table({{""}, {"", Align::kRight}});
  for (const Figure& figure : figures) table.AddRow({figure.label, figure.text});
  return table.Render();
}

Json FiguresToJson(std::span<const Figure> figures) {
  Json out = Json::object();
  for (const Figure& figure : figures) out[figure.key] = figure.value;
  return out;
}

std::vector<Figure> EngineFigures(const EngineStats& before, const EngineStats& after, double seconds) {
  const uint64_t steps = after.steps - before.steps;
  const auto share = [seconds](double a, double b) { return seconds > 0 ? 100 * (b - a) / seconds : 0; };
  const auto sequences = static_cast<double>(after.sequences_in_steps - before.sequences_in_steps);
  std::vector<Figure> figures{
      Figure::Count("steps", "steps", steps),
      Figure::Number("sequences in a step, mean", "sequences_per_step",
                     steps > 0 ? sequences / static_cast<double>(steps) : 0, "%.1f"),
      Figure::Number("in the executor, % of the time", "executor_percent",
                     share(before.step_seconds, after.step_seconds), "%.1f"),
      Figure::Number("scheduling and text, % of the time", "host_percent",
                     share(before.host_seconds, after.host_seconds), "%.1f"),
      Figure::Count("preemptions", "preemptions", after.preemptions - before.preemptions)};
  if (after.device_seconds > 0)
    figures.push_back(Figure::Number("GPU idle, % of the time", "device_idle_percent",
                                     100 - share(before.device_seconds, after.device_seconds), "%.2f"));
  return figures;
}

Json ModelToJson(const ModelInfo& model) {
  return Json{{"name", model.name},
              {"family", model.family},
              {"dtype", model.dtype},
              {"vocab", model.vocab},
              {"max_context", model.max_context},
              {"weight_bytes", model.weight_bytes},
              {"kv_bytes_per_token", model.kv_bytes_per_token}};
}

Status WriteBenchJson(const std::string& path, Json result, const Json& machine) {
  if (path.empty()) return {};
  result["machine"] = machine;
  result["version"] = kVersionString;
  return WriteFileAtomic(path, DumpJson(result, 2) + "\n");
}

Status CheckRange(const char* flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return Error(StatusCode::kInvalidArgument, "%s must be in [%lld, %lld], but is %lld", flag,
               static_cast<long long>(low), static_cast<long long>(high), static_cast<long long>(value));
}

}  // namespace lathe::cli
