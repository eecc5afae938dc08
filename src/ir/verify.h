// Checks a graph against the rules every pass must keep.
#pragma once

#include "base/status.h"
#include "ir/graph.h"

namespace lathe::ir {

// Weights declared once and with sane shapes; slices inside their weight; per op the counts, attributes and
// types of its schema; values assigned once and before use; attention after its layer's append; at most one
// output. Errors: kInvalidArgument with the op's line of text.
Status VerifyGraph(const Graph& graph);

// Shape of what `ref` covers; kInvalidArgument when the weight is not declared or the slice leaves it.
Expected<Shape> ShapeOfRef(const Graph& graph, const WeightRef& ref);

}  // namespace lathe::ir
