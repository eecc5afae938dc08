// ModelSpec: what a model is, as plain data. Filled by a family (src/model/families) from config.json,
// read by the compiler. Nothing here says how it is run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace lathe {

enum class RopeType : uint8_t { kDefault, kLinear, kDynamic, kYarn, kLlama3 };

// Rotary embedding, "half-split" convention of Hugging Face (rotate_half). inv_freq and attention_factor are
// final (scaling applied) except for kDynamic, whose base grows with the sequence: then the executor derives
// inv_freq for a sequence longer than `original_max_positions` from base and factor (see RopeInvFreq).
struct RopeSpec {
  RopeType type = RopeType::kDefault;
  double base = 10000.0;
  int rotary_dim = 0;              // <= head_dim
  double factor = 1.0;             // dynamic: scaling factor
  int original_max_positions = 0;  // dynamic: lengths up to this are unscaled
  float attention_factor = 1.0f;   // multiplies cos and sin (yarn)
  std::vector<float> inv_freq;     // (rotary_dim / 2)
};

enum class Activation : uint8_t { kSilu, kGeluTanh };

struct ModelSpec {
  std::string family;  // "llama", "mistral", "qwen2", "qwen3"
  int n_layers = 0;
  int hidden = 0;
  int n_heads = 0;
  int n_kv_heads = 0;
  int head_dim = 0;
  int ffn = 0;
  int vocab = 0;
  int max_positions = 0;
  float norm_eps = 1e-5f;
  Activation activation = Activation::kSilu;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // RMSNorm over head_dim of q and k, before RoPE
  RopeSpec rope;
  // (n_layers) sliding window in tokens, 0 = full attention: position p sees keys > p - window
  std::vector<int> window;
  std::vector<int> eos_ids;  // config.json + generation_config.json
  int bos_id = -1;
  int pad_id = -1;
  DType checkpoint_dtype = DType::kBf16;
  // generation_config.json defaults, <0 / NaN-free sentinel -1 = not given.
  double default_temperature = -1, default_top_p = -1, default_repetition_penalty = -1;
  int default_top_k = -1;
  bool default_do_sample = true;  // false: greedy
};

// How a weight may be cut over tensor-parallel ranks. Weights are (out_features, in_features) row-major.
enum class Split : uint8_t { kNone, kRows, kCols };

// The role a tensor plays; with `layer` (or -1) it names a weight independently of checkpoint spelling.
enum class Role : uint8_t {
  kEmbed,
  kFinalNorm,
  kLmHead,
  kAttnNorm,
  kMlpNorm,
  kQ,
  kK,
  kV,
  kO,
  kQBias,
  kKBias,
  kVBias,
  kOBias,
  kQNorm,
  kKNorm,
  kGate,
  kUp,
  kDown,
  kGateBias,
  kUpBias,
  kDownBias,
};

// "attn_norm", "q", ... as used in IR weight names ("layers.3.q").
const char* ToString(Role role);

struct TensorDef {
  Role role;
  int layer = -1;    // -1: not of a layer
  std::string name;  // in the checkpoint
  Shape shape;
  Split split = Split::kNone;  // kRows: output features are cut, kCols: input features
};

}  // namespace lathe
