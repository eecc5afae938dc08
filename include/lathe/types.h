// Plain types shared by the public headers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lathe {

using TokenId = int32_t;
using RequestId = uint64_t;

// Why a sequence ended.
enum class FinishReason : uint8_t {
  kNone,       // still running
  kStop,       // end-of-sequence token, stop string or stop id
  kLength,     // max_tokens or the end of the model's context
  kCancelled,  // Cancel()
  kDeadline,   // the request's deadline passed
  kError,      // see OutputDelta::error
};
const char* ToString(FinishReason reason);  // "stop", "length", ...

struct TokenLogprobInfo {
  TokenId id = -1;
  float logprob = 0;  // natural log, under the model's raw distribution
};

// One generated token.
struct TokenOutput {
  TokenId id = -1;
  float logprob = 0;                  // valid when SamplingParams::logprobs >= 0
  std::vector<TokenLogprobInfo> top;  // SamplingParams::logprobs entries, descending
};

struct Usage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, found in the prefix cache
  int completion_tokens = 0;
};

}  // namespace lathe
