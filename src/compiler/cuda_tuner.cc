#include "compiler/cuda_tuner.h"

#include <algorithm>
#include <limits>
#include <set>
#include <thread>

#include "base/check.h"
#include "kernels/cuda/gemm_table.h"
#include "plan/cuda/plan_kernels.h"
#include "platform/topology.h"

namespace lathe {
namespace {

// Measuring: enough that the ranking holds, little enough that some thousand launches fit into seconds.
constexpr cuda::GemmMeasureOptions kOptions = {
    .weight_pool_bytes = 256 << 20, .min_graph_us = 200, .replays = 3, .library_algorithms = 0};

// Decode steps, where kernels are short enough that how they follow one another matters.
constexpr int kSequenceTokens = 64;
constexpr int kSequenceLayers = 6;
constexpr size_t kSequenceRounds = 2;
constexpr size_t kSequenceTop = 8;

constexpr int kMostColumns = 1 << 18;  // that GemmMeasurer has scales for; wider ones keep their rule

// As measurements are remembered: matmuls of one shape that read one type are the same in engines of any
// class.
NumericClass ClassOf(const GemmTactic& tactic) {
  if (tactic.x_type == DType::kF8E4M3) return NumericClass::kFp8Tensor;
  return tactic.x_type == DType::kF16 ? NumericClass::kF16Tensor : NumericClass::kBf16Tensor;
}

// The first op that the tactic is for.
const PlanOp* UserOf(const Plan& plan, size_t tactic) {
  for (const PlanOp& op : plan.ops)
    if (op.kind == PlanOpKind::kGemm && op.tactic == static_cast<int>(tactic)) return &op;
  return nullptr;
}

bool Contains(const std::vector<cuda::GemmTactic>& tactics, const cuda::GemmTactic& tactic) {
  return std::find(tactics.begin(), tactics.end(), tactic) != tactics.end();
}

}  // namespace

double TensorPeak(const cuda::DeviceInfo& info, cuda::GemmType type) {
  // Operations a clock and multiprocessor, 16-bit in, f32 sums, from the architectures' white papers. sm_86,
  // 89 and 120: of the professional cards, GeForce does half.
  double per_clock = 1024;
  if (info.sm == 80) per_clock = 2048;
  if (info.sm == 90) per_clock = 4096;
  if (info.sm == 100) per_clock = 8192;
  const bool twice = type == cuda::GemmType::kE4m3 && info.sm >= 89;
  return per_clock * (twice ? 2 : 1) * info.multiprocessors * info.clock_mhz * 1e6;
}

Expected<GemmTactic> DefaultCudaTactics::Choose(const GemmDims& dims, DType y_type) {
  constexpr int64_t kMost = std::numeric_limits<int>::max() - kRowsN;
  if (dims.N > kMost || dims.K > kMost)
    return Error(StatusCode::kUnsupported, "a matmul of %lld x %lld is larger than any kernel takes",
                 static_cast<long long>(dims.N), static_cast<long long>(dims.K));
  const bool y_f16 = y_type == DType::kF16;
  cuda::GemmProblem problem{
      .type = dims.x_type == DType::kF8E4M3 ? cuda::GemmType::kE4m3
              : dims.x_type == DType::kF16  ? cuda::GemmType::kF16
                                            : cuda::GemmType::kBf16,
      .epilogue = dims.silu_mul ? y_f16 ? cuda::GemmEpilogue::kSiluF16 : cuda::GemmEpilogue::kSiluBf16
                  : y_type == DType::kF32 ? cuda::GemmEpilogue::kF32
                  : y_f16                 ? cuda::GemmEpilogue::kF16
                                          : cuda::GemmEpilogue::kBf16,
      .m = 1,
      .n = static_cast<int>((dims.N + kRowsN - 1) / kRowsN * kRowsN),
      .k = static_cast<int>(dims.K)};
  GemmTactic out{.N = dims.N, .K = dims.K, .silu_mul = dims.silu_mul, .x_type = dims.x_type, .buckets = {}};
  for (const int m : cuda::kGemmTokenBuckets) {
    problem.m = m;
    if (cuda::GemmCandidates(problem, chip_).empty())
      return Error(
          StatusCode::kUnsupported,
          "no kernel for GPUs computes a matmul of %lld x %lld: what it reads must be a multiple of 64 "
          "wide; build it for the CPU (--target cpu)",
          static_cast<long long>(dims.N), static_cast<long long>(dims.K));
    out.buckets.push_back({.max_m = m, .kernel = ToString(cuda::DefaultGemmTactic(problem, chip_))});
  }
  return out;
}

void TrimHeadBuckets(Plan* plan) {
  for (size_t t = 0; t < plan->tactics.size(); ++t) {
    const bool head = std::all_of(plan->ops.begin(), plan->ops.end(), [&](const PlanOp& op) {
      return op.kind != PlanOpKind::kGemm || op.tactic != static_cast<int>(t) || op.logit_rows;
    });
    if (head)
      std::erase_if(plan->tactics[t].buckets, [](const TacticBucket& b) { return b.max_m > kMostLogitRows; });
  }
}

bool IsUsableCudaTactic(const GemmTactic& tactic, const cuda::GemmProblem& problem,
                        const cuda::GemmChip& chip) {
  const auto usable = [&](const TacticBucket& bucket) {
    cuda::GemmProblem at = problem;
    at.m = bucket.max_m;
    const auto parsed = cuda::ParseGemmTactic(bucket.kernel);
    return parsed.ok() && Contains(cuda::GemmCandidates(at, chip), *parsed);
  };
  return !tactic.buckets.empty() && std::all_of(tactic.buckets.begin(), tactic.buckets.end(), usable);
}

void CudaTuner::MakeJobs(Plan* plan) {
  jobs_.clear();
  for (size_t t = 0; t < plan->tactics.size(); ++t) {
    GemmTactic& tactic = plan->tactics[t];
    const PlanOp* op = UserOf(*plan, t);
    if (op == nullptr) continue;
    const cuda::GemmProblem problem = cuda::GemmProblemOf(*plan, *op, 1);
    const GemmTactic kept =
        cache_->Find(ClassOf(tactic),
                     {.N = tactic.N, .K = tactic.K, .silu_mul = tactic.silu_mul, .x_type = tactic.x_type});
    if (kept.buckets.size() == tactic.buckets.size() && IsUsableCudaTactic(kept, problem, chip_)) {
      tactic.buckets = kept.buckets;
      ++remembered_;
      continue;
    }
    if (problem.n > kMostColumns) continue;
    ++measured_;
    for (TacticBucket& bucket : tactic.buckets) {
      Job job{.tactic = &tactic, .bucket = &bucket, .problem = problem, .candidates = {}};
      job.problem.m = bucket.max_m;
      job.candidates = cuda::GemmCandidates(job.problem, chip_);
      jobs_.push_back(std::move(job));
    }
  }
}

Expected<std::unique_ptr<cuda::GemmMeasurer>> CudaTuner::MakeMeasurer() const {
  int max_m = 1, max_n = 1, max_k = 1;
  for (const Job& job : jobs_) {
    max_m = std::max(max_m, job.problem.m);
    max_n = std::max(max_n, job.problem.n);
    max_k = std::max(max_k, job.problem.k);
  }
  auto measurer = cuda::GemmMeasurer::Create(device_, nvrtc_, nullptr, max_m, max_n, max_k, kOptions);
  if (measurer.ok() || measurer.status().code() != StatusCode::kResourceExhausted) return measurer;
  const double bytes = 4.0 * max_m * max_n + 2.0 * max_m * max_k + 2.0 * max_n * max_k;
  return Error(
      StatusCode::kResourceExhausted,
      "measuring this model's kernels needs %.1f GiB of the memory of %s, and there is less (%s); free "
      "some, or measure nothing: 'lathe build DIR -o FILE --no-tune', and run that file",
      bytes / (1 << 30), device_.info().name.c_str(), measurer.status().message().c_str());
}

Status CudaTuner::Run(cuda::GemmMeasurer* measurer, Job* job) {
  for (const cuda::GemmTactic& candidate : job->candidates) {
    if (*stop_) return {StatusCode::kCancelled, "the build was ended"};
    const Expected<double> us = measurer->Time(job->problem, candidate);
    ++done;
    if (us.ok())
      job->timings.push_back({candidate, *us});
    else  // One that the device does not take is left out; a fault that stays ends the build.
      LATHE_RETURN_IF_ERROR(cuda::Synchronize(measurer->stream()).WithContext("measuring kernels"));
  }
  if (job->timings.empty())
    return Error(StatusCode::kUnavailable, "no kernel for a matmul of %d x %d over %d rows ran on %s",
                 job->problem.n, job->problem.k, job->problem.m, device_.info().name.c_str());
  std::ranges::sort(job->timings, {}, &cuda::GemmTiming::us);
  Choose(*job, job->timings.front());
  return Status::Ok();
}

void CudaTuner::Choose(const Job& job, const cuda::GemmTiming& timing) const {
  const double memory_us = job.problem.bytes() / read_gbps_ / 1e3;
  const double compute_us = job.problem.flops() / TensorPeak(device_.info(), job.problem.type) * 1e6;
  job.bucket->kernel = ToString(timing.tactic);
  job.bucket->microseconds = timing.us;
  job.bucket->memory_bound = memory_us >= compute_us;
  job.bucket->roof_percent = 100 * std::max(memory_us, compute_us) / timing.us;
}

// The fastest of each alone are not the fastest in a row: a kernel that leaves room on the multiprocessors
// lets the next one load its weights early. One layer's matmuls, some layers of them, in one graph; of each
// the few fastest are tried in turn, and kept where the whole gets faster (docs/lab-notes-cuda.md: fp8 at one
// token 2.41 to 2.01 ms).
Status CudaTuner::TuneLayer(cuda::GemmMeasurer* measurer, const Plan& plan, int m) {
  std::vector<const Job*> layer;
  for (const PlanOp& op : plan.ops) {
    if (op.kind != PlanOpKind::kGemm || op.logit_rows) continue;
    const GemmTactic* tactic = &plan.tactics[static_cast<size_t>(op.tactic)];
    const auto job =
        std::ranges::find_if(jobs_, [&](const Job& j) { return j.tactic == tactic && j.problem.m == m; });
    if (job == jobs_.end()) return Status::Ok();  // remembered: in a sequence already
    if (!layer.empty() && &*job == layer.front()) break;
    layer.push_back(&*job);
  }
  if (layer.size() < 2) return Status::Ok();
  std::vector<cuda::GemmTiming> chosen;
  for (const Job* job : layer) chosen.push_back(job->timings.front());
  const auto time = [&](const std::vector<cuda::GemmTiming>& timings) {
    std::vector<std::pair<cuda::GemmProblem, cuda::GemmTactic>> sequence;
    for (int r = 0; r < kSequenceLayers; ++r)
      for (size_t i = 0; i < layer.size(); ++i) sequence.push_back({layer[i]->problem, timings[i].tactic});
    return measurer->TimeSequence(sequence, true);
  };
  LATHE_ASSIGN_OR_RETURN(double best, time(chosen));
  for (size_t turn = 0; turn < kSequenceRounds * layer.size(); ++turn) {
    const size_t i = turn % layer.size();
    for (size_t c = 0; c < std::min(layer[i]->timings.size(), kSequenceTop); ++c) {
      if (*stop_) return {StatusCode::kCancelled, "the build was ended"};
      if (layer[i]->timings[c].tactic == chosen[i].tactic) continue;
      std::vector<cuda::GemmTiming> trial = chosen;
      trial[i] = layer[i]->timings[c];
      LATHE_ASSIGN_OR_RETURN(const double us, time(trial));
      if (us >= best * 0.995) continue;  // noise
      best = us;
      chosen = std::move(trial);
    }
  }
  for (size_t i = 0; i < layer.size(); ++i) Choose(*layer[i], chosen[i]);
  return Status::Ok();
}

void CudaTuner::DropRefused(const std::vector<cuda::KernelSource>& sources) {
  std::vector<char> fails(sources.size(), 0);
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < ReadTopology().usable_cpus(); ++t)
    threads.emplace_back([&] {
      for (size_t i = next++; i < sources.size() && !*stop_; i = next++)
        fails[i] = !cuda::CompileKernels(nvrtc_, {sources[i]}, device_.info().Target(), 1).ok();
    });
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> refused;
  for (size_t i = 0; i < sources.size(); ++i)
    if (fails[i] != 0) refused.insert(sources[i].entry);
  refused_.assign(refused.begin(), refused.end());
  for (Job& job : jobs_)
    std::erase_if(job.candidates, [&](const cuda::GemmTactic& candidate) {
      return refused.contains(cuda::GemmKernel(candidate, job.problem.type, job.problem.epilogue).entry);
    });
}

