// The text form of a graph, for dumps and for pass tests. Printing and parsing are inverse:
//
//   # a comment
//   weight @layers.0.q [384,384] rows:64
//   %1:f32[T,384], %2:bf16[T,384] = add_rmsnorm %0 %9 @layers.0.mlp_norm {eps=1e-05}
//   %4:f32[T,192] = matmul %2 @layers.0.q[0:192,:] + @layers.0.q_bias[0:192]
//   kv_append %5 %6 {layer=0, head_dim=64}
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "ir/graph.h"

namespace lathe::ir {

// One line, without the newline.
std::string PrintOp(const Op& op);
std::string PrintGraph(const Graph& graph);

// Syntax only; VerifyGraph checks meaning. Any bytes are safe. Errors: kInvalidArgument with line and column.
// `where` names the source in messages.
Expected<Graph> ParseGraph(std::string_view text, std::string_view where);

}  // namespace lathe::ir
