// Qwen2 and Qwen2.5: q, k and v always have biases, o never; a window on the upper layers where switched on.
#include "model/families/families.h"

namespace lathe {
namespace {

Status ReadQwen2(ConfigReader& config, ModelSpec* spec) {
  spec->qkv_bias = true;
  return ReadWindowedLayers(config, spec);
}

}  // namespace

constexpr Family kQwen2Family = {.name = "qwen2",
                                 .architecture = "Qwen2ForCausalLM",
                                 .defaults = {.n_kv_heads = 32},
                                 .read_differences = ReadQwen2};

}  // namespace lathe
