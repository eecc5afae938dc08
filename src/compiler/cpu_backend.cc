#include <algorithm>

#include "compiler/backend.h"
#include "compiler/pipeline.h"
#include "compiler/tactics.h"
#include "kernels/cpu/registry.h"
#include "lathe/version.h"
#include "platform/cpu_info.h"

namespace lathe {
namespace {

// How long measuring may take: roofs, the choice of class, and all shapes together.
constexpr double kRoofsMs = 400;
constexpr double kClassMs = 1200;
constexpr double kShapesMs = 4000;
constexpr double kShapesOfAModel = 5;  // qkv, o, gate and up, down, logits

// One layer's matmuls: what a prompt spends its time in.
std::vector<GemmDims> ShapesOf(const ir::Graph& graph) {
  const ir::Uses uses(graph);
  std::vector<GemmDims> out;
  for (const ir::Op& op : graph.ops)
    if (IsMatmul(op) && ir::LayerOf(op) == 0) out.push_back(DimsOf(graph, uses, op));
  return out;
}

class CpuBackend : public Backend {
 public:
  CpuBackend(const BuildOptions& options, const BuildTarget& target) : options_(options), target_(target) {}

  Status Check() override {
    if (options_.dtype == DType::kF8E4M3 || options_.kv_dtype == DType::kF8E4M3)
      return {StatusCode::kUnsupported,
              "fp8 weights and fp8 keys and values are for GPUs; build with --target cuda, or choose bf16 "
              "or f32"};
    if (options_.dtype == DType::kF16 || options_.kv_dtype == DType::kF16)
      return {
          StatusCode::kUnsupported,
          "fp16 weights, keys and values are for GPUs; build with --target cuda, or choose bf16 or f32 (a "
          "checkpoint may be fp16)"};
    if (options_.dtype && *options_.dtype != DType::kBf16 && *options_.dtype != DType::kF32)
      return Error(StatusCode::kInvalidArgument,
                   "dtype %s: an engine is bf16 or f32, or fp16 or fp8 on a GPU",
                   std::string(ToString(*options_.dtype)).c_str());
    if (!target_.runs_here && options_.tune)
      return Error(
          StatusCode::kUnsupported,
          "this machine cannot run %s, so nothing can be measured for it; build without tuning (--no-tune) "
          "or for another --target",
          target_.Chip().c_str());
    return Status::Ok();
  }

  // The shapes themselves are measured when the pipeline asks for them.
  Status Measure(const ir::Graph& lowered, const PassContext& context) override {
    team_ = std::make_unique<Team>(TeamOptions{.threads = options_.threads});
    timings_ = std::make_unique<TimingCache>(TimingScope{.machine = GetCpuInfo().model,
                                                         .threads = team_->size(),
                                                         .lathe = kVersionString,
                                                         .isa = target_.isa,
                                                         .chip = {},
                                                         .usable = {}});
    if (!options_.timing_cache.empty()) {
      std::string warning;
      LATHE_RETURN_IF_ERROR(timings_->Load(options_.timing_cache, &warning));
      if (!warning.empty()) warnings_.push_back(std::move(warning));
    }
    if (options_.tune) {
      workers_ = std::make_unique<Workers>(*team_);
      roofs_ = MeasureRoofs(*team_, kRoofsMs);
      info_["roofs"] = {{"read_gbps", roofs_.read_gbps},
                        {"f32_fma_gflops", roofs_.peak.f32_fma},
                        {"bf16_dot_gflops", roofs_.peak.bf16_dot}};
    }
    info_["threads"] = team_->size();
    LATHE_RETURN_IF_ERROR(ChooseNumeric(lowered, context));
    tactics_ = std::make_unique<Tactics>(target_.isa, numeric_, timings_.get(), workers_.get(), roofs_,
                                         kShapesMs / kShapesOfAModel);
    return Status::Ok();
  }

  void SetUp(PassContext* context) override {
    context->numeric = numeric_;
    context->tactics = tactics_.get();
  }
  Isa isa() const override { return target_.isa; }

