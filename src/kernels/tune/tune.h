// Measuring tactics on the real shapes of a model, at engine build (decision 5). PODs in and out.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "kernels/api/kernel.h"
#include "kernels/cpu/workers.h"
#include "platform/bandwidth.h"

namespace lathe {

// The roofs a result is compared with.
struct MachineRoofs {
  double read_gbps = 0;  // MeasureReadBandwidth
  PeakFlops peak;
};
// Measures both in about `budget_ms`.
MachineRoofs MeasureRoofs(Team& team, double budget_ms = 400);

struct GemmShape {
  int N = 0, K = 0;
  bool silu_mul = false;
  DType y_type = DType::kF32;
  friend bool operator==(const GemmShape&, const GemmShape&) = default;
};

// The winner for M in [min_m, max_m].
struct TunedGemm {
  GemmShape shape;
  int min_m = 1, max_m = 1;
  std::string_view kernel;  // name in the registry (static storage)
  int measured_m = 1;       // M at which the numbers below were taken
  double us = 0;
  double gbps = 0, gflops = 0;  // from CostOf
  double percent_of_roof = 0;   // of max(bytes / read_gbps, flops / peak)
  bool measured = false;        // false: only one candidate, or the budget was spent
};

// Upper ends of the M ranges that get a choice of their own: 1, 2, 4, 8, 16, 32, 64, 512. The last is open.
std::span<const int> TuneBuckets();

// Chooses a tactic of (isa, class) for every bucket of `shape`. Candidates run in turn (minimum of a few
// runs), those far behind leave after the first round, over weight copies that rotate through more memory
// than the private caches hold. Wide shapes are measured on a slice of their columns; `us` is scaled back.
// Stops at `budget_ms` in all; what is left unmeasured, and buckets above max_m (logits are wanted for few
// rows), take the default. Not reentrant.
std::vector<TunedGemm> TuneGemm(Isa isa, NumericClass numeric, const GemmShape& shape, Workers& workers,
                                const MachineRoofs& roofs, double budget_ms, int max_m = 512);

// Every tactic of (isa, class) that accepts m, timed in turns over `runs` rounds (0: as many as 0.4 s hold),
// for benches. The rates are those of the minimum.
struct GemmTiming {
  std::string_view kernel;
  double min_us = 0, median_us = 0;
  double gbps = 0, gflops = 0;
  double percent_of_roof = 0;
};
std::vector<GemmTiming> TimeGemmTactics(Isa isa, NumericClass numeric, const GemmShape& shape, int m,
                                        Workers& workers, const MachineRoofs& roofs, int runs = 0);

// Time of one pass over `shapes` (each run `weight` times a layer) in both bf16 classes.
struct ClassTiming {
  NumericClass numeric = NumericClass::kBf16Fma;
  double decode_us = 0;  // M = 1
  double prompt_us = 0;  // M = 512
};
struct ClassChoice {
  NumericClass chosen = NumericClass::kBf16Fma;
  std::vector<ClassTiming> timings;  // of the classes the ISA offers
};
// The bf16 class to build with: the faster prompt, unless it loses more in decode than it wins there. One
// candidate is returned unmeasured.
ClassChoice ChooseClass(Isa isa, std::span<const GemmShape> shapes, Workers& workers, double budget_ms);

}  // namespace lathe
