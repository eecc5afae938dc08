#include "runtime/exec/cuda/sizes.h"

#include <algorithm>

#include "base/check.h"
#include "plan/cuda/plan_kernels.h"

namespace lathe {
namespace cuda {
namespace {

constexpr int64_t kBufferAlignment = 256;

int64_t AlignUp(int64_t v) { return (v + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment; }

std::vector<int> WindowsOf(const Plan& plan) {
  std::vector<int> windows;
  for (const PlanOp& op : plan.ops)
    if (op.kind == PlanOpKind::kAttention) windows.push_back(op.window);
  std::sort(windows.begin(), windows.end());
  windows.erase(std::unique(windows.begin(), windows.end()), windows.end());
  return windows;
}

}  // namespace

StepCaps CapsOf(const Plan& plan, const CudaSizes& sizes, const CudaExecutorOptions& options,
                const GemmChip& chip) {
  StepCaps caps;
  caps.max_rows = sizes.max_step_rows;
  caps.max_logit_rows = caps.max_slices = sizes.max_sequences;
  caps.max_positions = sizes.max_positions;
  caps.shape = AttentionShapeOf(plan);
  caps.split = DecodeSplitOf(caps.shape, chip.multiprocessors, false);
  caps.wide_split = DecodeSplitOf(caps.shape, chip.multiprocessors, true);
  caps.wide_rows = MostWideRows(caps.shape, chip.multiprocessors);
  caps.prompt = PromptTacticOf(caps.shape, chip.sm, chip.multiprocessors);
  // The kernel for single rows sums in another order than the one for many: a token that is computed again as
  // part of a prompt would differ in its last bits.
  caps.prompt_only = options.deterministic;
  if (options.deterministic) caps.prompt.blocks = 0;
  caps.windows = WindowsOf(plan);
  caps.selects =
      std::ranges::any_of(plan.ops, [](const PlanOp& op) { return op.kind == PlanOpKind::kSelect; });
  // Widened pages are of one layer: room for the longest sequence, and for a step of fresh prompts.
  if (caps.shape.kv_fp8)
    caps.widen_pages = std::max(caps.max_pages(), sizes.max_step_rows / kPageSize + sizes.max_sequences);
  caps.vocab = plan.vocab;
  caps.dynamic_from = options.rope.dynamic_from;
  caps.rope_tables = 1 + (caps.dynamic_from > 0 ? caps.max_slices : 0);
  return caps;
}

WorkspaceBytes WorkspacesOf(const Plan& plan, const StepCaps& caps, const GemmChip& chip) {
  const DecodeBounds decode = BoundDecode(caps.shape, caps.split, caps.max_slices, caps.max_positions);
  const PromptBounds prompt = BoundPrompt(caps.shape, caps.prompt);
  const int64_t angles = int64_t{caps.max_rows} * (plan.rotary_dim / 2) * 4;
  AttentionShape wide = caps.shape;
  wide.kv_fp8 = false;
  WorkspaceBytes w;
  w.decode_out = decode.partial_out_floats * 4;
  w.decode_state = decode.partial_state_floats * 4;
  w.decode_counters = decode.counter_words * 4;
  w.prompt_out = prompt.partial_out_floats * 4;
  w.prompt_state = prompt.partial_state_floats * 4;
  w.prompt_counters = prompt.counter_words * 4;
  w.widened = caps.widen_pages * wide.page_bytes();
  w.identity = int64_t{caps.widen_pages} * 4;
  w.cos = w.sin = angles;
  w.inv_freq = int64_t{caps.rope_tables} * (plan.rotary_dim / 2) * 4;
  if (plan.logits_buffer >= 0)
    w.sample_scratch = SampleScratchFloats(SampleTacticOf(plan.vocab, chip.sm), caps.max_logit_rows) * 4;
  w.upload = StepBufferBytes(caps);
  w.download = TopAt(caps) + int64_t{caps.max_logit_rows} * kMaxTopLogprobs * int64_t{sizeof(TopLogprob)};
  return w;
}

int64_t WorkspaceBytes::total() const {
  int64_t sum = 0;
  for (const int64_t bytes :
       {decode_out, decode_state, decode_counters, prompt_out, prompt_state, prompt_counters, widened,
        identity, cos, sin, inv_freq, sample_scratch, upload, download})
    sum += AlignUp(bytes);
  return sum;
}

int BufferRows(const BufferDef& buffer, const StepCaps& caps) {
  return buffer.logit_rows ? caps.max_logit_rows : caps.max_rows;
}

std::vector<int64_t> BufferOffsets(const Plan& plan, const StepCaps& caps) {
  std::vector<int64_t> offsets;
  int64_t at = 0;
  for (const BufferDef& buffer : plan.buffers) {
    offsets.push_back(at);
    at += AlignUp(buffer.bytes_per_row * BufferRows(buffer, caps));
  }
  offsets.push_back(at);
  return offsets;
}

std::vector<int> DecodeBuckets(int most) {
  std::vector<int> buckets;
  for (int n = 1; n < most; n += n < 8 ? n : n < 32 ? 8 : n < 64 ? 16 : n < 128 ? 32 : n < 256 ? 64 : 128)
    buckets.push_back(n);
  buckets.push_back(most);
  return buckets;
}

}  // namespace cuda

namespace {

constexpr double kDefaultFraction = 0.9;
constexpr int kFewSequences = 8, kFewRows = 256;  // what a small device is asked to try

double GiB(double bytes) { return bytes / (1 << 30); }
int64_t PagesFor(int64_t tokens) { return (tokens + cuda::kPageSize - 1) / cuda::kPageSize; }

// What CUDA takes of the device when it is opened: 524 MiB measured on an H200 of 132 multiprocessors (driver
// 580). Elsewhere not measured: it is taken for a part of each multiprocessor's own, the stacks of its
// threads, and the same rest.
uint64_t ContextBytes(const cuda::GemmChip& chip) {
  constexpr uint64_t kBase = uint64_t{260} << 20, kEach = uint64_t{2} << 20;
  return kBase + kEach * static_cast<uint64_t>(chip.multiprocessors);
}

// Kernels as loaded; graphs, two for each number of rows and in each a node for an op (1.3 to 2.6 KB
// measured, the larger models' the larger); and what is lost to pieces of 2 MiB, in which CUDA gives out
// memory, with its own buffers for streams (8 to 10 MiB measured, and some more so that what is planned is
// had).
uint64_t LoadedBytes(const Plan& plan, const CudaExecutorOptions& options, const CudaSizes& sizes) {
  constexpr uint64_t kNode = 2560, kPieces = uint64_t{14} << 20;
  const bool graphs = options.graphs && !options.deterministic;
  const size_t n_graphs = graphs ? 2 * cuda::DecodeBuckets(sizes.max_sequences).size() : 0;
  return options.kernel_bytes + kPieces + n_graphs * (plan.ops.size() + 2) * kNode;
}

CudaMemoryPlan MemoryOf(const Plan& plan, const CudaExecutorOptions& options, const cuda::GemmChip& chip,
                        const CudaSizes& sizes) {
  const cuda::StepCaps caps = cuda::CapsOf(plan, sizes, options, chip);
  CudaMemoryPlan memory;
  for (const WeightDef& w : plan.weights)
    memory.weight_bytes = std::max(memory.weight_bytes, w.offset + w.bytes);
  memory.buffer_bytes = static_cast<uint64_t>(cuda::BufferOffsets(plan, caps).back());
  memory.workspace_bytes = static_cast<uint64_t>(cuda::WorkspacesOf(plan, caps, chip).total());
  memory.context_bytes = ContextBytes(chip);
  memory.loaded_bytes = LoadedBytes(plan, options, sizes);
  memory.kv_bytes_per_page =
      static_cast<uint64_t>(caps.shape.page_bytes()) * static_cast<uint64_t>(plan.n_layers);
  memory.kv_bytes = memory.kv_bytes_per_page * static_cast<uint64_t>(sizes.n_pages);
  memory.host_kv_bytes = memory.kv_bytes_per_page * static_cast<uint64_t>(options.n_host_pages);
  return memory;
}

// More than all sequences at their longest, and as much again for prefixes, is of no use; kernels count
// rows of a layer's pool in 31 bits.
int64_t MostPages(const Plan& plan, const CudaSizes& sizes) {
  const int64_t useful = 2 * PagesFor(sizes.max_positions) * sizes.max_sequences;
  const int64_t countable = (int64_t{1} << 31) / (2 * cuda::kPageSize * plan.n_kv_heads) - 1;
  return std::min(useful, countable);
}

// What is left for KV pages.
uint64_t RoomFor(const CudaMemoryPlan& memory, uint64_t free_bytes) {
  return free_bytes > memory.fixed_bytes() ? free_bytes - memory.fixed_bytes() : 0;
}

// KV pages at these sizes; 0: what was asked for, or not even the rest fits.
int64_t PagesOf(const Plan& plan, const CudaExecutorOptions& options, const CudaSizes& sizes,
                const CudaMemoryPlan& memory, uint64_t free_bytes) {
  const uint64_t room = RoomFor(memory, free_bytes), page = memory.kv_bytes_per_page;
  const auto most = static_cast<uint64_t>(MostPages(plan, sizes));
  if (options.kv_bytes > 0) {
    const uint64_t pages = std::min(options.kv_bytes / page, most);
    return pages * page <= room ? static_cast<int64_t>(pages) : 0;
  }
  const double fraction =
      options.memory_fraction > 0 ? std::min(1.0, options.memory_fraction) : kDefaultFraction;
  return static_cast<int64_t>(
      std::min(static_cast<uint64_t>(static_cast<double>(room) * fraction) / page, most));
}

// What of this engine would fit, as a clause.
std::string WhatFits(const Plan& plan, CudaExecutorOptions options, const cuda::GemmChip& chip,
                     uint64_t free_bytes, int context) {
  options.kv_bytes = 0;
  CudaSizes sizes;
  sizes.max_step_rows = kFewRows;
  sizes.max_sequences = kFewSequences;
  // Workspaces grow with the context, too.
  for (sizes.max_positions = context; sizes.max_positions > 0; sizes.max_positions /= 2) {
    const CudaMemoryPlan memory = MemoryOf(plan, options, chip, sizes);
    const int64_t pages = PagesOf(plan, options, sizes, memory, free_bytes);
    if (pages == 0) continue;
    const auto longest = static_cast<int>(std::min<int64_t>(pages * cuda::kPageSize, sizes.max_positions));
    return StrFormat(
        "what would fit: a context of %d tokens and %d sequences at once in steps of %d rows (lathe serve "
        "--context %d --max-sequences %d --max-step-tokens %d)",
        longest, kFewSequences, kFewRows, longest, kFewSequences, kFewRows);
  }
  return "no context at all would fit: use a larger GPU, or weights of fewer bits";
}

Status TooSmall(const Plan& plan, const CudaExecutorOptions& options, const cuda::GemmChip& chip,
                const CudaSizes& sizes, uint64_t free_bytes) {
  const CudaMemoryPlan memory = MemoryOf(plan, options, chip, sizes);
  const uint64_t one = static_cast<uint64_t>(PagesFor(sizes.max_positions)) * memory.kv_bytes_per_page;
  const uint64_t room = RoomFor(memory, free_bytes);
  std::string asked, mend;
  if (options.kv_bytes > 0)
    asked = StrFormat(" and %.2f GiB were asked for KV pages", GiB(static_cast<double>(options.kv_bytes)));
  if (options.kv_bytes > 0 && room >= one)
    mend = StrFormat("what would fit: --kv-bytes %lldM, %lld sequences of %d tokens",
                     static_cast<long long>(room >> 20), static_cast<long long>(room / one),
                     sizes.max_positions);
  else
    mend = WhatFits(plan, options, chip, free_bytes, sizes.max_positions);
  return Error(
      StatusCode::kResourceExhausted,
      "the GPU is too small: weights take %.2f GiB, %d sequences in steps of %d rows %.2f GiB, one context "
      "of %d tokens %.2f GiB%s, but %.2f GiB are free; %s",
      GiB(static_cast<double>(memory.weight_bytes)), sizes.max_sequences, sizes.max_step_rows,
      GiB(static_cast<double>(memory.fixed_bytes() - memory.weight_bytes)), sizes.max_positions,
      GiB(static_cast<double>(one)), asked.c_str(), GiB(static_cast<double>(free_bytes)), mend.c_str());
}

}  // namespace

Expected<CudaSizes> SizeCudaExecutor(const Plan& plan, const CudaExecutorOptions& options,
                                     const cuda::GemmChip& chip, uint64_t free_bytes) {
  LATHE_RETURN_IF_ERROR(cuda::CheckCudaShapes(plan));
  if (options.max_positions > options.model_positions)
    return Error(StatusCode::kInvalidArgument,
                 "a context of %d tokens was asked for, the model has positions for %d",
                 options.max_positions, options.model_positions);
  CudaSizes sizes;
  sizes.max_sequences = options.max_sequences;
  std::vector<int> rows = {options.max_step_rows};
  if (options.max_step_rows <= 0)
    rows = {kCudaStepRows, kCudaStepRows / 2, kCudaStepRows / 4, kCudaStepRows / 8};
  const int context = options.max_positions > 0 ? options.max_positions : options.model_positions;
  for (const int n : rows) {
    sizes.max_step_rows = std::max(n, sizes.max_sequences);
    sizes.max_positions = context;
    sizes.n_pages = 0;
    sizes.memory = MemoryOf(plan, options, chip, sizes);
    const int64_t n_pages = PagesOf(plan, options, sizes, sizes.memory, free_bytes);
    const bool last = n == rows.back() || options.kv_bytes > 0;
    if (n_pages < PagesFor(context)) {
      if (!last || (n_pages == 0 && n != rows.back())) continue;
      const int wanted = options.max_positions > 0 ? context : cuda::kPageSize;
      const uint64_t needed = static_cast<uint64_t>(PagesFor(wanted)) * sizes.memory.kv_bytes_per_page;
      if (options.kv_bytes > 0 && options.kv_bytes < needed)
        return Error(StatusCode::kInvalidArgument,
                     "a context of %d tokens needs %.2f GiB of KV cache, the budget is %.2f GiB; raise "
                     "--kv-bytes or lower --context",
                     wanted, GiB(static_cast<double>(needed)), GiB(static_cast<double>(options.kv_bytes)));
      if (options.max_positions > 0 || n_pages == 0) return TooSmall(plan, options, chip, sizes, free_bytes);
      sizes.max_positions = static_cast<int>(n_pages * cuda::kPageSize);  // the default fits itself
    }
    sizes.n_pages = static_cast<int>(n_pages);
    break;
  }
  sizes.memory = MemoryOf(plan, options, chip, sizes);
  return sizes;
}

Expected<CudaSizes> PlanCudaExecutor(const Plan& plan, const CudaExecutorOptions& options,
                                     uint64_t free_bytes) {
  if (free_bytes > 0) {
    const cuda::GemmChip chip = cuda::TypicalChip(plan.sm);
    const uint64_t context = ContextBytes(chip);
    if (free_bytes <= context)
      return Error(StatusCode::kResourceExhausted,
                   "CUDA itself takes %.2f GiB of the %.2f GiB that are to be planned for (--memory)",
                   GiB(static_cast<double>(context)), GiB(static_cast<double>(free_bytes)));
    return SizeCudaExecutor(plan, options, chip, free_bytes - context);
  }
  const cuda::Driver* driver = options.driver;
  if (driver == nullptr) {
    auto loaded = cuda::Driver::Load();
    if (!loaded.ok())
      return Error(loaded.status().code(), "%s; say with --memory how much memory to plan for",
                   loaded.status().message().c_str());
    driver = *loaded;
  }
  LATHE_ASSIGN_OR_RETURN(const auto device, cuda::Device::Open(*driver, options.device));
  LATHE_ASSIGN_OR_RETURN(const cuda::Device::Memory memory, device->MemoryNow());
  return SizeCudaExecutor(plan, options, cuda::ChipOf(device->info()),
                          static_cast<uint64_t>(memory.free_bytes));
}

}  // namespace lathe
