#include "formats/hf_config.h"

#include <array>
#include <cmath>

#include "base/file.h"

namespace lathe {
namespace {

// A value short enough to quote.
std::string Quote(const Json& value) { return DumpJson(value).substr(0, 80); }

constexpr const char* kIgnored[] = {
    // Who wrote the file, and training.
    "_name_or_path", "_commit_hash", "_attn_implementation", "_attn_implementation_autoset",
    "attn_implementation", "transformers_version", "torchscript", "initializer_range", "initializer_factor",
    "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "pretraining_tp",
    "gradient_checkpointing", "output_attentions", "output_hidden_states", "output_scores", "return_dict",
    "return_dict_in_generate", "use_return_dict", "use_cache", "keys_to_ignore_at_inference", "auto_map",
    "task_specific_params", "problem_type", "id2label", "label2id", "num_labels", "finetuning_task",
    "tokenizer_class", "name_or_path", "use_bfloat16", "tf_legacy_loss", "prefix", "unsloth_version",
    "unsloth_fixed", "model_max_length", "_flash_attn_2_enabled", "is_decoder",
    // Wishes for generate() that older versions kept here.
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "max_length",
    "min_length", "max_new_tokens", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
    "diversity_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "num_return_sequences", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id", "sep_token_id",
    "decoder_start_token_id"};

constexpr const char* kMustBeOff[] = {"is_encoder_decoder",
                                      "add_cross_attention",
                                      "cross_attention_hidden_size",
                                      "tie_encoder_decoder",
                                      "chunk_size_feed_forward",
                                      "pruned_heads",
                                      "per_layer_config",
                                      "use_mrope"};

bool IsOff(const Json& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();
}

}  // namespace

ConfigReader::ConfigReader(const Json& object, std::string where, std::string prefix)
    : object_(object), where_(std::move(where)), prefix_(std::move(prefix)) {}

const Json* ConfigReader::Take(const char* key) {
  used_.insert(key);
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

Status ConfigReader::Bad(StatusCode code, const char* key, const std::string& what) const {
  return Error(code, "%s: '%s%s' %s", where_.c_str(), prefix_.c_str(), key, what.c_str());
}

Expected<int64_t> ConfigReader::Int(const char* key) {
  if (Take(key) == nullptr)
    return Bad(StatusCode::kInvalidArgument, key, "is missing, an integer was expected");
  return JsonInt(object_, key, where_);
}

Expected<int64_t> ConfigReader::IntOr(const char* key, int64_t fallback) {
  return Take(key) == nullptr ? Expected<int64_t>(fallback) : Int(key);
}

Expected<double> ConfigReader::Number(const char* key) {
  if (Take(key) == nullptr)
    return Bad(StatusCode::kInvalidArgument, key, "is missing, a number was expected");
  LATHE_ASSIGN_OR_RETURN(const double value, JsonNumber(object_, key, where_));
  if (!std::isfinite(value)) return Bad(StatusCode::kInvalidArgument, key, "is not finite");
  return value;
}

Expected<double> ConfigReader::NumberOr(const char* key, double fallback) {
  return Take(key) == nullptr ? Expected<double>(fallback) : Number(key);
}

Expected<bool> ConfigReader::BoolOr(const char* key, bool fallback) {
  used_.insert(key);
  return JsonBoolOr(object_, key, fallback, where_);
}

Expected<std::string> ConfigReader::StringOr(const char* key, std::string_view fallback) {
  used_.insert(key);
  return JsonStringOr(object_, key, fallback, where_);
}

Expected<int> ConfigReader::Size(const char* key, int64_t low, int64_t high) {
  LATHE_ASSIGN_OR_RETURN(const int64_t value, Int(key));
  if (value < low || value > high)
    return Bad(StatusCode::kInvalidArgument, key,
               StrFormat("is %lld, expected %lld to %lld", static_cast<long long>(value),
                         static_cast<long long>(low), static_cast<long long>(high)));
  return static_cast<int>(value);
}

Expected<int> ConfigReader::SizeOr(const char* key, int fallback, int64_t low, int64_t high) {
  return Take(key) == nullptr ? Expected<int>(fallback) : Size(key, low, high);
}

Expected<std::vector<int64_t>> ConfigReader::Ints(const char* key) {
  const Json* value = Take(key);
  std::vector<int64_t> out;
  if (value == nullptr) return out;
  if (!value->is_array()) {
    LATHE_ASSIGN_OR_RETURN(const int64_t one, Int(key));
    return std::vector<int64_t>{one};
  }
  if (value->size() > kMaxListItems)
    return Bad(StatusCode::kInvalidArgument, key,
               StrFormat("has %zu items, at most %zu are accepted", value->size(), kMaxListItems));
  for (const Json& item : *value) {
    if (!item.is_number_integer())
      return Bad(StatusCode::kInvalidArgument, key, "must be integers, found " + Quote(item));
    out.push_back(item.get<int64_t>());
  }
  return out;
}

Expected<std::vector<std::string>> ConfigReader::Strings(const char* key) {
  const Json* value = Take(key);
  std::vector<std::string> out;
  if (value == nullptr) return out;
  if (!value->is_array())
    return Bad(StatusCode::kInvalidArgument, key, "must be a list of strings, found " + Quote(*value));
  for (const Json& item : *value) {
    if (!item.is_string())
      return Bad(StatusCode::kInvalidArgument, key, "must be a list of strings, found " + Quote(item));
    out.push_back(item.get<std::string>());
  }
  return out;
}

void ConfigReader::Ignore(std::span<const char* const> keys) {
  for (const char* key : keys) used_.insert(key);
}

Status ConfigReader::IgnoreWhenOff(std::span<const char* const> keys) {
  for (const char* key : keys) {
    const Json* value = Take(key);
    if (value != nullptr && !IsOff(*value))
      return Bad(StatusCode::kUnsupported, key, "is " + Quote(*value) + ", a feature lathe does not have");
  }
  return Status::Ok();
}

void ConfigReader::Adopt(const ConfigReader& child) {
  for (std::string& key : child.Unknown()) adopted_.push_back(std::move(key));
}

std::vector<std::string> ConfigReader::Unknown() const {
  std::vector<std::string> out;
  for (const auto& [key, value] : object_.items())
    if (!used_.contains(key)) out.push_back(prefix_ + key.substr(0, 80));
  out.insert(out.end(), adopted_.begin(), adopted_.end());
  return out;
}

Status ConfigReader::Finish() const {
  const std::vector<std::string> keys = Unknown();
  if (keys.empty()) return Status::Ok();
  std::string list;
  for (const std::string& key : keys) list += (list.empty() ? "'" : ", '") + key + "'";
  return Error(
      StatusCode::kUnsupported,
      "%s: %zu unknown key%s: %s; the model may need something lathe does not do (remove a key only if you "
      "know it has no effect)",
      where_.c_str(), keys.size(), keys.size() == 1 ? "" : "s", list.c_str());
}

Expected<std::optional<DType>> ReadConfigDType(ConfigReader& config) {
  std::optional<DType> out;
  for (const char* key : {"dtype", "torch_dtype"}) {
    LATHE_ASSIGN_OR_RETURN(std::string name, config.StringOr(key, ""));
    if (name.empty()) continue;
    if (name.starts_with("torch.")) name = name.substr(6);
    DType type;
    if (name == "bfloat16")
      type = DType::kBf16;
    else if (name == "float16")
      type = DType::kF16;
    else if (name == "float32")
      type = DType::kF32;
    else
      return config.Bad(StatusCode::kUnsupported, key,
                        "is '" + name.substr(0, 40) + "', expected bfloat16, float16 or float32");
    if (out && *out != type)
      return config.Bad(StatusCode::kInvalidArgument, key, "contradicts 'dtype'; remove the wrong one");
    out = type;
  }
  return out;
}

std::span<const char* const> CommonIgnoredKeys() { return kIgnored; }
std::span<const char* const> CommonMustBeOffKeys() { return kMustBeOff; }

Expected<GenerationDefaults> ReadGenerationConfig(const std::string& dir) {
  const std::string path = dir + "/generation_config.json";
  if (!FileExists(path)) return GenerationDefaults();
  LATHE_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path, {.max_bytes = 1 << 20, .max_depth = 16}));
  return ReadGenerationConfig(json, path);
}

