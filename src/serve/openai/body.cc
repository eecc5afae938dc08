#include "serve/openai/body.h"

#include "serve/openai/check_params.h"
#include "text/utf8.h"

namespace lathe::serve {
namespace {

// Json keeps its keys in order and so looks through all of an object's for each new one; a body of a few
// megabytes in one object would take minutes. Bounds the sum of the squares of the objects' sizes, before the
// parser runs.
bool TooManyKeys(std::string_view text) {
  constexpr uint64_t kMaxWork = 100'000'000;
  std::vector<uint64_t> open;  // keys of each object (or array) that is open
  uint64_t work = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      open.push_back(0);
    } else if (c == ':' && !open.empty()) {
      work += ++open.back();
      if (work > kMaxWork) return true;
    } else if ((c == '}' || c == ']') && !open.empty()) {
      open.pop_back();
    }
  }
  return false;
}

}  // namespace

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
  if (TooManyKeys(text)) return BadParam("", "invalid_json", "the body's objects have too many keys");
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
