// From the optimised graph of a rank to its plan, and to the recipes that fill the plan's weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "compiler/passes/pass.h"
#include "ir/graph.h"
#include "kernels/api/kernel.h"
#include "model/spec.h"
#include "plan/plan.h"

namespace lathe {

// How the weight `Plan::weights[i]` is made from the model's: `parts` stacked by rows, or, `interleave`, two
// parts whose panels alternate. Columns beyond those of a part are zero.
struct WeightRecipe {
  std::vector<ir::WeightRef> parts = {};
  bool interleave = false;
  int scales_of = -1;  // the scales found while the e4m3 weight of this index, the one before, is packed
};

struct EmittedPlan {
  Plan plan;
  std::vector<WeightRecipe> recipes;  // one for each of plan.weights, which are in ascending order of offset
  uint64_t blob_bytes = 0;            // of the weight blob
};

// `graph` is what the pipeline made of Lower(spec), `context` what it was run with. kInternal for a graph
// with an op or type that the executor has no op for (a required pass did not match). `isa`: of a CPU.
Expected<EmittedPlan> EmitPlan(const ir::Graph& graph, const PassContext& context, const ModelSpec& spec,
                               Isa isa);

}  // namespace lathe
