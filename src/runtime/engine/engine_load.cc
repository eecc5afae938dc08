// Engine::Load: from an engine file to a running engine. Identity first, then sizes, then threads; nothing of
// the weights is read.
#include <algorithm>

#include "formats/engine_file.h"
#include "lathe/engine.h"
#include "model/rope.h"
#include "model/spec_json.h"
#include "platform/memory_info.h"
#include "runtime/dist/rank_group.h"
#include "runtime/engine/engine_core.h"
#include "runtime/engine/load_plan.h"
#include "runtime/exec/cuda/executor.h"
#include "runtime/exec/executor.h"

namespace lathe {
namespace {

constexpr int kDefaultStepTokens = 512;
// Unless told otherwise the KV cache holds this many sequences of the longest length, or this many tokens, if
// they fit into half of the free memory. The pool is touched page by page as it fills.
constexpr int64_t kDefaultFullSequences = 8;
constexpr int64_t kDefaultKvTokens = 65536;
// Weights up to this size are checked before anything runs (a few milliseconds); larger ones while it runs.
constexpr uint64_t kVerifyFirstBytes = uint64_t{64} << 20;

double MiB(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

Expected<std::vector<Plan>> ReadPlans(const EngineReader& file) {
  std::vector<Plan> plans;
  for (int pp = 0; pp < file.identity().pp; ++pp)
    for (int tp = 0; tp < file.identity().tp; ++tp) {
      LATHE_ASSIGN_OR_RETURN(const std::string_view text, file.TextBlob(RankBlobName("plan", tp, pp)));
      LATHE_ASSIGN_OR_RETURN(const Json json, ParseJson(text, file.path()));
      LATHE_ASSIGN_OR_RETURN(Plan plan, PlanFromJson(json, file.path()));
      if (plan.tp_rank != tp || plan.pp_rank != pp || plan.tp != file.identity().tp ||
          plan.pp != file.identity().pp)
        return Error(StatusCode::kCorrupt, "engine '%s': the plan of rank %d/%d is of another rank",
                     file.path().c_str(), tp, pp);
      plans.push_back(std::move(plan));
    }
  return plans;
}

// Fills n_pages and max_positions of `exec` from the options, the model and the memory that is free.
Status SizeKvCache(const ModelSpec& spec, const std::vector<Plan>& plans, const EngineOptions& options,
                   ExecutorOptions* exec) {
  uint64_t page_bytes = 0;
  for (const Plan& plan : plans) page_bytes += PlanMemory(plan, *exec).kv_bytes_per_page;
  const int64_t page_size = plans[0].page_size;
  const auto pages_for = [&](int64_t tokens) { return (tokens + page_size - 1) / page_size; };

  if (options.max_context > spec.max_positions)
    return Error(StatusCode::kInvalidArgument,
                 "a context of %d tokens was asked for, the model has positions for %d", options.max_context,
                 spec.max_positions);
  int64_t context = options.max_context > 0 ? options.max_context : spec.max_positions;
  const uint64_t available = AvailableMemory();
  uint64_t budget = options.kv_bytes;
  if (budget == 0) {
    const int64_t tokens = std::max(kDefaultFullSequences * context, kDefaultKvTokens);
    budget = page_bytes * static_cast<uint64_t>(pages_for(tokens));
    if (available > 0) budget = std::min(budget, available / 2);
  }
  const int64_t n_pages = static_cast<int64_t>(std::min<uint64_t>(budget / page_bytes, uint64_t{1} << 30));
  if (pages_for(context) > n_pages) {
    if (options.max_context > 0 || n_pages == 0)
      return Error(StatusCode::kInvalidArgument,
                   "a context of %lld tokens needs %.1f MiB of KV cache, the budget is "
                   "%.1f MiB; raise --kv-bytes or lower --context",
                   static_cast<long long>(context),
                   MiB(page_bytes * static_cast<uint64_t>(pages_for(context))), MiB(budget));
    context = n_pages * page_size;  // the default context fits itself to the memory
  }
  exec->n_pages = static_cast<int>(n_pages);
  exec->max_positions = static_cast<int>(context);
  return Status::Ok();
}

RopeSource RopeOf(const ModelSpec& spec) {
  RopeSource rope{.inv_freq = spec.rope.inv_freq, .attention_factor = spec.rope.attention_factor};
  if (spec.rope.type == RopeType::kDynamic) {
    rope.dynamic_from = spec.rope.original_max_positions;
    rope.inv_freq_for = [rope_spec = spec.rope](int length) { return RopeInvFreq(rope_spec, length); };
  }
  return rope;
}

ModelInfo InfoOf(const EngineReader& file, const ModelSpec& spec, const std::vector<Plan>& plans) {
  ModelInfo info{.name = file.identity().model_name,
                 .family = spec.family,
                 .dtype = file.identity().dtype,
                 .vocab = spec.vocab,
                 .max_context = 0,  // the executor's
                 .eos_ids = spec.eos_ids,
                 .bos_id = spec.bos_id,
                 .has_chat_template = false};
  for (const Plan& plan : plans) {
    for (const WeightDef& w : plan.weights)
      if (w.layout != WeightLayout::kTable) info.weight_bytes += w.bytes;  // a table gives one row a token
    info.kv_bytes_per_token += PlanMemory(plan, {}).kv_bytes_per_page / static_cast<uint64_t>(plan.page_size);
  }
  return info;
}

SamplingParams DefaultsOf(const ModelSpec& spec) {
  SamplingParams sampling;
  if (spec.default_temperature >= 0) sampling.temperature = spec.default_temperature;
  if (!spec.default_do_sample) sampling.temperature = 0;
  if (spec.default_top_p > 0) sampling.top_p = spec.default_top_p;
  if (spec.default_top_k >= 0) sampling.top_k = spec.default_top_k;
  if (spec.default_repetition_penalty > 0) sampling.repetition_penalty = spec.default_repetition_penalty;
  return sampling;
}

bool IsForCuda(const EngineReader& file) { return file.identity().target.starts_with("cuda:"); }

Expected<ExecutorOptions> CpuOptionsOf(const ModelSpec& spec, const std::vector<Plan>& plans,
                                       const EngineOptions& options) {
  const int sequences = options.max_sequences > 0 ? options.max_sequences : kDefaultSequences;
  const int step_tokens = options.max_step_tokens > 0 ? options.max_step_tokens : kDefaultStepTokens;
  ExecutorOptions exec{.threads = options.threads,
                       .max_step_rows = std::max(step_tokens, sequences),
                       .max_logit_rows = sequences,
                       .rope = RopeOf(spec)};
  LATHE_RETURN_IF_ERROR(SizeKvCache(spec, plans, options, &exec));
  return exec;
}

// Opens the executor of one or several CPU ranks.
Expected<std::unique_ptr<StepExecutor>> OpenOnCpu(const EngineReader& file, const ModelSpec& spec,
                                                  std::vector<Plan> plans, const EngineOptions& options) {
  LATHE_ASSIGN_OR_RETURN(const ExecutorOptions exec, CpuOptionsOf(spec, plans, options));
  if (plans.size() == 1) return OpenCpuExecutor(file, std::move(plans[0]), exec, nullptr);
  return OpenRankGroup(file, std::move(plans), exec);
}

Expected<CudaExecutorOptions> CudaOptionsOf(const EngineReader& file, const ModelSpec& spec, size_t n_plans,
                                            const EngineOptions& options) {
  if (n_plans != 1)
    return Error(StatusCode::kUnsupported,
                 "engine '%s' is for several ranks, on CUDA one GPU runs it; build it without --tp and --pp",
                 file.path().c_str());
  if (!(options.gpu_memory_fraction >= 0 && options.gpu_memory_fraction <= 1))
    return Error(StatusCode::kInvalidArgument, "the fraction of GPU memory must be in (0, 1], but is %g",
                 options.gpu_memory_fraction);
  CudaExecutorOptions exec;
  exec.device = options.device;
  exec.max_step_rows = options.max_step_tokens;
  exec.max_sequences = options.max_sequences > 0 ? options.max_sequences : kDefaultSequences;
  exec.max_positions = options.max_context;
  exec.model_positions = spec.max_positions;
  for (const BlobInfo& blob : file.blobs())
    if (blob.name == "kernels") exec.kernel_bytes = blob.size;
  exec.kv_bytes = options.kv_bytes;
  exec.memory_fraction = options.gpu_memory_fraction;
  exec.rope = RopeOf(spec);
  exec.deterministic = options.deterministic;
  exec.progress = options.load_progress;
  return exec;
}

// Opens the executor of a GPU; *options then has the rows that its steps take.
Expected<std::unique_ptr<StepExecutor>> OpenOnCuda(const EngineReader& file, const ModelSpec& spec,
                                                   std::vector<Plan> plans, EngineOptions* options) {
  LATHE_ASSIGN_OR_RETURN(const CudaExecutorOptions exec, CudaOptionsOf(file, spec, plans.size(), *options));
  LATHE_ASSIGN_OR_RETURN(auto executor, OpenCudaExecutor(file, std::move(plans[0]), exec));
  options->max_step_tokens = executor->limits().max_step_rows;
  return executor;
}

Expected<LoadPlan> PlanOnCuda(const EngineReader& file, const ModelSpec& spec, const std::vector<Plan>& plans,
                              const EngineOptions& options, uint64_t gpu_bytes) {
  LATHE_ASSIGN_OR_RETURN(const CudaExecutorOptions exec, CudaOptionsOf(file, spec, plans.size(), options));
  LATHE_ASSIGN_OR_RETURN(const CudaSizes sizes, PlanCudaExecutor(plans[0], exec, gpu_bytes));
  return LoadPlan{
      .target = file.identity().target,
      .max_step_tokens = sizes.max_step_rows,
      .max_sequences = sizes.max_sequences,
      .max_context = sizes.max_positions,
      .n_pages = sizes.n_pages,
      .page_size = plans[0].page_size,
      .weight_bytes = sizes.memory.weight_bytes,
      .buffer_bytes = sizes.memory.buffer_bytes,
      .workspace_bytes = sizes.memory.workspace_bytes,
      .cuda_bytes = sizes.memory.loaded_bytes + sizes.memory.context_bytes,
      .kv_bytes = sizes.memory.kv_bytes,
      .kv_bytes_per_token = sizes.memory.kv_bytes_per_page / static_cast<uint64_t>(plans[0].page_size)};
}

Expected<LoadPlan> PlanOnCpu(const EngineReader& file, const ModelSpec& spec, const std::vector<Plan>& plans,
                             const EngineOptions& options) {
  LATHE_ASSIGN_OR_RETURN(const ExecutorOptions exec, CpuOptionsOf(spec, plans, options));
  LoadPlan out{.target = file.identity().target,
               .max_step_tokens = exec.max_step_rows,
               .max_sequences = exec.max_logit_rows,
               .max_context = exec.max_positions,
               .n_pages = exec.n_pages,
               .page_size = plans[0].page_size};
  for (const Plan& plan : plans) {
    const MemoryPlan memory = PlanMemory(plan, exec);
    out.weight_bytes += memory.weight_bytes;
    out.buffer_bytes += memory.buffer_bytes;
    out.kv_bytes += memory.kv_bytes;
    out.kv_bytes_per_token += memory.kv_bytes_per_page / static_cast<uint64_t>(plan.page_size);
  }
  return out;
}

}  // namespace

Expected<LoadPlan> PlanLoad(const std::string& path, const EngineOptions& options, uint64_t gpu_bytes) {
  LATHE_ASSIGN_OR_RETURN(const EngineReader file, EngineReader::Open(path));
  LATHE_ASSIGN_OR_RETURN(const ModelSpec spec, ModelSpecFromJson(file.model(), path));
  LATHE_ASSIGN_OR_RETURN(const std::vector<Plan> plans, ReadPlans(file));
  return IsForCuda(file) ? PlanOnCuda(file, spec, plans, options, gpu_bytes)
                         : PlanOnCpu(file, spec, plans, options);
}

Expected<std::unique_ptr<Engine>> Engine::Load(const std::string& path, const EngineOptions& wanted) {
  EngineOptions options = wanted;
  LATHE_ASSIGN_OR_RETURN(EngineReader opened, EngineReader::Open(path));
  auto file = std::make_shared<EngineReader>(std::move(opened));
  const bool cuda = IsForCuda(*file);
  if (!cuda) LATHE_RETURN_IF_ERROR(CheckCpuTarget(*file));
  LATHE_ASSIGN_OR_RETURN(const ModelSpec spec, ModelSpecFromJson(file->model(), path));
  LATHE_ASSIGN_OR_RETURN(std::vector<Plan> plans, ReadPlans(*file));

  EngineParts parts;
  parts.keep_alive = file;
  parts.info = InfoOf(*file, spec, plans);
  parts.defaults = DefaultsOf(spec);
  LATHE_ASSIGN_OR_RETURN(parts.text, LoadTextModel(*file, options.chat_template, spec.eos_ids));
  parts.info.has_chat_template = !parts.text->ChatTemplateSource().empty();
  LATHE_ASSIGN_OR_RETURN(parts.executor, cuda ? OpenOnCuda(*file, spec, std::move(plans), &options)
                                              : OpenOnCpu(*file, spec, std::move(plans), options));
  parts.info.max_context = parts.executor->limits().max_positions;
  if (file->file_bytes() <= kVerifyFirstBytes) {
    const std::atomic<bool> never{false};
    LATHE_RETURN_IF_ERROR(file->VerifyWeights(&never));
  } else {
    parts.verify = [file](const std::atomic<bool>& stop) { return file->VerifyWeights(&stop); };
  }
  return MakeEngine(std::move(parts), options);
}

}  // namespace lathe
