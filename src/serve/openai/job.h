// What a generation request asks for, checked, tokenized and ready for the engine.
#pragma once

#include <string>
#include <vector>

#include "lathe/request.h"
#include "text/tools/output_parser.h"

namespace lathe::serve {

struct JobPrompt {
  std::vector<TokenId> ids;
  std::string text;    // what echo begins with; filled only then
  int max_tokens = 0;  // the request's, or what the context has left for it; 0: all that it has left
};

enum class AnswerKind : uint8_t { kChat, kCompletion, kGenerate, kEmbedding };

struct Job {
  AnswerKind kind = AnswerKind::kChat;
  Request request;  // for every prompt, all but the prompt itself
  std::vector<JobPrompt> prompts;
  std::string model;  // as the answer names it
  std::string id;     // of the answer: "chatcmpl-..."; for kGenerate the client's own, maybe ""

  bool stream = false;
  bool include_usage = false;     // a last event with the usage
  bool continuous_usage = false;  // and in every other event
  bool echo = false;              // texts begin with their prompt
  bool echo_only = false;         // max_tokens 0: the one token generated is dropped
  bool return_token_ids = false;
  bool tokens_as_ids = false;  // logprobs spell tokens "token_id:17"

  OutputParserOptions parser;  // kChat
  bool show_reasoning = true;
  bool parallel_calls = true;
  bool named_call = false;  // tool_choice names a function: finish_reason stays "stop", as OpenAI has it

  bool base64 = false, normalize = true;  // kEmbedding

  int n_choices() const { return static_cast<int>(prompts.size()) * request.n; }
  bool wants_logprobs() const { return request.sampling.logprobs >= 0; }
};

}  // namespace lathe::serve
