// What is asked of a server: random prompts, conversations, or prompts out of a file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "lathe/types.h"

namespace lathe::cli {

// One request. Either `ids`, or `messages`, or `text`.
struct LoadPrompt {
  std::string text;
  std::vector<TokenId> ids;
  Json messages;          // an array of {"role", "content"}; null when there is none
  int output_tokens = 0;  // 0: the file does not say
};

// One line of a file of prompts: {"prompt": TEXT or "input_ids": [...] or "messages": [...]}, with
// "output_tokens" where `needs_output_tokens`. Errors: kInvalidArgument with the line.
Expected<std::vector<LoadPrompt>> ReadPromptLines(const std::string& path, bool needs_output_tokens);

// ShareGPT's format, a list of {"conversations": [{"from", "value"}, ...]}: the first turn of the person is
// the prompt, and the answer's length the output's, at four bytes a token. Left out, as other load generators
// do, is what has under 4 tokens of either, over 1,024 of prompt or over 2,048 together.
Expected<std::vector<LoadPrompt>> ReadShareGpt(const std::string& path);

struct DatasetSpec {
  enum class Kind { kRandom, kShareGpt, kPrompts };
  Kind kind = Kind::kRandom;
  int input_tokens = 128, output_tokens = 128;  // of kRandom
};

// "random", "random:IN/OUT", "sharegpt" or "prompts".
Expected<DatasetSpec> ParseDatasetSpec(const std::string& text);

// Prompt number `index` of the random ones: `n` ids in [0, vocab), a function of (seed, index) alone.
std::vector<TokenId> RandomPromptIds(uint64_t seed, uint64_t index, int n, int vocab);

// The same as text, for servers that take no ids: `n` short words, most of them one token in most
// vocabularies.
std::string RandomPromptText(uint64_t seed, uint64_t index, int n);

}  // namespace lathe::cli
