// Of the last layer, rows whose logits nobody asks for need no more than their keys and values: select_rows
// moves up, over everything that works row by row, to where rows are still needed.
//
//   a = attention q; o = matmul a; s = add x o; n = rmsnorm s; …; y = select_rows z
//   ->   q' = select_rows q; x' = select_rows x; a:[L] = attention q'; o:[L] = matmul a; s:[L] = add x' o; …
#include <algorithm>
#include <unordered_map>

#include "compiler/passes/pass.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;
using ir::Rows;

bool WorksRowByRow(const Op& op) {
  switch (op.code) {
    case OpCode::kRmsNorm:
    case OpCode::kMatmul:
    case OpCode::kMatmulSiluMul:
    case OpCode::kAdd:
    case OpCode::kSiluMul:
    case OpCode::kAttention: return true;
    default: return false;
  }
}

// Which ops may work on L rows alone: those over T rows that only such ops, and select_rows, read.
std::vector<bool> FindMoved(const ir::Graph& graph, const ir::Uses& uses) {
  std::vector<bool> moved(graph.ops.size(), false);
  for (size_t i = graph.ops.size(); i-- > 0;) {
    const Op& op = graph.ops[i];
    if (!WorksRowByRow(op) || op.results[0].type.rows != Rows::kTokens) continue;
    const auto& users = uses[op.results[0].id].users;
    moved[i] = !users.empty() && std::all_of(users.begin(), users.end(), [&](int user) {
      const auto index = static_cast<size_t>(user);
      return moved[index] || graph.ops[index].code == OpCode::kSelectRows;
    });
  }
  return moved;
}

}  // namespace

Status HoistSelect(ir::Graph* graph, PassContext*) {
  const ir::Uses uses(*graph);
  const std::vector<bool> moved = FindMoved(*graph, uses);
  const auto first = static_cast<size_t>(std::find(moved.begin(), moved.end(), true) - moved.begin());
  if (first == moved.size()) return Status::Ok();
  std::vector<bool> dead(graph->ops.size(), false);
  std::vector<std::vector<Op>> instead(graph->ops.size());
  std::unordered_map<int, int> selected;  // T value -> its L rows
  int next = graph->NextId();
  for (size_t i = first; i < graph->ops.size(); ++i) {
    Op& op = graph->ops[i];
    if (op.code == OpCode::kSelectRows && moved[static_cast<size_t>(uses[op.operands[0]].def)]) {
      selected[op.results[0].id] = op.operands[0];
      dead[i] = true;
      continue;
    }
    for (int& operand : op.operands) {
      const auto& [def, type, users] = uses[operand];
      const bool is_dead = dead[static_cast<size_t>(def)];
      if (!is_dead && (!moved[i] || moved[static_cast<size_t>(def)] || type.rows == Rows::kLogits)) continue;
      const auto [it, is_new] = selected.emplace(operand, next);
      if (is_new) {
        // All at one place where that is possible: what they are made of is then free for others.
        const size_t at = static_cast<size_t>(def) < first ? first : i;
        ir::ValueType rows = type;
        rows.rows = Rows::kLogits;
        instead[at].push_back(
            {.code = OpCode::kSelectRows, .results = {{next++, rows}}, .operands = {operand}});
      }
      operand = it->second;
    }
    if (moved[i]) op.results[0].type.rows = Rows::kLogits;
  }
  ir::ReplaceOps(graph, dead, std::move(instead));
  return Status::Ok();
}

}  // namespace lathe
