#include "kernels/tune/tune.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "kernels/cpu/registry.h"
#include "kernels/pack/pack.h"
#include "platform/cpu_info.h"

namespace lathe {
namespace {

constexpr int kBuckets[] = {1, 2, 4, 8, 16, 32, 64, 512};
// Decode reads every weight once a step, so a weight is not in a private cache when it is needed again.
// Copies rotate through this much; what the L3 keeps of an engine, it keeps here too. Prompts reuse a weight
// many times.
constexpr int64_t kRotateBytes = int64_t{256} << 20, kPromptRotateBytes = int64_t{32} << 20;
constexpr int kFewRows = 32, kPromptRows = 512;
constexpr int kMaxCopies = 256;

// What a reading of memory must span so that the last-level cache does not answer for it: on a host that
// shows 260 MB of L3, 128 MiB "read" at 38 to 66 GB/s and 1 GiB at 30.
size_t RoofBytes() {
  const int64_t l3 = GetCpuInfo().l3_bytes;
  return static_cast<size_t>(std::clamp<int64_t>(4 * l3, int64_t{128} << 20, int64_t{1} << 30));
}

int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Zeroed memory on large pages, freed with the object.
class Memory {
 public:
  explicit Memory(int64_t bytes) : bytes_(static_cast<size_t>(std::max<int64_t>(bytes, 1))) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED)
      data_ = nullptr;
    else
      (void)madvise(data_, bytes_, MADV_HUGEPAGE);
  }
  ~Memory() {
    if (data_) munmap(data_, bytes_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() const { return data_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  size_t bytes_;
  void* data_;
};

// The shape with so few columns that its weights and the work of m rows stay within a few milliseconds:
// panels are alike, so the fastest tactic for some is the fastest for all.
GemmShape Slice(const GemmShape& shape, NumericClass numeric, int m) {
  constexpr double kMostBytes = 16 << 20, kMostFlops = 4e9;
  const double column_bytes = static_cast<double>(shape.K) * SizeOf(WeightType(numeric));
  const double column_flops = 2.0 * m * shape.K;
  const double most = std::min(kMostBytes / column_bytes, kMostFlops / column_flops);
  const int unit = kPanelN * (shape.silu_mul ? 2 : 1);
  GemmShape slice = shape;
  slice.N = std::min(shape.N, std::max(unit * 8, static_cast<int>(most) / unit * unit));
  return slice;
}

// Operands of one shape. All ones: the values do not matter to the clock as long as none is subnormal.
class Bench {
 public:
  Bench(NumericClass numeric, const GemmShape& shape, int max_m, Workers& workers)
      : shape_(shape),
        weight_bytes_(RoundUp(PackedBytes(shape.N, shape.K, WeightType(numeric), shape.silu_mul), 4096)),
        copies_(static_cast<int>(std::clamp<int64_t>(
            (max_m <= kFewRows ? kRotateBytes : kPromptRotateBytes) / weight_bytes_, 2, kMaxCopies))),
        weights_(weight_bytes_ * copies_),
        x_(int64_t{max_m} * shape.K * 4),
        y_(int64_t{max_m} * RoundUp(shape.N, kPanelN) * 4),
        workers_(workers) {
    if (!ok()) return;
    // 0x3f80 is 1 in bf16 and 1.0019 as both halves of an f32. Each thread touches a part.
    const auto fill = [&](const Memory& memory, int64_t bytes, int index) {
      const int64_t each = RoundUp(bytes / workers.team().size() + 1, 4096);
      const int64_t first = std::min(bytes, each * index), last = std::min(bytes, first + each);
      uint16_t* words = static_cast<uint16_t*>(memory.data());
      std::fill(words + first / 2, words + last / 2, uint16_t{0x3f80});
    };
    workers.team().Run([&](int index) {
      fill(weights_, weight_bytes_ * copies_, index);
      fill(x_, int64_t{max_m} * shape.K * 4, index);
    });
  }
  bool ok() const { return weights_ && x_ && y_; }

  GemmParams Params(int m) const {
    GemmParams p;
    p.M = m;
    p.N = shape_.N;
    p.K = shape_.K;
    p.x = x_.data();
    p.ldx = shape_.K;
    p.w = static_cast<const char*>(weights_.data()) + weight_bytes_ * copy_;
    p.y = y_.data();
    p.ldy = shape_.silu_mul ? shape_.N / 2 : shape_.N;
    p.y_type = shape_.y_type;
    p.silu_mul = shape_.silu_mul;
    return p;
  }
  // Seconds of one run, on the next copy of the weights.
  double Time(const GemmKernel& kernel, int m) {
    copy_ = (copy_ + 1) % copies_;
    const GemmParams p = Params(m);
    const double start = NowSeconds();
    workers_.RunOne(kernel.fn, p);
    return NowSeconds() - start;
  }

 private:
  GemmShape shape_;
  int64_t weight_bytes_;
  int copies_;
  Memory weights_, x_, y_;
  Workers& workers_;
  int copy_ = 0;
};

double RoofSeconds(const Cost& cost, const MachineRoofs& roofs) {
  const double memory = roofs.read_gbps > 0 ? cost.bytes / (roofs.read_gbps * 1e9) : 0;
  const double compute = roofs.peak.best() > 0 ? cost.flops / (roofs.peak.best() * 1e9) : 0;
  return std::max(memory, compute);
}

// The fastest of `candidates` at m: all take turns, those over 1.25 x the best leave after the first round,
// the minimum of each counts. Stops early at `deadline`. Sets *seconds.
const GemmKernel* Fastest(Bench& bench, std::vector<const GemmKernel*> candidates, int m, double deadline,
                          double* seconds) {
  constexpr int kRounds = 4;
  constexpr double kDrop = 1.25;
  std::vector<double> best(candidates.size(), std::numeric_limits<double>::infinity());
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) best[i] = std::min(best[i], bench.Time(*candidates[i], m));
    const double lead = *std::min_element(best.begin(), best.end());
    for (size_t i = candidates.size(); i-- > 0;)
      if (best[i] > kDrop * lead) {
        candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(i));
        best.erase(best.begin() + static_cast<std::ptrdiff_t>(i));
      }
    if (NowSeconds() > deadline) break;
  }
  const auto winner = std::min_element(best.begin(), best.end());
  *seconds = *winner;
  return candidates[static_cast<size_t>(winner - best.begin())];
}

}  // namespace

