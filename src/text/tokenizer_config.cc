#include "text/tokenizer_config.h"

#include <algorithm>
#include <charconv>

#include "base/file.h"

namespace lathe::text {
namespace {

Status WrongKind(const char* key, const char* expected, std::string_view where) {
  return Error(StatusCode::kInvalidArgument, "%.*s: '%s' must be %s", static_cast<int>(where.size()),
               where.data(), key, expected);
}

// A token is a string or an object with "content". Empty: null or absent.
Expected<std::string> TokenContent(const Json& value, const char* key, std::string_view where) {
  if (value.is_null()) return std::string();
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object()) return JsonString(value, "content", where);
  return WrongKind(key, "a token (a string, or an object with 'content')", where);
}

Status ReadBool(const Json& json, const char* key, std::string_view where, std::optional<bool>* out) {
  if (out->has_value() || !json.contains(key) || json[key].is_null()) return Status::Ok();
  LATHE_ASSIGN_OR_RETURN(*out, JsonBoolOr(json, key, false, where));
  return Status::Ok();
}

Status ReadNamed(const Json& json, const char* key, std::string_view where, TokenizerConfig* config,
                 std::string* out) {
  if (!json.contains(key)) return Status::Ok();
  LATHE_ASSIGN_OR_RETURN(std::string content, TokenContent(json[key], key, where));
  if (content.empty()) return Status::Ok();
  config->special_tokens.push_back(content);
  if (out != nullptr && out->empty()) *out = std::move(content);
  return Status::Ok();
}

Status ReadAdditional(const Json& json, std::string_view where, TokenizerConfig* config) {
  constexpr const char* kKey = "additional_special_tokens";
  if (!json.contains(kKey) || json[kKey].is_null()) return Status::Ok();
  if (!json[kKey].is_array()) return WrongKind(kKey, "a list of tokens", where);
  for (const Json& item : json[kKey]) {
    LATHE_ASSIGN_OR_RETURN(std::string content, TokenContent(item, kKey, where));
    if (!content.empty()) config->special_tokens.push_back(std::move(content));
  }
  return Status::Ok();
}

Status ReadAddedDecoder(const Json& json, std::string_view where, TokenizerConfig* config) {
  constexpr const char* kKey = "added_tokens_decoder";
  if (!json.contains(kKey) || json[kKey].is_null()) return Status::Ok();
  if (!json[kKey].is_object()) return WrongKind(kKey, "an object from ids to tokens", where);
  for (const auto& [key, value] : json[kKey].items()) {
    AddedToken token;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (error != std::errc() || end != key.data() + key.size() || token.id < 0)
      return WrongKind(kKey, "an object whose keys are ids", where);
    LATHE_ASSIGN_OR_RETURN(token.content, JsonString(value, "content", where));
    LATHE_ASSIGN_OR_RETURN(token.special, JsonBoolOr(value, "special", false, where));
    LATHE_ASSIGN_OR_RETURN(token.lstrip, JsonBoolOr(value, "lstrip", false, where));
    LATHE_ASSIGN_OR_RETURN(token.rstrip, JsonBoolOr(value, "rstrip", false, where));
    LATHE_ASSIGN_OR_RETURN(token.single_word, JsonBoolOr(value, "single_word", false, where));
    LATHE_ASSIGN_OR_RETURN(token.normalized, JsonBoolOr(value, "normalized", !token.special, where));
    config->added.push_back(std::move(token));
  }
  return Status::Ok();
}

Status RequireObject(const Json& json, std::string_view where) {
  if (json.is_object()) return Status::Ok();
  return Error(StatusCode::kInvalidArgument, "%.*s: expected a JSON object", static_cast<int>(where.size()),
               where.data());
}

}  // namespace

