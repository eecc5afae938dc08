// Qwen3: q and k are normed per head before RoPE, the head size stands apart from the hidden size.
#include "model/families/families.h"

namespace lathe {
namespace {

Status ReadQwen3(ConfigReader& config, ModelSpec* spec) {
  spec->qk_norm = true;
  LATHE_ASSIGN_OR_RETURN(spec->qkv_bias, config.BoolOr("attention_bias", false));
  spec->o_bias = spec->qkv_bias;
  return ReadWindowedLayers(config, spec);
}

}  // namespace

constexpr Family kQwen3Family = {.name = "qwen3",
                                 .architecture = "Qwen3ForCausalLM",
                                 .defaults = {.n_kv_heads = 32, .head_dim = 128},
                                 .read_differences = ReadQwen3};

}  // namespace lathe