MachineRoofs MeasureRoofs(Team& team, double budget_ms) {
  constexpr int kMostRuns = 100;
  const double start = NowSeconds();
  MachineRoofs roofs;
  roofs.peak = MeasurePeakFlops(team, budget_ms / 100);
  // On a shared machine the best of several looks is the roof.
  roofs.read_gbps =
      MeasureReadBandwidth(team, RoofBytes(), kMostRuns, budget_ms - (NowSeconds() - start) * 1e3);
  return roofs;
}

std::span<const int> TuneBuckets() { return kBuckets; }

std::vector<TunedGemm> TuneGemm(Isa isa, NumericClass numeric, const GemmShape& shape, Workers& workers,
                                const MachineRoofs& roofs, double budget_ms, int max_m) {
  const double deadline = NowSeconds() + budget_ms * 1e-3;
  std::vector<TunedGemm> out;
  std::optional<Bench> bench;
  GemmShape slice;
  int bench_rows = 0;
  int min_m = 1;
  for (const int m : kBuckets) {
    TunedGemm tuned;
    tuned.shape = shape;
    tuned.min_m = min_m;
    tuned.max_m = m == kPromptRows ? std::numeric_limits<int>::max() : m;
    tuned.measured_m = m;
    min_m = m + 1;
    const std::vector<const GemmKernel*> candidates = GemmTactics(isa, numeric, m);
    tuned.kernel = candidates.front()->name;
    if (m <= max_m && NowSeconds() < deadline) {
      const int rows = m <= kFewRows ? kFewRows : kPromptRows;
      if (const GemmShape wanted = Slice(shape, numeric, m); rows != bench_rows || slice != wanted) {
        slice = wanted;
        bench_rows = rows;
        bench.reset();
        bench.emplace(numeric, slice, rows, workers);
      }
      if (bench->ok()) {
        double seconds = 0;
        tuned.kernel = Fastest(*bench, candidates, m, deadline, &seconds)->name;
        const Cost cost = CostOf(bench->Params(m), numeric);
        tuned.us = seconds * 1e6 * shape.N / slice.N;
        tuned.gbps = cost.bytes / seconds / 1e9;
        tuned.gflops = cost.flops / seconds / 1e9;
        tuned.percent_of_roof = 100 * RoofSeconds(cost, roofs) / seconds;
        tuned.measured = true;
      }
    }
    out.push_back(tuned);
  }
  return out;
}

