// The tactics that won, per product and number of tokens: what an engine keeps of the measurement.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "kernels/cuda/gemm_measure.h"

namespace lathe::cuda {

// Numbers of tokens that are measured; a step of m tokens uses the first that is not below m.
inline constexpr int kGemmTokenBuckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};

struct GemmChoice {
  GemmProblem problem;  // m: the most tokens that it is for
  GemmTactic tactic;
  double us = 0;
};

// A value; const functions may be called from several threads.
class GemmTable {
 public:
  // Replaces the choice for the same problem.
  void Add(const GemmChoice& choice);
  // The choice for problem.m tokens: the smallest bucket that holds them. Null when there is none.
  const GemmChoice* Find(const GemmProblem& problem) const;
  const std::vector<GemmChoice>& choices() const { return choices_; }

  // [{"type": "bf16", "epilogue": "silu", "m": 1, "n": …, "k": …, "tactic": "stream_…", "us": 12.4}, …]
  Json ToJson() const;
  // kCorrupt says which row is wrong.
  static Expected<GemmTable> FromJson(const Json& json);

 private:
  std::vector<GemmChoice> choices_;  // sorted by everything but m, then m
};

// Measures each of `products` (their m is ignored) for every bucket up to max_tokens, and keeps the fastest.
// A product without any tactic that runs is kUnsupported.
Expected<GemmTable> TuneGemms(GemmMeasurer& measurer, const std::vector<GemmProblem>& products,
                              int max_tokens);

}  // namespace lathe::cuda
