#include "model/tensors.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

namespace lathe {
namespace {

constexpr char kEmbedName[] = "model.embed_tokens.weight";
constexpr char kLmHeadName[] = "lm_head.weight";
constexpr size_t kMaxListed = 64;  // names of one kind in a message

// Buffers that old transformers saved and every loader recomputes.
bool IsIgnorable(const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); }

void AddLayer(const ModelSpec& spec, int layer, std::vector<TensorDef>* out) {
  const int64_t hidden = spec.hidden, ffn = spec.ffn, dim = spec.head_dim;
  const int64_t q = spec.n_heads * dim, kv = spec.n_kv_heads * dim;
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const auto add = [&](Role role, const char* name, Shape shape, Split split = Split::kNone) {
    out->push_back({role, layer, prefix + name, shape, split});
  };
  add(Role::kAttnNorm, "input_layernorm.weight", {hidden});
  add(Role::kQ, "self_attn.q_proj.weight", {q, hidden}, Split::kRows);
  add(Role::kK, "self_attn.k_proj.weight", {kv, hidden}, Split::kRows);
  add(Role::kV, "self_attn.v_proj.weight", {kv, hidden}, Split::kRows);
  if (spec.qkv_bias) {
    add(Role::kQBias, "self_attn.q_proj.bias", {q}, Split::kRows);
    add(Role::kKBias, "self_attn.k_proj.bias", {kv}, Split::kRows);
    add(Role::kVBias, "self_attn.v_proj.bias", {kv}, Split::kRows);
  }
  if (spec.qk_norm) {
    add(Role::kQNorm, "self_attn.q_norm.weight", {dim});
    add(Role::kKNorm, "self_attn.k_norm.weight", {dim});
  }
  add(Role::kO, "self_attn.o_proj.weight", {hidden, q}, Split::kCols);
  if (spec.o_bias) add(Role::kOBias, "self_attn.o_proj.bias", {hidden});
  add(Role::kMlpNorm, "post_attention_layernorm.weight", {hidden});
  add(Role::kGate, "mlp.gate_proj.weight", {ffn, hidden}, Split::kRows);
  add(Role::kUp, "mlp.up_proj.weight", {ffn, hidden}, Split::kRows);
  add(Role::kDown, "mlp.down_proj.weight", {hidden, ffn}, Split::kCols);
  if (spec.mlp_bias) {
    add(Role::kGateBias, "mlp.gate_proj.bias", {ffn}, Split::kRows);
    add(Role::kUpBias, "mlp.up_proj.bias", {ffn}, Split::kRows);
    add(Role::kDownBias, "mlp.down_proj.bias", {hidden});
  }
}

// "3 tensors missing: a, b, c", shortened.
std::string Listing(const char* what, const std::vector<std::string>& items) {
  if (items.empty()) return "";
  std::string out =
      std::to_string(items.size()) + (items.size() == 1 ? " tensor " : " tensors ") + what + ": ";
  for (size_t i = 0; i < std::min(items.size(), kMaxListed); ++i) out += (i ? ", " : "") + items[i];
  if (items.size() > kMaxListed) out += " and " + std::to_string(items.size() - kMaxListed) + " more";
  return out + "; ";
}

bool SameBytes(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape &&
         std::memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

}  // namespace

std::vector<TensorDef> TensorTable(const ModelSpec& spec) {
  std::vector<TensorDef> out;
  const Shape table = {spec.vocab, spec.hidden};
  out.push_back({Role::kEmbed, -1, kEmbedName, table, Split::kNone});
  for (int layer = 0; layer < spec.n_layers; ++layer) AddLayer(spec, layer, &out);
  out.push_back({Role::kFinalNorm, -1, "model.norm.weight", {spec.hidden}, Split::kNone});
  if (!spec.tied_embeddings) out.push_back({Role::kLmHead, -1, kLmHeadName, table, Split::kRows});
  return out;
}

std::string WeightName(Role role, int layer) {
  return layer < 0 ? ToString(role) : "layers." + std::to_string(layer) + "." + ToString(role);
}

Expected<std::vector<TensorView>> MatchTensors(const std::vector<ExpectedTensor>& expected,
                                               const Checkpoint& checkpoint,
                                               bool (*ignorable)(const std::string& name)) {
  std::vector<TensorView> out;
  std::vector<std::string> missing, unexpected, wrong_shape, wrong_type;
  std::unordered_set<std::string_view> used;
  for (const ExpectedTensor& want : expected) {
    used.insert(want.name);
    const TensorView* view = checkpoint.Find(want.name);
    if (view == nullptr) {
      missing.push_back("'" + want.name + "' " + want.shape.ToString());
    } else if (!(view->shape == want.shape)) {
      wrong_shape.push_back(view->Describe() + " expected " + want.shape.ToString());
    } else if (view->dtype != DType::kBf16 && view->dtype != DType::kF16 && view->dtype != DType::kF32) {
      wrong_type.push_back(view->Describe());
    } else {
      out.push_back(*view);
    }
  }
  for (const TensorView& view : checkpoint.tensors())
    if (!used.contains(view.name) && !ignorable(view.name)) unexpected.push_back(view.Describe());
  if (missing.empty() && unexpected.empty() && wrong_shape.empty() && wrong_type.empty()) return out;
  const bool only_type = missing.empty() && unexpected.empty() && wrong_shape.empty();
  std::string message = Listing("missing", missing) + Listing("unexpected", unexpected) +
                        Listing("of another shape", wrong_shape) +
                        Listing("of an element type other than bf16, f16 and f32", wrong_type);
  message +=
      only_type
          ? "quantised checkpoints are not supported, use the original weights"
          : "config.json and weights do not belong together, or the model has parts lathe does not know";
  return Status(only_type ? StatusCode::kUnsupported : StatusCode::kCorrupt, message);
}

Expected<BoundTensors> BindTensors(const ModelSpec& spec, const Checkpoint& checkpoint) {
  ModelSpec actual = spec;
  const TensorView* embed = checkpoint.Find(kEmbedName);
  const TensorView* lm_head = checkpoint.Find(kLmHeadName);
  const bool lm_head_only = spec.tied_embeddings && embed == nullptr && lm_head != nullptr;
  const bool both = spec.tied_embeddings && embed != nullptr && lm_head != nullptr;
  if (both && !SameBytes(*embed, *lm_head)) actual.tied_embeddings = false;

  const std::vector<TensorDef> table = TensorTable(actual);
  std::vector<ExpectedTensor> expected;
  for (const TensorDef& def : table)
    expected.push_back({def.role == Role::kEmbed && lm_head_only ? kLmHeadName : def.name, def.shape});
  const bool ignore_head = both && actual.tied_embeddings;
  LATHE_ASSIGN_OR_RETURN(
      const std::vector<TensorView> views,
      MatchTensors(expected, checkpoint,
                   ignore_head
                       ? [](const std::string& name) { return IsIgnorable(name) || name == kLmHeadName; }
                       : IsIgnorable));
  BoundTensors out;
  out.tied_embeddings = actual.tied_embeddings;
  for (size_t i = 0; i < table.size(); ++i) out.tensors.push_back({table[i], views[i]});
  return out;
}

}  // namespace lathe
