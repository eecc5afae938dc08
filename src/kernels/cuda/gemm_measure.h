// Measures matrix products on the device: candidates per shape and number of tokens, and the table of the
// fastest.
//
// Time is that of launches back to back in a graph, each with other weights, so that nothing is in L2 that a
// decode step would not find there. One thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/gemm.h"
#include "platform/cuda/cublaslt.h"
#include "platform/cuda/nvrtc.h"

namespace lathe::cuda {

struct GemmTiming {
  GemmTactic tactic;
  double us = 0;  // median of one launch
};

// What won for one problem, the fastest first.
struct GemmMeasurement {
  GemmProblem problem;
  std::vector<GemmTiming> timings;
};

struct GemmMeasureOptions {
  int64_t weight_pool_bytes = 512 << 20;  // rotated through; larger than L2 several times
  double min_graph_us = 300;              // launches are added to a graph until it takes so long
  int replays = 5;
  int library_algorithms = 6;
  bool overlap = true;  // programmatic dependent launch between the launches
};

class GemmMeasurer {
 public:
  // Allocates the pools and fills them with random numbers: weights, and x and y for max_m tokens of max_k
  // and max_n. `lt` may be null: then the library does not compete.
  static Expected<std::unique_ptr<GemmMeasurer>> Create(const Device& device, const Nvrtc& nvrtc,
                                                        const CublasLt* lt, int max_m, int max_n, int max_k,
                                                        const GemmMeasureOptions& options);

  // Compiles (in parallel) and loads what `problems` will need; Measure compiles the rest one by one.
  Status Prepare(const std::vector<GemmProblem>& problems);
  Status PrepareKernels(const std::vector<KernelSource>& sources);
  // Every candidate that runs, fastest first. A candidate that the device refuses is left out.
  Expected<GemmMeasurement> Measure(const GemmProblem& problem);
  Expected<double> Time(const GemmProblem& problem, const GemmTactic& tactic);

  // Microseconds of own products one after another, each with weights of its own out of the pool.
  // `between`, where given, launches what stands before product i on stream(); `overlap` as LaunchShape has
  // it.
  using Between = std::function<Status(int i, bool overlap)>;
  Expected<double> TimeSequence(const std::vector<std::pair<GemmProblem, GemmTactic>>& products, bool overlap,
                                const Between& between = {});
  // The fastest tactics for products that follow one another, which need not be the fastest of each alone: a
  // block that leaves room lets the next kernel's loads start early. Tries the `top` fastest of each in turn,
  // over `repeats` of the sequence, and keeps what makes the whole faster. *us: microseconds of one repeat.
  Expected<std::vector<GemmTactic>> TuneSequence(const std::vector<GemmProblem>& products, int repeats,
                                                 int top, double* us);
  // GB/s of a kernel that only reads the pool: the roof.
  Expected<double> ReadBandwidth();

  // For checks: one launch over the first weights of the pool, y filled with 0xff before.
  Status RunOnce(const GemmProblem& problem, const GemmTactic& tactic);
  Status ReadOutput(const GemmProblem& problem, std::vector<float>* y) const;
  // The sum, scales, bias and residual of that output in double, before SiLU: row of W n, token t.
  double Expected64(const GemmProblem& problem, int t, int n) const;

  const Stream& stream() const { return stream_; }
  // Compiled and loaded when they are first asked for; they live as long as this.
  Expected<Kernel> KernelOf(const GemmProblem& problem, const GemmTactic& tactic);
  Expected<Kernel> KernelOf(const KernelSource& source);

 private:
  struct Loaded {
    std::string entry;
    Module module;
    Kernel kernel;
  };
  GemmMeasurer(const Device& device, const Nvrtc& nvrtc, const CublasLt* lt,
               const GemmMeasureOptions& options)
      : device_(device), nvrtc_(nvrtc), lt_(lt), options_(options) {}
  Status Init(int max_m, int max_n, int max_k);
  // With the pool's weights number `copy`.
  GemmArgs ArgsOf(const GemmProblem& problem, int copy) const;
  int Copies(const GemmProblem& problem) const;
  // launch(i) -> Status puts product i of a graph on stream(), with weights i % Copies.
  template <typename LaunchOne>
  Expected<double> TimeGraph(const GemmProblem& problem, const LaunchOne& launch);
  template <typename LaunchOne>
  Expected<double> TimeReplays(int launches, int replays, const LaunchOne& launch);
  Expected<std::unique_ptr<LtMatmul>> Library(const GemmProblem& problem) const;
  Expected<double> TimeLibrary(const GemmProblem& problem, const LtMatmul& matmul, int algorithm);
  Status Load(CompiledKernel kernel);

  // Fills the pools with `type`'s pattern if they hold another's.
  Status FillFor(GemmType type);
  Status FillPool(const DeviceBuffer& pool, const void* pattern, int64_t bytes);
  uint16_t HalfAt(size_t at) const;
  float ElementAt(GemmType type, int64_t index, bool of_x) const;

  const Device& device_;
  const Nvrtc& nvrtc_;
  const CublasLt* lt_;
  GemmMeasureOptions options_;
  Stream stream_;
  DeviceBuffer weights_, x_, y_, residual_, scales_, workspace_;
  int filled_ = -1;
  // Every pool repeats a pattern whose period is no multiple of a row.
  std::vector<uint16_t> pattern16_;
  std::vector<uint8_t> pattern8_;
  std::vector<float> scale_values_;
  std::vector<Loaded> loaded_;
};

}  // namespace lathe::cuda
