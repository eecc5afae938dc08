#include "compiler/pipeline.h"

#include "base/clock.h"
#include "base/file.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace lathe {
namespace {

// Sharding stands before fuse_norm_residual so that the sums it inserts, not the partial results, are fused,
// and so that one value crosses a pipeline cut instead of two.
constexpr PassInfo kPasses[] = {
    {"fuse_qkv", FuseQkv, "the executor has one op for q, k and v"},
    {"fuse_gate_up", FuseGateUp, "the executor has no silu_mul of its own"},
    {"fuse_rope_append", FuseRopeAppend, "the executor has one op for rope and the KV append"},
    {"hoist_select", HoistSelect, ""},
    {"fuse_select_norm", FuseSelectNorm, "the executor picks the logit rows in the last norm"},
    {"shard_tp", ShardTp, "without it every rank would hold everything"},
    {"shard_pp", ShardPp, "without it every rank would hold everything"},
    {"fuse_norm_residual", FuseNormResidual, ""},
    {"prune_dead", PruneDead, ""},
    {"quantize_activations", QuantizeActivations, "the kernels of fp8 weights read e4m3 rows"},
    {"select_kernels", SelectKernels, "every matmul needs a kernel"},
    {"plan_memory", AssignBuffers, ""},
};

Status Dump(const ir::Graph& graph, const PipelineOptions& options, int number, std::string_view name) {
  if (options.dump_dir.empty()) return Status::Ok();
  const std::string path =
      StrFormat("%s/%s%02d-%.*s.ir", options.dump_dir.c_str(), options.dump_prefix.c_str(), number,
                static_cast<int>(name.size()), name.data());
  return WriteFileAtomic(path, ir::PrintGraph(graph)).WithContext("dumping the IR");
}

Status CheckDisabled(const std::set<std::string>& disabled) {
  for (const std::string& name : disabled) {
    const PassInfo* pass = FindPass(name);
    if (pass == nullptr) {
      std::string known;
      for (const PassInfo& p : kPasses) known += (known.empty() ? "" : ", ") + std::string(p.name);
      return Error(StatusCode::kInvalidArgument, "there is no pass '%s'; the passes are %s", name.c_str(),
                   known.c_str());
    }
    if (!pass->required.empty())
      return Error(StatusCode::kInvalidArgument, "pass '%s' cannot be switched off: %.*s", name.c_str(),
                   static_cast<int>(pass->required.size()), pass->required.data());
  }
  return Status::Ok();
}

// What must hold after each pass; memory once it is planned.
Status VerifyAfter(const ir::Graph& graph, const PassContext& context, const PassInfo& pass) {
  Status status = ir::VerifyGraph(graph);
  if (status.ok() && pass.run == AssignBuffers) status = CheckBufferPlan(graph, context.memory);
  if (status.ok()) return status;
  return Error(StatusCode::kInternal, "after pass '%.*s': %s", static_cast<int>(pass.name.size()),
               pass.name.data(), status.message().c_str());
}

}  // namespace

std::span<const PassInfo> AllPasses() { return kPasses; }

const PassInfo* FindPass(std::string_view name) {
  for (const PassInfo& pass : kPasses)
    if (pass.name == name) return &pass;
  return nullptr;
}

Status RunPipeline(ir::Graph* graph, PassContext* context, const PipelineOptions& options,
                   std::vector<PassTiming>* timings) {
  LATHE_RETURN_IF_ERROR(CheckDisabled(options.disabled));
  LATHE_RETURN_IF_ERROR(ir::VerifyGraph(*graph));
  LATHE_RETURN_IF_ERROR(Dump(*graph, options, 0, "lowered"));
  int number = 0;
  for (const PassInfo& pass : kPasses) {
    ++number;
    const bool disabled = options.disabled.contains(std::string(pass.name));
    // Memory must be planned in any case: switched off, every value gets a buffer of its own.
    if (pass.run == AssignBuffers) {
      context->share_buffers = !disabled;
    } else if (disabled) {
      continue;
    }
    PassTiming timing{.name = pass.name, .ops_before = static_cast<int>(graph->ops.size())};
    const double begin = NowSeconds();
    LATHE_RETURN_IF_ERROR(pass.run(graph, context));
    timing.seconds = NowSeconds() - begin;
    timing.ops_after = static_cast<int>(graph->ops.size());
    if (timings != nullptr) timings->push_back(timing);
    LATHE_RETURN_IF_ERROR(VerifyAfter(*graph, *context, pass));
    LATHE_RETURN_IF_ERROR(Dump(*graph, options, number, pass.name));
  }
  return Status::Ok();
}

}  // namespace lathe
