#include "runtime/engine/text_model.h"

#include <utility>

#include "base/json.h"
#include "formats/engine_file.h"
#include "runtime/engine/output_formats.h"
#include "text/template/chat_template.h"
#include "text/tokenizer.h"

namespace lathe {
namespace {

// What somebody sent with a request is their argument, not a corrupt file.
Expected<Json> ParseArgument(const std::string& text, const char* field, Json::value_t type,
                             const char* expected) {
  Expected<Json> json = ParseJson(text, field);
  if (!json.ok()) return Status(StatusCode::kInvalidArgument, json.status().message());
  if (json->type() == type) return json;
  return Error(StatusCode::kInvalidArgument, "%s must be a JSON %s, but is %s", field, expected,
               json->type_name());
}

class RealTextModel final : public TextModel {
 public:
  RealTextModel(Tokenizer tokenizer, std::string chat_template, std::span<const TokenId> eos_ids)
      : tokenizer_(std::move(tokenizer)),
        template_source_(std::move(chat_template)),
        template_(ParseTemplate(template_source_)),
        formats_(tokenizer_, eos_ids) {
    const std::pair<const char*, TokenId> named[] = {{"bos_token", tokenizer_.bos_id()},
                                                     {"eos_token", tokenizer_.eos_id()},
                                                     {"unk_token", tokenizer_.unk_id()},
                                                     {"pad_token", tokenizer_.pad_id()}};
    render_.template_variables.clear();  // one that the model lacks may come from a request, as its text
    for (const auto& [name, id] : named) {
      if (id < 0) continue;
      variables_[name] = tokenizer_.TokenText(id);
      render_.template_variables.push_back(name);
    }
  }

  std::vector<TokenId> Encode(const std::string& text, bool add_special, bool parse_special) const override {
    return tokenizer_.Encode(text, {.add_special_tokens = add_special, .parse_special = parse_special});
  }
  std::string Decode(std::span<const TokenId> ids, bool skip_special) const override {
    return tokenizer_.Decode(ids, skip_special);
  }
  std::unique_ptr<TextModel::Stream> NewStream(bool skip_special) const override {
    return std::make_unique<Decoding>(tokenizer_, skip_special);
  }
  std::string TokenBytes(TokenId id) const override { return tokenizer_.TokenBytes(id); }
  const std::string& ChatTemplateSource() const override { return template_source_; }
  Expected<ConstraintFactory> CompileFormat(const OutputFormat& format) const override {
    return formats_.Compile(format);
  }

  Expected<std::vector<TokenId>> RenderChat(const Prompt::Chat& chat, std::string* text) const override {
    if (!template_.ok()) return template_.status();
    LATHE_ASSIGN_OR_RETURN(const Json context, Context(chat));
    LATHE_ASSIGN_OR_RETURN(Rendered rendered, template_->Render(context, render_));
    std::vector<TextSegment> segments;
    segments.reserve(rendered.segments.size());
    for (const Rendered::Segment& s : rendered.segments) {
      segments.push_back({.text = rendered.Text(s), .is_control = !s.from_user});
    }
    // The template writes what the model wants around the text.
    std::vector<TokenId> ids = tokenizer_.EncodeSegments(segments, /*add_special_tokens=*/false);
    if (text != nullptr) *text = std::move(rendered.text);
    return ids;
  }

 private:
  class Decoding final : public TextModel::Stream {
   public:
    Decoding(const Tokenizer& tokenizer, bool skip_special) : decoder_(tokenizer, skip_special) {}
    std::string Push(TokenId id) override { return decoder_.Push(id); }
    std::string Flush() override { return decoder_.Flush(); }

   private:
    StreamDecoder decoder_;
  };

  // The variables of a render: the model's, the conversation's, and further ones of the request, which may
  // not stand in for either.
  Expected<Json> Context(const Prompt::Chat& chat) const {
    Json context = variables_;
    LATHE_ASSIGN_OR_RETURN(context["messages"],
                           ParseArgument(chat.messages_json, "messages", Json::value_t::array, "array"));
    context["tools"] = nullptr;
    context["documents"] = nullptr;
    if (!chat.tools_json.empty()) {
      LATHE_ASSIGN_OR_RETURN(context["tools"],
                             ParseArgument(chat.tools_json, "tools", Json::value_t::array, "array"));
    }
    context["add_generation_prompt"] = chat.add_generation_prompt;
    if (chat.template_args_json.empty()) return context;
    LATHE_ASSIGN_OR_RETURN(const Json further, ParseArgument(chat.template_args_json, "template arguments",
                                                             Json::value_t::object, "object"));
    for (const auto& [name, value] : further.items()) {
      if (context.contains(name) && name != "documents") {
        return Error(StatusCode::kInvalidArgument,
                     "template argument '%s' is set by the engine: choose another name or leave it out",
                     name.c_str());
      }
      context[name] = value;
    }
    return context;
  }

  static Expected<ChatTemplate> ParseTemplate(const std::string& source) {
    if (!source.empty()) return ChatTemplate::Parse(source);
    return Error(StatusCode::kUnsupported, "the model has no chat template: send a text prompt instead");
  }

  const Tokenizer tokenizer_;
  const std::string template_source_;
  const Expected<ChatTemplate> template_;
  const OutputFormats formats_;
  Json variables_ = Json::object();
  RenderOptions render_;
};

}  // namespace

std::unique_ptr<TextModel> MakeTextModel(Tokenizer tokenizer, std::string chat_template,
                                         std::span<const TokenId> eos_ids) {
  return std::make_unique<RealTextModel>(std::move(tokenizer), std::move(chat_template), eos_ids);
}

Expected<std::unique_ptr<TextModel>> LoadTextModel(const EngineReader& file, const std::string& chat_template,
                                                   std::span<const TokenId> eos_ids) {
  LATHE_ASSIGN_OR_RETURN(const std::string_view blob, file.TextBlob("tokenizer"));
  LATHE_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Deserialize(blob));
  std::string source = chat_template;
  if (!source.empty()) {
    LATHE_RETURN_IF_ERROR(ChatTemplate::Parse(source).status());
  } else if (file.HasBlob("chat_template")) {
    LATHE_ASSIGN_OR_RETURN(const std::string_view own, file.TextBlob("chat_template"));
    source = own;
  }
  return MakeTextModel(std::move(tokenizer), std::move(source), eos_ids);
}

}  // namespace lathe
