#include "compiler/emit.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/status.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "kernels/pack/pack.h"
#include "model/shard.h"

namespace lathe {
namespace {

using ir::Op;
using ir::OpCode;
using ir::WeightRef;

constexpr uint64_t kVectorAlignment = 64;
constexpr uint64_t kMatrixAlignment = 4096;  // matrices are streamed: whole pages of their own
constexpr int kCudaPageSize = 64;            // tokens of a KV page (kernels/cuda)

uint64_t AlignUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

// "layers.3.qkv" of q, k, v; "layers.3.gate_up" of gate, up; a single weight keeps its name.
std::string FusedName(const std::vector<WeightRef>& parts) {
  std::string name = parts[0].name;
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::string& part = parts[i].name;
    const size_t dot = part.rfind('.');
    const std::string last = dot == std::string::npos ? part : part.substr(dot + 1);
    name += (last.size() > 1 ? "_" : "") + last;
  }
  return name;
}

// What a weight of the plan is made of and how it lies.
struct WeightSpec {
  std::vector<WeightRef> parts = {};
  WeightLayout layout = WeightLayout::kVector;
  int64_t N = 0, K = 1;
  DType type = DType::kF32;
  bool interleave = false;
};

uint64_t BytesOf(const WeightSpec& spec) {
  const int64_t size = SizeOf(spec.type);
  if (spec.layout == WeightLayout::kPanels)
    return static_cast<uint64_t>(PackedBytes(spec.N, spec.K, spec.type));
  const int64_t unit = spec.layout == WeightLayout::kRows ? kRowsN : 1;
  return static_cast<uint64_t>((spec.N + unit - 1) / unit * unit * spec.K * size);
}

bool IsWhole(const WeightRef& ref) { return ref == WeightRef{.name = ref.name}; }

class Emitter {
 public:
  Emitter(const ir::Graph& graph, const PassContext& context, const ModelSpec& spec)
      : graph_(graph), context_(context), spec_(spec), uses_(graph) {}

  Status Run(Isa isa) {
    FillDimensions(isa);
    for (const Op& op : graph_.ops) {
      LATHE_RETURN_IF_ERROR(CheckTypes(op));
      LATHE_RETURN_IF_ERROR(Emit(op));
    }
    out_.blob_bytes = AlignUp(out_.blob_bytes, kVectorAlignment);
    return VerifyPlan(out_.plan, out_.blob_bytes);
  }
  EmittedPlan Take() { return std::move(out_); }

 private:
  Status Fault(const Op& op, const char* what) const {
    return Error(StatusCode::kInternal, "emitting IR op '%s': %s", ir::PrintOp(op).c_str(), what);
  }

