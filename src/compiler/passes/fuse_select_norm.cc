// The last norm reads the logit rows where they lie:
//
//   s = select_rows x; y = rmsnorm s @gain   ->   y:[L,...] = rmsnorm x:[T,...] @gain
#include "compiler/passes/pass.h"

namespace lathe {

Status FuseSelectNorm(ir::Graph* graph, PassContext*) {
  const ir::Uses uses(*graph);
  std::vector<bool> dead(graph->ops.size(), false);
  for (ir::Op& op : graph->ops) {
    if (op.code != ir::OpCode::kRmsNorm || uses.OnlyUser(op.operands[0]) < 0) continue;
    const auto def = static_cast<size_t>(uses[op.operands[0]].def);
    const ir::Op& select = graph->ops[def];
    if (select.code != ir::OpCode::kSelectRows) continue;
    op.operands = select.operands;
    dead[def] = true;
  }
  ir::EraseOps(graph, dead);
  return Status::Ok();
}

}  // namespace lathe
