// An engine that plays scripts, a client that keeps what it is sent, and the API between them.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "lathe/engine.h"
#include "serve/openai/api.h"

namespace lathe::serve::testing {

// A broken test rather than a failed one: says what it saw and aborts.
inline void Require(bool condition, const std::string& seen) {
  if (condition) return;
  std::fprintf(stderr, "unexpected: %s\n", seen.c_str());
  std::abort();
}

// Its tokens are bytes; kBos and kEos are control tokens.
class FakeEngine : public Engine {
 public:
  static constexpr TokenId kBos = 256, kEos = 257, kHeader = 258;
  static constexpr int kVocab = 259;

  struct Submitted {
    RequestId id = 0;
    Request request;
    OutputCallback callback;
    bool cancelled = false;
  };

  // What each continuation of each request says, in pieces; played by Submit (before it returns) when
  // play_at_once, else by Play().
  std::vector<std::string> script = {"Hello", " world"};
  FinishReason finish = FinishReason::kStop;
  bool play_at_once = true;
  std::function<void(size_t)> on_submit;  // told of each request, before Submit returns
  Status refusal;                         // of Submit, from the `refuse_after`-th on
  size_t refuse_after = 0;
  std::string chat_template = "{{ messages }}";
  std::vector<Submitted> submitted;
  Prompt::Chat last_chat;
  ModelInfo info = MakeInfo();
  std::vector<float> embedding = {3, 0, 4};

  static ModelInfo MakeInfo() {
    ModelInfo info;
    info.name = "fake-1";
    info.vocab = kVocab;
    info.max_context = 100;
    info.eos_ids = {kEos};
    info.bos_id = kBos;
    info.has_chat_template = true;
    return info;
  }

  const ModelInfo& model() const override { return info; }
  SamplingParams DefaultSampling() const override {
    SamplingParams params;
    params.temperature = 0.7;
    return params;
  }

  Expected<RequestId> Submit(Request request, OutputCallback callback) override {
    if (!refusal.ok() && submitted.size() >= refuse_after) return refusal;
    size_t at = 0;
    {
      std::lock_guard lock(mutex_);
      at = submitted.size();
      submitted.push_back({at + 1, std::move(request), std::move(callback)});
    }
    if (play_at_once) Play(at);
    if (on_submit) on_submit(at);
    return RequestId{at + 1};
  }

  void Cancel(RequestId id) override {
    std::lock_guard lock(mutex_);
    if (id >= 1 && id <= submitted.size()) submitted[id - 1].cancelled = true;
  }
  void WaitIdle() override {}
  EngineStats Stats() const override { return {}; }

  // Tokens of a text, with alternatives as the request wants them: the token before, the token after, ..
  static std::vector<TokenOutput> TokensOf(std::string_view text, int logprobs) {
    std::vector<TokenOutput> out;
    for (const char c : text) out.push_back(Token(static_cast<unsigned char>(c), logprobs));
    return out;
  }
  static TokenOutput Token(TokenId id, int logprobs) {
    TokenOutput token{.id = id, .logprob = -0.5F, .top = {}};
    for (int i = 0; i < logprobs; ++i) token.top.push_back({(id + i) % 256, -0.5F - static_cast<float>(i)});
    return token;
  }

  void Deliver(size_t at, OutputDelta delta) {
    OutputCallback callback;
    {
      std::lock_guard lock(mutex_);
      delta.request = submitted[at].id;
      callback = submitted[at].callback;
      if (delta.last) submitted[at].callback = nullptr;
    }
    callback(delta);
  }