  Status StartKernels(std::vector<EmittedPlan>*) override {
    info_["tactics"] = {{"measured", tactics_->measured()},
                        {"from_timing_cache", tactics_->remembered()},
                        {"seconds", tactics_->seconds()}};
    return Status::Ok();
  }
  // The kernels are in the program.
  Status FinishKernels(EngineWriter*) override { return Status::Ok(); }

  Team& team() override { return *team_; }

  void Identify(EngineIdentity* identity) const override {
    identity->machine = options_.tune ? GetCpuInfo().model : "";
    identity->dtype = std::string(ToString(WeightType(numeric_)));
    identity->numeric = std::string(ToString(numeric_));
  }

  Status SaveTimings() const override {
    return options_.tune ? timings_->Save(options_.timing_cache) : Status::Ok();
  }

 private:
  Status ChooseNumeric(const ir::Graph& lowered, const PassContext& context) {
    if (options_.dtype == DType::kF32) {
      if (options_.numeric && *options_.numeric != NumericClass::kF32)
        return {StatusCode::kInvalidArgument, "an f32 engine has the numeric class f32 only"};
      numeric_ = NumericClass::kF32;
      return Status::Ok();
    }
    const auto offered = ClassesOf(target_.isa);
    const auto offers = [&](NumericClass c) {
      return std::find(offered.begin(), offered.end(), c) != offered.end();
    };
    if (options_.numeric) {
      if (!offers(*options_.numeric) || *options_.numeric == NumericClass::kF32)
        return Error(StatusCode::kInvalidArgument, "a bf16 engine for %s has no numeric class %s",
                     target_.Chip().c_str(), std::string(ToString(*options_.numeric)).c_str());
      numeric_ = *options_.numeric;
      return Status::Ok();
    }
    numeric_ = NumericClass::kBf16Fma;
    if (!offers(NumericClass::kBf16Dot)) return Status::Ok();
    // Unmeasured: the instruction does two products where a multiply-add does one. Intel's first
    // implementations run it at half the rate, so there is nothing to win and rounding to lose.
    if (!options_.tune) {
      const bool intel = target_.runs_here && GetCpuInfo().model.find("Intel") != std::string::npos;
      if (!intel) numeric_ = NumericClass::kBf16Dot;
      return Status::Ok();
    }
    return MeasureNumeric(lowered, context);
  }

  Status MeasureNumeric(ir::Graph graph, PassContext context) {
    context.numeric = numeric_;
    LATHE_RETURN_IF_ERROR(RunPipeline(&graph, &context, {.disabled = options_.disabled_passes}, nullptr));
    const std::vector<GemmDims> dims = ShapesOf(graph);
    if (timings_->FindClass(dims, &numeric_)) return Status::Ok();
    std::vector<GemmShape> shapes;
    for (const GemmDims& d : dims)
      shapes.push_back({static_cast<int>(d.N), static_cast<int>(d.K), d.silu_mul, DType::kF32});
    const ClassChoice choice = ChooseClass(target_.isa, shapes, *workers_, kClassMs);
    numeric_ = choice.chosen;
    timings_->PutClass(dims, numeric_);
    for (const ClassTiming& t : choice.timings)
      info_["classes"][std::string(ToString(t.numeric))] = {{"decode_us", t.decode_us},
                                                            {"prompt_us", t.prompt_us}};
    return Status::Ok();
  }

  const BuildOptions& options_;
  const BuildTarget target_;
  std::unique_ptr<Team> team_;
  std::unique_ptr<Workers> workers_;  // nullptr: nothing is measured
  std::unique_ptr<TimingCache> timings_;
  std::unique_ptr<Tactics> tactics_;
  MachineRoofs roofs_;
  NumericClass numeric_ = NumericClass::kF32;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(const BuildOptions& options, const BuildTarget& target) {
  return std::make_unique<CpuBackend>(options, target);
}

}  // namespace lathe
