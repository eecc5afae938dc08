#include "runtime/exec/executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "base/check.h"
#include "base/clock.h"
#include "kernels/cpu/registry.h"
#include "kernels/cpu/sample.h"
#include "kernels/cpu/workers.h"
#include "runtime/exec/memory.h"
#include "runtime/exec/profile.h"
#include "runtime/step/logit_slices.h"

namespace lathe {
namespace {

KvLayout LayoutOf(const Plan& plan) {
  return {.page_size = plan.page_size,
          .n_kv_heads = plan.n_kv_heads,
          .head_dim = plan.head_dim,
          .type = plan.kv_type};
}

uint64_t BufferBytes(const BufferDef& buffer, const ExecutorOptions& options) {
  const int rows = buffer.logit_rows ? options.max_logit_rows : options.max_step_rows;
  return static_cast<uint64_t>(buffer.bytes_per_row) * static_cast<uint64_t>(rows);
}

// A tactic with its kernels looked up.
struct BoundTactic {
  struct Bucket {
    int max_m;
    GemmFn fn;
  };
  std::vector<Bucket> buckets;
  GemmFn For(int m) const {
    for (const Bucket& bucket : buckets)
      if (m <= bucket.max_m) return bucket.fn;
    return buckets.back().fn;
  }
};

class CpuExecutor final : public StepExecutor {
 public:
  CpuExecutor(Plan plan, ExecutorOptions options, Communicator* comm)
      : plan_(std::move(plan)), options_(std::move(options)), comm_(comm), kv_(LayoutOf(plan_)) {}

  Status Open(const EngineReader& engine);
  const ExecutorLimits& limits() const override { return limits_; }
  Status Execute(const Step& step, StepResult* result) override;

 private:
  Status BindTactics();
  Status Allocate();
  void MovePages(const std::vector<PageMove>& moves);
  void PrepareRope(const Step& step);
  void FillRope(int index);
  void RunOp(const PlanOp& op, const Worker& worker);
  void RunEmbed(const PlanOp& op, const Worker& worker);
  void RunRmsNorm(const PlanOp& op, const Worker& worker);
  void RunGemm(const PlanOp& op, const Worker& worker);
  void RunRopeAppend(const PlanOp& op, const Worker& worker);
  void RunSelect(const PlanOp& op, const Worker& worker);
  void RunAttention(const PlanOp& op, const Worker& worker);
  void RunComm(const PlanOp& op, const Worker& worker);
  void Sample(const Worker& worker, StepResult* result);
  void CopyHidden(std::vector<float>* out) const;

  template <typename T = void>
  T* Buffer(int id) const {
    return id < 0 ? nullptr
                  : reinterpret_cast<T*>(buffers_.data() + buffer_offsets_[static_cast<size_t>(id)]);
  }
  template <typename T = void>
  const T* Weight(int id) const {
    return id < 0 ? nullptr
                  : reinterpret_cast<const T*>(weights_ + plan_.weights[static_cast<size_t>(id)].offset);
  }
  void* KvBase(int layer) const {
    return kv_pool_.data() +
           static_cast<int64_t>(layer - plan_.first_layer) * limits_.n_pages * kv_.PageBytes();
  }
  int Rows(const PlanOp& op) const {
    return op.logit_rows ? static_cast<int>(step_->logit_rows.size()) : step_->n_rows();
  }

  const Plan plan_;
  const ExecutorOptions options_;
  Communicator* const comm_;
  const KvLayout kv_;
  ExecutorLimits limits_;
  const std::byte* weights_ = nullptr;
  const OpKernels* kernels_ = nullptr;
  std::vector<BoundTactic> tactics_;
  LazyMemory buffers_, kv_pool_, host_pool_;  // host_pool_: the layers of a page one after another
  int64_t n_moved_ = 0;
  std::vector<uint64_t> buffer_offsets_;
  std::unique_ptr<Team> team_;  // made by the first Execute, on its thread
  std::unique_ptr<Workers> workers_;
  std::vector<std::vector<std::byte>> sample_scratch_;  // a thread
  const std::unique_ptr<StepProfile> profile_ = StepProfile::FromEnvironment(plan_);

