// Rotary embedding frequencies, computed in the precision and order of transformers (v5.17,
// modeling_rope_utils.py), because at position 1000 a differently rounded frequency is a visible angle.
#pragma once

#include <optional>
#include <vector>

#include "base/status.h"
#include "formats/hf_config.h"
#include "model/spec.h"

namespace lathe {

// Above any model, and small enough that a hostile config costs nothing.
inline constexpr int kMaxHeadDim = 65536;

// What config.json says about RoPE, whichever of its spellings it uses.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  std::optional<double> factor = {};                 // yarn without one: max_positions / original
  std::optional<int> original_max_positions = {};    // yarn, llama3; absent: max_positions
  std::optional<double> attention_factor = {};       // yarn, over the one derived from factor and mscale
  double beta_fast = 32, beta_slow = 1;              // yarn
  double mscale = 0, mscale_all_dim = 0;             // yarn, 0: not given
  bool truncate = true;                              // yarn: round the correction range to whole dimensions
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

// Reads rope_theta, rope_scaling (transformers 4) and rope_parameters (5). Where several are given they must
// agree; parameters per layer type must be equal. Unknown keys inside are adopted by `config`.
// Errors: kUnsupported for another rope type, kInvalidArgument for contradictions and values out of range.
Expected<RopeConfig> ReadRopeConfig(ConfigReader& config);

// Fills `rope` for heads of `head_dim` and a config's max_position_embeddings. `where` for messages.
Status FillRope(const RopeConfig& config, int head_dim, int max_positions, const std::string& where,
                RopeSpec* rope);

// Positions the model can be used up to: scaling types that stretch the trained range count with their
// factor.
int RopeMaxPositions(const RopeConfig& config, int max_positions);

// The frequencies (rotary_dim / 2) that apply when the sequence has `seq_len` tokens. Only kDynamic depends
// on seq_len; all others return rope.inv_freq. transformers computes them once per forward call, from the
// highest position in it, and caches rotated keys: a prompt of P tokens is rotated with RopeInvFreq(P), a
// token generated at position p >= P with RopeInvFreq(p + 1). Hence for prompt length P: seq_len = max(P, p +
// 1).
std::vector<float> RopeInvFreq(const RopeSpec& rope, int seq_len);

// "default", "linear", ... as config.json spells them.
const char* ToString(RopeType type);
std::optional<RopeType> RopeTypeFromString(std::string_view name);

}  // namespace lathe
