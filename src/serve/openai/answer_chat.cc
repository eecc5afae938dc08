#include "serve/openai/answer.h"
#include "serve/openai/json_text.h"

namespace lathe::serve {
namespace {

constexpr std::string_view kEventEnd = "\n\n";

// Fields of a message or a delta, in order, with commas between them.
class Fields {
 public:
  explicit Fields(std::string* out) : out_(out) {}
  std::string* Key(std::string_view quoted_key_and_colon) {
    if (!first_) *out_ += ',';
    first_ = false;
    *out_ += quoted_key_and_colon;
    return out_;
  }

 private:
  std::string* out_;
  bool first_ = true;
};

void AppendCall(const ToolCallDelta& call, bool with_index, std::string* out) {
  *out += '{';
  Fields fields(out);
  if (with_index) AppendInt(call.index, fields.Key("\"index\":"));
  if (call.first) {
    AppendJsonString(call.id, fields.Key("\"id\":"));
    *fields.Key("\"type\":") += "\"function\"";
  }
  *fields.Key("\"function\":") += '{';
  Fields function(out);
  if (call.first) AppendJsonString(call.name, function.Key("\"name\":"));
  AppendJsonString(call.arguments, function.Key("\"arguments\":"));
  *out += "}}";
}

void AppendCalls(const std::vector<ToolCallDelta>& calls, bool with_index, std::string* out) {
  *out += '[';
  for (size_t i = 0; i < calls.size(); ++i) {
    if (i > 0) *out += ',';
    AppendCall(calls[i], with_index, out);
  }
  *out += ']';
}

class ChatAnswer : public Answer {
 public:
  ChatAnswer(const Job& job, int64_t created) : job_(job) {
    head_ = "{\"id\":";
    AppendJsonString(job.id, &head_);
    head_ += ",\"object\":\"chat.completion";
    event_head_ = "data: " + head_ + ".chunk\",\"created\":" + std::to_string(created) + ",\"model\":";
    head_ += "\",\"created\":" + std::to_string(created) + ",\"model\":";
    AppendJsonString(job.model, &head_);
    AppendJsonString(job.model, &event_head_);
  }

  void Begin(std::string* out) const override {
    for (int i = 0; i < job_.n_choices(); ++i) {
      *out += event_head_;
      if (i == 0 && job_.return_token_ids)
        AppendIds(job_.prompts[0].ids, &(*out += ",\"prompt_token_ids\":"));
      *out += ",\"choices\":[{\"index\":";
      AppendInt(i, out);
      *out +=
          ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]";
      Close(Usage{.prompt_tokens = static_cast<int>(job_.prompts[0].ids.size())}, out);
    }
  }

  void Event(int choice, const ChoiceText& text, const Usage& usage, std::string* out) const override {
    // As OpenAI: the last event of a choice says why it ended and nothing else.
    const bool has_text = !text.parsed.empty() || !text.chat_logprobs.empty() || !text.ids.empty();
    if (has_text) {
      Open(choice, out);
      AppendDelta(text.parsed, out);
      *out += "},\"logprobs\":";
      AppendLogprobs(text, out);
      *out += ",\"finish_reason\":null";
      if (job_.return_token_ids) AppendIds(text.ids, &(*out += ",\"token_ids\":"));
      *out += "}]";
      Close(usage, out);
    }
    if (text.finish.empty()) return;
    Open(choice, out);
    *out += "},\"logprobs\":null,\"finish_reason\":\"";
    *out += text.finish;
    *out += "\"}]";
    Close(usage, out);
  }

  void End(const Usage& usage, std::string* out) const override {
    if (job_.include_usage) {
      *out += event_head_;
      *out += ",\"choices\":[],\"usage\":" + UsageText(usage) + "}";
      *out += kEventEnd;
    }
    *out += "data: [DONE]\n\n";
  }

  std::string Whole(const std::vector<ChoiceText>& choices, const Usage& usage) const override {
    std::string out = head_ + ",\"choices\":[";
    for (size_t i = 0; i < choices.size(); ++i) {
      const ChoiceText& choice = choices[i];
      out += i > 0 ? ",{\"index\":" : "{\"index\":";
      AppendInt(static_cast<int64_t>(i), &out);
      out += ",\"message\":{\"role\":\"assistant\",\"content\":";
      const ParsedDelta& parsed = choice.parsed;
      if (parsed.content.empty() && !parsed.calls.empty())
        out += "null";
      else
        AppendJsonString(parsed.content, &out);
      out += ",\"refusal\":null";
      if (!parsed.reasoning.empty()) AppendJsonString(parsed.reasoning, &(out += ",\"reasoning_content\":"));
      if (!parsed.calls.empty())
        AppendCalls(parsed.calls, /*with_index=*/false, &(out += ",\"tool_calls\":"));
      out += "},\"logprobs\":";
      AppendLogprobs(choice, &out);
      out += ",\"finish_reason\":\"";
      out += choice.finish;
      out += '"';
      if (job_.return_token_ids) AppendIds(choice.ids, &(out += ",\"token_ids\":"));
      out += '}';
    }
    out += "],\"usage\":" + UsageText(usage);
    if (job_.return_token_ids) AppendIds(job_.prompts[0].ids, &(out += ",\"prompt_token_ids\":"));
    out += '}';
    return out;
  }

 private:
  void Open(int choice, std::string* out) const {
    *out += event_head_;
    *out += ",\"choices\":[{\"index\":";
    AppendInt(choice, out);
    *out += ",\"delta\":{";
  }

  void Close(const Usage& usage, std::string* out) const {
    if (job_.continuous_usage) {
      *out += ",\"usage\":" + UsageText(usage);
    } else if (job_.include_usage) {
      *out += ",\"usage\":null";
    }
    *out += '}';
    *out += kEventEnd;
  }

  static void AppendDelta(const ParsedDelta& parsed, std::string* out) {
    Fields fields(out);
    if (!parsed.reasoning.empty()) AppendJsonString(parsed.reasoning, fields.Key("\"reasoning_content\":"));
    if (!parsed.content.empty()) AppendJsonString(parsed.content, fields.Key("\"content\":"));
    if (!parsed.calls.empty()) AppendCalls(parsed.calls, /*with_index=*/true, fields.Key("\"tool_calls\":"));
  }

  void AppendLogprobs(const ChoiceText& text, std::string* out) const {
    if (job_.wants_logprobs())
      *out += "{\"content\":[" + text.chat_logprobs + "],\"refusal\":null}";
    else
      *out += "null";
  }

  const Job& job_;
  std::string head_, event_head_;  // up to and with the model's name
};

}  // namespace

std::unique_ptr<Answer> MakeChatAnswer(const Job& job, int64_t created) {
  return std::make_unique<ChatAnswer>(job, created);
}

std::string UsageText(const Usage& usage) {
  std::string out = "{\"prompt_tokens\":";
  AppendInt(usage.prompt_tokens, &out);
  out += ",\"completion_tokens\":";
  AppendInt(usage.completion_tokens, &out);
  out += ",\"total_tokens\":";
  AppendInt(int64_t{usage.prompt_tokens} + usage.completion_tokens, &out);
  out += ",\"prompt_tokens_details\":{\"cached_tokens\":";
  AppendInt(usage.cached_tokens, &out);
  out += "}}";
  return out;
}

}  // namespace lathe::serve
