// The roofs of this machine, measured: how fast a team reads memory and multiplies. Kernels, benchmarks and
// the tuner state their speed as a share of these.
#pragma once

#include <cstddef>

#include "platform/team.h"

namespace lathe {

// GB/s (1e9 bytes) with which all threads together read `bytes` of memory (split evenly, streamed with the
// widest loads): the best of `runs` passes, or of as many as `budget_ms` allows, at least one. Choose bytes
// well over the last-level cache; the memory is allocated, touched and freed here, which takes as long as a
// few passes.
double MeasureReadBandwidth(Team& team, size_t bytes, int runs = 5, double budget_ms = 1e9);

struct PeakFlops {
  double f32_fma = 0;   // GFLOP/s of the whole team, registers only
  double bf16_dot = 0;  // 0 where the processor has no bf16 dot product
  // What a kernel can hope for with bf16 weights: the better of the two.
  double best() const { return bf16_dot > f32_fma ? bf16_dot : f32_fma; }
};
// Best of a few runs of about `milliseconds` each.
PeakFlops MeasurePeakFlops(Team& team, double milliseconds = 5);

}  // namespace lathe
