#include "serve/openai/openapi.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "base/json.h"
#include "lathe/version.h"

namespace lathe::serve {
namespace {

Json TypeOf(const char* name, bool nullable) { return nullable ? Json::array({name, "null"}) : Json(name); }

Json Bound(double value, bool integer) {
  if (!integer) return value;
  if (value >= 9.2e18) return INT64_MAX;
  if (value <= -9.2e18) return INT64_MIN;
  return static_cast<int64_t>(value);
}

Json NumberSchema(const ParamSpec& spec, bool integer, bool nullable) {
  Json schema = {{"type", TypeOf(integer ? "integer" : "number", nullable)}};
  schema[spec.open_min ? "exclusiveMinimum" : "minimum"] = Bound(spec.min, integer);
  schema["maximum"] = Bound(spec.max, integer);
  return schema;
}

Json StringSchema(const ParamSpec& spec, bool nullable) {
  Json schema = {{"type", TypeOf("string", nullable)}};
  if (spec.min > 0) schema["minLength"] = static_cast<int64_t>(spec.min);
  if (spec.max > 0) schema["maxLength"] = static_cast<int64_t>(spec.max);
  if (spec.one_of.empty()) return schema;
  Json values = Json::array();
  for (std::string_view rest = spec.one_of; !rest.empty();) {
    const size_t bar = rest.find('|');
    values.push_back(std::string(rest.substr(0, bar)));
    rest = bar == std::string_view::npos ? std::string_view{} : rest.substr(bar + 1);
  }
  if (nullable) values.push_back(nullptr);
  schema["enum"] = std::move(values);
  return schema;
}

// Schemas of one endpoint's parameters. Recursion is as deep as the table's paths.
class Schemas {
 public:
  Schemas(const ParamTable& table, Endpoint endpoint) : table_(table), endpoint_(endpoint) {}

  Json Object(std::string_view path) const {
    Json properties = Json::object(), required = Json::array();
    for (const ParamSpec* spec : table_.Children(endpoint_, path)) {
      const std::string key = path.empty() ? spec->name : spec->name.substr(path.size() + 1);
      properties[key] = Of(*spec);
      if (spec->required) required.push_back(key);
    }
    Json schema = {{"type", "object"}};
    if (properties.empty()) return schema;  // free-form
    schema["properties"] = std::move(properties);
    if (!required.empty()) schema["required"] = std::move(required);
    schema["additionalProperties"] = false;
    return schema;
  }

 private:
  Json Of(const ParamSpec& spec) const {
    Json schema = Described(spec);
    schema["description"] = std::string(spec.meaning);
    return schema;
  }

  Json Described(const ParamSpec& spec) const {
    const bool nullable = !spec.required;
    if (spec.handling == Handling::kRefused) return RefusedSchema(spec);
    switch (spec.type) {
      case ParamType::kAny: return Json::object();
      case ParamType::kBool: return {{"type", TypeOf("boolean", nullable)}};
      case ParamType::kInt: return NumberSchema(spec, true, nullable);
      case ParamType::kNumber: return NumberSchema(spec, false, nullable);
      case ParamType::kString: return StringSchema(spec, nullable);
      case ParamType::kScalar: return {{"type", {"boolean", "number", "string", "null"}}};
      case ParamType::kStrings: return Array(StringSchema(spec, false), spec, nullable);
      case ParamType::kStringOrStrings:
        return {{"anyOf", {StringSchema(spec, nullable), Array(StringSchema(spec, false), spec, false)}}};
      case ParamType::kInts: return Array(NumberSchema(spec, true, false), spec, nullable);
      case ParamType::kPrompt: return PromptSchema(spec);
      case ParamType::kObject: return Maybe(Object(spec.name), nullable);
      case ParamType::kObjects: return Array(Object(spec.name + "[]"), spec, nullable);
      case ParamType::kStringOrObject: return {{"anyOf", {StringSchema(spec, nullable), Object(spec.name)}}};
      case ParamType::kStringOrObjects:
        return {{"anyOf", {StringSchema(spec, nullable), Array(Object(spec.name + "[]"), spec, false)}}};
      case ParamType::kBiases:
        return {{"type", TypeOf("object", nullable)},
                {"propertyNames", {{"pattern", "^[0-9]{1,10}$"}}},
                {"maxProperties", spec.max_items},
                {"additionalProperties", NumberSchema(spec, false, false)}};
    }
    return Json::object();
  }

  static Json RefusedSchema(const ParamSpec& spec) {
    if (spec.neutral.empty()) return {{"type", "null"}};
    auto neutral = ParseJson(spec.neutral, "table");
    return {{"enum", {neutral.ok() ? *std::move(neutral) : Json(), nullptr}}};
  }

