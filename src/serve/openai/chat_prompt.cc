#include "serve/openai/chat_prompt.h"

#include <algorithm>
#include <utility>

#include "base/status.h"

namespace lathe::serve {
namespace {

std::string At(size_t i, const char* field) { return "messages[" + std::to_string(i) + "]" + field; }

std::string JoinParts(const Json& parts) {
  std::string text;
  for (const Json& part : parts) {
    if (!text.empty()) text += '\n';
    text += part.at("text").get_ref<const std::string&>();
  }
  return text;
}

// Templates want the arguments as an object; OpenAI sends them as text.
Fault ReadArguments(const std::string& param, Json* call) {
  Json& function = (*call)["function"];
  const auto it = function.find("arguments");
  if (it == function.end() || it->is_null()) {
    function["arguments"] = Json::object();
    return std::nullopt;
  }
  if (!it->is_string()) return std::nullopt;
  const std::string& text = it->get_ref<const std::string&>();
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    *it = Json::object();
    return std::nullopt;
  }
  auto parsed = ParseJson(text, "arguments", {.max_bytes = size_t{8} << 20, .max_depth = 32});
  if (!parsed.ok() || !parsed->is_object()) {
    return BadParam(param, "invalid_value", "'" + param + "' must be the text of a JSON object, but is not");
  }
  *it = *std::move(parsed);
  return std::nullopt;
}

Fault ReadToolCalls(size_t i, Json* message) {
  const auto it = message->find("tool_calls");
  if (it == message->end()) return std::nullopt;
  if (it->is_null() || it->empty()) {
    message->erase("tool_calls");
    return std::nullopt;
  }
  if (message->at("role") != "assistant") {
    const std::string param = At(i, ".tool_calls");
    return BadParam(param, "invalid_value", "'" + param + "' belongs to messages of the assistant only");
  }
  for (size_t k = 0; k < it->size(); ++k) {
    Json& call = (*it)[k];
    call.erase("index");
    if (!call.contains("type") || call["type"].is_null()) call["type"] = "function";
    const std::string param = At(i, ".tool_calls[") + std::to_string(k) + "].function.arguments";
    if (Fault fault = ReadArguments(param, &call)) return fault;
  }
  return std::nullopt;
}

// One message as the template sees it: as it was sent, but for leftovers of OpenAI's answers.
Fault ReadMessage(size_t i, bool takes_parts, Json* message) {
  for (const char* leftover : {"refusal", "annotations", "audio", "function_call"}) message->erase(leftover);
  for (const char* optional : {"name", "tool_call_id", "reasoning_content", "reasoning"}) {
    const auto it = message->find(optional);
    if (it != message->end() && it->is_null()) message->erase(optional);
  }
  if (message->contains("reasoning")) {
    if (!message->contains("reasoning_content")) (*message)["reasoning_content"] = message->at("reasoning");
    message->erase("reasoning");
  }
  if (Fault fault = ReadToolCalls(i, message)) return fault;
  const auto content = message->find("content");
  const bool given = content != message->end() && !content->is_null();
  if (!given && message->at("role") != "assistant") {
    const std::string param = At(i, ".content");
    return BadParam(param, "missing_required_parameter",
                    "missing required parameter: '" + param + "' (only an assistant's may be null)");
  }
  if (given && content->is_array() && !takes_parts) *content = JoinParts(*content);
  return std::nullopt;
}

Fault ReadMessages(const Body& body, const Model& model, Json* messages) {
  const Json* sent = body.Find("messages");
  *messages = *sent;
  for (size_t i = 0; i < messages->size(); ++i) {
    if (Fault fault = ReadMessage(i, model.template_takes_parts, &(*messages)[i])) return fault;
  }
  return std::nullopt;
}

// The template's variables: chat_template_kwargs over reasoning_effort.
std::string TemplateArgs(const Body& body) {
  Json args = Json::object();
  const std::string effort = body.String("reasoning_effort");
  if (!effort.empty()) args["reasoning_effort"] = effort;
  if (effort == "none") args["enable_thinking"] = false;
  if (const Json* given = body.Find("chat_template_kwargs")) {
    for (const auto& [name, value] : given->items()) {
      if (!value.is_null()) args[name] = value;
    }
  }
  return args.empty() ? "" : DumpJson(args);
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// Takes off what the template put behind the last message's content. What it put there begins with a control
// token, so its ids do not depend on what stands before.
Fault OpenLastMessage(const Json& messages, const Model& model, ChatPrompt* prompt) {
  const auto refuse = [](const char* why) {
    return BadParam("continue_final_message", "invalid_value", why);
  };
  const Json& last = messages.back();
  const auto content = last.find("content");
  if (last.at("role") != "assistant" || content == last.end() || !content->is_string())
    return refuse("the last message must be the assistant's and have text to continue");
  const auto& text = content->get_ref<const std::string&>();
  const std::string_view core = Trim(text);
  const size_t at = core.empty() ? std::string::npos : prompt->text.rfind(core);
  if (at == std::string::npos)
    return refuse("the chat template does not show the last message's text as it is");
  size_t end = at + core.size();
  // White space at the end stays if the template has left it there.
  const std::string_view tail = std::string_view(text).substr(text.find(core) + core.size());
  if (prompt->text.compare(end, tail.size(), tail) == 0) end += tail.size();
  const std::string suffix = prompt->text.substr(end);
  if (suffix.empty()) return std::nullopt;
  const auto ids = model.engine->Tokenize(suffix, /*add_special=*/false, /*parse_special=*/true);
  if (!ids.ok() || ids->size() > prompt->ids.size() ||
      !std::equal(ids->rbegin(), ids->rend(), prompt->ids.rbegin()))
    return refuse("the chat template does not part the last message from what follows");
  prompt->ids.resize(prompt->ids.size() - ids->size());
  prompt->text.resize(end);
  return std::nullopt;
}

// A template that fails does so on this conversation: the client's to change.
ApiError TemplateFault(const Status& status, std::string_view request_id) {
  if (status.code() == StatusCode::kInternal || status.code() == StatusCode::kUnavailable)
    return FromStatus(status, request_id);
  return BadParam("messages", "chat_template_error",
                  "the chat template refuses these messages: " + status.message());
}

}  // namespace

bool TemplateTakesParts(std::string_view source) {
  // "{%- for part in message['content'] %}" and its spellings: a loop whose subject ends in content.
  for (size_t at = 0; (at = source.find(" in ", at)) != std::string_view::npos; ++at) {
    const size_t line = source.rfind("{%", at);
    if (line == std::string_view::npos ||
        source.substr(line, at - line).find("for ") == std::string_view::npos)
      continue;
    const size_t close = source.find("%}", at);
    if (source.substr(line, at - line).find("%}") != std::string_view::npos ||
        close == std::string_view::npos)
      continue;
    std::string_view subject = Trim(source.substr(at + 4, close - at - 4));
    if (subject.ends_with('-')) subject = Trim(subject.substr(0, subject.size() - 1));
    for (const std::string_view end : {"content", "['content']", "[\"content\"]"}) {
      if (subject.ends_with(end)) return true;
    }
  }
  return false;
}

Fault RenderChatPrompt(const Body& body, const Model& model, ChatPrompt* prompt) {
  if (model.engine->ChatTemplate().empty()) {
    return BadParam(
        "messages", "no_chat_template",
        "the served model has no chat template: use /v1/completions, or serve it with --chat-template");
  }
  Prompt::Chat chat;
  Json messages;
  if (Fault fault = ReadMessages(body, model, &messages)) return fault;
  const bool resume = body.Bool("continue_final_message", false);
  chat.add_generation_prompt = body.Bool("add_generation_prompt", true);
  if (resume && chat.add_generation_prompt) {
    return BadParam("continue_final_message", "invalid_value",
                    "'continue_final_message' needs 'add_generation_prompt' to be false");
  }
  chat.messages_json = DumpJson(messages);
  if (const Json* tools = body.Find("tools"); tools != nullptr && !tools->empty())
    chat.tools_json = DumpJson(*tools);
  chat.template_args_json = TemplateArgs(body);
  auto ids = model.engine->RenderChat(chat, &prompt->text);
  if (!ids.ok()) return TemplateFault(ids.status(), "");
  prompt->ids = *std::move(ids);
  return resume ? OpenLastMessage(messages, model, prompt) : std::nullopt;
}

}  // namespace lathe::serve
