// What the ops of a CUDA plan are to the kernels: shapes, variants and tactics, and with them every kernel
// that a plan may launch. The compiler compiles by it, the executor launches by it; neither knows more.
#pragma once

#include <vector>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/layer_ops.h"
#include "kernels/cuda/sample.h"
#include "plan/plan.h"

namespace lathe::cuda {

// kUnsupported, with the number, for a model whose sizes no kernel here takes: `hidden` and the widths that
// matmuls read must be multiples of 64, heads as CheckAttentionShape wants them.
Status CheckCudaShapes(const Plan& plan);

AttentionShape AttentionShapeOf(const Plan& plan);

// Of a kGemm op at m rows. N counts the rows that pad it.
GemmProblem GemmProblemOf(const Plan& plan, const PlanOp& op, int m);
// Elements between rows of what it writes; that of logits is what sampling reads with.
int GemmStride(const Plan& plan, const PlanOp& op);
// The tactic of its bucket, parsed: for load, not for steps. kCorrupt for a text that is none.
Expected<GemmTactic> GemmTacticFor(const Plan& plan, const PlanOp& op, int m);

// What a kGemm op at m rows does beside: the work of the norm or quantize op right before it, which is then
// not launched. Plain where `tactic` does not, and where others read what that op writes.
GemmPrologue PrologueOf(const Plan& plan, const PlanOp& op, const GemmTactic& tactic, int m);
// The same before there is a tactic: what its kernels are measured with.
GemmProblem TunedProblemOf(const Plan& plan, const PlanOp& op, int m, const GemmChip& chip);
// Whether a kAttention op can do the work of the kRopeAppend op right before it, in steps of single rows.
bool CanFoldRope(const Plan& plan, const PlanOp& op);
// Whether the op is a matmul of q, k and v whose kernel for many rows can rotate and append them, too, in
// place of the rope_append op behind it; and its epilogue then.
bool DoesRope(const Plan& plan, const PlanOp& op);
GemmEpilogue RopeEpilogue(const Plan& plan);

// An add without an output, which the norm over the logit rows behind it does for those rows: there is
// nothing to launch for it.
bool IsFolded(const Plan& plan, const PlanOp& op);
// The buffer that a norm adds: its own, or that of the op folded into it; -1: none.
int NormDelta(const Plan& plan, const PlanOp& op);
NormVariant NormVariantOf(const Plan& plan, const PlanOp& op);
RopeVariant RopeVariantOf(const Plan& plan, const PlanOp& op);

// Each kernel once: of every op and bucket of tactics, attention for one row and for many, rope table, and
// sampling where the plan has logits. Errors: those of GemmTacticFor and CheckCudaShapes.
Expected<std::vector<KernelSource>> KernelsOf(const Plan& plan, const GemmChip& chip);

}  // namespace lathe::cuda