  void FillDimensions(Isa isa) {
    Plan& plan = out_.plan;
    const auto layers = StageLayers(spec_.n_layers, context_.pp, context_.pp_rank);
    plan.sm = context_.sm;
    plan.isa = isa;
    plan.numeric = context_.numeric;
    plan.kv_type = context_.kv_type.value_or(KvType(context_.numeric));
    if (context_.on_cuda()) plan.page_size = kCudaPageSize;
    plan.tp = context_.tp;
    plan.pp = context_.pp;
    plan.tp_rank = context_.tp_rank;
    plan.pp_rank = context_.pp_rank;
    plan.first_layer = static_cast<int>(layers.begin);
    plan.n_layers = static_cast<int>(layers.size());
    plan.hidden = spec_.hidden;
    plan.head_dim = spec_.head_dim;
    plan.rotary_dim = spec_.rope.rotary_dim;
    plan.vocab = spec_.vocab;
    plan.norm_eps = spec_.norm_eps;
    plan.q_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec_.head_dim)));
    for (const Op& op : graph_.ops) {
      if (op.code != OpCode::kAttention) continue;
      plan.n_heads = static_cast<int>(op.Int("n_heads"));
      plan.n_kv_heads = static_cast<int>(op.Int("n_kv_heads"));
    }
    plan.buffers = context_.memory.buffers;
    plan.tactics = context_.gemms;
  }

  // What kernels read must have a type they read.
  Status CheckTypes(const Op& op) const {
    const DType activation = ActivationType(context_.numeric);
    const DType read = op.operands.empty() ? activation : uses_[op.operands[0]].type.dtype;
    const bool fp8 = IsFp8Matmul(op, context_);
    const bool may_read_f32 = IsMatmul(op) && !context_.on_cuda();
    const bool strict = IsMatmul(op) || op.code == OpCode::kAttention || op.code == OpCode::kQuantize;
    if (strict && read != (fp8 ? DType::kF8E4M3 : activation) && !(may_read_f32 && read == DType::kF32))
      return Fault(op, "the operand has another type than the numeric class reads");
    for (const ir::Attr& attr : op.attrs)
      if (attr.name == "eps" && std::get<float>(attr.value) != spec_.norm_eps && !op.weights.empty())
        return Fault(op, "the plan has one eps for all norms");
    return Status::Ok();
  }

  int Buffer(int value) const { return context_.memory.buffer_of.at(value); }

  // Index of the weight, made on first use. Weights that are the same bytes are stored once.
  int AddWeight(const WeightSpec& spec) {
    std::string key = std::to_string(static_cast<int>(spec.layout)) + (spec.interleave ? "i" : "s");
    for (const WeightRef& ref : spec.parts) {
      Op probe;
      probe.weights = {ref};
      key += ir::PrintOp(probe);
    }
    const auto [it, is_new] = index_.emplace(key, static_cast<int>(out_.plan.weights.size()));
    if (!is_new) return it->second;
    Place(spec, FusedName(spec.parts), {spec.parts, spec.interleave});
    if (spec.type == DType::kF8E4M3) {
      out_.plan.weights.back().scale = it->second + 1;
      Place({.parts = {}, .N = spec.N}, FusedName(spec.parts) + "_scale", {.scales_of = it->second});
    }
    return it->second;
  }

  // At the end of the blob.
  void Place(const WeightSpec& spec, const std::string& name, WeightRecipe recipe) {
    WeightDef def{.name = name, .layout = spec.layout, .type = spec.type, .N = spec.N, .K = spec.K};
    def.bytes = BytesOf(spec);
    def.offset =
        AlignUp(out_.blob_bytes, spec.layout == WeightLayout::kVector ? kVectorAlignment : kMatrixAlignment);
    out_.blob_bytes = def.offset + def.bytes;
    out_.plan.weights.push_back(std::move(def));
    out_.recipes.push_back(std::move(recipe));
  }

  int AddVector(const WeightRef& ref) {
    return AddWeight({.parts = {ref}, .N = ir::ShapeOfRef(graph_, ref)->dims[0]});
  }

  WeightLayout MatmulLayout() const {
    return context_.on_cuda() ? WeightLayout::kRows : WeightLayout::kPanels;
  }

  int MatmulWeight(const Op& op) {
    const GemmDims dims = DimsOf(graph_, uses_, op);
    return AddWeight({.parts = op.weights,
                      .layout = MatmulLayout(),
                      .N = dims.N,
                      .K = dims.K,
                      .type = IsFp8Matmul(op, context_) ? DType::kF8E4M3 : WeightType(context_.numeric),
                      .interleave = dims.silu_mul});
  }

  // The head as its matmul reads it serves the lookup too when this rank has all of it.
  int EmbedWeight(const Op& op) {
    const bool shared =
        IsWhole(op.weights[0]) && std::any_of(graph_.ops.begin(), graph_.ops.end(), [&](const Op& o) {
          return o.code == OpCode::kMatmul && o.weights == op.weights;
        });
    return AddWeight({.parts = op.weights,
                      .layout = shared ? MatmulLayout() : WeightLayout::kTable,
                      .N = spec_.vocab,
                      .K = spec_.hidden,
                      .type = WeightType(context_.numeric)});
  }

  // CUDA: the residual rows to which `op`'s only user adds its rows; the matmul's kernel adds them itself,
  // which saves writing and reading the rows once. -1: there are none.
  int ResidualOf(const Op& op) const {
    if (!context_.on_cuda() || op.code != OpCode::kMatmul) return -1;
    const int index = uses_.OnlyUser(op.results[0].id);
    if (index < 0) return -1;
    const Op& user = graph_.ops[static_cast<size_t>(index)];
    const bool adds = user.code == OpCode::kAdd || user.code == OpCode::kAddRmsNorm;
    return adds && user.operands[1] == op.results[0].id ? user.operands[0] : -1;
  }

  Status EmitGemm(const Op& op) {
    const GemmDims dims = DimsOf(graph_, uses_, op);
    PlanOp gemm{.kind = PlanOpKind::kGemm,
                .in = Buffer(op.operands[0]),
                .out = Buffer(op.results[0].id),
                .silu_mul = dims.silu_mul,
                .logit_rows = op.results[0].type.rows == ir::Rows::kLogits,
                .out_type = op.results[0].type.dtype};
    if (const int residual = ResidualOf(op); residual >= 0) gemm.in2 = gemm.out = Buffer(residual);
    gemm.weight = MatmulWeight(op);
    if (!op.biases.empty())
      gemm.bias = AddWeight({.parts = op.biases, .N = dims.N, .interleave = dims.silu_mul});
    const auto& tactics = out_.plan.tactics;
    for (size_t i = 0; i < tactics.size(); ++i)
      if (tactics[i].N == dims.N && tactics[i].K == dims.K && tactics[i].silu_mul == dims.silu_mul &&
          tactics[i].x_type == dims.x_type)
        gemm.tactic = static_cast<int>(i);
    if (gemm.tactic < 0) return Fault(op, "no tactic was chosen");
    Push(gemm);
    return Status::Ok();
  }

  Status EmitNorm(const Op& op) {
    const ir::ValueType& type = op.results.back().type;
    PlanOp norm{.kind = PlanOpKind::kRmsNorm,
                .in = Buffer(op.operands[0]),
                .logit_rows = type.rows == ir::Rows::kLogits,
                .out_type = type.dtype};
    if (op.code != OpCode::kRmsNorm) {
      const Op& maker = graph_.ops[static_cast<size_t>(uses_[op.operands[1]].def)];
      const bool added = ResidualOf(maker) >= 0;
      if (added && op.code == OpCode::kAdd) return Status::Ok();
      if (!added) norm.in2 = Buffer(op.operands[1]);
    }
    if (op.code != OpCode::kAdd) {
      norm.out = Buffer(op.results.back().id);
      norm.gain = AddVector(op.weights[0]);
    }
    Push(norm);
    return Status::Ok();
  }

  // The weight that made the operand tells how wide this rank's share is.
  Status EmitAllGather(const Op& op) {
    PlanOp gather{.kind = PlanOpKind::kAllGather,
                  .in = Buffer(op.operands[0]),
                  .out = Buffer(op.results[0].id),
                  .logit_rows = op.results[0].type.rows == ir::Rows::kLogits};
    const Op& maker = graph_.ops[static_cast<size_t>(uses_[op.operands[0]].def)];
    if (maker.code != OpCode::kMatmul) return Fault(op, "only matmul results are gathered");
    gather.weight = MatmulWeight(maker);
    Push(gather);
    return Status::Ok();
  }

  // The matmul that reads the rows says how wide they are.
  Status EmitQuantize(const Op& op) {
    const auto& users = uses_[op.results[0].id].users;
    if (users.empty()) return Fault(op, "nobody reads the rows");
    Push({.kind = PlanOpKind::kQuantize,
          .in = Buffer(op.operands[0]),
          .out = Buffer(op.results[0].id),
          .weight = MatmulWeight(graph_.ops[static_cast<size_t>(users[0])]),
          .logit_rows = op.results[0].type.rows == ir::Rows::kLogits,
          .out_type = DType::kF8E4M3});
    return Status::Ok();
  }

  void EmitRopeAppend(const Op& op) {
    PlanOp rope{.kind = PlanOpKind::kRopeAppend,
                .layer = static_cast<int>(op.Int("layer")),
                .in = Buffer(op.operands[0]),
                .out = Buffer(op.results[0].id),
                .out_type = op.results[0].type.dtype};
    if (!op.weights.empty()) {
      rope.gain = AddVector(op.weights[0]);
      rope.gain2 = AddVector(op.weights[1]);
    }
    Push(rope);
  }

  Status Emit(const Op& op) {
    switch (op.code) {
      case OpCode::kEmbed:
        Push({.kind = PlanOpKind::kEmbed, .out = Buffer(op.results[0].id), .weight = EmbedWeight(op)});
        return Status::Ok();
      case OpCode::kRmsNorm:
      case OpCode::kAdd:
      case OpCode::kAddRmsNorm: return EmitNorm(op);
      case OpCode::kMatmul:
      case OpCode::kMatmulSiluMul: return EmitGemm(op);
      case OpCode::kRopeAppend: EmitRopeAppend(op); return Status::Ok();
      case OpCode::kSelectRows:
        Push({.kind = PlanOpKind::kSelect,
              .in = Buffer(op.operands[0]),
              .out = Buffer(op.results[0].id),
              .columns = static_cast<int>(op.results[0].type.width),
              .logit_rows = true,
              .out_type = op.results[0].type.dtype});
        return Status::Ok();
      case OpCode::kAttention:
        Push({.kind = PlanOpKind::kAttention,
              .layer = static_cast<int>(op.Int("layer")),
              .in = Buffer(op.operands[0]),
              .out = Buffer(op.results[0].id),
              .window = static_cast<int>(op.Int("window")),
              .logit_rows = op.results[0].type.rows == ir::Rows::kLogits,
              .out_type = op.results[0].type.dtype});
        return Status::Ok();
      case OpCode::kAllReduce:
        Push({.kind = PlanOpKind::kAllReduce,
              .in = Buffer(op.operands[0]),
              .logit_rows = op.results[0].type.rows == ir::Rows::kLogits});
        return Status::Ok();
      case OpCode::kAllGather: return EmitAllGather(op);
      case OpCode::kQuantize: return EmitQuantize(op);
      case OpCode::kSend:
        Push({.kind = PlanOpKind::kSend,
              .in = Buffer(op.operands[0]),
              .peer = static_cast<int>(op.Int("peer"))});
        return Status::Ok();
      case OpCode::kRecv:
        Push({.kind = PlanOpKind::kRecv,
              .out = Buffer(op.results[0].id),
              .peer = static_cast<int>(op.Int("peer"))});
        return Status::Ok();
      case OpCode::kOutput: out_.plan.logits_buffer = Buffer(op.operands[0]); return Status::Ok();
      default: return Fault(op, "the executor has no such op; a fusion did not match");
    }
  }

  void Push(const PlanOp& op) { out_.plan.ops.push_back(op); }

  const ir::Graph& graph_;
  const PassContext& context_;
  const ModelSpec& spec_;
  const ir::Uses uses_;
  std::map<std::string, int> index_;
  EmittedPlan out_;
};

}  // namespace

Expected<EmittedPlan> EmitPlan(const ir::Graph& graph, const PassContext& context, const ModelSpec& spec,
                               Isa isa) {
  Emitter emitter(graph, context, spec);
  LATHE_RETURN_IF_ERROR(emitter.Run(isa));
  return emitter.Take();
}

}  // namespace lathe
