// Llama 2, 3, 3.1, 3.2 and models saved as such: biases are optional.
#include "model/families/families.h"

namespace lathe {
namespace {

Status ReadLlama(ConfigReader& config, ModelSpec* spec) {
  LATHE_ASSIGN_OR_RETURN(spec->qkv_bias, config.BoolOr("attention_bias", false));
  spec->o_bias = spec->qkv_bias;
  LATHE_ASSIGN_OR_RETURN(spec->mlp_bias, config.BoolOr("mlp_bias", false));
  return Status::Ok();
}

}  // namespace

constexpr Family kLlamaFamily = {.name = "llama",
                                 .architecture = "LlamaForCausalLM",
                                 .defaults = {.bos_id = 1, .eos_id = 2},
                                 .read_differences = ReadLlama};

}  // namespace lathe
