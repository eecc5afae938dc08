// The residual is updated and normed while its row is in cache:
//
//   s = add r d; y = rmsnorm s @gain   ->   s, y = add_rmsnorm r d @gain
//
// The norm that picks logit rows stays apart: its kernel gathers and does not add.
#include "compiler/passes/pass.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;

// The first rmsnorm over the T rows of the sum that op `add` makes; -1: none.
int NormAfter(const ir::Graph& graph, const ir::Uses& uses, const Op& add) {
  for (int user : uses[add.results[0].id].users) {
    const Op& op = graph.ops[static_cast<size_t>(user)];
    if (op.code == OpCode::kRmsNorm && op.results[0].type.rows == add.results[0].type.rows) return user;
  }
  return -1;
}

}  // namespace

Status FuseNormResidual(ir::Graph* graph, PassContext*) {
  const ir::Uses uses(*graph);
  std::vector<bool> dead(graph->ops.size(), false);
  for (size_t i = 0; i < graph->ops.size(); ++i) {
    Op& add = graph->ops[i];
    if (add.code != OpCode::kAdd) continue;
    // The sum is written over the residual, so that must not be read later.
    if (uses[add.operands[0]].users.back() > static_cast<int>(i) || add.operands[0] == add.operands[1])
      continue;
    const int norm_index = NormAfter(*graph, uses, add);
    if (norm_index < 0) continue;
    const Op& norm = graph->ops[static_cast<size_t>(norm_index)];
    add.code = OpCode::kAddRmsNorm;
    add.results.push_back(norm.results[0]);
    add.weights = norm.weights;
    add.attrs = norm.attrs;
    dead[static_cast<size_t>(norm_index)] = true;
  }
  ir::EraseOps(graph, dead);
  return Status::Ok();
}

}  // namespace lathe
