#include "runtime/exec/cuda/program.h"

#include <algorithm>

#include "base/check.h"
#include "runtime/exec/cuda/sizes.h"

namespace lathe::cuda {
namespace {

constexpr double kLog2E = 1.4426950408889634;
// Deterministic mode: the tactic that is measured for so many rows serves all.
constexpr int kDeterministicRows = 64;

template <typename T>
T* Pointer(abi::DevicePtr address) {
  return reinterpret_cast<T*>(address);
}

Status Missing(const std::string& entry) {
  return Error(StatusCode::kMismatch,
               "the engine has no kernel '%s', which this lathe needs; build it again with 'lathe build'",
               entry.c_str());
}

Status Take(Expected<Kernel> kernel, Kernel* out) {
  LATHE_ASSIGN_OR_RETURN(*out, std::move(kernel));
  return Status::Ok();
}

}  // namespace

Expected<KernelSet> KernelSet::Load(const Device& device, const KernelBlob& blob) {
  KernelSet set;
  for (const KernelBlob::Entry& entry : blob.entries()) {
    auto module = LoadModule(device, entry.cubin.data());
    if (!module.ok()) return module.status().WithContext("the engine's kernel " + entry.entry);
    set.modules_.emplace(entry.entry, *std::move(module));
  }
  return set;
}

Expected<Kernel> KernelSet::Get(const KernelSource& source) const {
  const auto it = modules_.find(source.entry);
  if (it == modules_.end()) return Missing(source.entry);
  return GetKernel(it->second, source.entry, source.dynamic_shared);
}

template <typename T>
T* Program::Buffer(int id) const {
  return id < 0 ? nullptr : Pointer<T>(memory_.buffers[static_cast<size_t>(id)]);
}

template <typename T>
T* Program::Weight(int id) const {
  return id < 0 ? nullptr : Pointer<T>(memory_.weights + plan_->weights[static_cast<size_t>(id)].offset);
}

template <typename T>
T* Program::Scales(int buffer, int64_t columns) const {
  const BufferDef& def = plan_->buffers[static_cast<size_t>(buffer)];
  return Pointer<T>(memory_.buffers[static_cast<size_t>(buffer)] +
                    static_cast<uint64_t>(columns * BufferRows(def, caps_)));
}

abi::DevicePtr Program::PoolOf(int layer) const {
  return memory_.kv +
         static_cast<uint64_t>((layer - plan_->first_layer) * memory_.n_pages * caps_.shape.page_bytes());
}

Expected<Program> Program::Bind(const Plan& plan, const StepCaps& caps, const ProgramMemory& memory,
                                const KernelSet& kernels, const Device& device,
                                const ProgramOptions& options) {
  Program program(plan, caps, memory, device);
  LATHE_RETURN_IF_ERROR(program.BindAll(kernels, options));
  return program;
}

Status Program::BindAll(const KernelSet& kernels, const ProgramOptions& options) {
  attention_factor_ = options.attention_factor;
  for (const PlanOp& op : plan_->ops) {
    if (op.kind == PlanOpKind::kRopeAppend && rope_table_.function == nullptr) {
      LATHE_ASSIGN_OR_RETURN(rope_table_, kernels.Get(RopeTableKernel(plan_->rotary_dim)));
    }
    if (op.kind == PlanOpKind::kAttention && decode_.function == nullptr) {
      LATHE_ASSIGN_OR_RETURN(decode_, kernels.Get(DecodeKernel(caps_.shape, false)));
      LATHE_ASSIGN_OR_RETURN(decode_wide_, kernels.Get(DecodeKernel(caps_.shape, true)));
      LATHE_ASSIGN_OR_RETURN(prompt_, kernels.Get(PromptKernel(caps_.shape, caps_.prompt)));
      if (caps_.shape.kv_fp8) {
        LATHE_ASSIGN_OR_RETURN(widen_, kernels.Get(WidenKernel(caps_.shape)));
      }
    }
    if (op.kind == PlanOpKind::kGemm && op.logit_rows && op.out == plan_->logits_buffer) {
      head_ = static_cast<int>(&op - plan_->ops.data());
      logits_stride_ = GemmStride(*plan_, op);
    }
    BoundOp bound;
    LATHE_RETURN_IF_ERROR(BindOp(op, kernels, options, &bound).WithContext(ToString(op.kind)));
    ops_.push_back(std::move(bound));
  }
  FoldOps(options.deterministic);
  LATHE_RETURN_IF_ERROR(BindDirect(kernels, options));
  if (plan_->logits_buffer < 0 || head_ < 0)
    return {StatusCode::kCorrupt, "plan: no op writes the logits, which a CUDA engine of one rank needs"};
  sample_tactic_ = SampleTacticOf(plan_->vocab, chip_.sm);
  LATHE_ASSIGN_OR_RETURN(sample_, kernels.Get(SampleKernel(sample_tactic_)));
  return Status::Ok();
}

Status Program::BindDirect(const KernelSet& kernels, const ProgramOptions& options) {
  const std::vector<abi::DevicePtr> own = memory_.buffers;
  std::map<int, int> stands_for;  // buffer of selected rows -> where they are selected from
  for (size_t i = 0; i < ops_.size(); ++i) {
    const PlanOp& op = plan_->ops[i];
    if (op.kind == PlanOpKind::kSelect) {
      stands_for[op.out] = op.in;
      continue;
    }
    if (op.out != op.in2) stands_for.erase(op.out);  // other rows from here on
    if (!stands_for.contains(op.in) && !stands_for.contains(op.in2)) continue;
    for (const auto& [selected, all] : stands_for)
      memory_.buffers[static_cast<size_t>(selected)] = own[static_cast<size_t>(all)];
    const Status status = BindOp(op, kernels, options, &direct_[i]);
    memory_.buffers = own;
    LATHE_RETURN_IF_ERROR(status.WithContext(ToString(op.kind)));
  }
  return Status::Ok();
}

Status Program::BindOp(const PlanOp& op, const KernelSet& kernels, const ProgramOptions& options,
                       BoundOp* out) {
  switch (op.kind) {
    case PlanOpKind::kEmbed:
      out->embed = {Pointer<StepRow>(memory_.upload), Pointer<SampledRow>(memory_.sampled),
                    Weight<void>(op.weight), Buffer<float>(op.out)};
      return Take(
          kernels.Get(EmbedKernel(plan_->hidden, plan_->weights[static_cast<size_t>(op.weight)].type)),
          &out->kernel);
    case PlanOpKind::kRmsNorm:
      if (IsFolded(*plan_, op)) return Status::Ok();
      if (op.out < 0) return {StatusCode::kCorrupt, "plan: on CUDA a norm must have an output"};
      out->norm_variant = NormVariantOf(*plan_, op);
      BindNorm(op, out);
      return Take(kernels.Get(NormKernel(out->norm_variant)), &out->kernel);
    case PlanOpKind::kGemm: return BindGemm(op, kernels, options, out);
    case PlanOpKind::kRopeAppend:
      out->rope_variant = RopeVariantOf(*plan_, op);
      BindRope(op, out);
      return Take(kernels.Get(RopeKernel(out->rope_variant)), &out->kernel);
    case PlanOpKind::kAttention:
      LATHE_RETURN_IF_ERROR(BindAttention(op, out));
      if (!CanFoldRope(*plan_, op)) return Status::Ok();
      return Take(kernels.Get(DecodeRopeKernel(caps_.shape, RopeVariantOf(*plan_, *(&op - 1)))),
                  &out->kernel);
    case PlanOpKind::kQuantize:
      out->columns = static_cast<int>(plan_->weights[static_cast<size_t>(op.weight)].K);
      out->quantize = {Buffer<void>(op.in), Buffer<void>(op.out), Scales<float>(op.out, out->columns)};
      return Take(kernels.Get(QuantizeKernel(out->columns, HasF16(plan_->numeric))), &out->kernel);
    case PlanOpKind::kSelect:
      out->select = {Buffer<void>(op.in), Buffer<void>(op.out), nullptr, op.columns * SizeOf(op.out_type)};
      return Take(kernels.Get(SelectKernel()), &out->kernel);
    case PlanOpKind::kAllReduce:
    case PlanOpKind::kAllGather:
    case PlanOpKind::kSend:
    case PlanOpKind::kRecv: break;
  }
  return {StatusCode::kUnsupported, "a CUDA engine runs on one GPU; build it without --tp and --pp"};
}

void Program::FoldOps(bool deterministic) {
  for (size_t i = 0; i + 1 < ops_.size(); ++i) {
    const PlanOp& next = plan_->ops[i + 1];
    for (const BoundGemm& gemm : ops_[i + 1].gemms)
      if (gemm.prologue != GemmPrologue::kPlain) ops_[i].folded_rows = gemm.max_m;
    // Deterministic steps have no decoding rows.
    if (next.kind != PlanOpKind::kAttention || deterministic || !CanFoldRope(*plan_, next)) continue;
    ops_[i].folded_rows = caps_.wide_rows;
    ops_[i + 1].decode.rope = ops_[i].rope;
  }
}

bool Program::IsLeftOut(size_t index, const StepInput& input) const {
  const PlanOp& def = plan_->ops[index];
  if ((def.logit_rows && input.logit_rows == 0) || IsFolded(*plan_, def)) return true;
  if (def.kind == PlanOpKind::kSelect) return !input.selects;
  if (def.kind == PlanOpKind::kRopeAppend) {
    if (GemmDoesRope(index, input.rows)) return true;
    if (!input.attention.decodes || !input.attention.rounds.empty()) return false;
  }
  return input.rows <= ops_[index].folded_rows;
}

bool Program::GemmDoesRope(size_t index, int rows) const {
  return index > 0 && plan_->ops[index].kind == PlanOpKind::kRopeAppend && !ops_[index - 1].gemms.empty() &&
         GemmFor(ops_[index - 1], rows).rope.has_value();
}

void Program::BindNorm(const PlanOp& op, BoundOp* out) const {
  out->norm = {.residual = Buffer<float>(op.in),
               .delta = Buffer<void>(NormDelta(*plan_, op)),
               .gain = Weight<float>(op.gain),
               .out = Buffer<void>(op.out),
               .scales = op.out_type == DType::kF8E4M3 ? Scales<float>(op.out, plan_->hidden) : nullptr,
               .rows = nullptr,
               .part_stride = 0,
               .n_parts = 1,
               .eps = plan_->norm_eps};
}

void Program::BindRope(const PlanOp& op, BoundOp* out) const {
  out->rope = {.rows = Pointer<StepRow>(memory_.upload),
               .qkv = Buffer<void>(op.in),
               .bias = nullptr,
               .q_gain = Weight<float>(op.gain),
               .k_gain = Weight<float>(op.gain2),
               .cos = Pointer<float>(memory_.cos),
               .sin = Pointer<float>(memory_.sin),
               .q = Buffer<void>(op.out),
               .kv = Pointer<void>(PoolOf(op.layer)),
               .eps = plan_->norm_eps,
               .inverse_k_scale = 1,
               .inverse_v_scale = 1,
               .n_rows = 0,
               .n_heads = plan_->n_heads,
               .n_kv_heads = plan_->n_kv_heads};
}

Status Program::BindGemm(const PlanOp& op, const KernelSet& kernels, const ProgramOptions& options,
                         BoundOp* out) {
  const WeightDef& w = plan_->weights[static_cast<size_t>(op.weight)];
  const int most = op.logit_rows ? caps_.max_logit_rows : caps_.max_rows;
  const bool fp8 = w.type == DType::kF8E4M3;
  GemmArgs args = {};
  args.w = memory_.weights + w.offset;
  args.x = memory_.buffers[static_cast<size_t>(op.in)];
  args.y = memory_.buffers[static_cast<size_t>(op.out)];
  args.residual = op.in2 >= 0 ? memory_.buffers[static_cast<size_t>(op.in2)] : 0;
  args.bias = op.bias >= 0 ? memory_.weights + plan_->weights[static_cast<size_t>(op.bias)].offset : 0;
  if (fp8) {
    args.w_scale = memory_.weights + plan_->weights[static_cast<size_t>(w.scale)].offset;
    args.w_scale_step = 1;
    args.x_scale = reinterpret_cast<abi::DevicePtr>(Scales<float>(op.in, w.K));
  }
  args.y_stride = GemmStride(*plan_, op);
  std::string last;
  const abi::DevicePtr rows_before = &op != plan_->ops.data() && (&op - 1)->in >= 0
                                         ? memory_.buffers[static_cast<size_t>((&op - 1)->in)]
                                         : 0;
  std::optional<GemmTactic> last_rope;
  const auto& buckets = plan_->tactics[static_cast<size_t>(op.tactic)].buckets;
  for (const TacticBucket& bucket : buckets) {
    if (options.deterministic && bucket.max_m < kDeterministicRows && &bucket != &buckets.back()) continue;
    LATHE_ASSIGN_OR_RETURN(const GemmTactic tactic, ParseGemmTactic(bucket.kernel));
    const GemmPrologue prologue = PrologueOf(*plan_, op, tactic, bucket.max_m);
    const auto rope = DoesRope(*plan_, op) && !options.deterministic
                          ? RopeGemmTactic(tactic, GemmProblemOf(*plan_, op, bucket.max_m), chip_)
                          : std::nullopt;
    if (bucket.kernel == last && rope == last_rope && prologue == out->gemms.back().prologue) {
      out->gemms.back().max_m = bucket.max_m;
      continue;
    }
    last = bucket.kernel;
    last_rope = rope;
    if (tactic.kind == GemmKind::kCublasLt)
      return Error(
          StatusCode::kUnsupported,
          "the engine's tactic '%s' of '%s' is cuBLASLt's, which lathe measures and does not run; build it "
          "again with 'lathe build'",
          bucket.kernel.c_str(), w.name.c_str());
    const bool last_bucket = &bucket == &buckets.back();
    if (tactic.kind == GemmKind::kStream && tactic.tokens < (last_bucket ? most : bucket.max_m))
      return Error(StatusCode::kCorrupt, "plan: the tactic '%s' of '%s' does not take %d rows",
                   bucket.kernel.c_str(), w.name.c_str(), last_bucket ? most : bucket.max_m);
    GemmProblem problem = GemmProblemOf(*plan_, op, most);
    problem.prologue = prologue;
    args.m = most;
    args.n = problem.n;
    args.k = problem.k;
    GemmArgs own = args;
    if (prologue != GemmPrologue::kPlain) own.x = rows_before;
    if (prologue == GemmPrologue::kNorm) {
      own.gain = memory_.weights + plan_->weights[static_cast<size_t>((&op - 1)->gain)].offset;
      own.eps = plan_->norm_eps;
    }
    LATHE_ASSIGN_OR_RETURN(const Kernel kernel, kernels.Get(GemmKernel(tactic, problem)));
    LATHE_ASSIGN_OR_RETURN(Gemm gemm, Gemm::Bind(kernel, tactic, problem, own));
    out->gemms.push_back({bucket.max_m, prologue, std::move(gemm), std::nullopt});
    if (rope) LATHE_RETURN_IF_ERROR(BindRopeGemm(op, *rope, kernels, args, &out->gemms.back().rope));
    if (options.deterministic) break;
  }
  return Status::Ok();
}

// `args`: of the matmul alone. Nothing where the engine was built for a chip that would have taken another
// tactic, and has no such kernel.
Status Program::BindRopeGemm(const PlanOp& op, const GemmTactic& tactic, const KernelSet& kernels,
                             GemmArgs args, std::optional<Gemm>* out) const {
  GemmProblem problem = GemmProblemOf(*plan_, op, args.m);
  problem.epilogue = RopeEpilogue(*plan_);
  const auto kernel = kernels.Get(GemmKernel(tactic, problem));
  if (!kernel.ok()) return Status::Ok();
  const PlanOp& rope = *(&op + 1);
  args.y = memory_.buffers[static_cast<size_t>(rope.out)];
  args.y_stride = plan_->n_heads * plan_->head_dim;
  const GemmRope heads = {.rows = memory_.upload,
                          .cos = memory_.cos,
                          .sin = memory_.sin,
                          .kv = PoolOf(rope.layer),
                          .n_heads = plan_->n_heads,
                          .n_kv_heads = plan_->n_kv_heads};
  LATHE_ASSIGN_OR_RETURN(Gemm gemm, Gemm::Bind(*kernel, tactic, problem, args, heads));
  out->emplace(std::move(gemm));
  return Status::Ok();
}

const Program::BoundGemm& Program::GemmFor(const BoundOp& op, int rows) {
  const auto fits = [rows](const BoundGemm& g) { return rows <= g.max_m; };
  const auto it = std::find_if(op.gemms.begin(), op.gemms.end(), fits);
  return it != op.gemms.end() ? *it : op.gemms.back();
}

Status Program::BindAttention(const PlanOp& op, BoundOp* out) const {
  const auto window = std::find(caps_.windows.begin(), caps_.windows.end(), op.window);
  LATHE_CHECK(window != caps_.windows.end());
  out->window = static_cast<size_t>(window - caps_.windows.begin());
  const auto scale = static_cast<float>(kLog2E * static_cast<double>(plan_->q_scale));
  out->decode = {.q = Buffer<void>(op.in),
                 .out = Buffer<void>(op.out),
                 .kv = Pointer<void>(PoolOf(op.layer)),
                 .pieces = nullptr,
                 .column_first = nullptr,
                 .pages = nullptr,
                 .partial_out = Pointer<float>(memory_.decode_out),
                 .partial_state = Pointer<float>(memory_.decode_state),
                 .counters = Pointer<unsigned>(memory_.decode_counters),
                 .scale = scale,
                 .v_scale = 1,
                 .n_kv_heads = plan_->n_kv_heads,
                 .rope = {}};
  const bool fp8 = caps_.shape.kv_fp8;
  const abi::DevicePtr pool = fp8 ? memory_.widened : PoolOf(op.layer);
  out->prompt = {.q = Buffer<void>(op.in),
                 .out = Buffer<void>(op.out),
                 .kv = Pointer<void>(pool),
                 .tiles = nullptr,
                 .n_tiles = nullptr,
                 .pages = fp8 ? Pointer<int>(memory_.identity) : nullptr,
                 .partial_out = Pointer<float>(memory_.prompt_out),
                 .partial_state = Pointer<float>(memory_.prompt_state),
                 .counters = Pointer<unsigned>(memory_.prompt_counters),
                 .scale = scale,
                 .v_scale = 1,
                 .n_kv_heads = plan_->n_kv_heads,
                 .window = op.window};
  out->widen = {Pointer<void>(PoolOf(op.layer)), Pointer<void>(memory_.widened), nullptr, nullptr};
  if (!caps_.prompt.wgmma) return Status::Ok();
  AttentionShape wide = caps_.shape;
  wide.kv_fp8 = false;
  return EncodeTensorMap(*device_, PromptMap(wide, pool, fp8 ? caps_.widen_pages : memory_.n_pages),
                         &out->map);
}

Status Program::LaunchOps(const StepInput& input, abi::Stream stream, const Observer* observer) const {
  bool overlap = false;  // the first launch waits for the upload
  const bool serial = observer != nullptr;
  if (observer != nullptr) LATHE_RETURN_IF_ERROR((*observer)(-1));
  if (rope_table_.function != nullptr) {
    const RopeTableParams params = {Pointer<StepRow>(memory_.upload),
                                    Pointer<float>(memory_.inv_freq),
                                    Pointer<float>(memory_.cos),
                                    Pointer<float>(memory_.sin),
                                    attention_factor_,
                                    input.rows};
    LATHE_RETURN_IF_ERROR(LaunchRopeTable(rope_table_, plan_->rotary_dim, params, stream, overlap));
    overlap = !serial;
  }
  for (size_t i = 0; i < ops_.size(); ++i) {
    if (IsLeftOut(i, input)) continue;
    if (observer != nullptr) LATHE_RETURN_IF_ERROR((*observer)(static_cast<int>(i)));
    LATHE_RETURN_IF_ERROR(LaunchOp(i, input, stream, &overlap, serial));
  }
  return Status::Ok();
}

Status Program::LaunchOp(size_t index, const StepInput& input, abi::Stream stream, bool* overlap,
                         bool serial) const {
  const auto direct = input.selects ? direct_.end() : direct_.find(index);
  const BoundOp& op = direct != direct_.end() ? direct->second : ops_[index];
  const PlanOp& def = plan_->ops[index];
  const int rows = def.logit_rows ? input.logit_rows : input.rows;
  const bool after = *overlap;
  *overlap = !serial;
  const auto* logit_rows = Pointer<int>(memory_.upload + static_cast<uint64_t>(input.layout.logit_rows_at));
  switch (def.kind) {
    case PlanOpKind::kEmbed: return LaunchEmbed(op.kernel, op.embed, rows, stream, after);
    case PlanOpKind::kRmsNorm: {
      NormParams params = op.norm;
      params.rows = logit_rows;
      return LaunchNorm(op.kernel, op.norm_variant, params, rows, stream, after);
    }
    case PlanOpKind::kGemm: {
      const BoundGemm& gemm = GemmFor(op, rows);
      return (gemm.rope ? *gemm.rope : gemm.gemm).Launch(rows, stream, after);
    }
    case PlanOpKind::kRopeAppend: {
      RopeParams params = op.rope;
      params.n_rows = rows;
      return LaunchRope(op.kernel, op.rope_variant, params, stream, after);
    }
    case PlanOpKind::kQuantize:
      return LaunchQuantize(op.kernel, op.columns, op.quantize, rows, stream, after);
    case PlanOpKind::kSelect: {
      SelectParams params = op.select;
      params.rows = logit_rows;
      return LaunchSelect(op.kernel, params, rows, stream, after);
    }
    default: break;
  }
  *overlap = after;
  const bool own = def.logit_rows && input.selects;
  // Decode attention reads keys before it waits, as those of earlier steps; behind selected rows some of them
  // are this step's.
  if (own) *overlap = false;
  const bool folds_rope =
      op.kernel.function != nullptr && !GemmDoesRope(index - 1, input.rows) && IsLeftOut(index - 1, input);
  return LaunchAttention(op, folds_rope, input, own ? input.logit_attention : input.attention, stream,
                         overlap, serial);
}

Status Program::LaunchAttention(const BoundOp& op, bool folds_rope, const StepInput& input,
                                const StepInput::Attention& attention, abi::Stream stream, bool* overlap,
                                bool serial) const {
  if (attention.decodes) {
    const StepLayout& l = input.layout;
    const auto window = attention.first_decode_plan + static_cast<int64_t>(op.window);
    DecodeParams params = op.decode;
    params.pieces =
        Pointer<DecodePiece>(memory_.upload + static_cast<uint64_t>(l.pieces_at + window * l.pieces_stride));
    params.column_first =
        Pointer<int>(memory_.upload + static_cast<uint64_t>(l.columns_at + window * l.columns_stride));
    params.pages = Pointer<int>(memory_.upload + static_cast<uint64_t>(attention.pages_at));
    LATHE_CHECK(attention.wide || !folds_rope);
    const Kernel& kernel = folds_rope ? op.kernel : attention.wide ? decode_wide_ : decode_;
    LATHE_RETURN_IF_ERROR(
        LaunchDecode(kernel, caps_.shape, caps_.decode_split(attention.wide), params, stream, *overlap));
    *overlap = !serial;
  }
  for (size_t round = 0; round < attention.rounds.size(); ++round)
    LATHE_RETURN_IF_ERROR(LaunchPromptRound(op, input, attention, round, stream, overlap, serial));
  return Status::Ok();
}

Status Program::LaunchPromptRound(const BoundOp& op, const StepInput& input,
                                  const StepInput::Attention& attention, size_t round, abi::Stream stream,
                                  bool* overlap, bool serial) const {
  const StepInput::Round& r = attention.rounds[round];
  if (caps_.shape.kv_fp8) {
    WidenParams widen = op.widen;
    widen.pages = Pointer<int>(memory_.upload + static_cast<uint64_t>(r.pages_at));
    widen.n_pages = Pointer<int>(memory_.upload + static_cast<uint64_t>(r.count_at));
    LATHE_RETURN_IF_ERROR(LaunchWiden(widen_, widen, r.n_pages, stream, *overlap));
    *overlap = !serial;
  }
  const StepLayout& l = input.layout;
  const size_t of_part = round * caps_.windows.size() + op.window;
  const size_t plan = static_cast<size_t>(attention.first_prompt_plan) + of_part;
  PromptParams params = op.prompt;
  params.tiles = Pointer<PromptTile>(
      memory_.upload + static_cast<uint64_t>(l.tiles_at + static_cast<int64_t>(plan) * l.tiles_stride));
  params.n_tiles =
      Pointer<int>(memory_.upload + static_cast<uint64_t>(l.tile_counts_at) + plan * sizeof(int));
  if (params.pages == nullptr)
    params.pages = Pointer<int>(memory_.upload + static_cast<uint64_t>(attention.pages_at));
  LATHE_RETURN_IF_ERROR(LaunchPrompt(prompt_, caps_.shape, caps_.prompt, op.map, params,
                                     attention.tiles[of_part], stream, *overlap));
  *overlap = !serial;
  return Status::Ok();
}

Status Program::LaunchSampling(const StepInput& input, abi::DevicePtr step, abi::Stream stream,
                               bool overlap) const {
  const SampleLaunch launch = {
      Pointer<float>(logits()),
      Pointer<SampleParams>(memory_.upload + static_cast<uint64_t>(input.layout.sample_at)),
      Pointer<char>(step),
      Pointer<float>(memory_.sample_scratch),
      Pointer<SampledRow>(memory_.sampled),
      Pointer<TopLogprob>(memory_.top),
      logits_stride_};
  return LaunchSample(sample_, sample_tactic_, launch, input.sampled_rows, input.only_greedy, stream,
                      overlap);
}

}  // namespace lathe::cuda
