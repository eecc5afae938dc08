#include "serve/openai/api.h"

#include <atomic>
#include <ctime>
#include <random>
#include <utility>

#include "base/status.h"
#include "lathe/version.h"
#include "serve/openai/chat_prompt.h"
#include "serve/openai/generation.h"
#include "serve/openai/json_text.h"
#include "serve/openai/openapi.h"
#include "serve/openai/prepare.h"
#include "serve/openai/prepare_parts.h"

namespace lathe::serve {
namespace {

using HttpPtr = std::shared_ptr<const HttpRequest>;
using ResponderPtr = std::shared_ptr<Responder>;
using PrepareFn = Fault (*)(const Body&, const Model&, const HttpRequest&, Job*);

void SendJson(std::string body, Responder* responder) {
  responder->Send(200, "application/json", std::move(body));
}

// A page of another origin can make a browser post text/plain to a server on this machine without asking it;
// application/json it cannot.
Fault CheckContentType(const HttpRequest& http) {
  std::string type(http.Header("content-type").substr(0, 64));
  type = type.substr(0, type.find(';'));
  for (char& c : type) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  while (!type.empty() && type.back() == ' ') type.pop_back();
  if (type == "application/json") return std::nullopt;
  ApiError error = BadParam("", "unsupported_media_type", "the Content-Type must be application/json");
  error.status = 415;
  return error;
}

}  // namespace

struct OpenAiApi::Impl {
  Impl(ApiContext c, Model m)
      : context(c), model(std::move(m)), table(model.options.limits), openapi(OpenApiText(table)) {}

  // A new id for an answer: unguessable start, then a counter stirred so that neighbours look unlike.
  std::string NewId(const char* prefix) {
    uint64_t x = id_base + id_count.fetch_add(1, std::memory_order_relaxed) * 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return StrFormat("%s%016llx", prefix, static_cast<unsigned long long>(x ^ (x >> 31)));
  }

  // A generation that ends before it is admitted.
  void Refuse(const ApiError& error, std::string_view route, const HttpRequest& http,
              Responder* responder) const {
    SendError(error, responder);
    if (context.observer == nullptr) return;
    RequestRecord record;
    record.route = route;
    record.request_id = http.request_id;
    record.trace_id = http.trace_id;
    record.principal = http.principal.name;
    record.http_status = error.status;
    record.error_code = error.code;
    record.finish = "error";
    context.observer->OnDone(record);
  }

  Fault Read(Endpoint endpoint, const HttpRequest& http, Body* body) const {
    if (Fault fault = CheckContentType(http)) return fault;
    return ParseBody(http.body, endpoint, table, model.options.body, body);
  }

  Fault CheckPathModel(const HttpRequest& http) const {
    const std::string_view name = http.PathArg("name");
    return name.empty() ? std::nullopt : CheckModel(Body(Json{{"model", std::string(name)}}), model);
  }

  struct Kind {
    Endpoint endpoint;
    const char* route;
    PrepareFn prepare;
    const char* id_prefix;
    bool always_streams = false;
  };

  void Generate(const Kind& kind, const HttpPtr& http, const ResponderPtr& responder) {
    Body body;
    Job job;
    Fault fault = CheckPathModel(*http);
    if (!fault) fault = Read(kind.endpoint, *http, &body);
    if (!fault) fault = kind.prepare(body, model, *http, &job);
    if (fault) return Refuse(*fault, kind.route, *http, responder.get());
    if (kind.endpoint == kGenerate)
      job.model = http->PathArg("name");
    else
      job.id = NewId(kind.id_prefix);
    job.stream = job.stream || kind.always_streams;
    const uint64_t cost = CostOf(job, model);
    Generation::Start(context, kind.route, std::move(job), cost, http, responder);
  }

  std::string ModelText() const {
    std::string out = "{\"id\":";
    AppendJsonString(model.options.model_name, &out);
    out +=
        ",\"object\":\"model\",\"created\":" + std::to_string(started) + ",\"owned_by\":\"lathe\",\"root\":";
    AppendJsonString(model.options.model_name, &out);
    out += ",\"parent\":null,\"max_model_len\":" + std::to_string(context.engine->model().max_context) + "}";
    return out;
  }

