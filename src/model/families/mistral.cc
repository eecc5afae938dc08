// Mistral: one sliding window for all layers, or none.
#include <limits>

#include "model/families/families.h"

namespace lathe {
namespace {

Status ReadMistral(ConfigReader& config, ModelSpec* spec) {
  // The class default applies only where the key is absent; null means no window.
  const int if_absent = config.Has("sliding_window") ? 0 : 4096;
  LATHE_ASSIGN_OR_RETURN(const int window,
                         config.SizeOr("sliding_window", if_absent, 1, std::numeric_limits<int>::max()));
  LATHE_ASSIGN_OR_RETURN(const std::vector<std::string> types, ReadLayerTypes(config, spec->n_layers));
  for (const std::string& type : types)
    if ((type == "sliding_attention") != (window > 0))
      return config.Bad(StatusCode::kUnsupported, "layer_types",
                        "differs from sliding_window, which this family applies to all layers or to none");
  spec->window.assign(static_cast<size_t>(spec->n_layers), window);
  return Status::Ok();
}

}  // namespace

constexpr Family kMistralFamily = {.name = "mistral",
                                   .architecture = "MistralForCausalLM",
                                   .defaults = {.n_kv_heads = 8, .bos_id = 1, .eos_id = 2},
                                   .read_differences = ReadMistral};

}  // namespace lathe
