#include "serve/openai/prepare_parts.h"

#include <algorithm>
#include <utility>

#include "base/status.h"

namespace lathe::serve {
namespace {

Fault ReadSampling(const Body& body, const Model& model, SamplingParams* s) {
  *s = model.engine->DefaultSampling();
  s->temperature = body.Number("temperature", s->temperature);
  s->top_p = body.Number("top_p", s->top_p);
  s->top_k = static_cast<int>(std::max<int64_t>(0, body.Int("top_k", s->top_k)));
  s->min_p = body.Number("min_p", s->min_p);
  s->repetition_penalty = body.Number("repetition_penalty", s->repetition_penalty);
  s->presence_penalty = body.Number("presence_penalty", s->presence_penalty);
  s->frequency_penalty = body.Number("frequency_penalty", s->frequency_penalty);
  if (body.Has("seed")) s->seed = static_cast<uint64_t>(body.Int("seed", 0));
  s->min_tokens = static_cast<int>(body.Int("min_tokens", 0));
  s->ignore_eos = body.Bool("ignore_eos", false);
  s->include_stop = body.Bool("include_stop_str_in_output", false);
  s->skip_special_tokens = body.Bool("skip_special_tokens", true);
  s->stop = body.Strings("stop");
  s->bad_words = body.Strings("bad_words");
  for (const TokenId id : body.Ids("stop_token_ids")) s->stop_ids.push_back(id);
  if (const Json* biases = body.Find("logit_bias")) {
    for (const auto& [key, bias] : biases->items()) {
      // The check leaves at most ten digits, so this cannot overflow.
      const int64_t id = std::stoll(key);
      if (id >= model.engine->model().vocab) {
        return BadParam("logit_bias", "invalid_value",
                        StrFormat("'logit_bias' must name token ids below %d, but has %s",
                                  model.engine->model().vocab, key.c_str()));
      }
      s->logit_bias.emplace_back(static_cast<TokenId>(id), bias.get<double>());
    }
  }
  return std::nullopt;
}

Fault ReadStream(const Body& body, Job* job) {
  job->stream = body.Bool("stream", false);
  if (!body.Has("stream_options")) return std::nullopt;
  if (!job->stream) {
    return BadParam("stream_options", "invalid_value",
                    "'stream_options' is only allowed when 'stream' is true");
  }
  const Body options = body.Object("stream_options");
  job->include_usage = options.Bool("include_usage", false);
  job->continuous_usage = job->include_usage && options.Bool("continuous_usage_stats", false);
  return std::nullopt;
}

std::string SchemaText(const Json& schema) {
  return schema.is_string() ? schema.get<std::string>() : DumpJson(schema);
}

struct Constraint {
  const char* field;
  OutputFormat::Kind kind;
};

// The constraints among `list` that a body has, added to what was found.
void CollectFormats(const Body& body, const std::string& prefix, std::vector<Constraint> list,
                    std::vector<std::pair<std::string, OutputFormat>>* found) {
  for (const Constraint& c : list) {
    const Json* value = body.Find(c.field);
    if (value == nullptr || (value->is_boolean() && !value->get<bool>())) continue;
    OutputFormat format;
    format.kind = c.kind;
    if (c.kind == OutputFormat::Kind::kChoice) {
      format.choices = body.Strings(c.field);
    } else if (c.kind != OutputFormat::Kind::kJsonObject) {
      format.source = SchemaText(*value);
    }
    found->emplace_back(prefix + c.field, std::move(format));
  }
}

Fault ReadResponseFormat(const Body& body, std::vector<std::pair<std::string, OutputFormat>>* found) {
  if (!body.Has("response_format")) return std::nullopt;
  const Body format = body.Object("response_format");
  const std::string type = format.String("type");
  const Json* wrapper = format.Find("json_schema");
  if (type == "json_schema") {
    if (wrapper == nullptr || !wrapper->contains("schema") || wrapper->at("schema").is_null()) {
      return BadParam("response_format.json_schema.schema", "missing_required_parameter",
                      "missing required parameter: 'response_format.json_schema.schema'");
    }
    found->emplace_back("response_format", OutputFormat{.kind = OutputFormat::Kind::kJsonSchema,
                                                        .source = DumpJson(wrapper->at("schema")),
                                                        .choices = {}});
    return std::nullopt;
  }
  if (wrapper != nullptr) {
    return BadParam("response_format.json_schema", "invalid_value",
                    "'response_format.json_schema' needs 'response_format.type' json_schema");
  }
  if (type == "json_object") found->emplace_back("response_format", OutputFormat{});
  return std::nullopt;
}

Fault CheckToolNames(const Json& tools, std::vector<std::string>* names) {
  for (size_t i = 0; i < tools.size(); ++i) {
    const auto& name = tools[i].at("function").at("name").get_ref<const std::string&>();
    const std::string param = "tools[" + std::to_string(i) + "].function.name";
    const bool ok =
        name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") ==
        std::string::npos;
    if (!ok) {
      return BadParam(param, "invalid_value", "'" + param + "' must be of letters, digits, '_', '-' and '.'");
    }
    if (std::ranges::count(*names, name) != 0) {
      return BadParam(param, "invalid_value", "'" + param + "' is the name of an earlier tool");
    }
    names->push_back(name);
  }
  return std::nullopt;
}

// The function that tool_choice names; "" when it names none.
std::string NamedTool(const Body& body) {
  const Json* choice = body.Find("tool_choice");
  if (choice == nullptr || !choice->is_object()) return "";
  return choice->at("function").at("name").get<std::string>();
}

std::string ChoiceWord(const Body& body, bool has_tools) {
  const Json* choice = body.Find("tool_choice");
  if (choice == nullptr) return has_tools ? "auto" : "none";
  return choice->is_string() ? choice->get<std::string>() : "named";
}

// Compiles it, on this worker's thread; the engine keeps it for the request.
Fault CheckFormat(const OutputFormat& format, const std::string& param, const Model& model) {
  const Status status = model.engine->CheckFormat(format);
  if (status.ok()) return std::nullopt;
  const bool unsupported = status.code() == StatusCode::kUnsupported;
  return BadParam(param, unsupported ? "unsupported_value" : "invalid_value", status.message());
}

Fault ForceCall(const Body& body, const std::string& named, const Model& model, Job* job) {
  if (job->request.format) {
    return BadParam("tool_choice", "invalid_value",
                    "'tool_choice' forces a call, so the text cannot also follow a response format");
  }
  auto grammar = ToolGrammar(model.tool_format, DumpJson(*body.Find("tools")), named, job->parallel_calls,
                             model.marker_is_token);
  if (!grammar.ok()) return BadParam("tools", "invalid_value", grammar.status().message());
  job->request.format = *std::move(grammar);
  return job->request.format ? CheckFormat(*job->request.format, "tools", model) : std::nullopt;
}

}  // namespace

Fault ReadCommon(const Body& body, const Model& model, const HttpRequest& http, Job* job) {
  Request& request = job->request;
  job->model = body.Has("model") ? body.String("model") : model.options.model_name;
  if (Fault fault = CheckModel(body, model)) return fault;
  if (Fault fault = ReadSampling(body, model, &request.sampling)) return fault;
  request.n = static_cast<int>(body.Int("n", 1));
  request.priority =
      static_cast<int>(std::min<int64_t>(body.Int("priority", 0), http.principal.priority_cap));
  request.deadline_seconds = body.Number("timeout", model.options.default_timeout_seconds);
  request.cache_salt = http.principal.salt;
  return ReadStream(body, job);
}

Fault ReadFormat(const Body& body, const Model& model, Job* job) {
  using Kind = OutputFormat::Kind;
  std::vector<std::pair<std::string, OutputFormat>> found;
  if (Fault fault = ReadResponseFormat(body, &found)) return fault;
  const Body structured = body.Object("structured_outputs");
  CollectFormats(structured, "structured_outputs.",
                 {{"json", Kind::kJsonSchema},
                  {"json_object", Kind::kJsonObject},
                  {"regex", Kind::kRegex},
                  {"choice", Kind::kChoice},
                  {"grammar", Kind::kGrammar}},
                 &found);
  CollectFormats(body, "",
                 {{"guided_json", Kind::kJsonSchema},
                  {"guided_regex", Kind::kRegex},
                  {"guided_choice", Kind::kChoice},
                  {"guided_grammar", Kind::kGrammar}},
                 &found);
  if (found.empty()) {
    if (!body.Has("structured_outputs")) return std::nullopt;
    return BadParam("structured_outputs", "invalid_value",
                    "'structured_outputs' must have one of json, json_object, regex, choice and grammar");
  }
  if (found.size() > 1) {
    return BadParam(found[1].first, "invalid_value",
                    "'" + found[1].first + "' and '" + found[0].first +
                        "' both say what the text must be: leave one out");
  }
  job->request.format = std::move(found[0].second);
  return CheckFormat(*job->request.format, found[0].first, model);
}

Fault ReadTools(const Body& body, const Model& model, Job* job) {
  const Json* tools = body.Find("tools");
  const bool has_tools = tools != nullptr && !tools->empty();
  const std::string choice = ChoiceWord(body, has_tools);
  job->parallel_calls = body.Bool("parallel_tool_calls", true);
  if (has_tools) {
    if (Fault fault = CheckToolNames(*tools, &job->parser.tool_names)) return fault;
  }
  if (choice == "none") return std::nullopt;
  if (!has_tools) return BadParam("tool_choice", "invalid_value", "'tool_choice' needs 'tools'");
  if (model.tool_format == ToolFormat::kNone) {
    return BadParam(
        "tools", "unsupported_parameter",
        "the served model's chat template knows no tools: leave 'tools' out or set 'tool_choice' to none");
  }
  const std::string named = NamedTool(body);
  if (!named.empty() && std::ranges::count(job->parser.tool_names, named) == 0) {
    return BadParam("tool_choice.function.name", "invalid_value",
                    "'tool_choice' names a function that is not in 'tools'");
  }
  if (choice == "auto" && job->request.format) {
    return BadParam(
        "response_format", "invalid_value",
        "a response format leaves no room for calls: set 'tool_choice' to none, or leave 'tools' out");
  }
  job->parser.format = model.tool_format;
  job->parser.tools = true;
  job->named_call = !named.empty();
  if (model.marker_is_special) job->request.sampling.skip_special_tokens = false;
  return choice == "auto" ? std::nullopt : ForceCall(body, named, model, job);
}

Fault FitContext(const std::string& prompt_param, const Model& model, Job* job) {
  const int context = model.engine->model().max_context;
  const SamplingParams& sampling = job->request.sampling;
  for (JobPrompt& prompt : job->prompts) {
    const size_t n = prompt.ids.size();
    if (n == 0) {
      return BadParam(prompt_param, "invalid_value",
                      "'" + prompt_param + "' must have at least one token, but has none");
    }
    if (n >= static_cast<size_t>(context)) {
      return BadParam(
          prompt_param, "context_length_exceeded",
          StrFormat("this model's context holds %d tokens, one of them generated, but the prompt has %zu: "
                    "shorten the prompt",
                    context, n));
    }
    const int left = context - static_cast<int>(n);
    prompt.max_tokens = sampling.max_tokens == 0 ? 0 : std::min(sampling.max_tokens, left);
    if (sampling.min_tokens <= (prompt.max_tokens == 0 ? left : prompt.max_tokens)) continue;
    return BadParam("min_tokens", "invalid_value",
                    StrFormat("'min_tokens' must not exceed the %d tokens that may be generated, but is %d",
                              prompt.max_tokens == 0 ? left : prompt.max_tokens, sampling.min_tokens));
  }
  return std::nullopt;
}

Expected<std::vector<TokenId>> TokenizeText(const std::string& text, bool add_special, const Model& model) {
  auto ids = model.engine->Tokenize(text, add_special, model.options.allow_special_tokens);
  if (!ids.ok()) return ids;
  // A text that spells the BOS which the tokenizer adds anyway has it once.
  const TokenId bos = model.engine->model().bos_id;
  if (add_special && model.options.allow_special_tokens && ids->size() > 1 && (*ids)[0] == bos &&
      (*ids)[1] == bos)
    ids->erase(ids->begin());
  return ids;
}

Fault ReadPrompts(const Body& body, const char* param, bool keep_text, const Model& model, Job* job) {
  const bool add_special = body.Bool("add_special_tokens", true);
  const auto add_text = [&](const std::string& text) -> Fault {
    auto ids = TokenizeText(text, add_special, model);
    if (!ids.ok()) return BadParam(param, "invalid_value", ids.status().message());
    job->prompts.push_back({.ids = *std::move(ids), .text = keep_text ? text : ""});
    return std::nullopt;
  };
  const auto add_ids = [&](const Json& list) {
    JobPrompt prompt;
    prompt.ids.reserve(list.size());
    for (const Json& id : list) prompt.ids.push_back(static_cast<TokenId>(IntOf(id)));
    job->prompts.push_back(std::move(prompt));
  };
  const Json& value = *body.Find(param);
  if (value.is_string()) return add_text(value.get<std::string>());
  if (value[0].is_number()) {
    add_ids(value);
  } else {
    for (const Json& item : value) {
      if (!item.is_string()) {
        add_ids(item);
      } else if (Fault fault = add_text(item.get<std::string>())) {
        return fault;
      }
    }
  }
  return std::nullopt;
}

}  // namespace lathe::serve
