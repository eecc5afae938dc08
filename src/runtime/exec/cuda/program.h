// The ops of a plan bound to kernels and addresses: everything of a launch that does not change from step to
// step is made when the executor opens.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/cuda/kernel_blob.h"
#include "plan/cuda/plan_kernels.h"
#include "runtime/exec/cuda/step_input.h"

namespace lathe::cuda {

// Device addresses that ops are bound to.
struct ProgramMemory {
  abi::DevicePtr weights = 0;
  std::vector<abi::DevicePtr> buffers = {};  // of the plan
  abi::DevicePtr kv = 0;                     // layers one after another
  int64_t n_pages = 0;
  abi::DevicePtr decode_out = 0, decode_state = 0, decode_counters = 0;
  abi::DevicePtr prompt_out = 0, prompt_state = 0, prompt_counters = 0;
  abi::DevicePtr widened = 0, identity = 0;
  abi::DevicePtr cos = 0, sin = 0, inv_freq = 0;
  abi::DevicePtr sample_scratch = 0;
  abi::DevicePtr upload = 0;            // the step's buffer
  abi::DevicePtr sampled = 0, top = 0;  // of the last step
};

// Loaded kernels by entry.
class KernelSet {
 public:
  // Of everything in `blob`.
  static Expected<KernelSet> Load(const Device& device, const KernelBlob& blob);
  // kMismatch, with what to do, when the engine has none of that name.
  Expected<Kernel> Get(const KernelSource& source) const;

 private:
  std::map<std::string, Module, std::less<>> modules_;
};

struct ProgramOptions {
  bool deterministic = false;  // one tactic for each matmul, whatever the number of rows
  float attention_factor = 1;  // of RopeSource
};

// Not thread-safe.
class Program {
 public:
  // `plan` and the kernels must outlive it.
  static Expected<Program> Bind(const Plan& plan, const StepCaps& caps, const ProgramMemory& memory,
                                const KernelSet& kernels, const Device& device,
                                const ProgramOptions& options);

  // What is to be done around an op: told before it (index in plan.ops; -1: rope table; n_ops: sampling).
  using Observer = std::function<Status(int op)>;
  // Launches every op of a filled and uploaded step but sampling. An observer makes every launch wait for
  // the one before.
  Status LaunchOps(const StepInput& input, abi::Stream stream, const Observer* observer) const;
  // One token for each of the first input.sampled_rows rows of logits. `step`: what offsets of counts, biases
  // and masks refer to.
  Status LaunchSampling(const StepInput& input, abi::DevicePtr step, abi::Stream stream, bool overlap) const;

  abi::DevicePtr logits() const { return memory_.buffers[static_cast<size_t>(plan_->logits_buffer)]; }
  int64_t logits_stride() const { return logits_stride_; }
  // Index of the op that the head is; -1 where there is none.
  int head() const { return head_; }

 private:
  struct BoundGemm {
    int max_m;
    GemmPrologue prologue;
    Gemm gemm;
    std::optional<Gemm> rope;  // does what the rope_append op behind it would do
  };
  struct BoundOp {
    Kernel kernel;  // of everything but attention and matmuls; attention: with rotation and append in it
    // Steps of at most so many rows leave this op to the one behind it (rope: where all are decoding rows).
    int folded_rows = 0;
    EmbedParams embed = {};
    NormVariant norm_variant;
    NormParams norm = {};
    RopeVariant rope_variant;
    RopeParams rope = {};
    QuantizeParams quantize = {};
    int columns = 0;  // quantize
    SelectParams select = {};
    std::vector<BoundGemm> gemms;  // ascending max_m
    size_t window = 0;             // index in caps.windows
    DecodeParams decode = {};
    PromptParams prompt = {};
    WidenParams widen = {};
    abi::TensorMap map = {};
  };

  Program(const Plan& plan, const StepCaps& caps, const ProgramMemory& memory, const Device& device)
      : plan_(&plan), caps_(caps), memory_(memory), device_(&device), chip_(ChipOf(device.info())) {}
  Status BindAll(const KernelSet& kernels, const ProgramOptions& options);
  Status BindDirect(const KernelSet& kernels, const ProgramOptions& options);
  Status BindOp(const PlanOp& op, const KernelSet& kernels, const ProgramOptions& options, BoundOp* out);
  Status BindGemm(const PlanOp& op, const KernelSet& kernels, const ProgramOptions& options, BoundOp* out);
  Status BindRopeGemm(const PlanOp& op, const GemmTactic& tactic, const KernelSet& kernels, GemmArgs args,
                      std::optional<Gemm>* out) const;
  void BindNorm(const PlanOp& op, BoundOp* out) const;
  void BindRope(const PlanOp& op, BoundOp* out) const;
  Status BindAttention(const PlanOp& op, BoundOp* out) const;

  // Marks what ops do for the ones before them.
  void FoldOps(bool deterministic);
  // Whether an op's kernel is not launched: another does its work, or nobody needs it.
  bool IsLeftOut(size_t index, const StepInput& input) const;
  // Whether the matmul before a rope_append op rotates and appends at so many rows.
  bool GemmDoesRope(size_t index, int rows) const;
  static const BoundGemm& GemmFor(const BoundOp& op, int rows);
  Status LaunchOp(size_t index, const StepInput& input, abi::Stream stream, bool* overlap, bool serial) const;
  Status LaunchAttention(const BoundOp& op, bool folds_rope, const StepInput& input,
                         const StepInput::Attention& attention, abi::Stream stream, bool* overlap,
                         bool serial) const;
  Status LaunchPromptRound(const BoundOp& op, const StepInput& input, const StepInput::Attention& attention,
                           size_t round, abi::Stream stream, bool* overlap, bool serial) const;

  // Widths of the weight that an e4m3 buffer is read or written with decide where its scales are.
  template <typename T>
  T* Scales(int buffer, int64_t columns) const;
  template <typename T>
  T* Buffer(int id) const;
  template <typename T>
  T* Weight(int id) const;
  abi::DevicePtr PoolOf(int layer) const;

  const Plan* plan_;
  const StepCaps caps_;
  ProgramMemory memory_;
  const Device* device_;
  const GemmChip chip_;
  std::vector<BoundOp> ops_;
  // By index, ops that read selected rows, as they are where logit rows are all rows: bound to what is
  // selected from.
  std::map<size_t, BoundOp> direct_;
  Kernel rope_table_, decode_, decode_wide_, prompt_, widen_, sample_;
  SampleTactic sample_tactic_;
  float attention_factor_ = 1;
  int64_t logits_stride_ = 0;
  int head_ = -1;
};

}  // namespace lathe::cuda
