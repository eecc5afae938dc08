// One request from submission to its figures: what run and chat have in common.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "lathe/engine.h"
#include "stream.h"
#include "terminal/interrupt.h"

namespace lathe::cli {

struct Generation {
  StreamTimes times;
  Usage usage;
  std::vector<int> tokens;  // of each continuation
  bool interrupted = false;

  int Steps() const;  // decode steps after the first token, of the longest continuation
  // Tokens a second of one continuation after its first; 0 when there was only one.
  double TokensPerSecond() const;
};

// Submits `request` and calls `on_delta` for each delta on this thread. Ctrl-C cancels it. Errors: Submit's,
// and the error of a continuation that failed.
Expected<Generation> Generate(Engine& engine, Request request, Interrupt& interrupt,
                              const std::function<void(const OutputDelta&)>& on_delta);

// "12 prompt tokens, 128 tokens, 215.3 tok/s, first token 8.1 ms".
std::string Summary(const Generation& generation);

// "6.60 GB/s of weights, 21 % of the 31.5 GB/s this machine reads" for `threads` (measured once and
// remembered); "" when nothing was decoded.
std::string BandwidthSummary(const Generation& generation, const ModelInfo& model, int threads);

// usage and times of a finished generation.
Json ToJson(const Generation& generation);

// [{"role":"system",...},{"role":"user",...}]; no system message when `system` is empty.
Json ConversationStart(const std::string& system);
void AddMessage(Json* messages, const char* role, const std::string& content);

}  // namespace lathe::cli