  // The whole life of a request: its continuations take turns.
  void Play(size_t at) {
    Request request;
    {
      std::lock_guard lock(mutex_);
      request = submitted[at].request;
    }
    const int logprobs = request.sampling.logprobs;
    const auto n_prompt = static_cast<int>(request.prompt.ids->size());
    if (request.embed) {
      OutputDelta delta;
      delta.finish = FinishReason::kStop;
      delta.last = true;
      delta.embedding = embedding;
      delta.usage = {.prompt_tokens = n_prompt};
      return Deliver(at, std::move(delta));
    }
    int total = 0;
    for (size_t piece = 0; piece <= script.size(); ++piece) {
      for (int i = 0; i < request.n; ++i) {
        OutputDelta delta;
        delta.index = i;
        if (piece == 0 && i == 0 && request.prompt_logprobs >= 0) {
          for (const TokenId id : *request.prompt.ids)
            delta.prompt.push_back(Token(id, request.prompt_logprobs));
        }
        if (piece < script.size()) {
          delta.text = script[piece];
          delta.tokens = TokensOf(script[piece], logprobs);
        } else {
          delta.finish = finish;
          if (finish == FinishReason::kStop) delta.tokens = {Token(kEos, logprobs)};
          delta.last = i + 1 == request.n;
        }
        total += static_cast<int>(delta.tokens.size());
        if (delta.last) {
          delta.usage = {.prompt_tokens = n_prompt, .cached_tokens = 2, .completion_tokens = total};
          delta.queued_seconds = 0.25;
        }
        Deliver(at, std::move(delta));
      }
    }
  }

  Expected<std::vector<TokenId>> Tokenize(const std::string& text, bool add_special,
                                          bool parse_special) const override {
    std::vector<TokenId> ids;
    if (add_special) ids.push_back(kBos);
    for (size_t i = 0; i < text.size(); ++i) {
      if (parse_special && text.compare(i, 3, "<s>") == 0) {
        ids.push_back(kBos);
        i += 2;
      } else if (parse_special && text.compare(i, 4, "</s>") == 0) {
        ids.push_back(kEos);
        i += 3;
      } else {
        ids.push_back(static_cast<unsigned char>(text[i]));
      }
    }
    return ids;
  }
  std::string Detokenize(const std::vector<TokenId>& ids, bool skip_special) const override {
    std::string text;
    for (const TokenId id : ids) {
      if (id < 256 || !skip_special) text += TokenBytes(id);
    }
    return text;
  }
  std::string TokenBytes(TokenId id) const override {
    if (id == kBos) return "<s>";
    if (id == kEos) return "</s>";
    if (id == kHeader) return "<|h|>";
    return id >= 0 && id < 256 ? std::string(1, static_cast<char>(id)) : "";
  }
  const std::string& ChatTemplate() const override { return chat_template; }

  // "user: Hi</s>" for each message, then "assistant: ".
  Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat& chat, std::string* text) const override {
    const_cast<FakeEngine*>(this)->last_chat = chat;
    const auto messages = ParseJson(chat.messages_json, "messages");
    if (!messages.ok()) return messages.status();
    std::string rendered;
    for (const Json& m : *messages) {
      const std::string role = m.at("role").get<std::string>();
      if (role == "developer") return Status(StatusCode::kInvalidArgument, "Unexpected role");
      rendered += role + ": ";
      if (m.contains("content") && m["content"].is_string()) rendered += m["content"].get<std::string>();
      rendered += "</s>";
    }
    if (chat.add_generation_prompt) rendered += "assistant: ";
    if (text != nullptr) *text = rendered;
    return Tokenize(rendered, false, true);
  }
  Expected<Score> ScoreWindow(const std::vector<TokenId>&) override { return Score{}; }
  Expected<std::vector<float>> Logits(const std::vector<TokenId>&) override { return std::vector<float>(); }

 private:
  std::mutex mutex_;  // of `submitted`, for scripts played on another thread than Submit's
};

// The client's end of one answer.
class FakeResponder : public Responder {
 public:
  int status = 0;
  std::string content_type, body;
  HeaderList headers;
  bool streaming = false, finished = false;
  int answers = 0;             // must end up 1
  int writes_until_gone = -1;  // < 0: never
  std::function<void()> on_disconnect;

  void Send(int s, std::string_view type, std::string text, HeaderList extra) override {
    ++answers;
    status = s;
    content_type = type;
    body = std::move(text);
    headers = std::move(extra);
    finished = true;
  }
  void StartStream(int s, std::string_view type, HeaderList extra) override {
    ++answers;
    status = s;
    content_type = type;
    headers = std::move(extra);
    streaming = true;
  }
  bool Write(std::string bytes) override {
    LATHE_CHECK(streaming && !finished);
    if (writes_until_gone == 0) return false;
    if (writes_until_gone > 0) --writes_until_gone;
    body += bytes;
    return true;
  }
  void Finish() override {
    LATHE_CHECK(streaming && !finished);
    finished = true;
  }
  void OnDisconnect(std::function<void()> callback) override { on_disconnect = std::move(callback); }
  bool disconnected() const override { return false; }

