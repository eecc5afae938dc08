// Fixes the element types of the engine's numeric class (some of what matmuls and attention read has the
// activation type, everything that is added up stays f32) and chooses a kernel for each distinct matmul
// shape.
#include <algorithm>

#include "base/check.h"
#include "compiler/passes/pass.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;

int64_t RoundUpTo(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Whether what `maker` makes stands rounding; `head`: as rows of the head. On CPUs: normed rows, and the q of
// rope_append. What attention and silu_mul make, and the rows of the head, stay f32 there. With them rounded
// too, logprobs of tales-16m were off by up to 0.041 and those of llama2_mha by 0.033, where 0.03 is allowed;
// so they are off by 0.024 at most, at 2/3 of the products of a Llama shape still in pairs. Tensor cores read
// 16 bits at most.
bool StandsRounding(const Op& maker, bool head, NumericClass numeric) {
  switch (maker.code) {
    case OpCode::kRmsNorm:
    case OpCode::kAddRmsNorm: return OnTensorCores(numeric) || !head;
    case OpCode::kRopeAppend: return true;
    case OpCode::kAttention:
    case OpCode::kMatmulSiluMul: return OnTensorCores(numeric);
    default: return false;
  }
}

// The type of a value of the engine's class.
DType TypeOf(const ir::Graph& graph, const ir::Uses& uses, const Op& maker, int value,
             const PassContext& context) {
  const NumericClass numeric = context.numeric;
  const auto& [def, type, users] = uses[value];
  const auto all_users = [&, &users = users](const auto& holds) {
    return std::all_of(users.begin(), users.end(),
                       [&](int user) { return holds(graph.ops[static_cast<size_t>(user)]); });
  };
  const bool head = type.rows == ir::Rows::kLogits && !std::ranges::all_of(users, [&](int user) {
                      return ir::LayerOf(graph.ops[static_cast<size_t>(user)]) >= 0;
                    });
  const bool rounds = StandsRounding(maker, head, numeric) && all_users([](const Op& op) {
                        return IsMatmul(op) || op.code == OpCode::kAttention ||
                               op.code == OpCode::kQuantize || op.code == OpCode::kSelectRows;
                      });
  if (!rounds) return type.dtype;
  const bool norm = maker.code == OpCode::kRmsNorm || maker.code == OpCode::kAddRmsNorm;
  const bool quantizes =
      norm && !users.empty() && all_users([&](const Op& op) { return IsFp8Matmul(op, context); });
  return quantizes ? DType::kF8E4M3 : ActivationType(numeric);
}

}  // namespace

bool IsMatmul(const Op& op) { return op.code == OpCode::kMatmul || op.code == OpCode::kMatmulSiluMul; }

bool IsFp8Matmul(const Op& op, const PassContext& context) {
  if (!HasFp8(context.numeric) || !IsMatmul(op)) return false;
  const int layer = ir::LayerOf(op);
  return layer >= 0 && !Keeps(context.fp8_keep, op.weights[0].name, layer, context.n_layers);
}

int64_t PackedWidth(const ir::Graph& graph, const ir::Uses& uses, int value) {
  const auto& entry = uses[value];
  const Op& maker = graph.ops[static_cast<size_t>(entry.def)];
  if (maker.code == OpCode::kQuantize) return PackedWidth(graph, uses, maker.operands[0]);
  return maker.code == OpCode::kMatmulSiluMul ? RoundUpTo(entry.type.width, kPanelN) : entry.type.width;
}

int64_t RowBytes(const ir::Graph& graph, const ir::Uses& uses, int value, int matmul_unit) {
  const auto& entry = uses[value];
  int64_t width = PackedWidth(graph, uses, value);
  if (graph.ops[static_cast<size_t>(entry.def)].code == OpCode::kMatmul)
    width = RoundUpTo(width, matmul_unit);
  const int64_t scale = entry.type.dtype == DType::kF8E4M3 ? int64_t{sizeof(float)} : 0;
  return width * SizeOf(entry.type.dtype) + scale;
}

GemmDims DimsOf(const ir::Graph& graph, const ir::Uses& uses, const Op& op) {
  LATHE_CHECK(IsMatmul(op));
  GemmDims dims{.N = op.results[0].type.width, .K = PackedWidth(graph, uses, op.operands[0])};
  dims.x_type = uses[op.operands[0]].type.dtype;
  if (op.code == OpCode::kMatmulSiluMul) {
    dims.N = 2 * RoundUpTo(dims.N, kPanelN);
    dims.silu_mul = true;
  }
  return dims;
}

Status SelectKernels(ir::Graph* graph, PassContext* context) {
  {
    const ir::Uses uses(*graph);
    for (Op& op : graph->ops)
      for (size_t i = 0; i < op.results.size(); ++i) {
        // add_rmsnorm: the sum stays f32, the normed rows may not.
        if (op.code == OpCode::kAddRmsNorm && i == 0) continue;
        op.results[i].type.dtype = op.code == OpCode::kSelectRows
                                       ? ir::Uses(*graph)[op.operands[0]].type.dtype  // as just chosen
                                       : TypeOf(*graph, uses, op, op.results[i].id, *context);
      }
  }
  context->gemms.clear();
  if (context->tactics == nullptr) return Status::Ok();
  const ir::Uses uses(*graph);
  std::vector<GemmDims> seen;
  for (const Op& op : graph->ops) {
    if (!IsMatmul(op)) continue;
    const GemmDims dims = DimsOf(*graph, uses, op);
    if (std::find(seen.begin(), seen.end(), dims) != seen.end()) continue;
    seen.push_back(dims);
    LATHE_ASSIGN_OR_RETURN(auto chosen, context->tactics->Choose(dims, op.results[0].type.dtype));
    context->gemms.push_back(std::move(chosen));
  }
  return Status::Ok();
}

}  // namespace lathe
