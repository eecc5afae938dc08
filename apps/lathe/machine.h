// This machine's roofs, measured now or remembered.
#pragma once

#include "base/json.h"
#include "kernels/tune/tune.h"

namespace lathe::cli {

// Measures read bandwidth and peak arithmetic with `threads` threads (0: usable CPUs) for about half a
// second, and remembers them for RememberedRoofs.
MachineRoofs MeasureRoofsNow(int threads);

// What was last measured by this version on this processor with as many threads, or else MeasureRoofsNow.
// For a figure beside a result; a benchmark measures in its own run.
MachineRoofs RememberedRoofs(int threads);

// Threads that `threads` stands for (0: usable CPUs).
int ResolveThreads(int threads);

// Processor, instruction sets, CPUs and `roofs`, for the JSON of benchmarks.
Json MachineToJson(const MachineRoofs& roofs, int threads);

}  // namespace lathe::cli
