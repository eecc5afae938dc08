// Chat templates: a model's own Jinja2 text that turns a conversation into its prompt.
//
// The language is the part of Jinja2 that templates published with models use, run as Hugging Face's
// transformers runs them (trim_blocks, lstrip_blocks, immutable sandbox, loop controls, its tojson,
// raise_exception, strftime_now, generation blocks). What is left out fails with kUnsupported.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "text/template/render_options.h"

namespace lathe {

// What a template rendered to, and where each byte comes from.
struct Rendered {
  // Bytes [begin, end) of the text. `from_user`: they came with the context (contents, roles, tool schemas,
  // arguments, ...); otherwise the template wrote them. Only the latter may hold control tokens.
  struct Segment {
    size_t begin = 0;
    size_t end = 0;
    bool from_user = false;
    friend bool operator==(const Segment&, const Segment&) = default;
  };

  std::string text;
  std::vector<Segment> segments;  // in order, without gaps; neighbours differ; none is empty

  std::string_view Text(const Segment& s) const {
    return std::string_view(text).substr(s.begin, s.end - s.begin);
  }
};

// A parsed template. Immutable; copies share the parse; Render may be called from many threads at once.
class ChatTemplate {
 public:
  // Errors: kInvalidArgument (syntax), kUnsupported, kResourceExhausted (nesting, size), each with the line.
  static Expected<ChatTemplate> Parse(std::string_view source, const RenderLimits& limits = {});

  // Renders with the variables in `context`, a JSON object: messages, tools, add_generation_prompt,
  // bos_token, eos_token and whatever else the template reads. Errors: kInvalidArgument where the reference
  // raises (the message of raise_exception is the status' message as it stands, others name the template's
  // line), kResourceExhausted and kDeadlineExceeded for the limits, kUnsupported.
  Expected<Rendered> Render(const Json& context, const RenderOptions& options = {}) const;

  // Does the template read this variable anywhere ("tools", "enable_thinking")? Otherwise giving it is
  // without effect.
  bool Reads(std::string_view variable) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

// The template text of a model directory: chat_template.jinja, else "chat_template" of chat_template.json or
// of tokenizer_config.json, which is a string or a list of {name, template}: `name` is picked, or "default"
// when there is none of that name. kNotFound when the directory has none.
Expected<std::string> LoadChatTemplateSource(const std::string& dir, std::string_view name = "default");

}  // namespace lathe
