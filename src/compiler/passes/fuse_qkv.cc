// One matmul instead of three over the same rows: the input is read once, and one task list feeds all
// threads.
//
//   q = matmul x @q; k = matmul x @k; v = matmul x @v   ->   qkv = matmul x @q @k @v; q, k, v = split qkv
//
// Found from the kv_append: v is its second operand, k and q stand behind rope (and a head norm).
#include "compiler/passes/pass.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;

struct Candidate {
  size_t q = 0, k = 0, v = 0;  // op indices
};

// Walks back from a rotated value to the matmul it comes from; -1 when another op or a second use is between.
int MatmulBehind(const ir::Graph& graph, const ir::Uses& uses, int value) {
  while (true) {
    if (uses.OnlyUser(value) < 0) return -1;
    const int def = uses[value].def;
    if (def < 0) return -1;
    const Op& op = graph.ops[static_cast<size_t>(def)];
    if (op.code == OpCode::kMatmul) return op.weights.size() == 1 ? def : -1;
    if (op.code != OpCode::kRope && op.code != OpCode::kHeadRmsNorm) return -1;
    value = op.operands[0];
  }
}

bool Matches(const ir::Graph& graph, const ir::Uses& uses, const Op& append, Candidate* out) {
  int attention = -1;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.code == OpCode::kAttention && op.Int("layer") == append.Int("layer"))
      attention = static_cast<int>(i);
  }
  if (attention < 0) return false;
  const int q = MatmulBehind(graph, uses, graph.ops[static_cast<size_t>(attention)].operands[0]);
  const int k = MatmulBehind(graph, uses, append.operands[0]);
  const int v = MatmulBehind(graph, uses, append.operands[1]);
  if (q < 0 || k < 0 || v < 0 || q == k || q == v || k == v) return false;
  *out = {static_cast<size_t>(q), static_cast<size_t>(k), static_cast<size_t>(v)};
  const Op &mq = graph.ops[out->q], &mk = graph.ops[out->k], &mv = graph.ops[out->v];
  return mq.operands == mk.operands && mq.operands == mv.operands && mq.biases.size() == mk.biases.size() &&
         mq.biases.size() == mv.biases.size();
}

// Puts matmul and split where the first of the three stood and marks the others dead.
void Rewrite(ir::Graph* graph, const Candidate& c, std::vector<bool>* dead,
             std::vector<std::vector<Op>>* instead, int id) {
  Op fused = graph->ops[c.q];
  Op split{.code = OpCode::kSplit, .operands = {id}};
  fused.weights.clear();
  fused.biases.clear();
  ir::ValueType type = fused.results[0].type;
  type.width = 0;
  for (size_t i : {c.q, c.k, c.v}) {
    const Op& part = graph->ops[i];
    fused.weights.push_back(part.weights[0]);
    fused.biases.insert(fused.biases.end(), part.biases.begin(), part.biases.end());
    split.results.push_back(part.results[0]);
    type.width += part.results[0].type.width;
    (*dead)[i] = true;
  }
  fused.results = {{id, type}};
  (*instead)[std::min({c.q, c.k, c.v})] = {std::move(fused), std::move(split)};
}

}  // namespace

Status FuseQkv(ir::Graph* graph, PassContext*) {
  const ir::Uses uses(*graph);
  const size_t n = graph->ops.size();
  std::vector<bool> dead(n, false);
  std::vector<std::vector<Op>> instead(n);
  int next = graph->NextId();
  for (const Op& op : graph->ops) {
    Candidate candidate;
    if (op.code == OpCode::kKvAppend && Matches(*graph, uses, op, &candidate))
      Rewrite(graph, candidate, &dead, &instead, next++);
  }
  ir::ReplaceOps(graph, dead, std::move(instead));
  return Status::Ok();
}

}  // namespace lathe