  void Tokenize(const HttpRequest& http, Responder* responder) const {
    Body body;
    std::vector<TokenId> ids;
    Fault fault = Read(kTokenize, http, &body);
    if (!fault) fault = CheckModel(body, model);
    if (!fault) fault = TokenizeBody(body, &ids);
    if (fault) return SendError(*fault, responder);
    std::string out = "{\"count\":" + std::to_string(ids.size()) +
                      ",\"max_model_len\":" + std::to_string(context.engine->model().max_context) +
                      ",\"tokens\":";
    AppendIds(ids, &out);
    out += ",\"token_strs\":";
    if (!body.Bool("return_token_strs", false)) return SendJson(out + "null}", responder);
    const TokenSpeller speller(context.engine, /*as_ids=*/false, /*skip_special=*/false);
    for (size_t i = 0; i < ids.size(); ++i)
      AppendJsonString(speller.Bytes(ids[i]), &(out += i == 0 ? '[' : ','));
    SendJson(out + (ids.empty() ? "[]}" : "]}"), responder);
  }

  Fault TokenizeBody(const Body& body, std::vector<TokenId>* ids) const {
    if (body.Has("prompt") == body.Has("messages"))
      return BadParam("prompt", "missing_required_parameter",
                      "exactly one of 'prompt' and 'messages' must be given");
    if (body.Has("messages")) {
      ChatPrompt prompt;
      if (Fault fault = RenderChatPrompt(body, model, &prompt)) return fault;
      *ids = std::move(prompt.ids);
      return std::nullopt;
    }
    auto found = TokenizeText(body.String("prompt"), body.Bool("add_special_tokens", true), model);
    if (!found.ok()) return BadParam("prompt", "invalid_value", found.status().message());
    *ids = *std::move(found);
    return std::nullopt;
  }

  void Detokenize(const HttpRequest& http, Responder* responder) const {
    Body body;
    Fault fault = Read(kDetokenize, http, &body);
    if (!fault) fault = CheckModel(body, model);
    if (fault) return SendError(*fault, responder);
    const std::vector<TokenId> ids = body.Ids("tokens");
    std::string out = "{\"prompt\":";
    AppendJsonString(context.engine->Detokenize(ids, /*skip_special=*/false), &out);
    SendJson(out + "}", responder);
  }

  const ApiContext context;
  const Model model;
  const ParamTable table;
  const std::string openapi;
  const int64_t started = static_cast<int64_t>(std::time(nullptr));
  const uint64_t id_base = std::random_device()() * 0x100000001ULL ^ std::random_device()();
  std::atomic<uint64_t> id_count{0};
};

OpenAiApi::OpenAiApi(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OpenAiApi::~OpenAiApi() = default;

Expected<std::unique_ptr<OpenAiApi>> OpenAiApi::Create(ApiContext context, ApiOptions options) {
  LATHE_ASSIGN_OR_RETURN(Model model, DescribeModel(context.engine, std::move(options)));
  return std::unique_ptr<OpenAiApi>(new OpenAiApi(std::make_unique<Impl>(context, std::move(model))));
}

const ParamTable& OpenAiApi::table() const { return impl_->table; }

void OpenAiApi::Register(Router* router) {
  Impl* impl = impl_.get();
  for (const Impl::Kind& kind : {
           Impl::Kind{kChat, "/v1/chat/completions", PrepareChat, "chatcmpl-"},
           Impl::Kind{kCompletions, "/v1/completions", PrepareCompletion, "cmpl-"},
           Impl::Kind{kEmbeddings, "/v1/embeddings", PrepareEmbedding, "embd-"},
           Impl::Kind{kGenerate, "/v2/models/{name}/generate", PrepareGenerate, ""},
           Impl::Kind{kGenerate, "/v2/models/{name}/generate_stream", PrepareGenerate, "", true},
       }) {
    router->Add("POST", kind.route, [impl, kind](const HttpPtr& http, const ResponderPtr& responder) {
      impl->Generate(kind, http, responder);
    });
  }
  router->Add("POST", "/tokenize", [impl](const HttpPtr& http, const ResponderPtr& responder) {
    impl->Tokenize(*http, responder.get());
  });
  router->Add("POST", "/detokenize", [impl](const HttpPtr& http, const ResponderPtr& responder) {
    impl->Detokenize(*http, responder.get());
  });
  router->Add("GET", "/v1/models", [impl](const HttpPtr&, const ResponderPtr& responder) {
    SendJson("{\"object\":\"list\",\"data\":[" + impl->ModelText() + "]}", responder.get());
  });
  router->Add("GET", "/v1/models/{name}", [impl](const HttpPtr& http, const ResponderPtr& responder) {
    if (const Fault fault = impl->CheckPathModel(*http)) return SendError(*fault, responder.get());
    SendJson(impl->ModelText(), responder.get());
  });
  router->Add("GET", "/version", [](const HttpPtr&, const ResponderPtr& responder) {
    SendJson(std::string("{\"version\":\"") + kVersionString + "\"}", responder.get());
  });
  router->Add("GET", "/openapi.json", [impl](const HttpPtr&, const ResponderPtr& responder) {
    SendJson(impl->openapi, responder.get());
  });
}

}  // namespace lathe::serve
