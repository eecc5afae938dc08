// What the two benchmarks share: options, prompts of random ids, requests, figures and where they go.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/rng.h"
#include "lathe/engine.h"
#include "model_options.h"

namespace lathe::cli {

struct BenchRequest {
  std::vector<TokenId> ids;
  int output_tokens = 0;
};

// `n` uniform ids of the vocabulary.
std::vector<TokenId> RandomIds(Rng& rng, int n, int vocab);

// Exactly `output_tokens` greedy tokens: no end of text, no prefix cache.
Request MakeBenchRequest(const BenchRequest& request);

// A request's times, filled by the engine's thread; read after Engine::WaitIdle.
struct BenchTimes {
  double submitted = 0, first = 0, last = 0;
  int tokens = 0;
  TokenId first_token = -1;
  Status error;
};

// Submits all at once, waits until all are done. Errors: Submit's, and the first request's that failed or
// came short.
Expected<std::vector<BenchTimes>> RunBatch(Engine& engine, const std::vector<BenchRequest>& requests);

// The flags that both have.
struct BenchOptions {
  ModelOptions model;
  int input_len = 128, output_len = 128, step_tokens = 0, seed = 0;
  std::string json;

  void Declare(Command& command);
  Status Check() const;
};

// One figure of a result, named once: a row of the table that is printed, and a key of the JSON that is
// written.
struct Figure {
  std::string label;
  std::string key;
  Json value;
  std::string text;

  static Figure Number(const char* label, const char* key, double value, const char* format);
  static Figure Count(const char* label, const char* key, uint64_t value);
};
std::string RenderFigures(std::span<const Figure> figures);
Json FiguresToJson(std::span<const Figure> figures);

// What the engine did between two looks at its counters that were `seconds` apart: steps, sequences in a
// step, the shares of the time that its thread spent in the executor and on its own work, and on a GPU the
// share in which that computed nothing.
std::vector<Figure> EngineFigures(const EngineStats& before, const EngineStats& after, double seconds);

// name, dtype, sizes, for JSON.
Json ModelToJson(const ModelInfo& model);

// Writes `result` with version and machine added; nothing when `path` is "".
Status WriteBenchJson(const std::string& path, Json result, const Json& machine);

// kInvalidArgument naming flag, range and value.
Status CheckRange(const char* flag, int64_t value, int64_t low, int64_t high);

}  // namespace lathe::cli
