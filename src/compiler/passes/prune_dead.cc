// Drops ops whose results nobody reads and that do nothing else, and weights that no op reads.
#include <unordered_set>

#include "compiler/passes/pass.h"
#include "ir/schema.h"

namespace lathe {

Status PruneDead(ir::Graph* graph, PassContext*) {
  std::unordered_set<int> needed;
  std::unordered_set<std::string> read;
  std::vector<bool> dead(graph->ops.size(), false);
  for (size_t i = graph->ops.size(); i-- > 0;) {
    const ir::Op& op = graph->ops[i];
    bool keep = ir::SchemaOf(op.code).has_effect;
    for (const ir::Value& value : op.results) keep = keep || needed.contains(value.id);
    dead[i] = !keep;
    if (!keep) continue;
    needed.insert(op.operands.begin(), op.operands.end());
    for (const ir::WeightRef& ref : op.weights) read.insert(ref.name);
    for (const ir::WeightRef& ref : op.biases) read.insert(ref.name);
  }
  ir::EraseOps(graph, dead);
  std::erase_if(graph->weights, [&](const ir::WeightDecl& weight) { return !read.contains(weight.name); });
  return Status::Ok();
}

}  // namespace lathe
