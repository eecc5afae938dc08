#include "text/template/chat_template.h"

#include <algorithm>
#include <utility>

#include "base/file.h"
#include "text/template/interpreter.h"
#include "text/template/parser.h"

namespace lathe {
namespace {

constexpr size_t kMaxSourceBytes = size_t{1} << 20;
constexpr size_t kMaxConfigBytes = size_t{64} << 20;

// Bytes of text in the context; walks at most `depth` levels (deeper ones fail to convert later).
size_t ContextBytes(const Json& json, int depth) {
  if (depth == 0) return 0;
  if (json.is_string()) return json.get_ref<const std::string&>().size();
  size_t bytes = sizeof(uint64_t);
  for (auto it = json.begin(); json.is_structured() && it != json.end(); ++it) {
    if (json.is_object()) bytes += it.key().size();
    bytes += ContextBytes(*it, depth - 1);
  }
  return bytes;
}

// "chat_template" of a configuration file; kNotFound if it has none.
Expected<std::string> FromConfig(const std::string& path, std::string_view name) {
  JsonLimits limits;
  limits.max_bytes = kMaxConfigBytes;
  LATHE_ASSIGN_OR_RETURN(const Json config, ReadJsonFile(path, limits));
  const auto it = config.is_object() ? config.find("chat_template") : config.end();
  if (it == config.end() || it->is_null())
    return Error(StatusCode::kNotFound, "%s: there is no chat_template", path.c_str());
  if (it->is_string()) return it->get<std::string>();
  std::string fallback;
  for (const Json& entry : *it) {
    if (!it->is_array() || !entry.is_object()) break;
    LATHE_ASSIGN_OR_RETURN(const std::string entry_name, JsonString(entry, "name", path));
    LATHE_ASSIGN_OR_RETURN(std::string source, JsonString(entry, "template", path));
    if (entry_name == name) return source;
    if (entry_name == "default") fallback = std::move(source);
  }
  if (!fallback.empty()) return fallback;
  return Error(StatusCode::kInvalidArgument,
               "%s: chat_template must be a string or a list of {name, template} with one named 'default'",
               path.c_str());
}

}  // namespace

struct ChatTemplate::Impl {
  tmpl::TemplateAst ast;
};

Expected<ChatTemplate> ChatTemplate::Parse(std::string_view source, const RenderLimits& limits) {
  if (source.size() > kMaxSourceBytes)
    return Error(StatusCode::kResourceExhausted, "the chat template has %zu bytes, at most %zu are accepted",
                 source.size(), kMaxSourceBytes);
  auto impl = std::make_shared<Impl>();
  LATHE_ASSIGN_OR_RETURN(impl->ast, tmpl::ParseTemplate(source, limits.max_depth));
  return ChatTemplate(std::move(impl));
}

bool ChatTemplate::Reads(std::string_view variable) const {
  const auto& names = impl_->ast.globals;
  return std::find(names.begin(), names.end(), variable) != names.end();
}

Expected<Rendered> ChatTemplate::Render(const Json& context, const RenderOptions& options) const {
  if (!context.is_object())
    return Status(StatusCode::kInvalidArgument, "the context of a chat template must be a JSON object");
  const RenderLimits& limits = options.limits;
  const size_t bytes = ContextBytes(context, limits.max_depth + 1);
  const size_t max_output = std::max(limits.min_output_bytes, bytes * limits.output_factor);
  tmpl::Runtime runtime(options);
  tmpl::StrBuilder out(max_output);
  tmpl::Interpreter interpreter(impl_->ast, context, runtime);
  if (!interpreter.Run(&out)) return runtime.status();
  Rendered rendered;
  size_t begin = 0;
  for (const tmpl::Span& span : out.spans()) {
    rendered.segments.push_back({begin, span.end, span.user});
    begin = span.end;
  }
  rendered.text = out.TakeText();
  return rendered;
}

Expected<std::string> LoadChatTemplateSource(const std::string& dir, std::string_view name) {
  const std::string own = dir + "/chat_template.jinja";
  if (FileExists(own)) return ReadFile(own, kMaxSourceBytes);
  for (const char* file : {"/chat_template.json", "/tokenizer_config.json"}) {
    if (!FileExists(dir + file)) continue;
    Expected<std::string> source = FromConfig(dir + file, name);
    if (source.ok() || source.status().code() != StatusCode::kNotFound) return source;
  }
  return Error(StatusCode::kNotFound,
               "%s: no chat template: there is no chat_template.jinja, and no chat_template in "
               "chat_template.json or tokenizer_config.json",
               dir.c_str());
}

}  // namespace lathe
