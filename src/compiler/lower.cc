#include "compiler/lower.h"

#include <utility>
#include <vector>

#include "base/status.h"
#include "model/tensors.h"

namespace lathe {
namespace {

using ir::Attr;
using ir::Op;
using ir::OpCode;
using ir::Rows;
using ir::WeightRef;

ir::WeightDecl Declare(const ModelSpec& spec, const TensorDef& def) {
  ir::WeightDecl decl{WeightName(def.role, def.layer), def.shape};
  if (def.split == Split::kRows) decl.split = ir::SplitSide::kRows;
  if (def.split == Split::kCols) decl.split = ir::SplitSide::kCols;
  // The lookup needs the whole table on every rank; the logits of a tied model are cut as an lm_head is.
  if (def.role == Role::kEmbed && spec.tied_embeddings) decl.split = ir::SplitSide::kRows;
  switch (def.role) {
    case Role::kQ:
    case Role::kK:
    case Role::kV:
    case Role::kO:
    case Role::kQBias:
    case Role::kKBias:
    case Role::kVBias: decl.split_unit = spec.head_dim; break;
    default: break;
  }
  return decl;
}

// Appends ops; value numbers count up.
class Lowering {
 public:
  explicit Lowering(const ModelSpec& spec) : spec_(spec) {}

  ir::Graph Run() {
    for (const TensorDef& def : TensorTable(spec_)) graph_.weights.push_back(Declare(spec_, def));
    int x = Emit(OpCode::kEmbed, {}, spec_.hidden, {Weight(Role::kEmbed)});
    for (int layer = 0; layer < spec_.n_layers; ++layer) {
      layer_ = layer;
      x = Emit(OpCode::kAdd, {x, Attention(Norm(x, Role::kAttnNorm))}, spec_.hidden);
      x = Emit(OpCode::kAdd, {x, Mlp(Norm(x, Role::kMlpNorm))}, spec_.hidden);
    }
    layer_ = -1;
    rows_ = Rows::kLogits;
    x = Norm(Emit(OpCode::kSelectRows, {x}, spec_.hidden), Role::kFinalNorm);
    x = Emit(OpCode::kMatmul, {x}, spec_.vocab,
             {Weight(spec_.tied_embeddings ? Role::kEmbed : Role::kLmHead)});
    graph_.ops.push_back({.code = OpCode::kOutput, .operands = {x}});
    return std::move(graph_);
  }

 private:
  WeightRef Weight(Role role) const { return {.name = WeightName(role, layer_)}; }

  int Emit(OpCode code, std::vector<int> operands, int64_t width, std::vector<WeightRef> weights = {},
           std::vector<Attr> attrs = {}) {
    graph_.ops.push_back({.code = code,
                          .results = {{next_, {DType::kF32, rows_, width}}},
                          .operands = std::move(operands),
                          .weights = std::move(weights),
                          .attrs = std::move(attrs)});
    return next_++;
  }

  int Norm(int x, Role gain) {
    return Emit(OpCode::kRmsNorm, {x}, spec_.hidden, {Weight(gain)}, {{"eps", spec_.norm_eps}});
  }

  int Matmul(int x, int64_t width, Role weight, bool has_bias, Role bias) {
    const int y = Emit(OpCode::kMatmul, {x}, width, {Weight(weight)});
    if (has_bias) graph_.ops.back().biases = {Weight(bias)};
    return y;
  }

  // The q or k heads, normed when the model does that, and rotated.
  int Rotate(int x, int64_t width, Role gain) {
    const int64_t dim = spec_.head_dim;
    if (spec_.qk_norm)
      x = Emit(OpCode::kHeadRmsNorm, {x}, width, {Weight(gain)},
               {{"head_dim", dim}, {"eps", spec_.norm_eps}});
    return Emit(OpCode::kRope, {x}, width, {},
                {{"head_dim", dim}, {"rotary_dim", int64_t{spec_.rope.rotary_dim}}});
  }

  int Attention(int x) {
    const int64_t dim = spec_.head_dim, q_width = spec_.n_heads * dim, kv_width = spec_.n_kv_heads * dim;
    int q = Matmul(x, q_width, Role::kQ, spec_.qkv_bias, Role::kQBias);
    int k = Matmul(x, kv_width, Role::kK, spec_.qkv_bias, Role::kKBias);
    const int v = Matmul(x, kv_width, Role::kV, spec_.qkv_bias, Role::kVBias);
    q = Rotate(q, q_width, Role::kQNorm);
    k = Rotate(k, kv_width, Role::kKNorm);
    graph_.ops.push_back({.code = OpCode::kKvAppend,
                          .operands = {k, v},
                          .attrs = {{"layer", int64_t{layer_}}, {"head_dim", dim}}});
    const int y = Emit(OpCode::kAttention, {q}, q_width, {},
                       {{"layer", int64_t{layer_}},
                        {"n_heads", int64_t{spec_.n_heads}},
                        {"n_kv_heads", int64_t{spec_.n_kv_heads}},
                        {"head_dim", dim},
                        {"window", int64_t{spec_.window[static_cast<size_t>(layer_)]}}});
    return Matmul(y, spec_.hidden, Role::kO, spec_.o_bias, Role::kOBias);
  }

  int Mlp(int x) {
    const int gate = Matmul(x, spec_.ffn, Role::kGate, spec_.mlp_bias, Role::kGateBias);
    const int up = Matmul(x, spec_.ffn, Role::kUp, spec_.mlp_bias, Role::kUpBias);
    const int h = Emit(OpCode::kSiluMul, {gate, up}, spec_.ffn);
    return Matmul(h, spec_.hidden, Role::kDown, spec_.mlp_bias, Role::kDownBias);
  }

  const ModelSpec& spec_;
  ir::Graph graph_;
  int next_ = 0;
  int layer_ = -1;
  Rows rows_ = Rows::kTokens;
};

}  // namespace

Expected<ir::Graph> Lower(const ModelSpec& spec) {
  if (spec.activation != Activation::kSilu)
    return Status(StatusCode::kUnsupported,
                  "the model's activation is not silu, and lathe has no kernel for another one");
  return Lowering(spec).Run();
}

}  // namespace lathe
