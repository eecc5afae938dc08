// Which kernel computes which matrix product on a GPU: measured on it, remembered from an earlier build, or
// by rule.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "compiler/passes/pass.h"
#include "compiler/timing_cache.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_measure.h"
#include "plan/plan.h"

namespace lathe {

// The choice without a measurement, for every bucket of tokens.
class DefaultCudaTactics : public TacticSource {
 public:
  explicit DefaultCudaTactics(const cuda::GemmChip& chip) : chip_(chip) {}
  // kUnsupported for K that no kernel takes.
  Expected<GemmTactic> Choose(const GemmDims& dims, DType y_type) override;

 private:
  cuda::GemmChip chip_;
};

// Rows of logits are few: the head's buckets end here.
inline constexpr int kMostLogitRows = 512;
// Drops the buckets of the head that no step reaches.
void TrimHeadBuckets(Plan* plan);

// Whether each bucket's kernel is one of this binary's for the plan's matmul of that shape, and may be in a
// plan. problem.prologue: that of few tokens.
bool IsUsableCudaTactic(const GemmTactic& tactic, const cuda::GemmProblem& problem,
                        const cuda::GemmChip& chip);

// Measures what a plan's matmuls ask for. One thread calls Tune; the counters may be read by others.
class CudaTuner {
 public:
  // All must outlive it. `stop` ends Tune early, with kCancelled.
  CudaTuner(const cuda::Device& device, const cuda::Nvrtc& nvrtc, TimingCache* cache,
            const std::atomic<bool>* stop)
      : device_(device), nvrtc_(nvrtc), cache_(cache), stop_(stop), chip_(cuda::ChipOf(device.info())) {}

  // Replaces the plan's tactics. Needs device memory of some gigabytes for large models: kResourceExhausted
  // says how much.
  Status Tune(Plan* plan);

  // Candidates that do not compile: left out, and worth a warning.
  const std::vector<std::string>& refused() const { return refused_; }
  int measured() const { return measured_; }      // shapes
  int remembered() const { return remembered_; }  // shapes
  double read_gbps() const { return read_gbps_; }
  // Kernels timed so far, of how many. total 0: still compiling them.
  std::atomic<int> done{0}, total{0};

 private:
  // One matmul of the plan at one number of tokens.
  struct Job {
    GemmTactic* tactic;
    TacticBucket* bucket;
    cuda::GemmProblem problem;
    std::vector<cuda::GemmTactic> candidates;
    std::vector<cuda::GemmTiming> timings = {};  // of those that run, the fastest first
  };
  void MakeJobs(Plan* plan);
  // Compiles and loads the kernels of all jobs.
  Status Prepare(cuda::GemmMeasurer* measurer);
  void DropRefused(const std::vector<cuda::KernelSource>& sources);
  Expected<std::unique_ptr<cuda::GemmMeasurer>> MakeMeasurer() const;
  Status Run(cuda::GemmMeasurer* measurer, Job* job);
  void Choose(const Job& job, const cuda::GemmTiming& timing) const;
  Status TuneLayer(cuda::GemmMeasurer* measurer, const Plan& plan, int m);

  const cuda::Device& device_;
  const cuda::Nvrtc& nvrtc_;
  TimingCache* cache_;
  const std::atomic<bool>* stop_;
  cuda::GemmChip chip_;
  std::vector<Job> jobs_;
  std::vector<std::string> refused_;
  int measured_ = 0, remembered_ = 0;
  double read_gbps_ = 0;
};

// Floating-point operations a second that the tensor cores of a device can do at its highest clock, dense.
double TensorPeak(const cuda::DeviceInfo& info, cuda::GemmType type);

}  // namespace lathe
