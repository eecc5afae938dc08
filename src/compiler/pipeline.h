// The passes in their one order: named, switchable, timed, verified after each, dumpable.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "compiler/passes/pass.h"
#include "ir/graph.h"

namespace lathe {

struct PassInfo {
  std::string_view name;
  PassFn run;
  // Why it cannot be switched off, or empty: then the result is the same without it, only slower or larger.
  std::string_view required;
};
std::span<const PassInfo> AllPasses();
// nullptr for an unknown name.
const PassInfo* FindPass(std::string_view name);

struct PassTiming {
  std::string_view name;
  double seconds = 0;
  int ops_before = 0, ops_after = 0;
};

struct PipelineOptions {
  std::set<std::string> disabled = {};
  // Where the graph is written before the first and after each pass ("<prefix>03-fuse_gate_up.ir"); empty:
  // nowhere. The directory must exist.
  std::string dump_dir = {};
  std::string dump_prefix = {};  // of file names: "tp0.pp0."
};

// Errors: kInvalidArgument for an unknown or required name in `disabled`; what passes report; kInternal, with
// the pass's name, for a graph that does not verify after a pass.
Status RunPipeline(ir::Graph* graph, PassContext* context, const PipelineOptions& options,
                   std::vector<PassTiming>* timings);

}  // namespace lathe