  // Of the step under way; set by worker 0 before the team runs.
  const Step* step_ = nullptr;
  std::vector<AttnSeq> seqs_, logit_seqs_;
  std::vector<SeqSlice> logit_slices_;
  struct RopeRow {
    int position;
    const float* inv_freq;
  };
  std::vector<RopeRow> rope_rows_;
  std::vector<std::pair<int, std::vector<float>>> dynamic_freqs_;  // rope_length -> inv_freq, of this step
  std::vector<float> cos_, sin_;
  std::vector<TokenLogprob> tops_;
};

Status CpuExecutor::Open(const EngineReader& engine) {
  LATHE_ASSIGN_OR_RETURN(const auto blob, engine.Blob(RankBlobName("weights", plan_.tp_rank, plan_.pp_rank)));
  LATHE_RETURN_IF_ERROR(VerifyPlan(plan_, blob.size()));
  weights_ = blob.data();
  kernels_ = FindOps(plan_.isa, plan_.numeric);
  const auto usable = UsableIsas();
  if (kernels_ == nullptr || std::find(usable.begin(), usable.end(), plan_.isa) == usable.end())
    return Error(StatusCode::kMismatch,
                 "the engine is for %s with %s arithmetic, this machine runs %s; build it again "
                 "here with 'lathe build'",
                 std::string(ToString(plan_.isa)).c_str(), std::string(ToString(plan_.numeric)).c_str(),
                 std::string(ToString(usable.back())).c_str());
  if ((plan_.tp > 1 || plan_.pp > 1) && comm_ == nullptr)
    return {StatusCode::kInternal, "a plan of several ranks needs a communicator"};
  LATHE_RETURN_IF_ERROR(BindTactics());
  limits_ = {.max_step_rows = options_.max_step_rows,
             .max_logit_rows = options_.max_logit_rows,
             .n_pages = options_.n_pages,
             .page_size = plan_.page_size,
             .n_host_pages = options_.n_host_pages,
             .max_positions = options_.max_positions,
             .vocab = plan_.vocab,
             .dynamic_rope = options_.rope.dynamic_from > 0,
             .dynamic_rope_from = options_.rope.dynamic_from};
  if (options_.rope.inv_freq.size() != static_cast<size_t>(plan_.rotary_dim / 2))
    return Error(StatusCode::kCorrupt, "the model's rotary table has %zu frequencies, the plan needs %d",
                 options_.rope.inv_freq.size(), plan_.rotary_dim / 2);
  return Allocate();
}

Status CpuExecutor::BindTactics() {
  for (const GemmTactic& tactic : plan_.tactics) {
    BoundTactic bound;
    for (const TacticBucket& bucket : tactic.buckets) {
      const GemmKernel* kernel = FindGemm(bucket.kernel);
      if (kernel == nullptr || kernel->isa > plan_.isa ||
          kernel->numeric != MatmulClass(plan_.numeric, tactic.x_type))
        return Error(StatusCode::kMismatch,
                     "the engine names the kernel '%s', which this lathe does not have; build "
                     "it again with 'lathe build'",
                     bucket.kernel.c_str());
      bound.buckets.push_back({bucket.max_m, kernel->fn});
    }
    tactics_.push_back(std::move(bound));
  }
  return Status::Ok();
}

Status CpuExecutor::Allocate() {
  const MemoryPlan memory = PlanMemory(plan_, options_);
  LATHE_ASSIGN_OR_RETURN(buffers_, LazyMemory::Allocate(memory.buffer_bytes, "activations"));
  LATHE_ASSIGN_OR_RETURN(kv_pool_, LazyMemory::Allocate(memory.kv_bytes, "KV cache"));
  LATHE_ASSIGN_OR_RETURN(host_pool_, LazyMemory::Allocate(memory.host_kv_bytes, "pages taken back"));
  uint64_t offset = 0;
  for (const BufferDef& buffer : plan_.buffers) {
    buffer_offsets_.push_back(offset);
    offset += BufferBytes(buffer, options_);
  }
  const auto angles = static_cast<size_t>(options_.max_step_rows) * static_cast<size_t>(plan_.rotary_dim / 2);
  cos_.resize(angles);
  sin_.resize(angles);
  return Status::Ok();
}

void CpuExecutor::MovePages(const std::vector<PageMove>& moves) {
  const auto bytes = static_cast<size_t>(kv_.PageBytes());
  const auto layers = static_cast<size_t>(plan_.n_layers);
  for (const PageMove& move : moves) {
    std::byte* host = host_pool_.data() + static_cast<size_t>(move.host_page) * layers * bytes;
    std::byte* device = kv_pool_.data() + static_cast<size_t>(move.device_page) * bytes;
    for (size_t layer = 0; layer < layers; ++layer) {
      std::byte* in_pool = device + layer * static_cast<size_t>(limits_.n_pages) * bytes;
      std::byte* in_host = host + layer * bytes;
      std::memcpy(move.to_host ? in_host : in_pool, move.to_host ? in_pool : in_host, bytes);
    }
  }
  n_moved_ += std::ssize(moves);
}

// One row of angles per token, computed once a step for all layers: no table, hence no longest position, and
// every kind of scaling (also those that depend on the sequence's length) takes the same road.
void CpuExecutor::PrepareRope(const Step& step) {
  rope_rows_.clear();
  dynamic_freqs_.clear();
  for (const SeqSlice& seq : step.sequences) {
    const bool dynamic = options_.rope.dynamic_from > 0 && seq.rope_length > options_.rope.dynamic_from;
    const auto known = std::find_if(dynamic_freqs_.begin(), dynamic_freqs_.end(),
                                    [&](const auto& entry) { return entry.first == seq.rope_length; });
    if (dynamic && known == dynamic_freqs_.end())
      dynamic_freqs_.emplace_back(seq.rope_length, options_.rope.inv_freq_for(seq.rope_length));
  }
  for (const SeqSlice& seq : step.sequences) {
    const float* inv_freq = options_.rope.inv_freq.data();
    for (const auto& [length, freqs] : dynamic_freqs_)
      if (length == seq.rope_length) inv_freq = freqs.data();
    for (int i = 0; i < seq.n_rows; ++i) rope_rows_.push_back({seq.first_position + i, inv_freq});
  }
}

void CpuExecutor::FillRope(int index) {
  const int half = plan_.rotary_dim / 2;
  for (size_t row = static_cast<size_t>(index); row < rope_rows_.size();
       row += static_cast<size_t>(team_->size())) {
    const auto [position, inv_freq] = rope_rows_[row];
    float* cos = cos_.data() + row * static_cast<size_t>(half);
    float* sin = sin_.data() + row * static_cast<size_t>(half);
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * inv_freq[i];
      cos[i] = std::cos(angle) * options_.rope.attention_factor;
      sin[i] = std::sin(angle) * options_.rope.attention_factor;
    }
  }
}

Status CpuExecutor::Execute(const Step& step, StepResult* result) {
  LATHE_CHECK_LE(step.n_rows(), limits_.max_step_rows);
  LATHE_CHECK_LE(static_cast<int>(step.logit_rows.size()), limits_.max_logit_rows);
  LATHE_CHECK_EQ(step.samples.size(), step.logit_rows.size());
  if (!team_) {
    team_ = std::make_unique<Team>(TeamOptions{.threads = options_.threads, .first_cpu = options_.first_cpu});
    workers_ = std::make_unique<Workers>(*team_);
    sample_scratch_.resize(static_cast<size_t>(team_->size()));
    for (auto& scratch : sample_scratch_) scratch.resize(SampleScratchBytes(plan_.vocab) + 64);
  }
  step_ = &step;
  MovePages(step.moves);
  result->moves_done = n_moved_;
  const auto attended = [](const SeqSlice& s) {
    return AttnSeq{
        .first_row = s.first_row, .n_rows = s.n_rows, .first_position = s.first_position, .pages = s.pages};
  };
  seqs_.clear();
  logit_seqs_.clear();
  std::ranges::transform(step.sequences, std::back_inserter(seqs_), attended);
  SliceLogitRows(step, &logit_slices_);
  std::ranges::transform(logit_slices_, std::back_inserter(logit_seqs_), attended);
  PrepareRope(step);
  const bool sample = plan_.logits_buffer >= 0;
  if (sample) {
    size_t n_tops = 0;
    for (const SampleRow& row : step.samples) n_tops += static_cast<size_t>(row.n_top_logprobs);
    tops_.resize(n_tops);
    result->tokens.assign(step.logit_rows.size(), {});
  }
  const bool profile = profile_ != nullptr;
  team_->Run([&](int index) {
    int number = 0;
    FillRope(index);
    workers_->Finish(index, number++);
    for (const PlanOp& op : plan_.ops) {
      if (op.logit_rows && step_->logit_rows.empty()) continue;
      const double start = profile && index == 0 ? NowSeconds() : 0;
      RunOp(op, workers_->Get(index, number));
      workers_->Finish(index, number++);
      if (profile && index == 0) profile_->Add(op, Rows(op), NowSeconds() - start);
    }
    if (sample && !step_->logit_rows.empty()) {
      Sample(workers_->Get(index, number), result);
      workers_->Finish(index, number++);
    }
  });
  if (sample && step.want_hidden) CopyHidden(&result->hidden);
  if (sample && step.want_logits) {
    const float* logits = Buffer<float>(plan_.logits_buffer);
    result->logits.assign(logits, logits + step.logit_rows.size() * static_cast<size_t>(plan_.vocab));
  }
  step_ = nullptr;
  return Status::Ok();
}

void CpuExecutor::RunOp(const PlanOp& op, const Worker& worker) {
  switch (op.kind) {
    case PlanOpKind::kEmbed: return RunEmbed(op, worker);
    case PlanOpKind::kRmsNorm: return RunRmsNorm(op, worker);
    case PlanOpKind::kGemm: return RunGemm(op, worker);
    case PlanOpKind::kRopeAppend: return RunRopeAppend(op, worker);
    case PlanOpKind::kSelect: return RunSelect(op, worker);
    case PlanOpKind::kAttention: return RunAttention(op, worker);
    case PlanOpKind::kAllReduce:
    case PlanOpKind::kAllGather:
    case PlanOpKind::kSend:
    case PlanOpKind::kRecv: return RunComm(op, worker);
    case PlanOpKind::kQuantize: LATHE_CHECK(false);  // VerifyPlan: of CUDA plans only
  }
}

void CpuExecutor::RunEmbed(const PlanOp& op, const Worker& worker) {
  const WeightDef& table = plan_.weights[static_cast<size_t>(op.weight)];
  kernels_->embed({.n_tokens = step_->n_rows(),
                   .hidden = plan_.hidden,
                   .vocab = plan_.vocab,
                   .token_ids = step_->token_ids.data(),
                   .table = Weight(op.weight),
                   .table_type = table.type,
                   .packed = table.layout == WeightLayout::kPanels,
                   .x = Buffer<float>(op.out)},
                  worker);
}

void CpuExecutor::RunRmsNorm(const PlanOp& op, const Worker& worker) {
  kernels_->rmsnorm({.n_tokens = Rows(op),
                     .hidden = plan_.hidden,
                     .residual = Buffer<float>(op.in),
                     .delta = Buffer<float>(op.in2),
                     .gain = Weight<float>(op.gain),
                     .eps = plan_.norm_eps,
                     .y = Buffer(op.out),
                     .y_type = op.out_type,
                     .rows = GathersRows(plan_, op) ? step_->logit_rows.data() : nullptr},
                    worker);
}

void CpuExecutor::RunGemm(const PlanOp& op, const Worker& worker) {
  const WeightDef& w = plan_.weights[static_cast<size_t>(op.weight)];
  const int M = Rows(op);
  tactics_[static_cast<size_t>(op.tactic)].For(M)({.M = M,
                                                   .N = static_cast<int>(w.N),
                                                   .K = static_cast<int>(w.K),
                                                   .x = Buffer(op.in),
                                                   .ldx = w.K,
                                                   .w = Weight(op.weight),
                                                   .bias = Weight<float>(op.bias),
                                                   .y = Buffer(op.out),
                                                   .ldy = op.silu_mul ? w.N / 2 : w.N,
                                                   .y_type = op.out_type,
                                                   .silu_mul = op.silu_mul},
                                                  worker);
}

void CpuExecutor::RunRopeAppend(const PlanOp& op, const Worker& worker) {
  kernels_->rope_append({.n_tokens = step_->n_rows(),
                         .n_heads = plan_.n_heads,
                         .rotary_dim = plan_.rotary_dim,
                         .qkv = Buffer<float>(op.in),
                         .ld_qkv = int64_t{plan_.n_heads + 2 * plan_.n_kv_heads} * plan_.head_dim,
                         .q_gain = Weight<float>(op.gain),
                         .k_gain = Weight<float>(op.gain2),
                         .norm_eps = plan_.norm_eps,
                         .cos = cos_.data(),
                         .sin = sin_.data(),
                         .q_scale = plan_.q_scale,
                         .q_out = Buffer(op.out),
                         .q_type = ActivationType(plan_.numeric),
                         .kv = kv_,
                         .kv_base = KvBase(op.layer),
                         .seqs = seqs_.data(),
                         .n_seqs = static_cast<int>(seqs_.size())},
                        worker);
}

void CpuExecutor::RunSelect(const PlanOp& op, const Worker& worker) {
  const size_t bytes = static_cast<size_t>(op.columns) * static_cast<size_t>(SizeOf(op.out_type));
  const auto* from = Buffer<std::byte>(op.in);
  auto* to = Buffer<std::byte>(op.out);
  const int n = Rows(op);
  for (int i = worker.Next(n); i >= 0; i = worker.Next(n)) {
    const auto row = static_cast<size_t>(i);
    std::memcpy(to + row * bytes, from + static_cast<size_t>(step_->logit_rows[row]) * bytes, bytes);
  }
}

void CpuExecutor::RunAttention(const PlanOp& op, const Worker& worker) {
  const std::vector<AttnSeq>& seqs = op.logit_rows ? logit_seqs_ : seqs_;
  kernels_->attention({.n_tokens = Rows(op),
                       .n_heads = plan_.n_heads,
                       .q = Buffer(op.in),
                       .q_type = ActivationType(plan_.numeric),
                       .kv = kv_,
                       .kv_base = KvBase(op.layer),
                       .seqs = seqs.data(),
                       .n_seqs = static_cast<int>(seqs.size()),
                       .window = op.window,
                       .y = Buffer(op.out),
                       .y_type = op.out_type},
                      worker);
}

void CpuExecutor::RunComm(const PlanOp& op, const Worker& worker) {
  if (worker.index != 0) return;
  const int64_t rows = Rows(op);
  const int64_t residual_bytes = rows * plan_.hidden * static_cast<int64_t>(sizeof(float));
  if (op.kind == PlanOpKind::kAllReduce) comm_->AllReduceSum(Buffer<float>(op.in), rows * plan_.hidden);
  if (op.kind == PlanOpKind::kAllGather)
    comm_->AllGatherRows(Buffer<float>(op.in), rows, plan_.weights[static_cast<size_t>(op.weight)].N,
                         Buffer<float>(op.out), plan_.vocab);
  if (op.kind == PlanOpKind::kSend) comm_->Send(op.peer, Buffer(op.in), residual_bytes);
  if (op.kind == PlanOpKind::kRecv) comm_->Recv(op.peer, Buffer(op.out), residual_bytes);
}

// What the head multiplied: the last hidden state of each logit row, after the final norm.
void CpuExecutor::CopyHidden(std::vector<float>* out) const {
  const auto head = std::find_if(plan_.ops.rbegin(), plan_.ops.rend(),
                                 [](const PlanOp& op) { return op.kind == PlanOpKind::kGemm; });
  LATHE_CHECK(head != plan_.ops.rend());
  const float* rows = Buffer<float>(head->in);  // the head's x is never rounded
  out->assign(rows, rows + step_->logit_rows.size() * static_cast<size_t>(plan_.hidden));
}

void CpuExecutor::Sample(const Worker& worker, StepResult* result) {
  auto& scratch = sample_scratch_[static_cast<size_t>(worker.index)];
  const uintptr_t address = (reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64;
  const std::span<std::byte> aligned(reinterpret_cast<std::byte*>(address), SampleScratchBytes(plan_.vocab));
  const int n = static_cast<int>(step_->logit_rows.size());
  for (int i = worker.Next(n); i >= 0; i = worker.Next(n)) {
    const auto row = static_cast<size_t>(i);
    size_t first_top = 0;
    for (size_t r = 0; r < row; ++r) first_top += static_cast<size_t>(step_->samples[r].n_top_logprobs);
    const float* logits = Buffer<float>(plan_.logits_buffer) + row * static_cast<size_t>(plan_.vocab);
    const SampleResult sampled =
        SampleToken(plan_.isa, logits, plan_.vocab, step_->samples[row], aligned, tops_.data() + first_top);
    SampledToken& token = result->tokens[row];
    token.id = sampled.id;
    token.logprob = sampled.logprob;
    token.finite = sampled.finite;
    token.top.assign(tops_.begin() + static_cast<std::ptrdiff_t>(first_top),
                     tops_.begin() + static_cast<std::ptrdiff_t>(first_top) + sampled.n_top);
  }
}

}  // namespace

Status CheckCpuTarget(const EngineReader& engine) {
  const std::string& target = engine.identity().target;
  std::string here;
  for (const Isa isa : UsableIsas()) {
    here = "cpu:" + std::string(ToString(isa));
    if (here == target) return Status::Ok();
  }
  return Error(StatusCode::kMismatch,
               "engine '%s' is for %s, this machine runs %s at best; build it again here with "
               "'lathe build DIR -o %s'",
               engine.path().c_str(), target.c_str(), here.c_str(), engine.path().c_str());
}

MemoryPlan PlanMemory(const Plan& plan, const ExecutorOptions& options) {
  MemoryPlan memory;
  memory.weight_bytes = plan.WeightBytes();
  for (const BufferDef& buffer : plan.buffers) memory.buffer_bytes += BufferBytes(buffer, options);
  memory.kv_bytes_per_page =
      static_cast<uint64_t>(LayoutOf(plan).PageBytes()) * static_cast<uint64_t>(plan.n_layers);
  memory.kv_bytes = memory.kv_bytes_per_page * static_cast<uint64_t>(options.n_pages);
  memory.host_kv_bytes = memory.kv_bytes_per_page * static_cast<uint64_t>(options.n_host_pages);
  return memory;
}

Expected<std::unique_ptr<StepExecutor>> OpenCpuExecutor(const EngineReader& engine, Plan plan,
                                                        const ExecutorOptions& options, Communicator* comm) {
  auto executor = std::make_unique<CpuExecutor>(std::move(plan), options, comm);
  LATHE_RETURN_IF_ERROR(executor->Open(engine));
  return std::unique_ptr<StepExecutor>(std::move(executor));
}

}  // namespace lathe
