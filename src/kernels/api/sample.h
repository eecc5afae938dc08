// Parameters of sampling one token from one row of logits.
#pragma once

#include <cstdint>

namespace lathe {

struct TokenLogprob {
  int32_t id = -1;
  float logprob = 0;
};

struct TokenCount {
  int32_t id = 0;
  int32_t in_prompt = 0;  // occurrences in the prompt
  int32_t in_output = 0;  // occurrences among generated tokens
};

struct TokenBias {
  int32_t id = 0;
  float bias = 0;  // added to the logit; -inf forbids
};

// How the next token of one row is chosen. Order of operations (as in the OpenAI/vLLM convention): raw
// logprobs are taken; repetition, frequency and presence penalties; logit bias and mask; temperature 0 takes
// the arg max (lowest id on ties); else logits / temperature, top-k, softmax, top-p, min-p, one draw
// u = CounterUniform(seed, counter) over the kept tokens in descending probability (ties: lower id first).
// The pointers stay valid until the step ends.
struct SampleRow {
  float temperature = 0;         // 0: greedy
  int32_t top_k = 0;             // 0: off
  float top_p = 1;               // 1: off
  float min_p = 0;               // 0: off
  float repetition_penalty = 1;  // 1: off; over prompt and output
  float frequency_penalty = 0;   // over output
  float presence_penalty = 0;    // over output
  uint64_t seed = 0;
  uint64_t counter = 0;                // index of the token in its output: same seed, same place, same draw
  int32_t n_top_logprobs = 0;          // 0: only the logprob of the chosen token
  bool want_logprob = false;           // logprob of the chosen token (costs a pass over the row)
  const TokenCount* counts = nullptr;  // (n_counts), only tokens that occurred
  int32_t n_counts = 0;
  const TokenBias* biases = nullptr;  // (n_biases)
  int32_t n_biases = 0;
  const uint32_t* mask = nullptr;  // (ceil(vocab / 32)) bit set = allowed; nullptr: all
};

// What sampling one row gives. n_top entries of the top array are filled.
struct SampleResult {
  int32_t id = -1;     // -1: every token is forbidden by mask and biases, or !finite
  float logprob = 0;   // of `id` under the raw distribution, when asked for
  bool finite = true;  // false: a raw logit was NaN or infinite
  int32_t n_top = 0;
};

}  // namespace lathe
