// What a pass is, and what passes tell each other. The list of passes, in order, is in compiler/pipeline.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "compiler/fp8_keep.h"
#include "ir/graph.h"
#include "kernels/api/params.h"
#include "plan/plan.h"

namespace lathe {

// Which buffer each value lives in. Made by plan_memory.
struct BufferPlan {
  // Matmul results are as wide as their N padded to a multiple of this: what the kernels write.
  int matmul_unit = 1;
  std::vector<BufferDef> buffers;
  std::unordered_map<int, int> buffer_of;  // value id -> index into buffers
};

// A matmul as kernels see it: N and K as packed (a silu_mul result, and the matmul that reads it, are padded
// to whole panels; N of a silu_mul counts gate and up).
struct GemmDims {
  int64_t N = 0, K = 0;
  bool silu_mul = false;
  DType x_type = DType::kF32;  // see MatmulClass
  friend bool operator==(const GemmDims&, const GemmDims&) = default;
};

// Answers which kernel serves a matmul at which token count; implemented by the tuner (compiler/tactics.h).
class TacticSource {
 public:
  virtual ~TacticSource() = default;
  // Elements of y are `y_type`.
  virtual Expected<GemmTactic> Choose(const GemmDims& dims, DType y_type) = 0;
};

struct PassContext {
  // In: the rank this graph is for.
  int tp = 1, tp_rank = 0;
  int pp = 1, pp_rank = 0;
  int n_layers = 0;
  // In: what runs it, a CUDA device of compute capability `sm` (90) or, sm 0, a CPU; and the kernels.
  int sm = 0;
  NumericClass numeric = NumericClass::kF32;
  std::optional<DType> kv_type = {};  // of KV pages; absent: the class's
  Fp8Keep fp8_keep = {};              // of fp8 classes
  TacticSource* tactics = nullptr;    // nullptr: no tactics are chosen (tests of the IR alone)
  bool share_buffers = true;          // false: every value has its own (the oracle of plan_memory)
  // Out.
  std::vector<GemmTactic> gemms = {};  // one for each distinct matmul
  BufferPlan memory = {};

  bool on_cuda() const { return sm > 0; }
};

// Every pass has this form. Errors are faults of the user's choice (a tp that does not divide); a graph that
// no pass pattern matches is left as it is.
using PassFn = Status (*)(ir::Graph*, PassContext*);

Status FuseQkv(ir::Graph*, PassContext*);           // q, k, v matmuls of one input -> one, split in three
Status FuseGateUp(ir::Graph*, PassContext*);        // silu(x gate) * (x up) -> matmul_silu_mul
Status FuseRopeAppend(ir::Graph*, PassContext*);    // split, head norms, rope, kv_append -> rope_append
Status HoistSelect(ir::Graph*, PassContext*);       // the last layer's rows without logits end at its keys
Status FuseSelectNorm(ir::Graph*, PassContext*);    // rmsnorm of select_rows -> rmsnorm T to L
Status FuseNormResidual(ir::Graph*, PassContext*);  // add, rmsnorm -> add_rmsnorm
Status ShardTp(ir::Graph*, PassContext*);    // this tensor-parallel rank's slices; all_reduce, all_gather
Status ShardPp(ir::Graph*, PassContext*);    // this pipeline rank's layers; send, recv
Status PruneDead(ir::Graph*, PassContext*);  // ops and weights nothing needs
Status QuantizeActivations(ir::Graph*,
                           PassContext*);        // fp8: what matmuls read and no norm makes -> e4m3 rows
Status SelectKernels(ir::Graph*, PassContext*);  // element types of the numeric class; tactics
Status AssignBuffers(ir::Graph*, PassContext*);  // values -> buffers

bool IsMatmul(const ir::Op& op);  // with or without silu_mul
// Whether the op is a matmul of e4m3 weights: in an fp8 class those of layers are, unless kept; the head is
// not.
bool IsFp8Matmul(const ir::Op& op, const PassContext& context);

// The packed dimensions of a matmul or matmul_silu_mul op of a verified graph.
GemmDims DimsOf(const ir::Graph& graph, const ir::Uses& uses, const ir::Op& op);
// Elements of a row of the value as a matmul reads it: its width, padded for a silu_mul result.
int64_t PackedWidth(const ir::Graph& graph, const ir::Uses& uses, int value);
// Bytes of a row of the value as it lies in memory, the scale of an e4m3 row counted. `matmul_unit`: as
// BufferPlan has it.
int64_t RowBytes(const ir::Graph& graph, const ir::Uses& uses, int value, int matmul_unit);

// Replays the graph over the plan: every operand must still be in its buffer when it is read, and in-place
// ops (add, add_rmsnorm, all_reduce) must write where their first operand lies. kInternal names the op.
Status CheckBufferPlan(const ir::Graph& graph, const BufferPlan& plan);

}  // namespace lathe
