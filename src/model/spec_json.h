// ModelSpec as JSON (the engine file's manifest, converted checkpoints), and what every spec must satisfy.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "model/spec.h"

namespace lathe {

// All fields; FromJson(ToJson(spec)) equals spec, floats included.
Json ToJson(const ModelSpec& spec);

// Strict inverse: a missing, unknown or ill-typed key is an error, and the result passes ValidateSpec. Safe
// on bytes from strangers. `where` names the source in messages.
Expected<ModelSpec> ModelSpecFromJson(const Json& json, const std::string& where);

// Sizes positive and below their limits (n_layers <= 1024, everything and every product of two sizes that
// makes a tensor dimension below 2^31), heads that divide, an even head_dim, one window per layer, ids within
// the vocabulary. kInvalidArgument or kUnsupported with the values.
Status ValidateSpec(const ModelSpec& spec, const std::string& where);

inline constexpr int kMaxLayers = 1024;

// Inverse of ToString(Role).
std::optional<Role> RoleFromString(std::string_view name);

}  // namespace lathe