Expected<GenerationDefaults> ReadGenerationConfig(const Json& json, const std::string& where) {
  if (!json.is_object()) return Error(StatusCode::kCorrupt, "%s: not a JSON object", where.c_str());
  GenerationDefaults out;
  ConfigReader reader(json, where);
  LATHE_ASSIGN_OR_RETURN(out.eos_ids, reader.Ints("eos_token_id"));
  LATHE_ASSIGN_OR_RETURN(out.bos_id, reader.IntOr("bos_token_id", -1));
  LATHE_ASSIGN_OR_RETURN(const std::vector<int64_t> pads, reader.Ints("pad_token_id"));
  if (!pads.empty()) out.pad_id = pads[0];
  LATHE_ASSIGN_OR_RETURN(out.temperature, reader.NumberOr("temperature", -1));
  LATHE_ASSIGN_OR_RETURN(out.top_p, reader.NumberOr("top_p", -1));
  LATHE_ASSIGN_OR_RETURN(out.repetition_penalty, reader.NumberOr("repetition_penalty", -1));
  LATHE_ASSIGN_OR_RETURN(out.top_k, reader.SizeOr("top_k", -1, 0, 1 << 30));
  LATHE_ASSIGN_OR_RETURN(out.do_sample, reader.BoolOr("do_sample", true));
  if (reader.Take("temperature") != nullptr && out.temperature < 0)
    return reader.Bad(StatusCode::kInvalidArgument, "temperature", "is negative");
  if (reader.Take("top_p") != nullptr && (out.top_p <= 0 || out.top_p > 1))
    return reader.Bad(StatusCode::kInvalidArgument, "top_p", "must be above 0 and at most 1");
  if (reader.Take("repetition_penalty") != nullptr && out.repetition_penalty <= 0)
    return reader.Bad(StatusCode::kInvalidArgument, "repetition_penalty", "must be above 0");
  return out;
}

}  // namespace lathe