std::vector<GemmTiming> TimeGemmTactics(Isa isa, NumericClass numeric, const GemmShape& shape, int m,
                                        Workers& workers, const MachineRoofs& roofs, int runs) {
  constexpr double kSeconds = 0.4;
  Bench bench(numeric, shape, m, workers);
  const std::vector<const GemmKernel*> kernels = GemmTactics(isa, numeric, m);
  std::vector<std::vector<double>> times(kernels.size());
  if (!bench.ok()) return {};
  const double deadline = NowSeconds() + kSeconds * static_cast<double>(kernels.size());
  for (int run = 0; runs > 0 ? run < runs : (run < 3 || NowSeconds() < deadline); ++run)
    for (size_t i = 0; i < kernels.size(); ++i) times[i].push_back(bench.Time(*kernels[i], m));
  const Cost cost = CostOf(bench.Params(m), numeric);
  std::vector<GemmTiming> out;
  for (size_t i = 0; i < kernels.size(); ++i) {
    std::sort(times[i].begin(), times[i].end());
    const double best = times[i].front();
    out.push_back({.kernel = kernels[i]->name,
                   .min_us = best * 1e6,
                   .median_us = times[i][times[i].size() / 2] * 1e6,
                   .gbps = cost.bytes / best / 1e9,
                   .gflops = cost.flops / best / 1e9,
                   .percent_of_roof = 100 * RoofSeconds(cost, roofs) / best});
  }
  return out;
}

ClassChoice ChooseClass(Isa isa, std::span<const GemmShape> shapes, Workers& workers, double budget_ms) {
  ClassChoice choice;
  std::vector<NumericClass> classes;
  for (NumericClass numeric : ClassesOf(isa))
    if (numeric != NumericClass::kF32) classes.push_back(numeric);
  choice.chosen = classes.front();
  if (classes.size() == 1 || shapes.empty()) return choice;

  const double each_ms = budget_ms / static_cast<double>(classes.size() * shapes.size() * 2);
  for (NumericClass numeric : classes) {
    ClassTiming timing{.numeric = numeric};
    for (const GemmShape& shape : shapes)
      for (const int m : {1, kPromptRows}) {
        const GemmShape slice = Slice(shape, numeric, m);
        Bench bench(numeric, slice, m, workers);
        if (!bench.ok()) return choice;
        double seconds = 0;
        Fastest(bench, GemmTactics(isa, numeric, m), m, NowSeconds() + each_ms * 1e-3, &seconds);
        (m == 1 ? timing.decode_us : timing.prompt_us) += seconds * 1e6 * shape.N / slice.N;
      }
    choice.timings.push_back(timing);
  }
  // Ratios, not sums: losing 10 % of decode is not bought by winning 10 % of prompts, which are rarer.
  const auto score = [&](const ClassTiming& t) {
    return t.prompt_us / choice.timings[0].prompt_us * (t.decode_us / choice.timings[0].decode_us);
  };
  for (const ClassTiming& timing : choice.timings)
    if (score(timing) <
        score(*std::find_if(choice.timings.begin(), choice.timings.end(),
                            [&](const ClassTiming& t) { return t.numeric == choice.chosen; })))
      choice.chosen = timing.numeric;
  return choice;
}

}  // namespace lathe
