// What the two benchmarks share: prompts of random ids, requests, and where their results go.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/rng.h"
#include "lathe/engine.h"

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
  Status error;
};

// Submits all at once, waits until all are done. Errors: Submit's, and the first request's that failed or
// came short.
Expected<std::vector<BenchTimes>> RunBatch(Engine& engine, const std::vector<BenchRequest>& requests);

// name, dtype, sizes, for JSON.
Json ModelToJson(const ModelInfo& model);

// Writes `result` with version and machine added; nothing when `path` is "".
Status WriteBenchJson(const std::string& path, Json result, const Json& machine);

// kInvalidArgument naming flag, range and value.
Status CheckRange(const char* flag, int64_t value, int64_t low, int64_t high);

}  // namespace lathe::cli
