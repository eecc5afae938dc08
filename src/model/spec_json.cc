#include "model/spec_json.h"

#include <array>
#include <cmath>
#include <utility>

#include "formats/hf_config.h"
#include "model/rope.h"

namespace lathe {
namespace {

constexpr std::array<std::pair<Role, const char*>, 21> kRoleNames = {{
    {Role::kEmbed, "embed"},
    {Role::kFinalNorm, "final_norm"},
    {Role::kLmHead, "lm_head"},
    {Role::kAttnNorm, "attn_norm"},
    {Role::kMlpNorm, "mlp_norm"},
    {Role::kQ, "q"},
    {Role::kK, "k"},
    {Role::kV, "v"},
    {Role::kO, "o"},
    {Role::kQBias, "q_bias"},
    {Role::kKBias, "k_bias"},
    {Role::kVBias, "v_bias"},
    {Role::kOBias, "o_bias"},
    {Role::kQNorm, "q_norm"},
    {Role::kKNorm, "k_norm"},
    {Role::kGate, "gate"},
    {Role::kUp, "up"},
    {Role::kDown, "down"},
    {Role::kGateBias, "gate_bias"},
    {Role::kUpBias, "up_bias"},
    {Role::kDownBias, "down_bias"},
}};

constexpr std::pair<Activation, const char*> kActivations[] = {{Activation::kSilu, "silu"},
                                                               {Activation::kGeluTanh, "gelu_tanh"}};

Json RopeToJson(const RopeSpec& rope) {
  return {{"type", ToString(rope.type)},
          {"base", rope.base},
          {"rotary_dim", rope.rotary_dim},
          {"factor", rope.factor},
          {"original_max_positions", rope.original_max_positions},
          {"attention_factor", rope.attention_factor},
          {"inv_freq", rope.inv_freq}};
}

Expected<RopeSpec> RopeFromJson(const Json& json, const std::string& where) {
  RopeSpec out;
  ConfigReader reader(json, where, "rope.");
  LATHE_ASSIGN_OR_RETURN(const std::string type, reader.StringOr("type", ""));
  const auto known = RopeTypeFromString(type);
  if (!known) return reader.Bad(StatusCode::kCorrupt, "type", "is '" + type.substr(0, 40) + "'");
  out.type = *known;
  LATHE_ASSIGN_OR_RETURN(out.base, reader.Number("base"));
  LATHE_ASSIGN_OR_RETURN(out.rotary_dim, reader.Size("rotary_dim", 2, kMaxHeadDim));
  LATHE_ASSIGN_OR_RETURN(out.factor, reader.Number("factor"));
  LATHE_ASSIGN_OR_RETURN(out.original_max_positions, reader.Size("original_max_positions", 0, INT32_MAX));
  LATHE_ASSIGN_OR_RETURN(const double attention_factor, reader.Number("attention_factor"));
  out.attention_factor = static_cast<float>(attention_factor);
  const Json* freqs = reader.Take("inv_freq");
  if (freqs == nullptr || !freqs->is_array())
    return reader.Bad(StatusCode::kCorrupt, "inv_freq", "must be a list of numbers");
  for (const Json& freq : *freqs) {
    if (!freq.is_number()) return reader.Bad(StatusCode::kCorrupt, "inv_freq", "must be a list of numbers");
    out.inv_freq.push_back(freq.get<float>());
  }
  LATHE_RETURN_IF_ERROR(reader.Finish());
  return out;
}

Expected<std::vector<int>> IntList(ConfigReader& reader, const char* key) {
  if (reader.Take(key) == nullptr) return reader.Bad(StatusCode::kCorrupt, key, "is missing");
  LATHE_ASSIGN_OR_RETURN(const std::vector<int64_t> wide, reader.Ints(key));
  std::vector<int> out;
  for (const int64_t value : wide) {
    if (value < 0 || value > INT32_MAX)
      return reader.Bad(StatusCode::kCorrupt, key, "has a value out of range");
    out.push_back(static_cast<int>(value));
  }
  return out;
}

// The sizes and the flags; the lists, rope and names are read by ModelSpecFromJson.
Status ReadScalars(ConfigReader& reader, ModelSpec* out) {
  const std::pair<const char*, int*> sizes[] = {
      {"n_layers", &out->n_layers}, {"hidden", &out->hidden},
      {"n_heads", &out->n_heads},   {"n_kv_heads", &out->n_kv_heads},
      {"head_dim", &out->head_dim}, {"ffn", &out->ffn},
      {"vocab", &out->vocab},       {"max_positions", &out->max_positions}};
  for (const auto& [key, field] : sizes) {
    LATHE_ASSIGN_OR_RETURN(*field, reader.Size(key, 1, INT32_MAX));
  }
  const std::pair<const char*, int*> ids[] = {
      {"bos_id", &out->bos_id}, {"pad_id", &out->pad_id}, {"default_top_k", &out->default_top_k}};
  for (const auto& [key, field] : ids) {
    LATHE_ASSIGN_OR_RETURN(*field, reader.Size(key, -1, INT32_MAX));
  }
  const std::pair<const char*, bool*> flags[] = {{"tied_embeddings", &out->tied_embeddings},
                                                 {"qkv_bias", &out->qkv_bias},
                                                 {"o_bias", &out->o_bias},
                                                 {"mlp_bias", &out->mlp_bias},
                                                 {"qk_norm", &out->qk_norm},
                                                 {"default_do_sample", &out->default_do_sample}};
  for (const auto& [key, field] : flags) {
    if (reader.Take(key) == nullptr) return reader.Bad(StatusCode::kCorrupt, key, "is missing");
    LATHE_ASSIGN_OR_RETURN(*field, reader.BoolOr(key, false));
  }
  const std::pair<const char*, double*> numbers[] = {
      {"default_temperature", &out->default_temperature},
      {"default_top_p", &out->default_top_p},
      {"default_repetition_penalty", &out->default_repetition_penalty}};
  for (const auto& [key, field] : numbers) {
    LATHE_ASSIGN_OR_RETURN(*field, reader.Number(key));
  }
  LATHE_ASSIGN_OR_RETURN(const double eps, reader.Number("norm_eps"));
  out->norm_eps = static_cast<float>(eps);
  return Status::Ok();
}

}  // namespace

const char* ToString(Role role) {
  for (const auto& [known, name] : kRoleNames)
    if (known == role) return name;
  return "?";
}

std::optional<Role> RoleFromString(std::string_view name) {
  for (const auto& [role, known] : kRoleNames)
    if (name == known) return role;
  return std::nullopt;
}

Json ToJson(const ModelSpec& spec) {
  const char* activation = "";
  for (const auto& [known, name] : kActivations)
    if (known == spec.activation) activation = name;
  return {{"family", spec.family},
          {"n_layers", spec.n_layers},
          {"hidden", spec.hidden},
          {"n_heads", spec.n_heads},
          {"n_kv_heads", spec.n_kv_heads},
          {"head_dim", spec.head_dim},
          {"ffn", spec.ffn},
          {"vocab", spec.vocab},
          {"max_positions", spec.max_positions},
          {"norm_eps", spec.norm_eps},
          {"activation", activation},
          {"tied_embeddings", spec.tied_embeddings},
          {"qkv_bias", spec.qkv_bias},
          {"o_bias", spec.o_bias},
          {"mlp_bias", spec.mlp_bias},
          {"qk_norm", spec.qk_norm},
          {"rope", RopeToJson(spec.rope)},
          {"window", spec.window},
          {"eos_ids", spec.eos_ids},
          {"bos_id", spec.bos_id},
          {"pad_id", spec.pad_id},
          {"checkpoint_dtype", ToString(spec.checkpoint_dtype)},
          {"default_temperature", spec.default_temperature},
          {"default_top_p", spec.default_top_p},
          {"default_repetition_penalty", spec.default_repetition_penalty},
          {"default_top_k", spec.default_top_k},
          {"default_do_sample", spec.default_do_sample}};
}

Expected<ModelSpec> ModelSpecFromJson(const Json& json, const std::string& where) {
  if (!json.is_object())
    return Error(StatusCode::kCorrupt, "%s: the model spec is not an object", where.c_str());
  ModelSpec out;
  ConfigReader reader(json, where);
  LATHE_ASSIGN_OR_RETURN(out.family, reader.StringOr("family", ""));
  if (out.family.empty()) return reader.Bad(StatusCode::kCorrupt, "family", "is missing");
  LATHE_RETURN_IF_ERROR(ReadScalars(reader, &out));
  LATHE_ASSIGN_OR_RETURN(const std::string activation, reader.StringOr("activation", ""));
  bool known_activation = false;
  for (const auto& [known, name] : kActivations) {
    if (activation != name) continue;
    out.activation = known;
    known_activation = true;
  }
  if (!known_activation)
    return reader.Bad(StatusCode::kCorrupt, "activation", "is '" + activation.substr(0, 40) + "'");
  LATHE_ASSIGN_OR_RETURN(const std::string dtype, reader.StringOr("checkpoint_dtype", ""));
  const auto known_dtype = DTypeFromString(dtype);
  if (!known_dtype)
    return reader.Bad(StatusCode::kCorrupt, "checkpoint_dtype", "is '" + dtype.substr(0, 40) + "'");
  out.checkpoint_dtype = *known_dtype;
  LATHE_ASSIGN_OR_RETURN(out.window, IntList(reader, "window"));
  LATHE_ASSIGN_OR_RETURN(out.eos_ids, IntList(reader, "eos_ids"));
  const Json* rope = reader.Take("rope");
  if (rope == nullptr || !rope->is_object()) return reader.Bad(StatusCode::kCorrupt, "rope", "is no object");
  LATHE_ASSIGN_OR_RETURN(out.rope, RopeFromJson(*rope, where));
  LATHE_RETURN_IF_ERROR(reader.Finish());
  LATHE_RETURN_IF_ERROR(ValidateSpec(out, where));
  return out;
}

Status ValidateSpec(const ModelSpec& spec, const std::string& where) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"number of layers", spec.n_layers},
      {"hidden size", spec.hidden},
      {"number of heads", spec.n_heads},
      {"number of KV heads", spec.n_kv_heads},
      {"head size", spec.head_dim},
      {"FFN size", spec.ffn},
      {"vocabulary", spec.vocab},
      {"number of positions", spec.max_positions},
      {"heads times head size", int64_t{spec.n_heads} * spec.head_dim},
  };
  for (const auto& [name, value] : sizes)
    if (value < 1 || value > INT32_MAX)
      return Error(StatusCode::kInvalidArgument, "%s: the %s is %lld, expected 1 to 2^31 - 1", where.c_str(),
                   name, static_cast<long long>(value));
  if (spec.n_layers > kMaxLayers)
    return Error(StatusCode::kUnsupported, "%s: %d layers, at most %d are supported", where.c_str(),
                 spec.n_layers, kMaxLayers);
  if (spec.n_heads % spec.n_kv_heads != 0)
    return Error(StatusCode::kInvalidArgument, "%s: %d heads cannot share %d KV heads evenly", where.c_str(),
                 spec.n_heads, spec.n_kv_heads);
  if (spec.head_dim % 2 != 0 || spec.rope.rotary_dim > spec.head_dim || spec.rope.rotary_dim % 2 != 0 ||
      spec.rope.inv_freq.size() * 2 != static_cast<size_t>(spec.rope.rotary_dim))
    return Error(
        StatusCode::kUnsupported,
        "%s: a head size of %d with %d rotated dimensions and %zu frequencies, expected even sizes and one "
        "frequency for two dimensions",
        where.c_str(), spec.head_dim, spec.rope.rotary_dim, spec.rope.inv_freq.size());
  for (const float freq : spec.rope.inv_freq)
    if (!std::isfinite(freq))
      return Error(StatusCode::kCorrupt, "%s: a RoPE frequency is not finite", where.c_str());
  if (!(spec.norm_eps >= 0 && spec.norm_eps < 1))
    return Error(StatusCode::kInvalidArgument, "%s: a norm epsilon of %g, expected 0 to 1", where.c_str(),
                 static_cast<double>(spec.norm_eps));
  if (spec.window.size() != static_cast<size_t>(spec.n_layers))
    return Error(StatusCode::kInvalidArgument, "%s: %zu attention windows for %d layers", where.c_str(),
                 spec.window.size(), spec.n_layers);
  for (const int id : spec.eos_ids)
    if (id < 0 || id >= spec.vocab)
      return Error(StatusCode::kInvalidArgument, "%s: the end token %d is outside the vocabulary of %d",
                   where.c_str(), id, spec.vocab);
  return Status::Ok();
}

}  // namespace lathe
