// How the answer to a job is written: its events and its whole, for each kind of endpoint.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/types.h"
#include "serve/openai/job.h"
#include "serve/openai/logprobs.h"

namespace lathe::serve {

// What has been made of one choice: all of it for a whole answer, what is new for an event.
struct ChoiceText {
  ParsedDelta parsed;         // calls: one entry for each call of a whole answer
  std::string chat_logprobs;  // entries, without the brackets
  LegacyLogprobs legacy_logprobs;
  std::vector<TokenId> ids;
  std::string_view finish;  // OpenAI's word; "" while the choice goes on
  bool first = false;       // of the events of its choice

  bool empty() const {
    return parsed.empty() && chat_logprobs.empty() && legacy_logprobs.empty() && ids.empty() &&
           finish.empty();
  }
};

// Writes for one job, which it outlives not. Const but for the caches of its text; used by one thread at a
// time.
class Answer {
 public:
  virtual ~Answer() = default;

  // Events before the first token: who speaks.
  virtual void Begin(std::string* out) const = 0;
  // The events of what is new in a choice. `usage`: so far, told when the job asks for it.
  virtual void Event(int choice, const ChoiceText& text, const Usage& usage, std::string* out) const = 0;
  // What stands behind the last choice's last event.
  virtual void End(const Usage& usage, std::string* out) const = 0;

  virtual std::string Whole(const std::vector<ChoiceText>& choices, const Usage& usage) const = 0;
};

// `created`: Unix seconds.
std::unique_ptr<Answer> MakeChatAnswer(const Job& job, int64_t created);
std::unique_ptr<Answer> MakeCompletionAnswer(const Job& job, int64_t created);
std::unique_ptr<Answer> MakeGenerateAnswer(const Job& job);

// {"prompt_tokens":..,"completion_tokens":..,"total_tokens":..,"prompt_tokens_details":{"cached_tokens":..}}
std::string UsageText(const Usage& usage);

// The answer of /v1/embeddings; `vectors` in the order of the prompts.
std::string EmbeddingText(const Job& job, const std::vector<std::vector<float>>& vectors, const Usage& usage);

}  // namespace lathe::serve
