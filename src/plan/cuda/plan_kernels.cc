#include "plan/cuda/plan_kernels.h"

#include <algorithm>
#include <set>

#include "base/check.h"

namespace lathe::cuda {
namespace {

constexpr int64_t kMatmulK = 64;  // kernels/cuda/gemm.h: GemmCandidates

const WeightDef& WeightOf(const Plan& plan, const PlanOp& op) {
  return plan.weights[static_cast<size_t>(op.weight)];
}

int PaddedN(const WeightDef& w) { return static_cast<int>((w.N + kRowsN - 1) / kRowsN * kRowsN); }

// Of the op that last wrote `buffer` before `reader`, which is one of the plan's.
DType TypeOfInput(const Plan& plan, const PlanOp& reader, int buffer) {
  for (const PlanOp* op = &reader; op-- != plan.ops.data();)
    if (op->out == buffer) return op->out_type;
  return DType::kF32;
}

GemmEpilogue EpilogueOf(const PlanOp& op) {
  const bool f16 = op.out_type == DType::kF16;
  if (op.silu_mul) return f16 ? GemmEpilogue::kSiluF16 : GemmEpilogue::kSiluBf16;
  if (op.in2 >= 0) return GemmEpilogue::kAddF32;
  if (op.out_type == DType::kF32) return GemmEpilogue::kF32;
  return f16 ? GemmEpilogue::kF16 : GemmEpilogue::kBf16;
}

// Whether any op reads `buffer` as `from` left it, but `reader`.
bool HasOtherReader(const Plan& plan, const PlanOp& from, const PlanOp& reader, int buffer) {
  const PlanOp* end = plan.ops.data() + plan.ops.size();
  for (const PlanOp* op = &from + 1; op != end; ++op) {
    if (op != &reader && (op->in == buffer || op->in2 == buffer)) return true;
    if (op->out == buffer) return false;
  }
  return false;
}

// The prologue that the op before would be. Its input must outlive it until the product has read it.
GemmPrologue PrologueBefore(const Plan& plan, const PlanOp& op) {
  if (op.kind != PlanOpKind::kGemm || &op == plan.ops.data()) return GemmPrologue::kPlain;
  const PlanOp& before = *(&op - 1);
  if (before.out != op.in || before.out < 0 || before.in == op.out || before.logit_rows || op.logit_rows ||
      HasOtherReader(plan, before, op, before.out))
    return GemmPrologue::kPlain;
  if (before.kind == PlanOpKind::kQuantize)
    return HasF16(plan.numeric) ? GemmPrologue::kQuantizeF16 : GemmPrologue::kQuantize;
  const bool norm = before.kind == PlanOpKind::kRmsNorm && NormDelta(plan, before) < 0 &&
                    WeightOf(plan, op).K == plan.hidden;
  return norm ? GemmPrologue::kNorm : GemmPrologue::kPlain;
}

// Kernels by name, each once, in the order in which they are first used.
class KernelSet {
 public:
  void Add(KernelSource source) {
    if (names_.insert(source.entry).second) sources_.push_back(std::move(source));
  }
  std::vector<KernelSource> Take() { return std::move(sources_); }