  static Json Array(Json items, const ParamSpec& spec, bool nullable) {
    Json schema = {{"type", TypeOf("array", nullable)}, {"items", std::move(items)}};
    if (spec.min_items > 0) schema["minItems"] = spec.min_items;
    if (spec.max_items > 0) schema["maxItems"] = spec.max_items;
    return schema;
  }

  static Json PromptSchema(const ParamSpec& spec) {
    const Json id = {{"type", "integer"}, {"minimum", 0}, {"maximum", Bound(spec.max, true)}};
    const Json ids = {{"type", "array"}, {"items", id}, {"minItems", 1}};
    const Json strings = {
        {"type", "array"}, {"items", {{"type", "string"}}}, {"minItems", 1}, {"maxItems", spec.max_items}};
    const Json lists = {{"type", "array"}, {"items", ids}, {"minItems", 1}, {"maxItems", spec.max_items}};
    return {{"anyOf", {{{"type", "string"}}, strings, ids, lists}}};
  }

  static Json Maybe(Json object, bool nullable) {
    object["type"] = TypeOf("object", nullable);
    return object;
  }

  const ParamTable& table_;
  Endpoint endpoint_;
};

Json Ref(const char* name) { return {{"$ref", std::string("#/components/schemas/") + name}}; }

Json Content(const char* type, Json schema) { return {{type, {{"schema", std::move(schema)}}}}; }

Json ErrorAnswer(const char* description) {
  return {{"description", description}, {"content", Content("application/json", Ref("Error"))}};
}

// Answers that any route may give, besides its own.
void AddErrors(bool has_body, Json* responses) {
  (*responses)["401"] = ErrorAnswer("No key, or one that is not known.");
  (*responses)["404"] = ErrorAnswer("No such model or path.");
  (*responses)["405"] = ErrorAnswer("The path has no such method.");
  (*responses)["429"] = ErrorAnswer("The queue is full, or a limit of the key is reached; see Retry-After.");
  (*responses)["500"] = ErrorAnswer("A fault of the server, in its log under the request id.");
  (*responses)["503"] = ErrorAnswer("Starting, shutting down or out of order; see Retry-After.");
  if (!has_body) return;
  (*responses)["400"] = ErrorAnswer("The request is at fault; `param` names where.");
  (*responses)["408"] =
      ErrorAnswer("The request did not arrive in time, or its timeout passed before the answer.");
  (*responses)["413"] = ErrorAnswer("The body is too long.");
  (*responses)["415"] = ErrorAnswer("The body is not application/json.");
}

Json Post(const char* id, const char* summary, Json body, Json answer, bool streams) {
  Json content = Content("application/json", std::move(answer));
  if (streams) content["text/event-stream"] = {{"schema", Json::object()}};
  Json responses = {{"200", {{"description", "The answer."}, {"content", std::move(content)}}}};
  AddErrors(true, &responses);
  return {{"operationId", id},
          {"summary", summary},
          {"requestBody", {{"required", true}, {"content", Content("application/json", std::move(body))}}},
          {"responses", std::move(responses)}};
}

Json Get(const char* id, const char* summary, Json content) {
  Json responses = {{"200", {{"description", "The answer."}, {"content", std::move(content)}}}};
  AddErrors(false, &responses);
  return {{"operationId", id}, {"summary", summary}, {"responses", std::move(responses)}};
}

Json ModelName() {
  return Json::array({{{"name", "name"},
                       {"in", "path"},
                       {"required", true},
                       {"schema", {{"type", "string"}, {"pattern", "^[A-Za-z0-9._-]+$"}}}}});
}

Json Fields(std::vector<std::pair<const char*, Json>> fields) {
  Json properties = Json::object(), required = Json::array();
  for (auto& [name, schema] : fields) {
    properties[name] = std::move(schema);
    required.push_back(name);
  }
  return {{"type", "object"}, {"properties", std::move(properties)}, {"required", std::move(required)}};
}

Json Components() {
  const Json string = {{"type", "string"}}, integer = {{"type", "integer"}};
  const Json maybe_string = {{"type", {"string", "null"}}};
  const Json list = {{"type", "array"}, {"items", {{"type", "object"}}}};
  const Json ids = {{"type", "array"}, {"items", integer}};
  Json schemas;
  schemas["Error"] = Fields(
      {{"error",
        Fields({{"message", string}, {"type", string}, {"param", maybe_string}, {"code", maybe_string}})}});
  schemas["Usage"] = Fields({{"prompt_tokens", integer}, {"total_tokens", integer}});
  schemas["Completion"] = Fields({{"id", string},
                                  {"object", string},
                                  {"created", integer},
                                  {"model", string},
                                  {"choices", list},
                                  {"usage", Ref("Usage")}});
  schemas["Embeddings"] =
      Fields({{"object", string}, {"data", list}, {"model", string}, {"usage", Ref("Usage")}});
  schemas["Model"] = Fields({{"id", string},
                             {"object", string},
                             {"created", integer},
                             {"owned_by", string},
                             {"max_model_len", integer}});
  schemas["Models"] = Fields({{"object", string}, {"data", {{"type", "array"}, {"items", Ref("Model")}}}});
  schemas["Tokens"] = Fields({{"count", integer}, {"max_model_len", integer}, {"tokens", ids}});
  schemas["Text"] = Fields({{"prompt", string}});
  schemas["Generated"] = Fields({{"model_name", string}, {"model_version", string}, {"text_output", string}});
  schemas["Version"] = Fields({{"version", string}});
  return {{"schemas", std::move(schemas)},
          {"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}};
}

// One of two fields must be there and not null.
Json EitherField(Json schema, const char* one, const char* other, const char* other_type) {
  const auto has = [](const char* name, const char* type) -> Json {
    return {{"required", Json::array({name})}, {"properties", {{name, {{"type", type}}}}}};
  };
  schema["oneOf"] = Json::array({has(one, "string"), has(other, other_type)});
  return schema;
}

// stream_options are there only when stream is true.
Json StreamOptionsNeedStream(Json schema) {
  const Json streams = {{"required", Json::array({"stream"})},
                        {"properties", {{"stream", {{"const", true}}}}}};
  const Json no_options = {{"properties", {{"stream_options", {{"type", "null"}}}}}};
  schema["anyOf"] = Json::array({streams, no_options});
  return schema;
}

Json Probe(const char* name) {
  const Json status = Content("application/json", Fields({{"status", {{"type", "string"}}}}));
  Json probe = Get(name, "Health of the server.", status);
  probe["responses"]["503"] = {{"description", "Not now; `reason` says why."}, {"content", status}};
  return probe;
}

}  // namespace

std::string OpenApiText(const ParamTable& table) {
  const auto body = [&](Endpoint endpoint) { return Schemas(table, endpoint).Object(""); };
  const Json plain = Content("text/plain", {{"type", "string"}});
  const Json generate = EitherField(body(kGenerate), "text_input", "prompt", "string");
  Json paths;
  paths["/v1/chat/completions"]["post"] =
      Post("chat", "Answer a conversation.", StreamOptionsNeedStream(body(kChat)), Ref("Completion"), true);
  paths["/v1/completions"]["post"] = Post(
      "complete", "Continue a text.", StreamOptionsNeedStream(body(kCompletions)), Ref("Completion"), true);
  paths["/v1/embeddings"]["post"] = Post("embed", "Mean over positions of the last hidden state.",
                                         body(kEmbeddings), Ref("Embeddings"), false);
  paths["/v1/models"]["get"] = Get("models", "The served model.", Content("application/json", Ref("Models")));
  paths["/v1/models/{name}"]["get"] = Get("model", "One model.", Content("application/json", Ref("Model")));
  paths["/v1/models/{name}"]["parameters"] = ModelName();
  paths["/tokenize"]["post"] =
      Post("tokenize", "Token ids of a text or conversation.",
           EitherField(body(kTokenize), "prompt", "messages", "array"), Ref("Tokens"), false);
  paths["/detokenize"]["post"] =
      Post("detokenize", "Text of token ids.", body(kDetokenize), Ref("Text"), false);
  paths["/v2/models/{name}/generate"]["post"] =
      Post("generate", "Continue a text, as Triton does.", generate, Ref("Generated"), true);
  paths["/v2/models/{name}/generate"]["parameters"] = ModelName();
  paths["/v2/models/{name}/generate_stream"]["post"] =
      Post("generate_stream", "The same in server-sent events.", generate, Ref("Generated"), true);
  paths["/v2/models/{name}/generate_stream"]["parameters"] = ModelName();
  paths["/version"]["get"] =
      Get("version", "Version of the server.", Content("application/json", Ref("Version")));
  paths["/openapi.json"]["get"] =
      Get("openapi", "This document.", Content("application/json", {{"type", "object"}}));
  paths["/metrics"]["get"] = Get("metrics", "Prometheus metrics.", plain);
  for (const char* probe : {"livez", "readyz", "health"}) {
    paths["/" + std::string(probe)]["get"] = Probe(probe);
  }
  const Json document = {{"openapi", "3.1.0"},
                         {"info",
                          {{"title", "lathe"},
                           {"version", kVersionString},
                           {"description", "OpenAI's API over an engine that lathe has compiled."}}},
                         {"security", Json::array({{{"key", Json::array()}}, Json::object()})},
                         {"paths", std::move(paths)},
                         {"components", Components()}};
  return DumpJson(document, 1);
}

}  // namespace lathe::serve
