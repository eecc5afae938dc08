// Keeps the layers of one pipeline rank. Every value that crosses a cut is received first and sent last;
// before fuse_norm_residual that is the residual alone, with the last delta already added.
#include <algorithm>

#include "compiler/passes/pass.h"
#include "model/shard.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;

// Index of the first op of `layer`; the end of the graph when there is none.
size_t FirstOpOf(const ir::Graph& graph, int layer) {
  for (size_t i = 0; i < graph.ops.size(); ++i)
    if (ir::LayerOf(graph.ops[i]) == layer) return i;
  return graph.ops.size();
}

// Values made before op `cut` and read from it on, by number.
std::vector<ir::Value> Crossing(const ir::Uses& uses, size_t cut) {
  std::vector<ir::Value> out;
  const int at = static_cast<int>(cut);
  for (const auto& [id, entry] : uses.values)
    if (entry.def < at && !entry.users.empty() && entry.users.back() >= at) out.push_back({id, entry.type});
  std::sort(out.begin(), out.end(), [](const ir::Value& a, const ir::Value& b) { return a.id < b.id; });
  return out;
}

Op Message(OpCode code, const ir::Value& value, int peer) {
  Op op{.code = code, .operands = {}, .attrs = {{"peer", int64_t{peer}}}};
  if (code == OpCode::kRecv) {
    op.results = {value};
  } else {
    op.operands = {value.id};
  }
  return op;
}

}  // namespace

Status ShardPp(ir::Graph* graph, PassContext* context) {
  if (context->pp == 1) return Status::Ok();
  const auto layers = StageLayers(context->n_layers, context->pp, context->pp_rank);
  const bool first = context->pp_rank == 0, last = context->pp_rank == context->pp - 1;
  const size_t begin = first ? 0 : FirstOpOf(*graph, static_cast<int>(layers.begin));
  const size_t end = last ? graph->ops.size() : FirstOpOf(*graph, static_cast<int>(layers.end));
  const ir::Uses uses(*graph);
  std::vector<Op> ops;
  if (!first)
    for (const ir::Value& value : Crossing(uses, begin))
      ops.push_back(Message(OpCode::kRecv, value, context->pp_rank - 1));
  for (size_t i = begin; i < end; ++i) ops.push_back(std::move(graph->ops[i]));
  if (!last)
    for (const ir::Value& value : Crossing(uses, end))
      ops.push_back(Message(OpCode::kSend, value, context->pp_rank + 1));
  graph->ops = std::move(ops);
  return Status::Ok();
}

}  // namespace lathe
