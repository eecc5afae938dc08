// A request to the engine and what comes back.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lathe/status.h"
#include "lathe/types.h"

namespace lathe {

// How tokens are chosen. Defaults are OpenAI's; Engine::DefaultSampling() has the model's own. The order of
// operations is that of kernels/api/sample.h. Validate() names the field, the range and the value found.
struct SamplingParams {
  double temperature = 1.0;         // [0, 100]; 0: greedy
  double top_p = 1.0;               // (0, 1]
  int top_k = 0;                    // >= 0; 0: off
  double min_p = 0.0;               // [0, 1]
  double repetition_penalty = 1.0;  // (0, 10]
  double presence_penalty = 0.0;    // [-2, 2]
  double frequency_penalty = 0.0;   // [-2, 2]
  std::optional<uint64_t> seed;     // none: drawn anew for each request
  int max_tokens = 0;               // 0: as many as the context holds
  int min_tokens = 0;               // end-of-sequence and stops are not taken before
  bool ignore_eos = false;
  std::vector<std::string> stop;  // at most 16, each 1..256 bytes; the text ends before the match
  std::vector<TokenId> stop_ids;
  bool include_stop = false;                           // keep the matched stop string in the text
  std::vector<std::pair<TokenId, double>> logit_bias;  // at most 1024; bias in [-100, 100]
  std::vector<std::string> bad_words;                  // at most 64; never generated (as token sequences)
  int logprobs = -1;                // -1: none; 0..20: logprob of the token and of that many alternatives
  bool skip_special_tokens = true;  // false: control tokens are spelled out in the text

  Status Validate(int vocab) const;
};

// What to continue. Exactly one of the three is set.
struct Prompt {
  std::optional<std::string> text;          // tokenized; BOS as the model's tokenizer has it
  std::optional<std::vector<TokenId>> ids;  // taken as they are
  struct Chat {
    std::string messages_json;       // [{"role":"user","content":"..."}, ...]
    std::string tools_json;          // "" or a JSON array
    std::string template_args_json;  // "" or an object of further template variables
    bool add_generation_prompt = true;
  };
  std::optional<Chat> chat;  // rendered with the model's template

  static Prompt Text(std::string s) {
    Prompt p;
    p.text = std::move(s);
    return p;
  }
  static Prompt Ids(std::vector<TokenId> v) {
    Prompt p;
    p.ids = std::move(v);
    return p;
  }
};

// A language that the output must belong to, whole. Compiled on the caller's thread of Submit (cached),
// enforced by a mask over the vocabulary; when the text can only end, it ends.
struct OutputFormat {
  enum class Kind : uint8_t {
    kJsonObject,  // any JSON object; `source` unused
    kJsonSchema,  // source: a JSON schema
    kRegex,       // source: a regular expression that the whole output matches
    kChoice,      // one of `choices`
    kGrammar,     // source: EBNF as docs/grammars.md describes it
  };
  Kind kind = Kind::kJsonObject;
  std::string source;
  std::vector<std::string> choices;
};

struct Request {
  Prompt prompt;
  SamplingParams sampling;
  std::optional<OutputFormat> format;  // none: free text
  // 0..20: the first delta carries, for each prompt token, its logprob and that many alternatives. Switches
  // the use of cached pages off for this request. -1: none.
  int prompt_logprobs = -1;
  // Nothing is generated; the one delta carries the mean over positions of the last hidden state.
  bool embed = false;
  int n = 1;                    // 1..64 independent continuations that share the prompt's pages
  int priority = 0;             // higher runs earlier; ties in order of arrival
  double deadline_seconds = 0;  // from Submit; 0: none
  std::string cache_salt;       // prefix pages are shared only between equal salts
  bool allow_cache = true;      // false: neither uses nor fills the prefix cache
};

// A piece of one continuation. Deltas of one continuation concatenate to its whole text; the last one has a
// finish reason and the usage of the whole request so far.
struct OutputDelta {
  RequestId request = 0;
  int index = 0;                    // which of the n continuations
  std::string text;                 // whole UTF-8 characters, stop strings already removed
  std::vector<TokenOutput> tokens;  // tokens behind this delta (may be empty or run ahead of text)
  FinishReason finish = FinishReason::kNone;
  bool last = false;  // nothing follows for the whole request
  Status error;       // when finish is kError
  Usage usage;
  std::vector<TokenOutput> prompt;  // with Request::prompt_logprobs, once; the first has no logprob
  std::vector<float> embedding;     // with Request::embed: (hidden), not normalised
  double queued_seconds = 0;        // Submit until its first step; set in the last delta
};

// Called on the engine's thread; must return quickly and must not call back into the engine except Cancel().
using OutputCallback = std::function<void(const OutputDelta&)>;

}  // namespace lathe
