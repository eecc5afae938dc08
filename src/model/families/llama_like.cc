#include "model/families/llama_like.h"

#include <limits>

#include "model/rope.h"
#include "model/spec_json.h"

namespace lathe {
namespace {

constexpr int64_t kMaxSize = std::numeric_limits<int>::max();

Expected<Activation> ReadActivation(ConfigReader& config) {
  LATHE_ASSIGN_OR_RETURN(const std::string name, config.StringOr("hidden_act", "silu"));
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::kGeluTanh;
  return config.Bad(StatusCode::kUnsupported, "hidden_act",
                    "is '" + name.substr(0, 40) + "', expected silu or gelu_pytorch_tanh");
}

// Real files give ids such as -1 or one past the vocabulary for "none".
int IdOrNone(int64_t id, int vocab) { return id >= 0 && id < vocab ? static_cast<int>(id) : -1; }

Status ReadTokenIds(ConfigReader& config, const LlamaLikeDefaults& defaults, ModelSpec* spec) {
  // null says "none"; the class default stands only where the key is absent.
  const int64_t bos_default = config.Has("bos_token_id") ? -1 : defaults.bos_id;
  LATHE_ASSIGN_OR_RETURN(const int64_t bos, config.IntOr("bos_token_id", bos_default));
  LATHE_ASSIGN_OR_RETURN(const int64_t pad, config.IntOr("pad_token_id", -1));
  LATHE_ASSIGN_OR_RETURN(const std::vector<int64_t> eos, config.Ints("eos_token_id"));
  spec->bos_id = IdOrNone(bos, spec->vocab);
  spec->pad_id = IdOrNone(pad, spec->vocab);
  for (const int64_t id : eos)
    if (IdOrNone(id, spec->vocab) >= 0) spec->eos_ids.push_back(static_cast<int>(id));
  return Status::Ok();
}

}  // namespace

Status ReadLlamaLike(ConfigReader& config, const LlamaLikeDefaults& defaults, ModelSpec* spec) {
  LATHE_ASSIGN_OR_RETURN(spec->n_layers, config.Size("num_hidden_layers", 1, kMaxLayers));
  LATHE_ASSIGN_OR_RETURN(spec->hidden, config.Size("hidden_size", 1, kMaxSize));
  LATHE_ASSIGN_OR_RETURN(spec->ffn, config.Size("intermediate_size", 1, kMaxSize));
  LATHE_ASSIGN_OR_RETURN(spec->vocab, config.Size("vocab_size", 1, kMaxSize));
  LATHE_ASSIGN_OR_RETURN(const int positions, config.Size("max_position_embeddings", 1, kMaxSize));
  LATHE_ASSIGN_OR_RETURN(spec->n_heads, config.Size("num_attention_heads", 1, kMaxSize));
  const bool kv_given = config.Has("num_key_value_heads");
  const int kv_default = kv_given || defaults.n_kv_heads == 0 ? spec->n_heads : defaults.n_kv_heads;
  LATHE_ASSIGN_OR_RETURN(spec->n_kv_heads, config.SizeOr("num_key_value_heads", kv_default, 1, kMaxSize));
  LATHE_ASSIGN_OR_RETURN(spec->head_dim, config.SizeOr("head_dim", defaults.head_dim, 1, kMaxSize));
  if (spec->head_dim == 0) {
    if (spec->hidden % spec->n_heads != 0)
      return config.Bad(StatusCode::kInvalidArgument, "hidden_size",
                        StrFormat("of %d is no multiple of the %d heads, and head_dim is not given",
                                  spec->hidden, spec->n_heads));
    spec->head_dim = spec->hidden / spec->n_heads;
  }
  LATHE_ASSIGN_OR_RETURN(const double eps, config.NumberOr("rms_norm_eps", 1e-6));
  spec->norm_eps = static_cast<float>(eps);
  LATHE_ASSIGN_OR_RETURN(spec->activation, ReadActivation(config));
  LATHE_ASSIGN_OR_RETURN(spec->tied_embeddings, config.BoolOr("tie_word_embeddings", false));
  LATHE_ASSIGN_OR_RETURN(const std::optional<DType> dtype, ReadConfigDType(config));
  spec->checkpoint_dtype = dtype.value_or(DType::kF32);
  LATHE_RETURN_IF_ERROR(ReadTokenIds(config, defaults, spec));
  LATHE_ASSIGN_OR_RETURN(const RopeConfig rope, ReadRopeConfig(config));
  LATHE_RETURN_IF_ERROR(FillRope(rope, spec->head_dim, positions, config.where(), &spec->rope));
  spec->max_positions = RopeMaxPositions(rope, positions);
  spec->window.assign(static_cast<size_t>(spec->n_layers), 0);
  return Status::Ok();
}

Expected<std::vector<std::string>> ReadLayerTypes(ConfigReader& config, int n_layers) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<std::string> types, config.Strings("layer_types"));
  if (!types.empty() && types.size() != static_cast<size_t>(n_layers))
    return config.Bad(StatusCode::kInvalidArgument, "layer_types",
                      StrFormat("has %zu entries for %d layers", types.size(), n_layers));
  for (const std::string& type : types)
    if (type != "full_attention" && type != "sliding_attention")
      return config.Bad(StatusCode::kUnsupported, "layer_types",
                        "has '" + type.substr(0, 40) + "', expected full_attention or sliding_attention");
  return types;
}

Status ReadWindowedLayers(ConfigReader& config, ModelSpec* spec) {
  LATHE_ASSIGN_OR_RETURN(const bool use, config.BoolOr("use_sliding_window", false));
  const bool given = config.Has("sliding_window");
  LATHE_ASSIGN_OR_RETURN(int window, config.SizeOr("sliding_window", given ? 0 : 4096, 1, kMaxSize));
  LATHE_ASSIGN_OR_RETURN(const int first, config.SizeOr("max_window_layers", 28, 0, kMaxSize));
  LATHE_ASSIGN_OR_RETURN(const std::vector<std::string> types, ReadLayerTypes(config, spec->n_layers));
  if (!use) window = 0;
  for (int layer = 0; layer < spec->n_layers; ++layer) {
    const auto i = static_cast<size_t>(layer);
    const bool sliding = types.empty() ? layer >= first : types[i] == "sliding_attention";
    if (!types.empty() && sliding && window == 0)
      return config.Bad(StatusCode::kInvalidArgument, "layer_types",
                        "has sliding_attention, but use_sliding_window is false or sliding_window null");
    spec->window[i] = sliding ? window : 0;
  }
  return Status::Ok();
}

}  // namespace lathe
