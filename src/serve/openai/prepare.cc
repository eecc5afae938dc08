#include "serve/openai/prepare.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "serve/openai/chat_prompt.h"
#include "serve/openai/prepare_parts.h"

namespace lathe::serve {
namespace {

constexpr int kDefaultCompletionTokens = 16;  // OpenAI's
constexpr int kDefaultGenerateTokens = 128;

Expected<ToolFormat> ToolFormatByName(std::string_view name, std::string_view chat_template) {
  if (name == "auto") return DetectToolFormat(chat_template);
  for (const ToolFormat format :
       {ToolFormat::kNone, ToolFormat::kHermes, ToolFormat::kLlama3Json, ToolFormat::kMistral}) {
    if (ToString(format) == name) return format;
  }
  return Error(StatusCode::kInvalidArgument,
               "tool_format must be auto, none, hermes, llama3_json or mistral, but is '%.*s'",
               static_cast<int>(name.size()), name.data());
}

Expected<bool> ReasoningByName(std::string_view name, std::string_view chat_template) {
  if (name == "auto") return DetectReasoning(chat_template);
  if (name == "none") return false;
  if (name == "think") return true;
  return Error(StatusCode::kInvalidArgument, "reasoning_format must be auto, none or think, but is '%.*s'",
               static_cast<int>(name.size()), name.data());
}

// Models of the same format differ in what their vocabulary makes of its marker.
void DescribeMarker(const Engine& engine, Model* model) {
  const std::string marker(ToolMarker(model->tool_format));
  if (marker.empty()) return;
  const auto ids = engine.Tokenize(marker, /*add_special=*/false, /*parse_special=*/true);
  if (!ids.ok()) return;
  model->marker_is_token = ids->size() == 1;
  model->marker_is_special = engine.Detokenize(*ids, /*skip_special=*/true).find(marker) == std::string::npos;
}

void ReadAnswerOptions(const Body& body, Job* job) {
  job->return_token_ids = body.Bool("return_token_ids", false);
  job->tokens_as_ids = body.Bool("return_tokens_as_token_ids", false);
}

// Fields of the generate endpoints under the names that the other endpoints have them. Both names at once
// would leave it open which counts.
Fault UnifyNames(const Json& sent, Json* unified) {
  static constexpr std::pair<std::string_view, std::string_view> kSame[] = {
      {"text_input", "prompt"},     {"max_new_tokens", "max_tokens"}, {"stop_words", "stop"},
      {"stop_words_list", "stop"},  {"bad_words_list", "bad_words"},  {"random_seed", "seed"},
      {"min_length", "min_tokens"}, {"streaming", "stream"},
  };
  for (const auto& [key, value] : sent.items()) {
    if (value.is_null()) continue;
    std::string name = key;
    for (const auto& [from, to] : kSame) {
      if (from == key) name = to;
    }
    if (unified->contains(name)) {
      return BadParam(key, "invalid_value",
                      "'" + key + "' and another name of '" + name + "' are both given: leave one out");
    }
    (*unified)[name] = value;
  }
  return std::nullopt;
}

// Triton's clients send an empty string for "no stop words".
void DropEmptyStrings(const char* name, Json* fields) {
  const auto it = fields->find(name);
  if (it == fields->end()) return;
  if (it->is_string() && it->get_ref<const std::string&>().empty()) {
    fields->erase(name);
  } else if (it->is_array()) {
    Json kept = Json::array();
    for (const Json& item : *it) {
      if (!item.get_ref<const std::string&>().empty()) kept.push_back(item);
    }
    *it = std::move(kept);
  }
}

}  // namespace

Expected<Model> DescribeModel(Engine* engine, ApiOptions options) {
  Model model;
  model.engine = engine;
  const std::string& source = engine->ChatTemplate();
  LATHE_ASSIGN_OR_RETURN(model.tool_format, ToolFormatByName(options.tool_format, source));
  DescribeMarker(*engine, &model);
  LATHE_ASSIGN_OR_RETURN(model.reasoning, ReasoningByName(options.reasoning_format, source));
  model.template_takes_parts = TemplateTakesParts(source);
  if (options.model_name.empty()) options.model_name = engine->model().name;
  options.limits.max_token_id = std::max(0, engine->model().vocab - 1);
  model.options = std::move(options);
  return model;
}

Fault CheckModel(const Body& body, const Model& model) {
  if (!body.Has("model")) return std::nullopt;
  const std::string name = body.String("model");
  const ApiOptions& options = model.options;
  if (name == options.model_name || std::ranges::count(options.model_aliases, name) != 0) return std::nullopt;
  ApiError error = BadParam("model", "model_not_found",
                            "the model '" + name + "' is not served here; '" + options.model_name + "' is");
  error.status = 404;
  return error;
}

uint64_t CostOf(const Job& job, const Model& model) {
  uint64_t cost = 0;
  const auto context = static_cast<uint64_t>(model.engine->model().max_context);
  for (const JobPrompt& prompt : job.prompts) {
    const uint64_t left = context - std::min<uint64_t>(context, prompt.ids.size());
    const auto asked = static_cast<uint64_t>(prompt.max_tokens);
    const uint64_t each = job.request.embed ? 0 : asked == 0 ? left : asked;
    cost += prompt.ids.size() + static_cast<uint64_t>(job.request.n) * each;
  }
  return cost;
}

Fault PrepareChat(const Body& body, const Model& model, const HttpRequest& http, Job* job) {
  job->kind = AnswerKind::kChat;
  if (Fault fault = ReadCommon(body, model, http, job)) return fault;
  ReadAnswerOptions(body, job);
  SamplingParams& sampling = job->request.sampling;
  sampling.max_tokens = static_cast<int>(body.Int("max_completion_tokens", body.Int("max_tokens", 0)));
  if (body.Bool("logprobs", false)) {
    sampling.logprobs = static_cast<int>(body.Int("top_logprobs", 0));
  } else if (body.Int("top_logprobs", 0) > 0) {
    return BadParam("top_logprobs", "invalid_value", "'top_logprobs' needs 'logprobs' to be true");
  }
  if (Fault fault = ReadFormat(body, model, job)) return fault;
  if (Fault fault = ReadTools(body, model, job)) return fault;
  ChatPrompt prompt;
  if (Fault fault = RenderChatPrompt(body, model, &prompt)) return fault;
  // A forced format begins with the first token, so there is no room for reasoning before it.
  job->parser.reasoning = model.reasoning && !job->request.format;
  job->parser.starts_in_reasoning = job->parser.reasoning && PromptOpensReasoning(prompt.text);
  job->show_reasoning = body.Bool("include_reasoning", true);
  job->prompts.push_back({.ids = std::move(prompt.ids), .text = ""});
  return FitContext("messages", model, job);
}

Fault PrepareCompletion(const Body& body, const Model& model, const HttpRequest& http, Job* job) {
  job->kind = AnswerKind::kCompletion;
  if (Fault fault = ReadCommon(body, model, http, job)) return fault;
  ReadAnswerOptions(body, job);
  SamplingParams& sampling = job->request.sampling;
  sampling.max_tokens = static_cast<int>(body.Int("max_tokens", kDefaultCompletionTokens));
  sampling.logprobs = static_cast<int>(body.Int("logprobs", -1));
  job->echo = body.Bool("echo", false);
  if (sampling.max_tokens == 0) {
    if (!job->echo)
      return BadParam("max_tokens", "integer_below_min_value", "'max_tokens' may be 0 only with 'echo'");
    job->echo_only = true;
    sampling.max_tokens = 1;
  }
  if (job->echo) job->request.prompt_logprobs = sampling.logprobs;
  if (Fault fault = ReadFormat(body, model, job)) return fault;
  if (Fault fault = ReadPrompts(body, "prompt", job->echo, model, job)) return fault;
  if (Fault fault = FitContext("prompt", model, job)) return fault;
  for (JobPrompt& prompt : job->prompts) {
    if (job->echo && prompt.text.empty())
      prompt.text = model.engine->Detokenize(prompt.ids, sampling.skip_special_tokens);
  }
  return std::nullopt;
}

Fault PrepareGenerate(const Body& sent, const Model& model, const HttpRequest& http, Job* job) {
  job->kind = AnswerKind::kGenerate;
  Json unified = Json::object();
  if (Fault fault = UnifyNames(sent.fields(), &unified)) return fault;
  DropEmptyStrings("stop", &unified);
  DropEmptyStrings("bad_words", &unified);
  const Body body(std::move(unified));
  if (!body.Has("prompt"))
    return BadParam("text_input", "missing_required_parameter",
                    "missing required parameter: 'text_input' (or 'prompt')");
  if (Fault fault = ReadCommon(body, model, http, job)) return fault;
  job->request.sampling.max_tokens = static_cast<int>(body.Int("max_tokens", kDefaultGenerateTokens));
  if (body.Has("end_id"))
    job->request.sampling.stop_ids.push_back(static_cast<TokenId>(body.Int("end_id", 0)));
  job->echo = !body.Bool("exclude_input_in_output", true);
  job->id = body.String("id");
  if (Fault fault = ReadPrompts(body, "prompt", job->echo, model, job)) return fault;
  return FitContext("text_input", model, job);
}

Fault PrepareEmbedding(const Body& body, const Model& model, const HttpRequest& http, Job* job) {
  job->kind = AnswerKind::kEmbedding;
  if (Fault fault = ReadCommon(body, model, http, job)) return fault;
  job->request.embed = true;
  job->base64 = body.String("encoding_format") == "base64";
  job->normalize = body.Bool("normalize", true);
  if (Fault fault = ReadPrompts(body, "input", /*keep_text=*/false, model, job)) return fault;
  return FitContext("input", model, job);
}

}  // namespace lathe::serve
