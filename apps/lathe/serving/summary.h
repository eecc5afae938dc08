// What a run of load showed: percentiles, rates, faults by kind.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "serving/load.h"

namespace lathe::cli {

// The columns of every row of times.
inline constexpr std::pair<const char*, double> kSpreadColumns[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1}};

struct Spread {  // milliseconds
  size_t count = 0;
  double mean = 0;
  std::vector<double> at;  // as kSpreadColumns
};
Spread MakeSpread(std::vector<double> seconds);

struct Summary {
  LoadLevel level;
  uint64_t good = 0, failed = 0, stopped = 0;
  std::map<std::string, uint64_t> errors;            // by kind
  std::map<std::string, std::string> error_samples;  // one sentence for each kind
  double seconds = 0;                                // first request's scheduled time to the last one's end
  uint64_t output_tokens = 0, prompt_tokens = 0;     // of the good ones
  uint64_t short_outputs = 0;                        // good ones with fewer tokens than asked for
  bool tokens_from_usage = true;  // else output_tokens counts events with text, and prompts are unknown
  Spread first, gap, per_token, whole, lag;  // lag: sent after its scheduled time, by this program
  double longest_gap = 0;                    // seconds

  double Rate(uint64_t n) const { return seconds > 0 ? static_cast<double>(n) / seconds : 0; }
};

// TTFT, ITL, TPOT and E2E as vLLM's benchmark defines them, but in an open loop from the scheduled arrival,
// so that a server that stalls is charged for the requests that had to wait meanwhile.
Summary Summarise(const LoadResult& result);

// "64 at once" or "12.5 requests/s".
std::string LevelName(const LoadLevel& level);

// For a terminal: two tables and the faults.
std::string RenderSummary(const Summary& summary);
// One row a level, for a sweep.
std::string RenderSweep(const std::vector<Summary>& summaries);

Json SummaryToJson(const Summary& summary);
// Every request's own figures.
Json OutcomesToJson(const LoadResult& result);

}  // namespace lathe::cli
