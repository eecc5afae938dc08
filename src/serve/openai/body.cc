#include "serve/openai/body.h"

#include "serve/openai/check_params.h"
#include "text/utf8.h"

namespace lathe::serve {

const Json* Body::Find(const char* name) const {
  const auto it = fields_.find(name);
  return it == fields_.end() || it->is_null() ? nullptr : &*it;
}

bool Body::Bool(const char* name, bool fallback) const {
  const Json* value = Find(name);
  return value == nullptr ? fallback : value->get<bool>();
}

int64_t Body::Int(const char* name, int64_t fallback) const {
  const Json* value = Find(name);
  return value == nullptr ? fallback : IntOf(*value);
}

double Body::Number(const char* name, double fallback) const {
  const Json* value = Find(name);
  return value == nullptr ? fallback : value->get<double>();
}

std::string Body::String(const char* name) const {
  const Json* value = Find(name);
  return value == nullptr ? std::string() : value->get<std::string>();
}

std::vector<std::string> Body::Strings(const char* name) const {
  const Json* value = Find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  std::vector<std::string> out;
  for (const Json& item : *value) out.push_back(item.get<std::string>());
  return out;
}

std::vector<TokenId> Body::Ids(const char* name) const {
  const Json* value = Find(name);
  std::vector<TokenId> out;
  if (value == nullptr) return out;
  for (const Json& item : *value) out.push_back(static_cast<TokenId>(IntOf(item)));
  return out;
}

Body Body::Object(const char* name) const {
  const Json* value = Find(name);
  return value == nullptr ? Body() : Body(*value);
}

int64_t IntOf(const Json& value) {
  return value.is_number_float() ? static_cast<int64_t>(value.get<double>()) : value.get<int64_t>();
}

Fault ParseBody(std::string_view text, Endpoint endpoint, const ParamTable& table, const BodyLimits& limits,
                Body* body) {
  if (!text::IsValidUtf8(text)) return BadParam("", "invalid_utf8", "the body must be UTF-8, but is not");
  auto parsed = ParseJson(text, "body", {.max_bytes = limits.max_bytes, .max_depth = limits.max_depth});
  if (!parsed.ok()) return BadParam("", "invalid_json", parsed.status().message());
  if (!parsed->is_object()) {
    return BadParam("", "invalid_json",
                    std::string("the body must be a JSON object, but is a JSON ") + parsed->type_name());
  }
  if (Fault fault = CheckParams(*parsed, endpoint, table)) return fault;
  *body = Body(*std::move(parsed));
  return std::nullopt;
}

}  // namespace lathe::serve
