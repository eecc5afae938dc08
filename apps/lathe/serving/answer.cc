#include "serving/answer.h"

#include <algorithm>

#include "base/clock.h"
#include "base/status.h"

namespace lathe::cli {
namespace {

constexpr size_t kMaxErrorBody = 64 << 10;

constexpr std::string_view kTextKeys[] = {"\"content\"", "\"text\"", "\"reasoning_content\"",
                                          "\"arguments\""};

// What follows a key at `at`, past blanks and the colon; npos when no colon comes.
size_t ValueAfterKey(std::string_view json, size_t at) {
  at = json.find_first_not_of(" \t", at);
  if (at == std::string_view::npos || json[at] != ':') return std::string_view::npos;
  return json.find_first_not_of(" \t", at + 1);
}

// A quote inside a JSON string has a backslash before it, so that `"key"` followed by a colon can only be a
// key.
template <typename Good>
bool AnyValue(std::string_view json, std::string_view key, const Good& good) {
  for (size_t at = json.find(key); at != std::string_view::npos; at = json.find(key, at + key.size())) {
    const size_t value = ValueAfterKey(json, at + key.size());
    if (value != std::string_view::npos && good(json.substr(value))) return true;
  }
  return false;
}

std::string Headers(const Url& url, const RequestForm& form) {
  std::string out = "Host: " + url.HostHeader() + "\r\nUser-Agent: lathe-bench\r\n";
  if (!form.api_key.empty()) out += "Authorization: Bearer " + form.api_key + "\r\n";
  return out;
}

Json ChatMessages(const LoadPrompt& prompt) {
  if (!prompt.messages.is_null()) return prompt.messages;
  return Json::array({Json{{"role", "user"}, {"content", prompt.text}}});
}

// A sentence out of an error's body: OpenAI's shape, or its first bytes.
std::string ErrorMessage(const std::string& body) {
  const auto json = ParseJson(body, "answer");
  if (json.ok() && json->is_object() && json->contains("error")) {
    const Json& error = (*json)["error"];
    if (error.is_object() && error.contains("message") && error["message"].is_string()) {
      return error["message"].get<std::string>();
    }
    if (error.is_string()) return error.get<std::string>();
  }
  return body.substr(0, 200);
}

int UsageInt(const Json& usage, const char* key) {
  const auto value = JsonIntOr(usage, key, -1, "usage");
  return value.ok() && *value >= 0 && *value <= INT32_MAX ? static_cast<int>(*value) : -1;
}

}  // namespace

std::string MakeHttpRequest(const Url& url, const RequestForm& form, const LoadPrompt& prompt, int n_tokens) {
  Json body{{"model", form.model}};
  if (form.chat) {
    body["messages"] = ChatMessages(prompt);
  } else if (!prompt.ids.empty() && form.as_ids) {
    body["prompt"] = prompt.ids;
  } else {
    body["prompt"] = prompt.text;
  }
  body["max_tokens"] = n_tokens;
  body["temperature"] = form.temperature;
  body["stream"] = true;
  if (form.ask_usage) body["stream_options"] = Json{{"include_usage", true}};
  if (form.ignore_eos) body["ignore_eos"] = true;
  body.update(form.fields);
  const std::string text = DumpJson(body);
  return "POST " + url.path + (form.chat ? "/v1/chat/completions" : "/v1/completions") + " HTTP/1.1\r\n" +
         Headers(url, form) +
         "Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: " +
         std::to_string(text.size()) + "\r\n\r\n" + text;
}

std::string MakeHttpGet(const Url& url, const RequestForm& form, const std::string& path) {
  return "GET " + url.path + path + " HTTP/1.1\r\n" + Headers(url, form) + "Accept: application/json\r\n\r\n";
}

ChunkFacts ScanChunk(std::string_view json) {
  ChunkFacts facts;
  for (const std::string_view key : kTextKeys) {
    facts.has_text = facts.has_text || AnyValue(json, key, [](std::string_view value) {
                       return value.size() > 1 && value[0] == '"' && value[1] != '"';
                     });
  }
  facts.has_text = facts.has_text || AnyValue(json, "\"token_ids\"", [](std::string_view value) {
                     return value.size() > 1 && value[0] == '[' && value[1] != ']';
                   });
  const auto not_null = [](std::string_view value) { return !value.empty() && value[0] != 'n'; };
  facts.worth_parsing = AnyValue(json, "\"usage\"", not_null) || AnyValue(json, "\"error\"", not_null);
  return facts;
}

void AnswerReader::OnHead(int status, std::string_view content_type) {
  status_ = status;
  stream_ = status == 200 && content_type.starts_with("text/event-stream");
}

void AnswerReader::OnBody(std::string_view bytes) {
  if (!stream_) {
    body_ += bytes.substr(0, kMaxErrorBody - std::min(kMaxErrorBody, body_.size()));
    return;
  }
  if (!events_.Feed(bytes, [this](std::string_view data) { OnEvent(data); })) {
    Fail("bad event", "an event of more than 16 MiB");
  }
}

void AnswerReader::OnEvent(std::string_view data) {
  if (data == "[DONE]") {
    done_ = true;
    return;
  }
  const ChunkFacts facts = ScanChunk(data);
  if (facts.has_text) {
    const double now = NowSeconds();
    if (out_->events++ == 0) {
      out_->first = now;
    } else {
      out_->gaps.push_back(static_cast<float>(now - out_->last));
    }
    out_->last = now;
  }
  if (!facts.worth_parsing) return;
  const auto json = ParseJson(data, "event");
  if (!json.ok() || !json->is_object()) {
    Fail("bad event", json.ok() ? "an event that is no object" : json.status().message());
    return;
  }
  if (json->contains("error") && !(*json)["error"].is_null()) {
    Fail("error event", ErrorMessage(std::string(data)));
  } else if (json->contains("usage") && (*json)["usage"].is_object()) {
    out_->prompt_tokens = UsageInt((*json)["usage"], "prompt_tokens");
    out_->completion_tokens = UsageInt((*json)["usage"], "completion_tokens");
  }
}

void AnswerReader::OnEnd(Failure failure, const std::string& detail) {
  out_->end = NowSeconds();
  if (status_ != 0 && status_ != 200) {
    Fail(StrFormat("http %d", status_), ErrorMessage(body_));
  } else if (failure != Failure::kNone) {
    Fail(status_ == 200 && failure == Failure::kClosed ? "cut off" : ToString(failure), detail);
  } else if (!stream_) {
    Fail("no stream", "the answer is not text/event-stream");
  } else if (!done_) {
    Fail("cut off", "the stream ended without [DONE]");
  }
}

void AnswerReader::Fail(std::string kind, std::string detail) {
  if (!out_->error.empty()) return;  // the first fault is the cause
  out_->error = std::move(kind);
  out_->detail = std::move(detail);
}

}  // namespace lathe::cli
