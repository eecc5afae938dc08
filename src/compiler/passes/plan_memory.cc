// Puts values into buffers by liveness. In-place ops chain their values into one buffer; of the chains, the
// widest choose first, each taking the first buffer in which nobody it meets in time lives. With
// share_buffers off every chain has its own buffer: the oracle that sharing is tested against.
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "compiler/passes/pass.h"
#include "ir/schema.h"
#include "ir/text.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;

constexpr int64_t kRowAlignment = 64;

// Ops whose kernel writes result 0 over operand 0.
bool IsInPlace(const Op& op) {
  return op.code == OpCode::kAdd || op.code == OpCode::kAddRmsNorm || op.code == OpCode::kAllReduce;
}

// Values that share storage because each is written over the one before.
struct BufferChain {
  std::vector<int> values;
  int begin = 0, end = 0;  // op indices at which it is first written and last read
  int64_t bytes_per_row = 0;
  bool logit_rows = false;
  std::string name;
};

// On CUDA these may be done by the op that reads their result (plan/cuda/plan_kernels.h): that then reads
// their operand.
bool MayBeFolded(const Op& op) { return op.code == OpCode::kRopeAppend || op.code == OpCode::kQuantize; }

Status BuildChains(const ir::Graph& graph, bool on_cuda, int matmul_unit, std::vector<BufferChain>* chains) {
  const ir::Uses uses(graph);
  std::unordered_map<int, size_t> chain_of;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    const int at = static_cast<int>(i);
    for (size_t r = 0; r < op.results.size(); ++r) {
      const ir::Value& value = op.results[r];
      const auto& users = uses[value.id].users;
      const int last_use = users.empty() ? at : users.back();
      const int64_t bytes = RowBytes(graph, uses, value.id, matmul_unit);
      const int64_t padded = (bytes + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
      if (r == 0 && IsInPlace(op)) {
        if (uses[op.operands[0]].users.back() > at ||
            (op.operands.size() > 1 && op.operands[0] == op.operands[1]))
          return Error(StatusCode::kInternal,
                       "IR op '%s' overwrites its first operand, which is still needed",
                       ir::PrintOp(op).c_str());
        BufferChain& chain = (*chains)[chain_of.at(op.operands[0])];
        chain.values.push_back(value.id);
        chain.end = last_use;
        chain.bytes_per_row = std::max(chain.bytes_per_row, padded);
        chain_of[value.id] = chain_of.at(op.operands[0]);
        continue;
      }
      chain_of[value.id] = chains->size();
      chains->push_back({{value.id},
                         at,
                         last_use,
                         padded,
                         value.type.rows == ir::Rows::kLogits,
                         std::string(ir::SchemaOf(op.code).name)});
    }
  }
  if (!on_cuda) return Status::Ok();
  std::unordered_map<int, const Op*> maker;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    for (const ir::Value& value : op.results) maker[value.id] = &op;
    if (!MayBeFolded(op) || op.results.empty()) continue;
    BufferChain& operand = (*chains)[chain_of.at(op.operands[0])];
    operand.end = std::max(operand.end, (*chains)[chain_of.at(op.results[0].id)].end);
    if (op.code != OpCode::kRopeAppend) continue;
    // The matmul before may write the rotated rows itself, while other blocks of it still read its operand.
    const auto before = maker.find(op.operands[0]);
    if (before == maker.end()) continue;
    for (const int id : before->second->operands) {
      BufferChain& read = (*chains)[chain_of.at(id)];
      read.end = std::max(read.end, static_cast<int>(i));
    }
  }
  return Status::Ok();
}

bool Meet(const BufferChain& a, const BufferChain& b) { return a.begin <= b.end && b.begin <= a.end; }

}  // namespace

Status AssignBuffers(ir::Graph* graph, PassContext* context) {
  const int matmul_unit = context->on_cuda() ? kRowsN : 1;
  std::vector<BufferChain> chains;
  LATHE_RETURN_IF_ERROR(BuildChains(*graph, context->on_cuda(), matmul_unit, &chains));
  std::stable_sort(chains.begin(), chains.end(), [](const BufferChain& a, const BufferChain& b) {
    return a.bytes_per_row > b.bytes_per_row;
  });
  BufferPlan& plan = context->memory;
  plan = {};
  plan.matmul_unit = matmul_unit;
  std::vector<std::vector<const BufferChain*>> tenants;
  for (const BufferChain& chain : chains) {
    size_t buffer = 0;
    for (; buffer < tenants.size() && context->share_buffers; ++buffer)
      if (plan.buffers[buffer].logit_rows == chain.logit_rows &&
          std::none_of(tenants[buffer].begin(), tenants[buffer].end(),
                       [&](const BufferChain* other) { return Meet(*other, chain); }))
        break;
    if (!context->share_buffers) buffer = tenants.size();
    if (buffer == tenants.size()) {
      tenants.emplace_back();
      plan.buffers.push_back({chain.name, chain.bytes_per_row, chain.logit_rows});
    }
    BufferDef& def = plan.buffers[buffer];
    def.bytes_per_row = std::max(def.bytes_per_row, chain.bytes_per_row);
    if (def.name.find(chain.name) == std::string::npos) def.name += "+" + chain.name;
    tenants[buffer].push_back(&chain);
    for (int value : chain.values) plan.buffer_of[value] = static_cast<int>(buffer);
  }
  return Status::Ok();
}

Status CheckBufferPlan(const ir::Graph& graph, const BufferPlan& plan) {
  const ir::Uses uses(graph);
  std::vector<int> holds(plan.buffers.size(), -1);  // value in each buffer
  const auto fault = [](const Op& op, const char* what) {
    return Error(StatusCode::kInternal, "memory plan, IR op '%s': %s", ir::PrintOp(op).c_str(), what);
  };
  for (const Op& op : graph.ops) {
    for (int id : op.operands) {
      const auto it = plan.buffer_of.find(id);
      if (it == plan.buffer_of.end()) return fault(op, "an operand has no buffer");
      if (holds[static_cast<size_t>(it->second)] != id) return fault(op, "an operand was overwritten");
    }
    for (size_t r = 0; r < op.results.size(); ++r) {
      const ir::Value& value = op.results[r];
      const auto it = plan.buffer_of.find(value.id);
      if (it == plan.buffer_of.end()) return fault(op, "a result has no buffer");
      const auto buffer = static_cast<size_t>(it->second);
      const BufferDef& def = plan.buffers[buffer];
      if (def.bytes_per_row < RowBytes(graph, uses, value.id, plan.matmul_unit) ||
          def.logit_rows != (value.type.rows == ir::Rows::kLogits))
        return fault(op, "a result does not fit its buffer");
      const bool in_place = r == 0 && IsInPlace(op);
      if (in_place != (!op.operands.empty() && plan.buffer_of.at(op.operands[0]) == it->second))
        return fault(op, "the result must lie over the first operand exactly when the op works in place");
      for (size_t o = in_place ? 1 : 0; o < op.operands.size(); ++o)
        if (plan.buffer_of.at(op.operands[o]) == it->second)
          return fault(op, "a result overwrites an operand");
      for (size_t other = 0; other < r; ++other)
        if (plan.buffer_of.at(op.results[other].id) == it->second)
          return fault(op, "two results share a buffer");
      holds[buffer] = value.id;
    }
  }
  return Status::Ok();
}

}  // namespace lathe
