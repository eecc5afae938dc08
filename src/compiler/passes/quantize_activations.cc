// Gives the matmuls of fp8 weights e4m3 rows to read. A norm writes them itself (select_kernels); what
// attention and silu_mul make is quantized in between:
//
//   y = attention q; z = matmul y @layers.0.o   ->   y = attention q; y8 = quantize y; z = matmul y8
//   @layers.0.o
#include <algorithm>
#include <unordered_map>

#include "compiler/passes/pass.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;

bool IsNorm(const Op& op) { return op.code == OpCode::kRmsNorm || op.code == OpCode::kAddRmsNorm; }

}  // namespace

Status QuantizeActivations(ir::Graph* graph, PassContext* context) {
  if (!HasFp8(context->numeric)) return Status::Ok();
  const ir::Uses uses(*graph);
  // A norm writes e4m3 rows where nobody wants others.
  const auto made_as_e4m3 = [&](int value) {
    const auto& users = uses[value].users;
    return IsNorm(graph->ops[static_cast<size_t>(uses[value].def)]) &&
           std::all_of(users.begin(), users.end(), [&](int user) {
             return IsFp8Matmul(graph->ops[static_cast<size_t>(user)], *context);
           });
  };
  std::vector<Op> ops;
  std::unordered_map<int, int> quantized;  // value -> its e4m3 rows
  int next = graph->NextId();
  for (Op op : graph->ops) {
    if (IsFp8Matmul(op, *context) && !made_as_e4m3(op.operands[0])) {
      const int value = op.operands[0];
      const auto [it, is_new] = quantized.emplace(value, next);
      if (is_new) {
        ir::ValueType type = uses[value].type;
        type.dtype = DType::kF8E4M3;
        ops.push_back({.code = OpCode::kQuantize, .results = {{next++, type}}, .operands = {value}});
      }
      op.operands[0] = it->second;
    }
    ops.push_back(std::move(op));
  }
  graph->ops = std::move(ops);
  return Status::Ok();
}

}  // namespace lathe
