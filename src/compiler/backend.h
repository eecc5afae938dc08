// What a build does differently for CPUs and for CUDA devices. compile.cc does the rest and calls this in
// order.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "compiler/compile.h"
#include "compiler/emit.h"
#include "compiler/passes/pass.h"
#include "formats/engine_file.h"
#include "ir/graph.h"
#include "platform/team.h"

namespace lathe {

class Backend {
 public:
  virtual ~Backend() = default;

  // What can be wrong with the options, before anything is read.
  virtual Status Check() = 0;
  // The type that most of the checkpoint's weights have, known after Check and before Measure.
  virtual Status SetCheckpointType(DType) { return Status::Ok(); }
  // Roofs and the numeric class, by the model as it was lowered. `context`: of the first rank.
  virtual Status Measure(const ir::Graph& lowered, const PassContext& context) = 0;
  // The class, the kernels and what else of `context` depends on the target.
  virtual void SetUp(PassContext* context) = 0;
  virtual Isa isa() const { return Isa::kPortable; }  // for EmitPlan
  // The plans as emitted. What is still to be decided of them, and made for them, may go on while weights are
  // packed; FinishKernels waits for it and writes what the engine needs of it.
  virtual Status StartKernels(std::vector<EmittedPlan>* ranks) = 0;
  virtual Status FinishKernels(EngineWriter* writer) = 0;
  // Packs the weights.
  virtual Team& team() = 0;
  // dtype, numeric and machine.
  virtual void Identify(EngineIdentity* identity) const = 0;
  // Keeps what was measured. The engine stands already.
  virtual Status SaveTimings() const = 0;

  Json& info() { return info_; }  // for the engine's build_info
  std::vector<std::string>& warnings() { return warnings_; }

 protected:
  Json info_ = Json::object();
  std::vector<std::string> warnings_;
};

// `options` must outlive it.
std::unique_ptr<Backend> MakeCpuBackend(const BuildOptions& options, const BuildTarget& target);
std::unique_ptr<Backend> MakeCudaBackend(const BuildOptions& options, const BuildTarget& target);

}  // namespace lathe
