// lathe._lathe.Engine: opening a model, submitting requests, what the engine tells of itself.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cmath>
#include <utility>

#include "base/file.h"
#include "build_events.h"
#include "convert.h"
#include "engine_cell.h"
#include "requests.h"
#include "runtime/engine/prepare.h"
#include "serve/openai/chat_prompt.h"
#include "serve/server/serve.h"
#include "settings.h"

namespace lathe::python {
namespace {

std::shared_ptr<Engine> UseOrRaise(const EngineCell& cell) { return ValueOrRaise(cell.Use()); }

// Opens `model` with the settings of the server's table that concern it.
std::shared_ptr<EngineCell> OpenEngine(const std::string& model, nb::dict settings,
                                       const std::string& chat_template, nb::handle events) {
  serve::ServerConfig config = LlmConfig(settings);
  config.model = model;
  return OpenForConfig(config, events, chat_template);
}

// The prompt of a submission, read while the interpreter's lock is held.
struct PromptSource {
  std::optional<std::string> text;
  std::vector<TokenId> ids;
  const ChatJob* chat = nullptr;
};

PromptSource ReadPrompt(nb::handle prompt) {
  PromptSource out;
  if (nb::isinstance<ChatJob>(prompt)) {
    out.chat = nb::cast<const ChatJob*>(prompt);
    out.ids = out.chat->job.prompts[0].ids;
  } else if (nb::isinstance<nb::str>(prompt)) {
    out.text = TextOf(prompt, "prompt");
  } else {
    out.ids = IdsOf(prompt, "prompt");
  }
  return out;
}

// What a chat adds to the request of its parameters.
Status ApplyChat(const ChatJob& chat, Request* request) {
  const Request& wanted = chat.job.request;
  if (wanted.format && request->format)
    return Error(StatusCode::kInvalidArgument,
                 "a forced tool call says what the output must be: leave the other output format out");
  if (chat.job.parser.tools && request->format)
    return Error(
        StatusCode::kInvalidArgument,
        "an output format leaves no room for calls: set tool_choice to \"none\", or leave tools out");
  if (wanted.format) request->format = wanted.format;
  if (!wanted.sampling.skip_special_tokens) request->sampling.skip_special_tokens = false;
  return Status::Ok();
}

// How a chat's answer is read. A forced format begins with the first token: no room for reasoning.
OutputParserOptions ParserOf(const ChatJob& chat, const Request& request) {
  OutputParserOptions options = chat.job.parser;
  if (request.format) options.reasoning = options.starts_in_reasoning = false;
  return options;
}

// Tokenizes and queues, with the interpreter's lock given away.
Expected<std::unique_ptr<PyRequest>> SubmitUnlocked(const std::shared_ptr<EngineCell>& cell, Engine& engine,
                                                    PromptSource prompt, Request request,
                                                    const std::shared_ptr<Mailbox>& mailbox, bool streams) {
  static std::atomic<uint64_t> keys{0};
  if (prompt.text) {
    LATHE_ASSIGN_OR_RETURN(prompt.ids,
                           engine.Tokenize(*prompt.text, /*add_special=*/true, /*parse_special=*/false));
  }
  LATHE_RETURN_IF_ERROR(CheckRequestFields(request, engine.model().vocab));
  if (prompt.chat != nullptr) LATHE_RETURN_IF_ERROR(ApplyChat(*prompt.chat, &request));
  std::optional<OutputParserOptions> chat;
  if (prompt.chat != nullptr) chat = ParserOf(*prompt.chat, request);
  const int n = request.n;
  const bool logprobs = request.sampling.logprobs >= 0;
  request.prompt = Prompt::Ids(prompt.ids);
  auto state = std::make_shared<RequestState>(mailbox, keys.fetch_add(1), n, streams);
  LATHE_ASSIGN_OR_RETURN(
      const RequestId id,
      engine.Submit(std::move(request), [state](const OutputDelta& delta) { state->OnDelta(delta); }));
  auto out = std::make_unique<PyRequest>(cell, std::move(state), id);
  out->prompt_ids = std::move(prompt.ids);
  out->wants_logprobs = logprobs;
  for (int i = 0; chat && streams && i < n; ++i) out->parsers.emplace_back(*chat);
  out->chat = std::move(chat);
  return out;
}

std::unique_ptr<PyRequest> Submit(const std::shared_ptr<EngineCell>& cell, nb::handle prompt,
                                  nb::handle params, const std::shared_ptr<Mailbox>& mailbox, bool streams,
                                  bool embed, nb::handle priority, nb::handle timeout,
                                  nb::handle cache_salt) {
  const std::shared_ptr<Engine> engine = UseOrRaise(*cell);
  PromptSource source = ReadPrompt(prompt);
  Request request;
  request.sampling = engine->DefaultSampling();
  request.embed = embed;
  if (!params.is_none()) ReadSampling(params, &request);
  request.priority = static_cast<int>(IntOf(priority, "priority", -(1 << 30), 1 << 30));
  if (!timeout.is_none()) request.deadline_seconds = NumberOf(timeout, "timeout");
  request.cache_salt = TextOf(cache_salt, "cache_salt");
  Expected<std::unique_ptr<PyRequest>> submitted = [&] {
    const WithoutGil unlocked;
    return SubmitUnlocked(cell, *engine, std::move(source), std::move(request), mailbox, streams);
  }();
  return ValueOrRaise(std::move(submitted));
}

// `body`: the fields of a chat completion that concern the prompt, as JSON. template_args: further names that
// chat_template_kwargs may have.
std::unique_ptr<ChatJob> PrepareChat(const EngineCell& cell, const std::string& body,
                                     std::vector<std::string> template_args) {
  auto prepared = [&]() -> Expected<std::unique_ptr<ChatJob>> {
    const WithoutGil unlocked;
    LATHE_ASSIGN_OR_RETURN(const std::shared_ptr<Engine> engine, cell.Use());
    if (engine->ChatTemplate().empty())
      return Error(StatusCode::kUnsupported,
                   "model %s has no chat template: use generate, or open it with chat_template=",
                   engine->model().name.c_str());
    LATHE_ASSIGN_OR_RETURN(const serve::Model* model, cell.Chat());
    serve::ApiLimits limits = model->options.limits;
    limits.template_args = std::move(template_args);
    const serve::ParamTable table(limits);
    serve::Body fields;
    auto chat = std::make_unique<ChatJob>();
    serve::Fault fault = serve::ParseBody(body, serve::kChat, table, model->options.body, &fields);
    if (!fault) fault = serve::PrepareChat(fields, *model, {}, &chat->job);
    if (fault) return Status(StatusCode::kInvalidArgument, fault->message);
    chat->text = engine->Detokenize(chat->job.prompts[0].ids, /*skip_special=*/false);
    return chat;
  }();
  return ValueOrRaise(std::move(prepared));
}

nb::dict InfoOf(const EngineCell& cell) {
  const std::shared_ptr<Engine> engine = UseOrRaise(cell);
  const ModelInfo& info = engine->model();
  nb::dict out;
  out["name"] = info.name;
  out["family"] = info.family;
  out["dtype"] = info.dtype;
  out["vocab_size"] = info.vocab;
  out["max_context"] = info.max_context;
  out["eos_token_ids"] = IdsToPython(info.eos_ids);
  out["bos_token_id"] = info.bos_id >= 0 ? nb::object(nb::int_(info.bos_id)) : nb::object(nb::none());
  out["has_chat_template"] = info.has_chat_template;
  out["weight_bytes"] = info.weight_bytes;
  out["kv_bytes_per_token"] = info.kv_bytes_per_token;
  return out;
}

nb::dict StatsOf(const EngineCell& cell) {
  const EngineStats s = UseOrRaise(cell)->Stats();
  nb::dict out;
  out["running"] = s.running;
  out["waiting"] = s.waiting;
  out["pages_total"] = s.pages_total;
  out["pages_used"] = s.pages_used;
  out["pages_cached"] = s.pages_cached;
  out["page_size"] = s.page_size;
  out["steps"] = s.steps;
  out["prompt_tokens"] = s.prompt_tokens;
  out["cached_tokens"] = s.cached_tokens;
  out["generated_tokens"] = s.generated_tokens;
  out["submitted"] = s.submitted;
  out["finished"] = s.finished;
  out["cancelled"] = s.cancelled;
  out["failed"] = s.failed;
  out["preemptions"] = s.preemptions;
  out["recomputed_tokens"] = s.recomputed_tokens;
  out["mean_batch"] =
      s.steps > 0 ? static_cast<double>(s.sequences_in_steps) / static_cast<double>(s.steps) : 0.0;
  out["step_seconds"] = s.step_seconds;
  out["host_seconds"] = s.host_seconds;
  out["accepting"] = s.accepting;
  return out;
}

}  // namespace

void BindEngine(nb::module_& module) {
  nb::class_<EngineCell>(module, "Engine", "A running engine.")
      .def_static("open", &OpenEngine, nb::arg("model"), nb::arg("settings"), nb::arg("chat_template"),
                  nb::arg("events").none())
      .def("close", &EngineCell::Close)
      .def_prop_ro("closed", &EngineCell::closed)
      .def_prop_ro("path", &EngineCell::path)
      .def("info", &InfoOf)
      .def("default_sampling",
           [](const EngineCell& cell) { return SamplingToPython(UseOrRaise(cell)->DefaultSampling()); })
      .def("stats", &StatsOf)
      .def("submit", &Submit, nb::arg("prompt"), nb::arg("params").none(), nb::arg("mailbox"),
           nb::arg("streams"), nb::arg("embed"), nb::arg("priority"), nb::arg("timeout").none(),
           nb::arg("cache_salt"))
      .def("prepare_chat", &PrepareChat, nb::arg("body"), nb::arg("template_args"));
  module.def("check_sampling", &CheckSampling, nb::arg("params").none());
  module.def("close_all", &CloseAllEngines, "Closes every engine of the process.");
  module.def("llm_settings", &LlmSettingNames, "Names of the options of an LLM.");
  module.def("server_settings", &ServerSettingNames, "Names of the settings of a server.");
}

}  // namespace lathe::python
