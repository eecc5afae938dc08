#include "model/rope.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

namespace lathe {
namespace {

constexpr std::array<std::pair<RopeType, const char*>, 5> kTypeNames = {{{RopeType::kDefault, "default"},
                                                                         {RopeType::kLinear, "linear"},
                                                                         {RopeType::kDynamic, "dynamic"},
                                                                         {RopeType::kYarn, "yarn"},
                                                                         {RopeType::kLlama3, "llama3"}}};

// Keys that files carry and the reference does not read for that type.
constexpr const char* kIgnoredByAll[] = {"finetuned"};
constexpr const char* kIgnoredUnlessOriginalCounts[] = {"original_max_position_embeddings"};

// base^(-2i / dim) in float, as torch evaluates 1 / base ** (arange(0, dim, 2) / dim).
std::vector<float> PlainInvFreq(float base, int dim) {
  std::vector<float> out(static_cast<size_t>(dim) / 2);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = 1.0f / std::pow(base, static_cast<float>(2 * i) / static_cast<float>(dim));
  return out;
}

double YarnMscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

void FillYarn(const RopeConfig& config, int original, RopeSpec* rope) {
  const int dim = rope->rotary_dim;
  const double factor = rope->factor;
  if (config.attention_factor) {
    rope->attention_factor = static_cast<float>(*config.attention_factor);
  } else if (config.mscale != 0 && config.mscale_all_dim != 0) {
    rope->attention_factor =
        static_cast<float>(YarnMscale(factor, config.mscale) / YarnMscale(factor, config.mscale_all_dim));
  } else {
    rope->attention_factor = static_cast<float>(YarnMscale(factor, 1));
  }
  // The dimension that turns `rotations` times within the original range.
  const auto correction = [&](double rotations) {
    return dim * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(config.theta));
  };
  double low = correction(config.beta_fast), high = correction(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  const float base = static_cast<float>(config.theta);
  rope->inv_freq.resize(static_cast<size_t>(dim) / 2);
  for (size_t i = 0; i < rope->inv_freq.size(); ++i) {
    const float pos_freq = std::pow(base, static_cast<float>(2 * i) / static_cast<float>(dim));
    const float extrapolated = 1.0f / pos_freq;
    const float interpolated = 1.0f / (static_cast<float>(factor) * pos_freq);
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
    const float keep = 1.0f - ramp;
    rope->inv_freq[i] = interpolated * (1.0f - keep) + extrapolated * keep;
  }
}

void FillLlama3(const RopeConfig& config, int original, RopeSpec* rope) {
  const auto factor = static_cast<float>(rope->factor);
  const auto low = static_cast<float>(config.low_freq_factor);
  const auto low_wavelen = static_cast<float>(original / config.low_freq_factor);
  const auto high_wavelen = static_cast<float>(original / config.high_freq_factor);
  const auto span = static_cast<float>(config.high_freq_factor - config.low_freq_factor);
  for (float& freq : rope->inv_freq) {
    const float wavelen = static_cast<float>(2 * std::numbers::pi) / freq;
    if (wavelen > low_wavelen) {
      freq = freq / factor;
    } else if (wavelen >= high_wavelen) {
      const float smooth = (static_cast<float>(original) / wavelen - low) / span;
      freq = (1.0f - smooth) * freq / factor + smooth * freq;
    }
  }
}

// One object of rope parameters. `theta` is used where it has none of its own.
Expected<RopeConfig> ReadParameters(ConfigReader& reader, double theta) {
  RopeConfig out;
  LATHE_ASSIGN_OR_RETURN(const std::string old_name, reader.StringOr("type", ""));
  LATHE_ASSIGN_OR_RETURN(std::string name, reader.StringOr("rope_type", old_name));
  if (name.empty()) name = "default";
  if (!old_name.empty() && old_name != name)
    return reader.Bad(StatusCode::kInvalidArgument, "type",
                      "is '" + old_name.substr(0, 40) + "' but rope_type is '" + name.substr(0, 40) + "'");
  const auto type = RopeTypeFromString(name);
  if (!type)
    return reader.Bad(StatusCode::kUnsupported, "rope_type",
                      "is '" + name.substr(0, 40) + "', expected default, linear, dynamic, yarn or llama3");
  out.type = *type;
  LATHE_ASSIGN_OR_RETURN(out.theta, reader.NumberOr("rope_theta", theta));
  LATHE_ASSIGN_OR_RETURN(const double partial, reader.NumberOr("partial_rotary_factor", 1.0));
  if (partial != 1.0)
    return reader.Bad(StatusCode::kUnsupported, "partial_rotary_factor",
                      "is not 1, which these families never use");
  reader.Ignore(kIgnoredByAll);
  if (out.type == RopeType::kDefault) {
    constexpr const char* kUnusedByDefault[] = {"factor"};
    reader.Ignore(kUnusedByDefault);
    reader.Ignore(kIgnoredUnlessOriginalCounts);
    return out;
  }
  if (reader.Take("factor") != nullptr) {
    LATHE_ASSIGN_OR_RETURN(out.factor, reader.Number("factor"));
    if (*out.factor < 1) return reader.Bad(StatusCode::kInvalidArgument, "factor", "is below 1");
  } else if (out.type != RopeType::kYarn) {
    return reader.Bad(StatusCode::kInvalidArgument, "factor",
                      "is missing, a number of at least 1 was expected");
  }
  if (out.type == RopeType::kLinear || out.type == RopeType::kDynamic) {
    reader.Ignore(kIgnoredUnlessOriginalCounts);
    return out;
  }
  if (reader.Take("original_max_position_embeddings") != nullptr) {
    LATHE_ASSIGN_OR_RETURN(out.original_max_positions,
                           reader.Size("original_max_position_embeddings", 1, INT32_MAX));
  }
  if (out.type == RopeType::kLlama3) {
    LATHE_ASSIGN_OR_RETURN(out.low_freq_factor, reader.Number("low_freq_factor"));
    LATHE_ASSIGN_OR_RETURN(out.high_freq_factor, reader.Number("high_freq_factor"));
    if (out.low_freq_factor <= 0 || out.high_freq_factor <= out.low_freq_factor)
      return reader.Bad(StatusCode::kInvalidArgument, "high_freq_factor",
                        "must exceed low_freq_factor, and that 0");
    return out;
  }
  if (reader.Take("attention_factor") != nullptr) {
    LATHE_ASSIGN_OR_RETURN(out.attention_factor, reader.Number("attention_factor"));
  }
  LATHE_ASSIGN_OR_RETURN(out.beta_fast, reader.NumberOr("beta_fast", 32));
  LATHE_ASSIGN_OR_RETURN(out.beta_slow, reader.NumberOr("beta_slow", 1));
  if (out.beta_fast == 0) out.beta_fast = 32;  // the reference reads 0 as "not given"
  if (out.beta_slow == 0) out.beta_slow = 1;
  if (out.beta_fast < 0 || out.beta_slow < 0)
    return reader.Bad(StatusCode::kInvalidArgument, "beta_fast", "and beta_slow must not be negative");
  LATHE_ASSIGN_OR_RETURN(out.mscale, reader.NumberOr("mscale", 0));
  LATHE_ASSIGN_OR_RETURN(out.mscale_all_dim, reader.NumberOr("mscale_all_dim", 0));
  LATHE_ASSIGN_OR_RETURN(out.truncate, reader.BoolOr("truncate", true));
  return out;
}

Expected<RopeConfig> ReadObject(ConfigReader& config, const char* key, const Json& value, double theta,
                                const std::string& prefix) {
  if (!value.is_object()) return config.Bad(StatusCode::kInvalidArgument, key, "must be an object or null");
  ConfigReader reader(value, config.where(), prefix);
  LATHE_ASSIGN_OR_RETURN(const RopeConfig out, ReadParameters(reader, theta));
  config.Adopt(reader);
  return out;
}

// rope_parameters of transformers 5: one object, or one for each layer type.
Expected<RopeConfig> ReadRopeParameters(ConfigReader& config, const Json& value, double theta) {
  const char* key = "rope_parameters";
  if (!value.is_object()) return config.Bad(StatusCode::kInvalidArgument, key, "must be an object or null");
  std::optional<RopeConfig> common;
  ConfigReader layers(value, config.where(), "rope_parameters.");
  for (const char* layer_type : {"full_attention", "sliding_attention"}) {
    const Json* nested = layers.Take(layer_type);
    if (nested == nullptr) continue;
    const std::string prefix = std::string("rope_parameters.") + layer_type + ".";
    LATHE_ASSIGN_OR_RETURN(const RopeConfig one, ReadObject(config, key, *nested, theta, prefix));
    if (common && !(*common == one))
      return config.Bad(StatusCode::kUnsupported, key, "differ between layer types; lathe needs them equal");
    common = one;
  }
  if (common) {
    config.Adopt(layers);
    return *common;
  }
  return ReadObject(config, key, value, theta, "rope_parameters.");
}

}  // namespace

Expected<RopeConfig> ReadRopeConfig(ConfigReader& config) {
  const bool has_theta = config.Take("rope_theta") != nullptr;
  LATHE_ASSIGN_OR_RETURN(const double theta, config.NumberOr("rope_theta", 10000.0));
  LATHE_ASSIGN_OR_RETURN(const double partial, config.NumberOr("partial_rotary_factor", 1.0));
  if (partial != 1.0)
    return config.Bad(StatusCode::kUnsupported, "partial_rotary_factor",
                      "is not 1, which these families never use");
  RopeConfig out;
  out.theta = theta;
  const Json* scaling = config.Take("rope_scaling");
  const Json* parameters = config.Take("rope_parameters");
  if (scaling != nullptr) {
    LATHE_ASSIGN_OR_RETURN(out, ReadObject(config, "rope_scaling", *scaling, theta, "rope_scaling."));
  }
  if (parameters != nullptr) {
    LATHE_ASSIGN_OR_RETURN(const RopeConfig newer, ReadRopeParameters(config, *parameters, theta));
    if (scaling != nullptr && !(newer == out))
      return config.Bad(StatusCode::kInvalidArgument, "rope_parameters",
                        "contradicts 'rope_scaling' and 'rope_theta'; remove the wrong one");
    if (has_theta && newer.theta != theta)
      return config.Bad(
          StatusCode::kInvalidArgument, "rope_parameters",
          StrFormat("has rope_theta %g, 'rope_theta' is %g; remove the wrong one", newer.theta, theta));
    out = newer;
  }
  // Some files keep it outside; the reference prefers that one for the two types that use it.
  if (config.Take("original_max_position_embeddings") != nullptr) {
    LATHE_ASSIGN_OR_RETURN(const int original, config.Size("original_max_position_embeddings", 1, INT32_MAX));
    if (out.type == RopeType::kYarn || out.type == RopeType::kLlama3) out.original_max_positions = original;
  }
  if (!(out.theta > 1)) return config.Bad(StatusCode::kInvalidArgument, "rope_theta", "must be above 1");
  return out;
}

Status FillRope(const RopeConfig& config, int head_dim, int max_positions, const std::string& where,
                RopeSpec* rope) {
  if (head_dim <= 0 || head_dim > kMaxHeadDim || head_dim % 2 != 0 ||
      (config.type == RopeType::kDynamic && head_dim < 4))
    return Error(StatusCode::kUnsupported,
                 "%s: a head_dim of %d cannot be rotated, an even one of at most %d was expected",
                 where.c_str(), head_dim, kMaxHeadDim);
  const int original = config.original_max_positions.value_or(max_positions);
  rope->type = config.type;
  rope->base = config.theta;
  rope->rotary_dim = head_dim;
  rope->original_max_positions = config.type == RopeType::kDynamic ? max_positions : original;
  rope->factor = config.factor.value_or(
      config.type == RopeType::kYarn ? static_cast<double>(max_positions) / original : 1.0);
  rope->attention_factor = 1.0f;
  rope->inv_freq = PlainInvFreq(static_cast<float>(config.theta), head_dim);
  if (config.type == RopeType::kLinear)
    for (float& freq : rope->inv_freq) freq /= static_cast<float>(rope->factor);
  if (config.type == RopeType::kYarn) FillYarn(config, original, rope);
  if (config.type == RopeType::kLlama3) FillLlama3(config, original, rope);
  for (const float freq : rope->inv_freq)
    if (!std::isfinite(freq) || !std::isfinite(rope->attention_factor))
      return Error(StatusCode::kInvalidArgument,
                   "%s: the RoPE parameters give frequencies that are not finite", where.c_str());
  return Status::Ok();
}

int RopeMaxPositions(const RopeConfig& config, int max_positions) {
  double out = max_positions;
  if (config.type == RopeType::kLinear || config.type == RopeType::kDynamic)
    out = max_positions * config.factor.value_or(1);
  if (config.type == RopeType::kYarn)
    out = std::max(out, config.original_max_positions.value_or(max_positions) * config.factor.value_or(1));
  return static_cast<int>(std::min(out, static_cast<double>(INT32_MAX)));
}

std::vector<float> RopeInvFreq(const RopeSpec& rope, int seq_len) {
  if (rope.type != RopeType::kDynamic || seq_len <= rope.original_max_positions) return rope.inv_freq;
  // In float, as the reference does once seq_len is a tensor.
  const auto factor = static_cast<float>(rope.factor);
  const float stretch =
      factor * static_cast<float>(seq_len) / static_cast<float>(rope.original_max_positions) -
      (factor - 1.0f);
  const auto exponent = static_cast<float>(static_cast<double>(rope.rotary_dim) / (rope.rotary_dim - 2));
  return PlainInvFreq(static_cast<float>(rope.base) * std::pow(stretch, exponent), rope.rotary_dim);
}

const char* ToString(RopeType type) {
  for (const auto& [known, name] : kTypeNames)
    if (known == type) return name;
  return "?";
}

std::optional<RopeType> RopeTypeFromString(std::string_view name) {
  for (const auto& [type, known] : kTypeNames)
    if (name == known) return type;
  return std::nullopt;
}

}  // namespace lathe
