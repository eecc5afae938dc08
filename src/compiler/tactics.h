// Which kernel serves which matmul: measured here, remembered from an earlier build, or the default.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "compiler/passes/pass.h"
#include "compiler/timing_cache.h"
#include "kernels/api/kernel.h"
#include "kernels/cpu/workers.h"
#include "kernels/tune/tune.h"

namespace lathe {

// Every M is served, in ascending buckets, by kernels of (isa, numeric) that this binary has and that take
// it.
bool IsUsableTactic(const GemmTactic& tactic, Isa isa, NumericClass numeric);

// The untuned choice: in each bucket the first kernel that takes all its M.
GemmTactic DefaultTactic(Isa isa, NumericClass numeric, const GemmDims& dims);

// Chooses once for each shape; the ranks of an engine share it.
class Tactics : public TacticSource {
 public:
  // Without `workers` nothing is measured. `cache` outlives this and gets what was measured.
  Tactics(Isa isa, NumericClass numeric, TimingCache* cache, Workers* workers, const MachineRoofs& roofs,
          double ms_per_shape)
      : isa_(isa),
        numeric_(numeric),
        cache_(cache),
        workers_(workers),
        roofs_(roofs),
        ms_per_shape_(ms_per_shape) {}

  Expected<GemmTactic> Choose(const GemmDims& dims, DType y_type) override;
  int measured() const { return measured_; }
  int remembered() const { return remembered_; }
  double seconds() const { return seconds_; }

 private:
  GemmTactic Measure(const GemmDims& dims, DType y_type);

  Isa isa_;
  NumericClass numeric_;
  TimingCache* cache_;
  Workers* workers_;
  MachineRoofs roofs_;
  double ms_per_shape_;
  std::map<std::tuple<int64_t, int64_t, bool, DType>, GemmTactic> chosen_;
  int measured_ = 0, remembered_ = 0;
  double seconds_ = 0;
};

}  // namespace lathe
