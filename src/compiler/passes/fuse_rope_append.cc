// One pass over the qkv rows norms, rotates and stores them where attention reads them:
//
//   q, k, v = split qkv; [head_rmsnorm;] rope q; [head_rmsnorm;] rope k; kv_append k v   ->   q = rope_append
//   qkv
#include "compiler/passes/pass.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;

// rope, perhaps behind a head norm, over one part of the split.
struct RopeChain {
  const Op* rope = nullptr;
  const Op* norm = nullptr;  // or nullptr
  int source = -1;           // the value that enters
  std::vector<size_t> ops;   // to be removed
};

bool FollowRopeChain(const ir::Graph& graph, const ir::Uses& uses, int value, RopeChain* out) {
  if (uses.OnlyUser(value) < 0) return false;
  int def = uses[value].def;
  out->rope = &graph.ops[static_cast<size_t>(def)];
  if (out->rope->code != OpCode::kRope) return false;
  out->ops = {static_cast<size_t>(def)};
  out->source = out->rope->operands[0];
  if (uses.OnlyUser(out->source) < 0) return false;
  def = uses[out->source].def;
  const Op& before = graph.ops[static_cast<size_t>(def)];
  if (before.code != OpCode::kHeadRmsNorm) return true;
  out->norm = &before;
  out->ops.push_back(static_cast<size_t>(def));
  out->source = before.operands[0];
  return uses.OnlyUser(out->source) >= 0;
}

const Op* AttentionOf(const ir::Graph& graph, int64_t layer) {
  for (const Op& op : graph.ops)
    if (op.code == OpCode::kAttention && op.Int("layer") == layer) return &op;
  return nullptr;
}

bool SameNorms(const RopeChain& q, const RopeChain& k) {
  if (q.norm == nullptr || k.norm == nullptr) return q.norm == k.norm;
  return q.norm->Float("eps") == k.norm->Float("eps");
}

// What a kv_append is rewritten to; empty when the pattern does not hold. `removed` gets the ops it replaces.
std::vector<Op> Fused(const ir::Graph& graph, const ir::Uses& uses, const Op& append,
                      std::vector<size_t>* removed) {
  const Op* attention = AttentionOf(graph, append.Int("layer"));
  if (attention == nullptr) return {};
  RopeChain q, k;
  if (!FollowRopeChain(graph, uses, attention->operands[0], &q) ||
      !FollowRopeChain(graph, uses, append.operands[0], &k))
    return {};
  const int v = append.operands[1];
  const int def = uses[q.source].def;
  const Op& split = graph.ops[static_cast<size_t>(def)];
  if (split.code != OpCode::kSplit || uses.OnlyUser(v) < 0 || split.results[0].id != q.source ||
      split.results[1].id != k.source || split.results[2].id != v || !SameNorms(q, k) ||
      q.rope->Int("rotary_dim") != k.rope->Int("rotary_dim") ||
      q.rope->Int("head_dim") != k.rope->Int("head_dim"))
    return {};
  Op fused{.code = OpCode::kRopeAppend, .results = q.rope->results, .operands = split.operands};
  if (q.norm != nullptr) fused.weights = {q.norm->weights[0], k.norm->weights[0]};
  for (const char* name : {"layer", "n_heads", "n_kv_heads", "head_dim"})
    fused.attrs.push_back({name, attention->Int(name)});
  fused.attrs.push_back({"rotary_dim", q.rope->Int("rotary_dim")});
  fused.attrs.push_back({"eps", q.norm != nullptr ? q.norm->Float("eps") : 0.0f});
  removed->push_back(static_cast<size_t>(def));
  removed->insert(removed->end(), q.ops.begin(), q.ops.end());
  removed->insert(removed->end(), k.ops.begin(), k.ops.end());
  return {std::move(fused)};
}

}  // namespace

Status FuseRopeAppend(ir::Graph* graph, PassContext*) {
  const ir::Uses uses(*graph);
  std::vector<bool> dead(graph->ops.size(), false);
  std::vector<std::vector<Op>> instead(graph->ops.size());
  for (size_t i = 0; i < graph->ops.size(); ++i) {
    if (graph->ops[i].code != OpCode::kKvAppend) continue;
    std::vector<size_t> removed;
    instead[i] = Fused(*graph, uses, graph->ops[i], &removed);
    if (instead[i].empty()) continue;
    dead[i] = true;
    for (size_t r : removed) dead[r] = true;
  }
  ir::ReplaceOps(graph, dead, std::move(instead));
  return Status::Ok();
}

}  // namespace lathe
