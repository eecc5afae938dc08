// What Llama and its relatives share: pre-norm decoder, RMSNorm, gated MLP, RoPE, grouped-query attention. A
// family states its defaults and reads only the keys in which it differs.
#pragma once

#include <string_view>

#include "base/status.h"
#include "formats/hf_config.h"
#include "model/spec.h"

namespace lathe {

// Values the family's config class has where config.json is silent (facts: transformers v5.17).
struct LlamaLikeDefaults {
  int n_kv_heads = 0;  // 0: as many as heads
  int head_dim = 0;    // 0: hidden / heads
  int bos_id = -1;
  int eos_id = -1;
};

struct Family {
  std::string_view name;          // also config.json's model_type
  std::string_view architecture;  // in config.json's architectures
  LlamaLikeDefaults defaults;
  // Reads the keys ReadLlamaLike does not know; the shared fields of `spec` are filled already.
  Status (*read_differences)(ConfigReader& config, ModelSpec* spec);
};

// Fills everything that all families share, including rope, windows (none), tokens and dtype.
Status ReadLlamaLike(ConfigReader& config, const LlamaLikeDefaults& defaults, ModelSpec* spec);

// use_sliding_window, sliding_window, max_window_layers and layer_types, as Qwen2 and Qwen3 spell a window on
// some of the layers.
Status ReadWindowedLayers(ConfigReader& config, ModelSpec* spec);

// layer_types, where given: one for each layer, "full_attention" or "sliding_attention". Empty when absent.
Expected<std::vector<std::string>> ReadLayerTypes(ConfigReader& config, int n_layers);

}  // namespace lathe