Status CudaTuner::Prepare(cuda::GemmMeasurer* measurer) {
  const auto sources_of_jobs = [&] {
    std::vector<cuda::KernelSource> sources;
    std::set<std::string> entries;
    for (const Job& job : jobs_)
      for (const cuda::GemmTactic& candidate : job.candidates) {
        cuda::KernelSource source = cuda::GemmKernel(candidate, job.problem.type, job.problem.epilogue);
        if (entries.insert(source.entry).second) sources.push_back(std::move(source));
      }
    return sources;
  };
  if (measurer->PrepareKernels(sources_of_jobs()).ok()) return Status::Ok();
  // A fault of ours, in one of hundreds: the others serve.
  DropRefused(sources_of_jobs());
  if (*stop_) return {StatusCode::kCancelled, "the build was ended"};
  return measurer->PrepareKernels(sources_of_jobs());
}

Status CudaTuner::Tune(Plan* plan) {
  MakeJobs(plan);
  if (jobs_.empty()) return Status::Ok();
  LATHE_RETURN_IF_ERROR(device_.Bind());
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<cuda::GemmMeasurer> measurer, MakeMeasurer());
  LATHE_RETURN_IF_ERROR(Prepare(measurer.get()));
  LATHE_ASSIGN_OR_RETURN(read_gbps_, measurer->ReadBandwidth());
  int timings = 0;
  for (const Job& job : jobs_) timings += static_cast<int>(job.candidates.size());
  total = timings;
  for (Job& job : jobs_) LATHE_RETURN_IF_ERROR(Run(measurer.get(), &job));
  for (const int m : cuda::kGemmTokenBuckets)
    if (m <= kSequenceTokens) LATHE_RETURN_IF_ERROR(TuneLayer(measurer.get(), *plan, m));
  // Whole tactics are remembered only.
  for (const Job& job : jobs_)
    if (job.bucket == &job.tactic->buckets.back()) cache_->Put(ClassOf(*job.tactic), *job.tactic);
  return Status::Ok();
}

}  // namespace lathe
