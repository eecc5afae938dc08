// Cuts the graph down to one tensor-parallel rank (Megatron style). Weights cut by rows give this rank its
// share of the columns; a weight cut by columns consumes such a share and its partial result is summed over
// the group (all_reduce); logits are put together again before the output (all_gather). KV heads fewer than
// ranks are held by several ranks.
#include <unordered_map>
#include <unordered_set>

#include "compiler/passes/pass.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;
using ir::SplitSide;
using ir::WeightDecl;
using ir::WeightRef;

struct Share {
  int64_t begin = 0, end = 0;
};

// This rank's share of `extent` in multiples of `unit`. Fewer units than ranks: one unit, held by several
// consecutive ranks, where that is allowed. False when it cannot be cut.
bool ShareOf(int64_t extent, int64_t unit, int tp, int rank, bool may_repeat, Share* out) {
  const int64_t units = extent / unit;
  if (units % tp != 0 && (!may_repeat || tp % units != 0)) return false;
  const int64_t first = rank * units / tp;
  const int64_t count = std::max<int64_t>(1, units / tp);
  *out = {first * unit, (first + count) * unit};
  return true;
}

class Sharder {
 public:
  Sharder(const ir::Graph& graph, const PassContext& context)
      : graph_(graph), context_(context), next_(graph.NextId()) {
    for (const WeightDecl& weight : graph.weights) decls_.emplace(weight.name, &weight);
    for (const Op& op : graph.ops)
      if (op.code == OpCode::kOutput) logits_.insert(op.operands[0]);
  }

  Status Run(ir::Graph* out) {
    for (const Op& op : graph_.ops) LATHE_RETURN_IF_ERROR(Rewrite(op));
    out->ops = std::move(ops_);
    return Status::Ok();
  }

 private:
  Status Fault(const WeightDecl& weight) const {
    const int side = weight.split == SplitSide::kCols ? 1 : 0;
    return Error(
        StatusCode::kInvalidArgument,
        "tensor parallelism over %d ranks does not divide the %lld %s of weight '%s'; choose a --tp that "
        "divides the heads and the feed-forward size",
        context_.tp, static_cast<long long>(weight.shape[side] / weight.split_unit),
        weight.split_unit > 1 ? "heads" : "features", weight.name.c_str());
  }

  bool IsLocal(int value) const { return local_width_.contains(value); }

  // Only keys and values, which follow q in the list, may be held by several ranks.
  Status SliceRows(size_t index, WeightRef* ref) {
    const WeightDecl& decl = *decls_.at(ref->name);
    Share range;
    if (!ShareOf(decl.shape[0], decl.split_unit, context_.tp, context_.tp_rank, index > 0, &range))
      return Fault(decl);
    ref->row_begin = range.begin;
    ref->row_end = range.end;
    return Status::Ok();
  }

  // A matmul whose weights are cut by rows: the result is this rank's share of the columns.
  Status CutRows(Op op) {
    int64_t width = 0;
    for (size_t i = 0; i < op.weights.size(); ++i) {
      LATHE_RETURN_IF_ERROR(SliceRows(i, &op.weights[i]));
      width += op.weights[i].row_end - op.weights[i].row_begin;
    }
    for (size_t i = 0; i < op.biases.size(); ++i) LATHE_RETURN_IF_ERROR(SliceRows(i, &op.biases[i]));
    if (op.code == OpCode::kMatmulSiluMul) width /= 2;
    SetWidth(&op, width);
    ops_.push_back(std::move(op));
    return Status::Ok();
  }

  // A matmul whose weight is cut by columns: partial sums, added over the group. Rank 0 alone adds the bias.
  Status CutCols(Op op) {
    WeightRef& ref = op.weights[0];
    const WeightDecl& decl = *decls_.at(ref.name);
    Share range;
    if (!ShareOf(decl.shape[1], decl.split_unit, context_.tp, context_.tp_rank, false, &range))
      return Fault(decl);
    ref.col_begin = range.begin;
    ref.col_end = range.end;
    if (context_.tp_rank != 0) op.biases.clear();
    const ir::Value sum = op.results[0];
    op.results[0].id = next_++;
    Op reduce{.code = OpCode::kAllReduce, .results = {sum}, .operands = {op.results[0].id}};
    ops_.push_back(std::move(op));
    ops_.push_back(std::move(reduce));
    return Status::Ok();
  }