 private:
  std::set<std::string> names_;
  std::vector<KernelSource> sources_;
};

Status AddGemms(const Plan& plan, const PlanOp& op, const GemmChip& chip, KernelSet* kernels) {
  for (const TacticBucket& bucket : plan.tactics[static_cast<size_t>(op.tactic)].buckets) {
    LATHE_ASSIGN_OR_RETURN(const GemmTactic tactic, ParseGemmTactic(bucket.kernel));
    if (tactic.kind == GemmKind::kCublasLt) continue;
    GemmProblem problem = GemmProblemOf(plan, op, bucket.max_m);
    problem.prologue = PrologueOf(plan, op, tactic, bucket.max_m);
    kernels->Add(GemmKernel(tactic, problem));
    if (!DoesRope(plan, op)) continue;
    if (const auto rope = RopeGemmTactic(tactic, problem, chip))
      kernels->Add(GemmKernel(*rope, {problem.type, RopeEpilogue(plan), problem.m, problem.n, problem.k}));
  }
  return Status::Ok();
}

}  // namespace

Status CheckCudaShapes(const Plan& plan) {
  LATHE_RETURN_IF_ERROR(CheckAttentionShape(AttentionShapeOf(plan)));
  if (plan.rotary_dim % 16 != 0)
    return Error(
        StatusCode::kUnsupported,
        "the model rotates %d dimensions of a head, on CUDA they must be a multiple of 16; build it for "
        "the CPU (--target cpu)",
        plan.rotary_dim);
  for (const PlanOp& op : plan.ops) {
    if (op.kind != PlanOpKind::kGemm) continue;
    const WeightDef& w = WeightOf(plan, op);
    if (w.K % kMatmulK != 0)
      return Error(
          StatusCode::kUnsupported,
          "the weight '%s' reads %lld values, on CUDA they must be a multiple of %lld; build it for the "
          "CPU (--target cpu)",
          w.name.c_str(), static_cast<long long>(w.K), static_cast<long long>(kMatmulK));
  }
  return Status::Ok();
}

AttentionShape AttentionShapeOf(const Plan& plan) {
  return {.head_dim = plan.head_dim,
          .n_heads = plan.n_heads,
          .n_kv_heads = plan.n_kv_heads,
          .kv_fp8 = plan.kv_type == DType::kF8E4M3,
          .f16 = HasF16(plan.numeric)};
}

GemmProblem GemmProblemOf(const Plan& plan, const PlanOp& op, int m) {
  const WeightDef& w = WeightOf(plan, op);
  return {.type = w.type == DType::kF8E4M3 ? GemmType::kE4m3
                  : w.type == DType::kF16  ? GemmType::kF16
                                           : GemmType::kBf16,
          .epilogue = EpilogueOf(op),
          .m = m,
          .n = PaddedN(w),
          .k = static_cast<int>(w.K)};
}

int GemmStride(const Plan& plan, const PlanOp& op) { return GemmProblemOf(plan, op, 1).columns(); }

Expected<GemmTactic> GemmTacticFor(const Plan& plan, const PlanOp& op, int m) {
  const auto& buckets = plan.tactics[static_cast<size_t>(op.tactic)].buckets;
  const auto fits = [m](const TacticBucket& bucket) { return m <= bucket.max_m; };
  const auto it = std::find_if(buckets.begin(), buckets.end(), fits);
  return ParseGemmTactic(it != buckets.end() ? it->kernel : buckets.back().kernel);
}

GemmPrologue PrologueOf(const Plan& plan, const PlanOp& op, const GemmTactic& tactic, int m) {
  GemmProblem problem = GemmProblemOf(plan, op, m);
  problem.prologue = PrologueBefore(plan, op);
  return TakesPrologue(tactic, problem) ? problem.prologue : GemmPrologue::kPlain;
}

GemmProblem TunedProblemOf(const Plan& plan, const PlanOp& op, int m, const GemmChip& chip) {
  GemmProblem problem = GemmProblemOf(plan, op, m);
  problem.prologue = PrologueBefore(plan, op);
  if (GemmCandidates(problem, chip).empty()) problem.prologue = GemmPrologue::kPlain;
  return problem;
}

bool CanFoldRope(const Plan& plan, const PlanOp& op) {
  if (op.kind != PlanOpKind::kAttention || &op == plan.ops.data()) return false;
  const PlanOp& before = *(&op - 1);
  return before.kind == PlanOpKind::kRopeAppend && before.out == op.in && before.layer == op.layer &&
         before.in != op.out && !HasOtherReader(plan, before, op, before.out);
}

bool DoesRope(const Plan& plan, const PlanOp& op) {
  if (op.kind != PlanOpKind::kGemm || &op == &plan.ops.back() || plan.sm != 90) return false;
  const PlanOp& next = *(&op + 1);
  // What f16 does not hold is kept visible by rope_append alone.
  return next.kind == PlanOpKind::kRopeAppend && next.in == op.out && next.out != op.in && next.gain < 0 &&
         !HasF16(plan.numeric) && plan.head_dim == kGemmRopeDim && plan.rotary_dim == kGemmRopeDim;
}

GemmEpilogue RopeEpilogue(const Plan& plan) {
  return plan.kv_type == DType::kF8E4M3 ? GemmEpilogue::kRopeE4m3 : GemmEpilogue::kRopeBf16;
}

bool IsFolded(const Plan& plan, const PlanOp& op) {
  if (op.kind != PlanOpKind::kRmsNorm || op.out >= 0 || &op == &plan.ops.back()) return false;
  const PlanOp& next = *(&op + 1);
  return GathersRows(plan, next) && next.in == op.in && next.in2 < 0;
}

int NormDelta(const Plan& plan, const PlanOp& op) {
  return &op != plan.ops.data() && IsFolded(plan, *(&op - 1)) ? (&op - 1)->in2 : op.in2;
}

NormVariant NormVariantOf(const Plan& plan, const PlanOp& op) {
  NormVariant variant{.hidden = plan.hidden, .gather = GathersRows(plan, op), .f16 = HasF16(plan.numeric)};
  const int delta = NormDelta(plan, op);
  if (delta >= 0)
    variant.delta =
        TypeOfInput(plan, op, delta) == DType::kF32 ? NormVariant::kF32Delta : NormVariant::k16Delta;
  variant.out = op.out_type == DType::kF32      ? NormVariant::kF32
                : op.out_type == DType::kF8E4M3 ? NormVariant::kE4m3
                                                : NormVariant::k16;
  return variant;
}

RopeVariant RopeVariantOf(const Plan& plan, const PlanOp& op) {
  return {.head_dim = plan.head_dim,
          .rotary_dim = plan.rotary_dim,
          .qkv_f32 = TypeOfInput(plan, op, op.in) == DType::kF32,
          .bias = false,  // the matmul has added it
          .qk_norm = op.gain >= 0,
          .kv_fp8 = plan.kv_type == DType::kF8E4M3,
          .f16 = HasF16(plan.numeric)};
}

Expected<std::vector<KernelSource>> KernelsOf(const Plan& plan, const GemmChip& chip) {
  LATHE_RETURN_IF_ERROR(CheckCudaShapes(plan));
  KernelSet kernels;
  const AttentionShape shape = AttentionShapeOf(plan);
  for (const PlanOp& op : plan.ops) {
    switch (op.kind) {
      case PlanOpKind::kEmbed: kernels.Add(EmbedKernel(plan.hidden, WeightOf(plan, op).type)); break;
      case PlanOpKind::kRmsNorm:
        if (!IsFolded(plan, op)) kernels.Add(NormKernel(NormVariantOf(plan, op)));
        break;
      case PlanOpKind::kGemm: LATHE_RETURN_IF_ERROR(AddGemms(plan, op, chip, &kernels)); break;
      case PlanOpKind::kRopeAppend:
        kernels.Add(RopeTableKernel(plan.rotary_dim));
        kernels.Add(RopeKernel(RopeVariantOf(plan, op)));
        break;
      case PlanOpKind::kAttention:
        kernels.Add(DecodeKernel(shape, false));
        kernels.Add(DecodeKernel(shape, true));
        if (CanFoldRope(plan, op)) kernels.Add(DecodeRopeKernel(shape, RopeVariantOf(plan, *(&op - 1))));
        kernels.Add(PromptKernel(shape, PromptTacticOf(shape, chip.sm, chip.multiprocessors)));
        if (shape.kv_fp8) kernels.Add(WidenKernel(shape));
        break;
      case PlanOpKind::kQuantize:
        kernels.Add(QuantizeKernel(static_cast<int>(WeightOf(plan, op).K), HasF16(plan.numeric)));
        break;
      case PlanOpKind::kSelect: kernels.Add(SelectKernel()); break;
      case PlanOpKind::kAllReduce:
      case PlanOpKind::kAllGather:
      case PlanOpKind::kSend:
      case PlanOpKind::kRecv:
        return Error(StatusCode::kUnsupported,
                     "a CUDA engine runs on one GPU; build it without --tp and --pp");
    }
  }
  if (plan.logits_buffer >= 0) kernels.Add(SampleKernel(SampleTacticOf(plan.vocab, chip.sm)));
  return kernels.Take();
}

}  // namespace lathe::cuda
