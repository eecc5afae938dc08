#include "serve/openai/param_rows.h"

#include <utility>

namespace lathe::serve {
namespace {

using Type = ParamType;
constexpr unsigned C = kChat, T = kCompletions, E = kEmbeddings, K = kTokenize, D = kDetokenize,
                   G = kGenerate;
constexpr double kMaxInt32 = 2147483647, kMaxInt64 = 9223372036854775807.0;
constexpr std::string_view kModelDefault = "the model's";

void Append(std::vector<ParamSpec> more, std::vector<ParamSpec>* rows) {
  for (ParamSpec& row : more) rows->push_back(std::move(row));
}

// Rows are kept as dense as they read best.
// clang-format off

std::vector<ParamSpec> PromptRows(const ApiLimits& limits) {
  const auto max_prompts = static_cast<size_t>(limits.max_prompts);
  const auto max_id = static_cast<double>(limits.max_token_id);
  return {
      {.name = "model", .endpoints = C | T | E | K | D, .type = Type::kString, .max = 256,
       .fallback = "the served model", .meaning = "Name of the model; another than the served one is 404."},
      {.name = "prompt", .endpoints = T, .type = Type::kPrompt, .max = max_id, .max_items = max_prompts,
       .meaning = "Text, token ids, or a list of either: one choice (times n) for each.", .required = true},
      {.name = "prompt", .endpoints = K | G, .type = Type::kString, .meaning = "Text."},
      {.name = "text_input", .endpoints = G, .type = Type::kString, .meaning = "The same as prompt."},
      {.name = "input", .endpoints = E, .type = Type::kPrompt, .max = max_id, .max_items = max_prompts,
       .meaning = "Text, token ids, or a list of either: one embedding for each.", .required = true},
      {.name = "tokens", .endpoints = D, .type = Type::kInts, .max = max_id, .meaning = "Token ids.",
       .required = true},
      {.name = "add_special_tokens", .endpoints = T | E | K, .type = Type::kBool, .fallback = "true",
       .meaning = "Begin a text prompt as the model's tokenizer does (BOS)."},
      {.name = "add_special_tokens", .endpoints = C, .type = Type::kBool,
       .meaning = "The chat template places the special tokens.", .handling = Handling::kRefused,
       .neutral = "false"},
      {.name = "return_token_strs", .endpoints = K, .type = Type::kBool, .fallback = "false",
       .meaning = "Also answer with the text of each token."},
  };
}

std::vector<ParamSpec> MessageRows() {
  constexpr unsigned kIn = C | K;
  return {
      {.name = "messages", .endpoints = C, .type = Type::kObjects, .min_items = 1, .max_items = 4096,
       .meaning = "The conversation.", .required = true},
      {.name = "messages", .endpoints = K, .type = Type::kObjects, .min_items = 1, .max_items = 4096,
       .meaning = "A conversation, instead of prompt."},
      {.name = "messages[].role", .endpoints = kIn, .type = Type::kString,
       .one_of = "system|developer|user|assistant|tool",
       .meaning = "Who speaks; the template sees it as it is.", .required = true},
      {.name = "messages[].content", .endpoints = kIn, .type = Type::kStringOrObjects, .max_items = 1024,
       .meaning = "Text, or a list of text parts. May be null for an assistant's tool calls."},
      {.name = "messages[].content[].type", .endpoints = kIn, .type = Type::kString, .one_of = "text",
       .meaning = "Models here read text only.", .required = true},
      {.name = "messages[].content[].text", .endpoints = kIn, .type = Type::kString, .meaning = "The text.",
       .required = true},
      {.name = "messages[].name", .endpoints = kIn, .type = Type::kString, .max = 256,
       .meaning = "Name of the speaker, for templates that read it."},
      {.name = "messages[].tool_calls", .endpoints = kIn, .type = Type::kObjects, .max_items = 128,
       .meaning = "Calls an assistant made."},
      {.name = "messages[].tool_calls[].id", .endpoints = kIn, .type = Type::kString, .max = 256,
       .meaning = "Id of the call."},
      {.name = "messages[].tool_calls[].type", .endpoints = kIn, .type = Type::kString, .one_of = "function",
       .fallback = "function", .meaning = "Kind of call."},
      {.name = "messages[].tool_calls[].index", .endpoints = kIn, .type = Type::kInt, .max = 127,
       .meaning = "Left over from a streamed answer.", .handling = Handling::kIgnored},
      {.name = "messages[].tool_calls[].function", .endpoints = kIn, .type = Type::kObject,
       .meaning = "What was called.", .required = true},
      {.name = "messages[].tool_calls[].function.name", .endpoints = kIn, .type = Type::kString, .min = 1,
       .max = 256, .meaning = "Name of the function.", .required = true},
      {.name = "messages[].tool_calls[].function.arguments", .endpoints = kIn, .type = Type::kStringOrObject,
       .fallback = "{}", .meaning = "A JSON object, as text (as OpenAI has it) or as it is."},
      {.name = "messages[].tool_call_id", .endpoints = kIn, .type = Type::kString, .max = 256,
       .meaning = "The call that a tool message answers."},
      {.name = "messages[].reasoning_content", .endpoints = kIn, .type = Type::kString,
       .meaning = "Reasoning of an earlier answer, for templates that read it."},
      {.name = "messages[].reasoning", .endpoints = kIn, .type = Type::kString,
       .meaning = "The same as reasoning_content."},
      {.name = "messages[].refusal", .endpoints = kIn, .type = Type::kString,
       .meaning = "Left over from an earlier answer.", .handling = Handling::kIgnored},
      {.name = "messages[].annotations", .endpoints = kIn, .type = Type::kAny,
       .meaning = "Left over from an earlier answer.", .handling = Handling::kIgnored},
      {.name = "messages[].audio", .endpoints = kIn, .type = Type::kAny,
       .meaning = "Models here read text only.", .handling = Handling::kRefused},
      {.name = "messages[].function_call", .endpoints = kIn, .type = Type::kAny,
       .meaning = "Superseded by tool_calls.", .handling = Handling::kRefused},
      {.name = "add_generation_prompt", .endpoints = kIn, .type = Type::kBool, .fallback = "true",
       .meaning = "End the prompt with the start of an assistant's turn."},
      {.name = "continue_final_message", .endpoints = kIn, .type = Type::kBool, .fallback = "false",
       .meaning = "Continue the last message instead; needs add_generation_prompt false."},
  };
}

std::vector<ParamSpec> TemplateRows(const ApiLimits& limits) {
  constexpr unsigned kIn = C | K;
  std::vector<ParamSpec> rows = {
      {.name = "chat_template_kwargs", .endpoints = kIn, .type = Type::kObject,
       .meaning = "Variables of the chat template; these and no others."},
      {.name = "chat_template_kwargs.enable_thinking", .endpoints = kIn, .type = Type::kBool,
       .meaning = "Reason before answering (Qwen 3 and others)."},
      {.name = "chat_template_kwargs.thinking", .endpoints = kIn, .type = Type::kBool,
       .meaning = "The same, as other templates call it."},
      {.name = "chat_template_kwargs.reasoning_effort", .endpoints = kIn, .type = Type::kString,
       .one_of = "none|minimal|low|medium|high|xhigh", .meaning = "How long to reason."},
      {.name = "chat_template_kwargs.tools_in_user_message", .endpoints = kIn, .type = Type::kBool,
       .meaning = "Where Llama 3 puts its tools."},
      {.name = "chat_template_kwargs.date_string", .endpoints = kIn, .type = Type::kString, .max = 64,
       .meaning = "The date that Llama 3 is told."},
  };
  for (const std::string& name : limits.template_args) {
    rows.push_back({.name = "chat_template_kwargs." + name,
                    .endpoints = kIn,
                    .type = Type::kScalar,
                    .max = 1024,
                    .meaning = "Allowed by the operator."});
  }
  return rows;
}

std::vector<ParamSpec> SamplingRows(const ApiLimits& limits) {
  const auto max_id = static_cast<double>(limits.max_token_id);
  constexpr unsigned kIn = C | T | G;
  return {
      {.name = "temperature", .endpoints = kIn, .type = Type::kNumber, .max = 100, .fallback = kModelDefault,
       .meaning = "Flattens (above 1) or sharpens the distribution; 0 is greedy."},
      {.name = "top_p", .endpoints = kIn, .type = Type::kNumber, .max = 1, .open_min = true,
       .fallback = kModelDefault, .meaning = "Keep the likeliest tokens up to this sum of probabilities."},
      {.name = "top_k", .endpoints = kIn, .type = Type::kInt, .min = -1, .max = kMaxInt32,
       .fallback = kModelDefault, .meaning = "Keep this many likeliest tokens; 0 and -1: all."},
      {.name = "min_p", .endpoints = kIn, .type = Type::kNumber, .max = 1, .fallback = kModelDefault,
       .meaning = "Keep tokens at least this likely, relative to the likeliest."},
      {.name = "repetition_penalty", .endpoints = kIn, .type = Type::kNumber, .max = 10, .open_min = true,
       .fallback = kModelDefault,
       .meaning = "Divides the logits of tokens that have appeared, prompt included."},
      {.name = "presence_penalty", .endpoints = kIn, .type = Type::kNumber, .min = -2, .max = 2,
       .fallback = "0", .meaning = "Taken off the logit of a token that has been generated."},
      {.name = "frequency_penalty", .endpoints = kIn, .type = Type::kNumber, .min = -2, .max = 2,
       .fallback = "0", .meaning = "The same, for each time."},
      {.name = "seed", .endpoints = kIn, .type = Type::kInt, .min = -kMaxInt64, .max = kMaxInt64,
       .fallback = "drawn anew", .meaning = "The same request with the same seed gives the same answer."},
      {.name = "random_seed", .endpoints = G, .type = Type::kInt, .min = -kMaxInt64, .max = kMaxInt64,
       .meaning = "The same as seed."},
      {.name = "stop", .endpoints = kIn, .type = Type::kStringOrStrings, .min = 1, .max = 256,
       .max_items = 16, .meaning = "The text ends before the first of these."},
      {.name = "stop_token_ids", .endpoints = kIn, .type = Type::kInts, .max = max_id, .max_items = 1024,
       .meaning = "Token ids that end the text."},
      {.name = "include_stop_str_in_output", .endpoints = kIn, .type = Type::kBool, .fallback = "false",
       .meaning = "End the text behind the stop string instead."},
      {.name = "ignore_eos", .endpoints = kIn, .type = Type::kBool, .fallback = "false",
       .meaning = "Go on past the end of sequence, to max_tokens."},
      {.name = "min_tokens", .endpoints = kIn, .type = Type::kInt, .max = kMaxInt32, .fallback = "0",
       .meaning = "Neither end of sequence nor stop before this many."},
      {.name = "min_length", .endpoints = G, .type = Type::kInt, .max = kMaxInt32,
       .meaning = "The same as min_tokens."},
      {.name = "logit_bias", .endpoints = kIn, .type = Type::kBiases, .min = -100, .max = 100,
       .max_items = 1024, .meaning = "Added to the logit of a token, by its id."},
      {.name = "bad_words", .endpoints = C | T, .type = Type::kStrings, .min = 1, .max = 256, .max_items = 64,
       .meaning = "Never generated."},
      {.name = "bad_words", .endpoints = G, .type = Type::kStringOrStrings, .max = 256, .max_items = 64,
       .meaning = "Never generated."},
      {.name = "skip_special_tokens", .endpoints = kIn, .type = Type::kBool, .fallback = "true",
       .meaning = "Leave control tokens out of the text (not where calls are marked with them)."},
      {.name = "priority", .endpoints = kIn | E, .type = Type::kInt, .min = -1000, .max = 1000,
       .fallback = "0", .meaning = "Higher runs earlier; never above what the API key allows."},
  };
}

std::vector<ParamSpec> LengthRows(const ApiLimits& limits) {
  return {
      {.name = "max_tokens", .endpoints = C, .type = Type::kInt, .min = 1, .max = kMaxInt32,
       .fallback = "to the end of the context", .meaning = "Most tokens to generate for a choice."},
      {.name = "max_completion_tokens", .endpoints = C, .type = Type::kInt, .min = 1, .max = kMaxInt32,
       .meaning = "The same as max_tokens, which it goes before."},
      {.name = "max_tokens", .endpoints = T, .type = Type::kInt, .max = kMaxInt32, .fallback = "16",
       .meaning = "Most tokens to generate for a choice; 0 only with echo."},
      {.name = "max_tokens", .endpoints = G, .type = Type::kInt, .min = 1, .max = kMaxInt32,
       .fallback = "128", .meaning = "Most tokens to generate."},
      {.name = "max_new_tokens", .endpoints = G, .type = Type::kInt, .min = 1, .max = kMaxInt32,
       .meaning = "The same as max_tokens."},
      {.name = "n", .endpoints = C | T, .type = Type::kInt, .min = 1,
       .max = static_cast<double>(limits.max_n), .fallback = "1", .meaning = "Choices for each prompt."},
      {.name = "timeout", .endpoints = C | T | G | E, .type = Type::kNumber,
       .max = limits.max_timeout_seconds, .open_min = true, .fallback = "the server's",
       .meaning = "Seconds after which the request is given up."},
  };
}

std::vector<ParamSpec> AnswerRows(const ApiLimits& limits) {
  const auto max_logprobs = static_cast<double>(limits.max_logprobs);
  return {
      {.name = "stream", .endpoints = C | T | G, .type = Type::kBool, .fallback = "false",
       .meaning = "Answer in server-sent events as the text comes."},
      {.name = "streaming", .endpoints = G, .type = Type::kBool, .meaning = "The same as stream."},
      {.name = "stream_options", .endpoints = C | T, .type = Type::kObject, .meaning = "Needs stream."},
      {.name = "stream_options.include_usage", .endpoints = C | T, .type = Type::kBool, .fallback = "false",
       .meaning = "End with an event that has the usage."},
      {.name = "stream_options.continuous_usage_stats", .endpoints = C | T, .type = Type::kBool,
       .fallback = "false", .meaning = "Usage so far in every event."},
      {.name = "stream_options.include_obfuscation", .endpoints = C | T, .type = Type::kBool,
       .meaning = "Nothing is padded.", .handling = Handling::kIgnored},
      {.name = "logprobs", .endpoints = C, .type = Type::kBool, .fallback = "false",
       .meaning = "Log probabilities of the tokens."},
      {.name = "top_logprobs", .endpoints = C, .type = Type::kInt, .max = max_logprobs, .fallback = "0",
       .meaning = "Likeliest tokens told at each position; needs logprobs."},
      {.name = "logprobs", .endpoints = T, .type = Type::kInt, .max = max_logprobs, .fallback = "none",
       .meaning = "Log probabilities of the tokens and of this many likeliest at each position."},
      {.name = "echo", .endpoints = T, .type = Type::kBool, .fallback = "false",
       .meaning = "Begin the text (and logprobs) with the prompt."},
      {.name = "exclude_input_in_output", .endpoints = G, .type = Type::kBool, .fallback = "true",
       .meaning = "False: begin the text with the prompt."},
      {.name = "return_token_ids", .endpoints = C | T, .type = Type::kBool, .fallback = "false",
       .meaning = "Also answer with token_ids and prompt_token_ids."},
      {.name = "return_tokens_as_token_ids", .endpoints = C | T, .type = Type::kBool, .fallback = "false",
       .meaning = "Tokens of logprobs as \"token_id:17\"."},
      {.name = "encoding_format", .endpoints = E, .type = Type::kString, .one_of = "float|base64",
       .fallback = "float", .meaning = "Numbers, or base64 of little-endian 32-bit floats."},
      {.name = "normalize", .endpoints = E, .type = Type::kBool, .fallback = "true",
       .meaning = "Scale the embedding to length 1."},
      {.name = "include_reasoning", .endpoints = C, .type = Type::kBool, .fallback = "true",
       .meaning = "False: leave reasoning_content out of the answer."},
      {.name = "reasoning_effort", .endpoints = C, .type = Type::kString,
       .one_of = "none|minimal|low|medium|high|xhigh",
       .meaning = "Told to the template; none also sets enable_thinking to false."},
      {.name = "id", .endpoints = G, .type = Type::kString, .max = 256,
       .meaning = "Comes back in the answer."},
  };
}

std::vector<ParamSpec> FormatRows() {
  constexpr unsigned kIn = C | T;
  return {
      {.name = "response_format", .endpoints = kIn, .type = Type::kObject,
       .meaning = "What the text must be."},
      {.name = "response_format.type", .endpoints = kIn, .type = Type::kString,
       .one_of = "text|json_object|json_schema",
       .meaning = "Free text, any JSON object, or JSON of a schema.", .required = true},
      {.name = "response_format.json_schema", .endpoints = kIn, .type = Type::kObject,
       .meaning = "With type json_schema."},
      {.name = "response_format.json_schema.name", .endpoints = kIn, .type = Type::kString, .max = 256,
       .meaning = "Name of the schema; without effect."},
      {.name = "response_format.json_schema.description", .endpoints = kIn, .type = Type::kString,
       .meaning = "Without effect.", .handling = Handling::kIgnored},
      {.name = "response_format.json_schema.schema", .endpoints = kIn, .type = Type::kObject,
       .meaning = "The JSON schema; always followed strictly."},
      {.name = "response_format.json_schema.strict", .endpoints = kIn, .type = Type::kBool,
       .meaning = "Schemas are always followed strictly.", .handling = Handling::kIgnored},
      {.name = "structured_outputs", .endpoints = kIn, .type = Type::kObject,
       .meaning = "What the text must be, as vLLM has it; exactly one of the following."},
      {.name = "structured_outputs.json", .endpoints = kIn, .type = Type::kStringOrObject,
       .meaning = "A JSON schema, as an object or as text."},
      {.name = "structured_outputs.json_object", .endpoints = kIn, .type = Type::kBool,
       .meaning = "Any JSON object."},
      {.name = "structured_outputs.regex", .endpoints = kIn, .type = Type::kString, .min = 1,
       .meaning = "A regular expression that the whole text matches."},
      {.name = "structured_outputs.choice", .endpoints = kIn, .type = Type::kStrings, .min = 1,
       .min_items = 1, .max_items = 1024, .meaning = "One of these texts."},
      {.name = "structured_outputs.grammar", .endpoints = kIn, .type = Type::kString, .min = 1,
       .meaning = "A grammar in EBNF."},
      {.name = "guided_json", .endpoints = kIn, .type = Type::kStringOrObject,
       .meaning = "structured_outputs.json."},
      {.name = "guided_regex", .endpoints = kIn, .type = Type::kString, .min = 1,
       .meaning = "structured_outputs.regex."},
      {.name = "guided_choice", .endpoints = kIn, .type = Type::kStrings, .min = 1, .min_items = 1,
       .max_items = 1024, .meaning = "structured_outputs.choice."},
      {.name = "guided_grammar", .endpoints = kIn, .type = Type::kString, .min = 1,
       .meaning = "structured_outputs.grammar."},
  };
}

std::vector<ParamSpec> ToolRows() {
  constexpr unsigned kIn = C | K;
  return {
      {.name = "tools", .endpoints = kIn, .type = Type::kObjects, .max_items = 128,
       .meaning = "Functions that the model may call."},
      {.name = "tools[].type", .endpoints = kIn, .type = Type::kString, .one_of = "function",
       .meaning = "Kind of tool.", .required = true},
      {.name = "tools[].function", .endpoints = kIn, .type = Type::kObject, .meaning = "The function.",
       .required = true},
      {.name = "tools[].function.name", .endpoints = kIn, .type = Type::kString, .min = 1, .max = 64,
       .meaning = "Letters, digits, '_', '-' and '.'.", .required = true},
      {.name = "tools[].function.description", .endpoints = kIn, .type = Type::kString,
       .meaning = "Told to the model."},
      {.name = "tools[].function.parameters", .endpoints = kIn, .type = Type::kObject,
       .meaning = "JSON schema of the arguments."},
      {.name = "tools[].function.strict", .endpoints = kIn, .type = Type::kBool,
       .meaning = "Calls that tool_choice forces always follow the schema.", .handling = Handling::kIgnored},
      {.name = "tool_choice", .endpoints = C, .type = Type::kStringOrObject, .one_of = "none|auto|required",
       .fallback = "auto with tools", .meaning = "Whether to call; an object names the function to call."},
      {.name = "tool_choice.type", .endpoints = C, .type = Type::kString, .one_of = "function",
       .meaning = "Kind of tool.", .required = true},
      {.name = "tool_choice.function", .endpoints = C, .type = Type::kObject, .meaning = "The function.",
       .required = true},
      {.name = "tool_choice.function.name", .endpoints = C, .type = Type::kString, .min = 1, .max = 64,
       .meaning = "Its name.", .required = true},
      {.name = "parallel_tool_calls", .endpoints = C, .type = Type::kBool, .fallback = "true",
       .meaning = "False: one call at most."},
  };
}

// Fields of servers of compiled engines (Triton, Truss).
std::vector<ParamSpec> GenerateRows(const ApiLimits& limits) {
  const auto max_id = static_cast<double>(limits.max_token_id);
  return {
      {.name = "stop_words", .endpoints = G, .type = Type::kStringOrStrings, .max = 256, .max_items = 16,
       .meaning = "The same as stop; empty strings are left out."},
      {.name = "stop_words_list", .endpoints = G, .type = Type::kStringOrStrings, .max = 256, .max_items = 16,
       .meaning = "The same as stop_words."},
      {.name = "bad_words_list", .endpoints = G, .type = Type::kStringOrStrings, .max = 256, .max_items = 64,
       .meaning = "The same as bad_words."},
      {.name = "beam_width", .endpoints = G, .type = Type::kInt,
       .meaning = "There is no beam search: sample, or set temperature to 0.", .handling = Handling::kRefused,
       .neutral = "1"},
      {.name = "end_id", .endpoints = G, .type = Type::kInt, .max = max_id,
       .meaning = "One more token id that ends the text."},
      {.name = "pad_id", .endpoints = G, .type = Type::kInt, .max = kMaxInt32,
       .meaning = "Nothing is padded.", .handling = Handling::kIgnored},
      {.name = "length_penalty", .endpoints = G, .type = Type::kNumber, .meaning = "Belongs to beam search.",
       .handling = Handling::kRefused, .neutral = "1.0"},
      {.name = "len_penalty", .endpoints = G, .type = Type::kNumber, .meaning = "Belongs to beam search.",
       .handling = Handling::kRefused, .neutral = "1.0"},
      {.name = "return_log_probs", .endpoints = G, .type = Type::kBool,
       .meaning = "Ask /v1/completions for logprobs.", .handling = Handling::kRefused, .neutral = "false"},
      {.name = "return_context_logits", .endpoints = G, .type = Type::kBool,
       .meaning = "Logits are not given out.", .handling = Handling::kRefused, .neutral = "false"},
      {.name = "return_generation_logits", .endpoints = G, .type = Type::kBool,
       .meaning = "Logits are not given out.", .handling = Handling::kRefused, .neutral = "false"},
  };
}

std::vector<ParamSpec> RefusedRows() {
  const auto refused = [](const char* name, unsigned endpoints, std::string_view meaning,
                          std::string_view neutral = "") {
    return ParamSpec{.name = name,
                     .endpoints = endpoints,
                     .type = ParamType::kAny,
                     .meaning = meaning,
                     .handling = Handling::kRefused,
                     .neutral = neutral};
  };
  return {
      refused("suffix", T, "Text is not filled in between a prompt and a suffix."),
      refused("best_of", C | T, "Choose with n and logprobs.", "1"),
      refused("use_beam_search", C | T, "There is no beam search.", "false"),
      refused("length_penalty", C | T, "Belongs to beam search.", "1.0"),
      refused("truncate_prompt_tokens", C | T | E, "A prompt is never cut: shorten it."),
      refused("prompt_logprobs", C | T, "Ask /v1/completions with echo and logprobs."),
      refused("allowed_token_ids", C | T, "Constrain the text with structured_outputs."),
      refused("spaces_between_special_tokens", C | T, "Text is as the tokenizer has it.", "true"),
      refused("cache_salt", C | T, "The server parts the prefix cache by API key."),
      refused("dimensions", E, "An embedding has the model's hidden size."),
      refused("functions", C, "Superseded by tools."),
      refused("function_call", C, "Superseded by tool_choice.", "\"none\""),
      refused("modalities", C, "Models here read and write text only.", "[\"text\"]"),
      refused("audio", C, "Models here read and write text only."),
      refused("prediction", C, "Predicted outputs are not supported."),
      refused("web_search_options", C, "The server makes no requests of its own."),
      refused("chat_template", C | K, "A template is code and comes with the model or from the operator."),
  };
}

std::vector<ParamSpec> IgnoredRows() {
  const auto ignored = [](const char* name, unsigned endpoints, ParamType type, std::string_view meaning) {
    return ParamSpec{.name = name,
                     .endpoints = endpoints,
                     .type = type,
                     .meaning = meaning,
                     .handling = Handling::kIgnored};
  };
  return {
      ignored("user", C | T | E, Type::kString, "Callers are known by their API key."),
      ignored("safety_identifier", C, Type::kString, "Callers are known by their API key."),
      ignored("metadata", C, Type::kObject, "Nothing is stored."),
      ignored("store", C, Type::kBool, "Nothing is stored."),
      ignored("service_tier", C, Type::kString, "There is one tier."),
      ignored("prompt_cache_key", C, Type::kString, "The prefix cache finds prompts by their tokens."),
      ignored("prompt_cache_retention", C, Type::kString, "The prefix cache keeps what was used last."),
      ignored("verbosity", C, Type::kString, "Say it in a message."),
      ignored("request_id", C | T, Type::kString, "Send the X-Request-Id header."),
  };
}

// clang-format on

}  // namespace

std::vector<ParamSpec> MakeParamRows(const ApiLimits& limits) {
  std::vector<ParamSpec> rows;
  Append(PromptRows(limits), &rows);
  Append(MessageRows(), &rows);
  Append(TemplateRows(limits), &rows);
  Append(LengthRows(limits), &rows);
  Append(SamplingRows(limits), &rows);
  Append(AnswerRows(limits), &rows);
  Append(FormatRows(), &rows);
  Append(ToolRows(), &rows);
  Append(GenerateRows(limits), &rows);
  Append(RefusedRows(), &rows);
  Append(IgnoredRows(), &rows);
  return rows;
}

}  // namespace lathe::serve
