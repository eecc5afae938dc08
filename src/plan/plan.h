// The execution plan: what one rank of one engine does in a step, as data. Written by the compiler into the
// engine file, run by runtime/exec. It holds no pointer and no run-time limit: buffers are sized per row, so
// batch, context and KV budget stay run-time settings (architecture, decision 3).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "kernels/api/kernel.h"
#include "tensor/dtype.h"

namespace lathe {

enum class PlanOpKind : uint8_t {
  kEmbed,       // out = table[token]                                  weight
  kRmsNorm,     // [in2 given: in += in2;] out = norm(in) * gain       in (residual), in2 (delta) or -1, gain,
                // out or -1
  kGemm,        // out = in * weight^T (+ bias) (silu_mul) (+ in2)     weight, bias, tactic; in2 (CUDA): f32
                // rows of the residual, which may be out
  kRopeAppend,  // out(q) = rope(q of in); k, v of in -> pages         gain (q) and gain2 (k) or -1, layer
  kAttention,   // out = attention(in) over the pages of `layer`       window
  kAllReduce,   // in = sum over the tensor-parallel group of in, in rank order
  kAllGather,   // out row = the in rows of the group's ranks, concatenated in rank order
  kSend,        // in -> pipeline rank peer
  kRecv,        // out <- pipeline rank peer
  kQuantize,    // out (e4m3) = in (activation type)                   weight: of the gemm that reads it
  kSelect,      // out row i = the in row of logit row i               columns of out_type
};
const char* ToString(PlanOpKind kind);

// A weight as it lies in the rank's weight blob.
enum class WeightLayout : uint8_t {
  kVector,  // N values, f32
  kTable,   // (N, K) row-major, the engine's weight type
  kPanels,  // packed over N in panels of 64 (kernels/api/params.h); CPU
  kRows,    // (N, K) row-major, N padded with zero rows to a multiple of 16; with silu_mul gate and up rows
            // alternate in blocks of 64; CUDA
};
inline constexpr int kRowsN = 16;  // to which N of kRows is padded
struct WeightDef {
  std::string name;  // "layers.3.qkv", "embed", ...
  WeightLayout layout = WeightLayout::kVector;
  DType type = DType::kF32;
  int64_t N = 0, K = 1;            // logical; panels and rows are padded
  int scale = -1;                  // e4m3: the vector (N) of f32 scales; a weight is scale[n] * w[n, k]
  uint64_t offset = 0, bytes = 0;  // within the blob, 64-byte aligned
};

// Scratch of `bytes_per_row` x (rows of the step, or logit rows). Offsets are derived at load from the rows
// the executor is opened for: values that live at the same time have distinct buffers. The f32 scales of e4m3
// rows (one each, counted in bytes_per_row) lie behind the last row that the buffer has room for.
struct BufferDef {
  std::string name;
  int64_t bytes_per_row = 0;  // a multiple of 64
  bool logit_rows = false;
};

struct PlanOp {
  PlanOpKind kind = PlanOpKind::kEmbed;
  int layer = -1;                                     // global layer index, for KV and messages
  int in = -1, in2 = -1, out = -1;                    // buffers
  int weight = -1, bias = -1, gain = -1, gain2 = -1;  // weights
  int tactic = -1;                                    // index into Plan::tactics
  int window = 0;
  int peer = -1;
  bool silu_mul = false;
  int columns = 0;          // select
  bool logit_rows = false;  // runs over the logit rows (norm of other rows: gathers them)
  DType out_type = DType::kF32;
};

// Which kernel serves a matmul shape at which token count, and what it measured.
struct TacticBucket {
  int max_m = 0;             // serves M <= max_m (the last bucket serves the rest)
  std::string kernel;        // GemmKernel::name; on CUDA a tactic's text form (kernels/cuda/gemm.h)
  double microseconds = 0;   // measured at M = max_m; 0: not tuned (cross-built)
  double roof_percent = 0;   // of the nearer roof (bandwidth or flops), measured in the same run
  bool memory_bound = true;  // which roof that is
};
struct GemmTactic {
  int64_t N = 0, K = 0;
  bool silu_mul = false;
  DType x_type = DType::kF32;         // its kernels are of MatmulClass(numeric, x_type)
  std::vector<TacticBucket> buckets;  // ascending max_m
};

struct Plan {
  // What runs it: a CUDA device of compute capability `sm` (90), or, sm 0, a CPU with `isa`.
  int sm = 0;
  Isa isa = Isa::kPortable;
  NumericClass numeric = NumericClass::kF32;
  // Rank (0 <= tp_rank < tp, 0 <= pp_rank < pp) and the layers it owns.
  int tp = 1, pp = 1, tp_rank = 0, pp_rank = 0;
  int first_layer = 0, n_layers = 0;
  // Local dimensions.
  int hidden = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0, rotary_dim = 0;
  int vocab = 0;  // of the whole model: width of the logits
  float norm_eps = 0;
  float q_scale = 0;
  int page_size = 16;
  DType kv_type =
      DType::kBf16;  // of KV pages: KvType; on CUDA e4m3 is possible (values as they are, scale 1)

  std::vector<WeightDef> weights;
  std::vector<BufferDef> buffers;
  std::vector<PlanOp> ops;
  std::vector<GemmTactic> tactics;
  int logits_buffer = -1;  // (logit rows, vocab) f32; -1 on ranks before the last pipeline stage

  uint64_t WeightBytes() const;
  bool on_cuda() const { return sm > 0; }
};

// Whether the op is a norm over the logit rows that reads them where they lie, among the rows of the step.
bool GathersRows(const Plan& plan, const PlanOp& op);

Json ToJson(const Plan& plan);
// Strict: unknown keys, references out of range and sizes that do not fit are kCorrupt. `where` names the
// file.
Expected<Plan> PlanFromJson(const Json& json, std::string_view where);

// Checks every index, that weights lie inside `weight_blob_bytes` without overlap, that each op has what its
// kind needs and shapes agree. Run after compiling and after loading.
Status VerifyPlan(const Plan& plan, uint64_t weight_blob_bytes);

}  // namespace lathe