  void SetWidth(Op* op, int64_t width) {
    op->results[0].type.width = width;
    local_width_[op->results[0].id] = width;
  }

  // An op over this rank's heads or columns: its results shrink as its operands did.
  void Shrink(Op op) {
    const int64_t before = op.code == OpCode::kSplit ? 0 : widths_[op.operands[0]];
    const int64_t now = local_width_.at(op.operands[0]);
    if (op.code == OpCode::kSplit) {
      ShrinkSplit(&op);
    } else if (!op.results.empty()) {
      SetWidth(&op, op.code == OpCode::kRopeAppend ? 0 : op.results[0].type.width * now / before);
    }
    for (ir::Attr& attr : op.attrs) {
      if (attr.name == "n_heads") attr.value = std::get<int64_t>(attr.value) / context_.tp;
      if (attr.name == "n_kv_heads")
        attr.value = std::max<int64_t>(1, std::get<int64_t>(attr.value) / context_.tp);
    }
    if (op.code == OpCode::kRopeAppend) SetWidth(&op, op.Int("n_heads") * op.Int("head_dim"));
    ops_.push_back(std::move(op));
  }

  // The parts of a fused matmul are as wide as its cut weights.
  void ShrinkSplit(Op* op) {
    const std::vector<int64_t>& parts = part_widths_.at(op->operands[0]);
    for (size_t i = 0; i < op->results.size(); ++i) {
      op->results[i].type.width = parts[i];
      local_width_[op->results[i].id] = parts[i];
    }
  }

  Status RewriteMatmul(const Op& op) {
    const WeightDecl& first = *decls_.at(op.weights[0].name);
    // A vocabulary that does not divide: every rank computes all logits.
    const bool whole_logits = logits_.contains(op.results[0].id) && first.shape[0] % context_.tp != 0;
    if (first.split == SplitSide::kRows && !whole_logits) {
      LATHE_RETURN_IF_ERROR(CutRows(op));
      for (const WeightRef& ref : ops_.back().weights)
        part_widths_[op.results[0].id].push_back(ref.row_end - ref.row_begin);
    } else if (first.split == SplitSide::kCols && IsLocal(op.operands[0])) {
      return CutCols(op);
    } else {
      ops_.push_back(op);
    }
    return Status::Ok();
  }

  // Every rank gets the logits of all.
  void RewriteOutput(Op op) {
    const int value = op.operands[0];
    if (IsLocal(value)) {
      ir::ValueType type{DType::kF32, ir::Rows::kLogits, local_width_[value] * context_.tp};
      ops_.push_back({.code = OpCode::kAllGather,
                      .results = {{next_, type}},
                      .operands = {value},
                      .attrs = {{"ranks", int64_t{context_.tp}}}});
      op.operands[0] = next_++;
    }
    ops_.push_back(std::move(op));
  }

  Status Rewrite(const Op& op) {
    for (const ir::Value& value : op.results) widths_[value.id] = value.type.width;
    switch (op.code) {
      case OpCode::kMatmul:
      case OpCode::kMatmulSiluMul: return RewriteMatmul(op);
      case OpCode::kOutput: RewriteOutput(op); return Status::Ok();
      default: break;
    }
    if (!op.operands.empty() && IsLocal(op.operands[0])) {
      Shrink(op);
    } else {
      ops_.push_back(op);
    }
    return Status::Ok();
  }

  const ir::Graph& graph_;
  const PassContext& context_;
  int next_;
  std::unordered_map<std::string, const WeightDecl*> decls_;
  std::unordered_set<int> logits_;                             // values that are the output
  std::unordered_map<int, int64_t> widths_;                    // before
  std::unordered_map<int, int64_t> local_width_;               // of the values of which this rank has a share
  std::unordered_map<int, std::vector<int64_t>> part_widths_;  // of matmuls over several weights
  std::vector<Op> ops_;
};

}  // namespace

Status ShardTp(ir::Graph* graph, PassContext* context) {
  if (context->tp == 1) return Status::Ok();
  return Sharder(*graph, *context).Run(graph);
}

}  // namespace lathe
