// What `lathe bench compare` finds: contenders, cases, and every sample.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace lathe::cli {

// `batch` prompts of `input` tokens, sent at once, each answered with `output` tokens.
struct CompareCase {
  int batch = 1, input = 32, output = 128;
  bool fills = false;  // `batch` is what the first contender's KV cache holds of this length
};

// What one contender showed in one case; a sample for every repetition.
struct CaseResult {
  std::vector<double> first_ms;           // until the last of the batch had its first token
  std::vector<double> per_token_ms;       // each token after that
  std::vector<double> tokens_per_second;  // output tokens of the whole batch, prompt included in the time
  uint64_t memory_bytes = 0;  // the process's peak so far, or the GPU memory that it holds; 0: unknown
  std::string missing = {};   // why there is no sample: an error, or "left out: ..."
  // First token of every prompt of the first repetition; empty where a contender does not tell.
  std::vector<int64_t> first_tokens = {};
};

struct ContenderResult {
  std::string name = {};    // "lathe 0.1.0", "transformers 5.17.0, plain"
  std::string detail = {};  // "bf16, 2 threads"
  std::vector<double> startup_seconds =
      {};  // from the start of its process to the first token; empty: not started by us
  std::vector<CaseResult> cases = {};  // as Comparison::cases
};

struct Comparison {
  std::string model = {}, machine = {}, command = {}, date = {};
  int rounds = 0, repeats = 0;
  std::vector<CompareCase> cases = {};
  std::vector<ContenderResult> contenders = {};  // the first is what the others are compared with
};

// One of the figures that a report shows.
struct CompareMetric {
  const char* key;    // in JSON, and of the chart's file
  const char* title;  // of the chart
  const char* unit;
  bool more_is_better;
  const std::vector<double> CaseResult::*samples;
};
extern const CompareMetric kCompareMetrics[3];  // tokens a second, first token, time a token

// Median; 0 when there are none.
double MedianOf(const std::vector<double>& samples);

// How many times better `ours` is than `theirs`; 0 when one of them is missing.
double TimesBetter(const CompareMetric& metric, const CaseResult& ours, const CaseResult& theirs);

// "1,800 in, batch 8": of a case; `batch` alone is "batch 8", and "batch 61 (full)".
std::string InputName(const CompareCase& c);
std::string BatchName(const CompareCase& c);

// "1,234", "56.7", "0.123": three figures that mean something.
std::string FormatFigure(double value);

// All of it. Of first tokens: in how many prompts contenders agree with the first one.
Json ComparisonToJson(const Comparison& comparison);

// Of the prompts that both answered, how many first tokens are the same; total 0 where one does not tell.
struct Agreement {
  uint64_t same = 0, total = 0;
};
Agreement AgreeOnFirstTokens(const ContenderResult& a, const ContenderResult& b);

}  // namespace lathe::cli
