// Gate and up in one pass over the input, silu and product in registers:
//
//   g = matmul x @gate; u = matmul x @up; h = silu_mul g u   ->   h = matmul_silu_mul x @gate @up
#include "compiler/passes/pass.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;

// The single-weight matmul that makes `value` for this user alone, or nullptr.
const Op* SoleMatmul(const ir::Graph& graph, const ir::Uses& uses, int value) {
  if (uses.OnlyUser(value) < 0) return nullptr;
  const Op& op = graph.ops[static_cast<size_t>(uses[value].def)];
  return op.code == OpCode::kMatmul && op.weights.size() == 1 ? &op : nullptr;
}

}  // namespace

Status FuseGateUp(ir::Graph* graph, PassContext*) {
  const ir::Uses uses(*graph);
  std::vector<bool> dead(graph->ops.size(), false);
  for (Op& op : graph->ops) {
    if (op.code != OpCode::kSiluMul) continue;
    const Op* gate = SoleMatmul(*graph, uses, op.operands[0]);
    const Op* up = SoleMatmul(*graph, uses, op.operands[1]);
    if (gate == nullptr || up == nullptr || gate->operands != up->operands ||
        gate->biases.size() != up->biases.size())
      continue;
    dead[static_cast<size_t>(uses[op.operands[0]].def)] = true;
    dead[static_cast<size_t>(uses[op.operands[1]].def)] = true;
    op.code = OpCode::kMatmulSiluMul;
    op.operands = gate->operands;
    op.weights = {gate->weights[0], up->weights[0]};
    if (!gate->biases.empty()) op.biases = {gate->biases[0], up->biases[0]};
  }
  ir::EraseOps(graph, dead);
  return Status::Ok();
}

}  // namespace lathe
