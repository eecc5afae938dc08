// From what a model is to what a step computes.
#pragma once

#include "base/status.h"
#include "ir/graph.h"
#include "model/spec.h"

namespace lathe {

// The unfused graph of one step of the whole model: every tensor of the model's table declared as a weight
// with its split side, every op of the forward pass in order. All values are f32.
// Errors: kUnsupported for an activation without a kernel. `spec` must satisfy ValidateSpec.
Expected<ir::Graph> Lower(const ModelSpec& spec);

}  // namespace lathe
