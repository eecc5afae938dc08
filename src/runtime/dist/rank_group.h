// All ranks of an engine in one process: the same step goes to every rank, the result comes from the rank
// that has the logits. One thread a rank; ranks talk through a SharedMemoryGroup.
#pragma once

#include <memory>
#include <vector>

#include "formats/engine_file.h"
#include "plan/plan.h"
#include "runtime/exec/executor.h"
#include "runtime/step/step.h"

namespace lathe {

// `plans` are those of all tp * pp ranks of `engine`, in any order; threads of `options` are shared out among
// the ranks. `engine` must outlive the result. One caller at a time.
Expected<std::unique_ptr<StepExecutor>> OpenRankGroup(const EngineReader& engine, std::vector<Plan> plans,
                                                      const ExecutorOptions& options);

}  // namespace lathe