  std::string Header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return value;
    }
    return "";
  }
  Json Body() const {
    auto parsed = ParseJson(body, "answer");
    Require(parsed.ok(), body);
    return *parsed;
  }
  // The data of each event; every line of the stream must belong to one.
  std::vector<std::string> Events() const {
    std::vector<std::string> out;
    for (size_t at = 0; at < body.size();) {
      const size_t end = body.find("\n\n", at);
      Require(end != std::string::npos, body);
      Require(body.compare(at, 6, "data: ") == 0, body);
      out.push_back(body.substr(at + 6, end - at - 6));
      LATHE_CHECK(out.back().find('\n') == std::string::npos);
      at = end + 2;
    }
    return out;
  }
};

class FakeTicket : public Admission::Ticket {
 public:
  explicit FakeTicket(int* held) : held_(held) { ++*held_; }
  ~FakeTicket() override { --*held_; }

 private:
  int* held_;
};

class FakeAdmission : public Admission {
 public:
  bool full = false;
  int held = 0, requests = 0;
  uint64_t tokens = 0;
  std::shared_ptr<Ticket> Admit(const Principal&, int n, uint64_t cost, Refusal* refusal) override {
    requests = n;
    tokens = cost;
    if (full) {
      *refusal = {
          .status = 429, .code = "queue_full", .message = "8 of 8 requests wait", .retry_after_seconds = 3};
      return nullptr;
    }
    return std::make_shared<FakeTicket>(&held);
  }
};

class FakeObserver : public Observer {
 public:
  struct Done {
    std::string route, error_code, finish;
    int http_status, prompt_tokens, cached_tokens, completion_tokens, n;
    bool streamed;
    double queued_seconds;
  };
  int first_tokens = 0, tokens = 0;
  std::vector<Done> done;
  void OnFirstToken(double) override { ++first_tokens; }
  void OnTokens(int n, double) override { tokens += n; }
  void OnDone(const RequestRecord& r) override {
    done.push_back({std::string(r.route), std::string(r.error_code), std::string(r.finish), r.http_status,
                    r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.n, r.streamed,
                    r.queued_seconds});
  }
};

// The API over the fakes.
class Fixture {
 public:
  FakeEngine engine;
  FakeAdmission admission;
  FakeObserver observer;
  ApiOptions options;
  Principal principal;

  std::shared_ptr<FakeResponder> Request(const std::string& method, const std::string& path, std::string body,
                                         const std::string& content_type = "application/json",
                                         int writes_until_gone = -1) {
    if (api_ == nullptr) {
      auto api = OpenAiApi::Create({&engine, &admission, &observer}, options);
      Require(api.ok(), api.status().message());
      api_ = *std::move(api);
      api_->Register(&router_);
    }
    auto http = std::make_shared<HttpRequest>();
    const Router::Match match = router_.Find(method, path);
    Require(match.route != nullptr, path);
    http->method = method;
    http->path = path;
    http->path_args = match.path_args;
    http->headers = {{"content-type", content_type}};
    http->body = std::move(body);
    http->request_id = "req-7";
    http->principal = principal;
    http->received = NowSeconds();
    auto responder = std::make_shared<FakeResponder>();
    responder->writes_until_gone = writes_until_gone;
    match.route->handler(http, responder);
    return responder;
  }
  std::shared_ptr<FakeResponder> Post(const std::string& path, const Json& body) {
    return Request("POST", path, DumpJson(body));
  }
  OpenAiApi& api() { return *api_; }
  Router& router() { return router_; }

 private:
  std::unique_ptr<OpenAiApi> api_;
  Router router_;
};

inline constexpr const char* kChatPath = "/v1/chat/completions";
inline constexpr const char* kTextPath = "/v1/completions";

inline Json ChatBody(const Json& more = Json::object()) {
  Json body = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  body.update(more);
  return body;
}

inline Json TextBody(const Json& more = Json::object()) {
  Json body = {{"prompt", "Once"}};
  body.update(more);
  return body;
}

inline Json Parsed(const std::string& text) {
  auto parsed = ParseJson(text, "test");
  Require(parsed.ok(), text);
  return *parsed;
}

}  // namespace lathe::serve::testing