Status ReadTokenizerConfigJson(const Json& json, std::string_view where, TokenizerConfig* config) {
  LATHE_RETURN_IF_ERROR(RequireObject(json, where));
  LATHE_RETURN_IF_ERROR(ReadBool(json, "add_bos_token", where, &config->add_bos_token));
  LATHE_RETURN_IF_ERROR(ReadBool(json, "add_eos_token", where, &config->add_eos_token));
  LATHE_RETURN_IF_ERROR(ReadBool(json, "add_prefix_space", where, &config->add_prefix_space));
  LATHE_RETURN_IF_ERROR(ReadBool(json, "legacy", where, &config->legacy));
  if (config->tokenizer_class.empty()) {
    LATHE_ASSIGN_OR_RETURN(config->tokenizer_class, JsonStringOr(json, "tokenizer_class", "", where));
  }
  LATHE_RETURN_IF_ERROR(ReadNamed(json, "bos_token", where, config, &config->bos_token));
  LATHE_RETURN_IF_ERROR(ReadNamed(json, "eos_token", where, config, &config->eos_token));
  LATHE_RETURN_IF_ERROR(ReadNamed(json, "pad_token", where, config, &config->pad_token));
  LATHE_RETURN_IF_ERROR(ReadNamed(json, "unk_token", where, config, &config->unk_token));
  for (const char* key : {"sep_token", "cls_token", "mask_token"})
    LATHE_RETURN_IF_ERROR(ReadNamed(json, key, where, config, nullptr));
  LATHE_RETURN_IF_ERROR(ReadAdditional(json, where, config));
  return ReadAddedDecoder(json, where, config);
}

Status ReadAddedTokensJson(const Json& json, std::string_view where, TokenizerConfig* config) {
  LATHE_RETURN_IF_ERROR(RequireObject(json, where));
  for (const auto& [content, id] : json.items()) {
    AddedToken token;
    token.content = content;
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() >= static_cast<int64_t>(kMaxVocab))
      return WrongKind(content.substr(0, 40).c_str(), "an id", where);
    token.id = id.get<int32_t>();
    token.normalized = true;
    config->added.push_back(std::move(token));
  }
  return Status::Ok();
}

Expected<TokenizerConfig> ReadTokenizerConfigDir(const std::string& dir) {
  TokenizerConfig config;
  const auto read = [&](const char* name, auto&& take) -> Status {
    const std::string path = dir + "/" + name;
    if (!FileExists(path)) return Status::Ok();
    LATHE_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path, {.max_bytes = size_t{16} << 20}));
    return take(json, path, &config);
  };
  LATHE_RETURN_IF_ERROR(read("tokenizer_config.json", ReadTokenizerConfigJson));
  LATHE_RETURN_IF_ERROR(read("special_tokens_map.json", ReadTokenizerConfigJson));
  LATHE_RETURN_IF_ERROR(read("added_tokens.json", ReadAddedTokensJson));
  return config;
}

Status ApplyConfig(const TokenizerConfig& config, VocabBuilder* builder, TokenizerSpec* spec) {
  std::vector<AddedToken> added = config.added;
  std::sort(added.begin(), added.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (const AddedToken& token : added) LATHE_RETURN_IF_ERROR(builder->AddAdded(token));
  for (const std::string& content : config.special_tokens) {
    // A name without an id would need a row that the model does not have.
    if (builder->Find(content) < 0) continue;
    AddedToken token;
    token.content = content;
    token.special = true;
    LATHE_RETURN_IF_ERROR(builder->AddAdded(std::move(token)));
  }
  const auto set = [&](const std::string& name, int32_t* id) {
    const int32_t found = name.empty() ? -1 : builder->Find(name);
    if (found >= 0) *id = found;
  };
  set(config.bos_token, &spec->bos_id);
  set(config.eos_token, &spec->eos_id);
  set(config.pad_token, &spec->pad_id);
  return Status::Ok();
}

void SetBosEos(std::optional<bool> add_bos, std::optional<bool> add_eos, TokenizerSpec* spec) {
  if (add_bos && spec->bos_id >= 0) {
    auto& ids = spec->prefix_ids;
    const bool has = !ids.empty() && ids.front() == spec->bos_id;
    if (*add_bos && !has) ids.insert(ids.begin(), spec->bos_id);
    if (!*add_bos && has) ids.erase(ids.begin());
  }
  if (add_eos && spec->eos_id >= 0) {
    auto& ids = spec->suffix_ids;
    const bool has = !ids.empty() && ids.back() == spec->eos_id;
    if (*add_eos && !has) ids.push_back(spec->eos_id);
    if (!*add_eos && has) ids.pop_back();
  }
}

}  // namespace lathe::text
