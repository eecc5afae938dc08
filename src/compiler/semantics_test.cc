// Passes keep the meaning: random small models, run as lowered and as compiled, whole and cut over ranks,
// give the same logits.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "compiler/emit.h"
#include "compiler/lower.h"
#include "compiler/pipeline.h"
#include "compiler/testing/interpreter.h"
#include "ir/text.h"

namespace lathe {
namespace {

using testing_util::Interpreter;
using testing_util::Matrix;

// Every shape gets one kernel that does not exist.
class AnyTactic : public TacticSource {
 public:
  Expected<GemmTactic> Choose(const GemmDims& dims, DType) override {
    return GemmTactic{.N = dims.N,
                      .K = dims.K,
                      .silu_mul = dims.silu_mul,
                      .x_type = dims.x_type,
                      .buckets = {{.max_m = 1, .kernel = "any"}}};
  }
};

ModelSpec RandomSpec(Rng* rng) {
  const auto flip = [&] { return rng->Below(2) == 0; };
  ModelSpec spec;
  spec.n_layers = 1 + static_cast<int>(rng->Below(4));
  spec.head_dim = 2 * (1 + static_cast<int>(rng->Below(3)));
  spec.n_kv_heads = 1 << rng->Below(3);
  spec.n_heads = spec.n_kv_heads << rng->Below(2);
  spec.hidden = 4 + static_cast<int>(rng->Below(9));
  spec.ffn = 4 * (1 + static_cast<int>(rng->Below(20)));
  spec.vocab = 9 + static_cast<int>(rng->Below(8));
  spec.max_positions = 64;
  spec.tied_embeddings = flip();
  spec.qkv_bias = flip();
  spec.o_bias = flip();
  spec.mlp_bias = flip();
  spec.qk_norm = flip();
  spec.rope.rotary_dim = flip() ? spec.head_dim : 2;
  for (int i = 0; i < spec.n_layers; ++i) spec.window.push_back(flip() ? 0 : 2);
  return spec;
}

double LargestDifference(const Matrix& a, const Matrix& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.cols, b.cols);
  double largest = 0;
  for (size_t i = 0; i < std::min(a.data.size(), b.data.size()); ++i)
    largest = std::max(largest, std::abs(a.data[i] - b.data[i]) / (1 + std::abs(a.data[i])));
  return largest;
}

struct Config {
  int tp = 1, pp = 1;
  std::set<std::string> disabled = {};
  NumericClass numeric = NumericClass::kBf16Dot;
  int sm = 0;
};

// The graphs of all ranks; every plan of theirs verifies.
std::vector<std::vector<ir::Graph>> CompileAll(const ModelSpec& spec, const ir::Graph& lowered,
                                               const Config& config) {
  AnyTactic tactics;
  std::vector<std::vector<ir::Graph>> out(static_cast<size_t>(config.pp));
  for (int pp = 0; pp < config.pp; ++pp)
    for (int tp = 0; tp < config.tp; ++tp) {
      ir::Graph graph = lowered;
      PassContext context{.tp = config.tp,
                          .tp_rank = tp,
                          .pp = config.pp,
                          .pp_rank = pp,
                          .n_layers = spec.n_layers,
                          .sm = config.sm,
                          .numeric = config.numeric,
                          .tactics = &tactics};
      const Status status = RunPipeline(&graph, &context, {.disabled = config.disabled}, nullptr);
      EXPECT_TRUE(status.ok()) << status.message();
      const auto plan = EmitPlan(graph, context, spec, Isa::kAvx512);
      EXPECT_TRUE(plan.ok()) << plan.status().message();
      out[static_cast<size_t>(pp)].push_back(std::move(graph));
    }
  return out;
}

TEST(Semantics, CompiledIsWhatWasLowered) {
  Rng rng(3);
  for (int round = 0; round < 60; ++round) {
    const ModelSpec spec = RandomSpec(&rng);
    const auto lowered = Lower(spec);
    ASSERT_TRUE(lowered.ok());
    const testing_util::Prompt prompt{{3, 1, 4, 1, 5}, {0, 3, 4}};
    const Matrix want = Interpreter(prompt).Run({{*lowered}});
    ASSERT_EQ(want.cols, spec.vocab);
    std::vector<Config> configs = {
        {},
        {.disabled = {"fuse_norm_residual"}},
        {.disabled = {"hoist_select"}},
        {.disabled = {"prune_dead", "plan_memory"}, .numeric = NumericClass::kF32},
        {.tp = 1, .pp = spec.n_layers},
        {.numeric = NumericClass::kBf16Tensor, .sm = 90},
        {.numeric = NumericClass::kFp8Tensor, .sm = 90},
        {.numeric = NumericClass::kF16Tensor, .sm = 90},
        {.disabled = {"fuse_norm_residual", "plan_memory"}, .numeric = NumericClass::kFp8Tensor, .sm = 80}};
    for (int tp = 2; tp <= spec.n_heads && spec.ffn % tp == 0; tp *= 2)
      configs.push_back(
          {.tp = tp, .pp = 1 + static_cast<int>(rng.Below(static_cast<uint64_t>(spec.n_layers)))});
    for (const Config& config : configs) {
      const Matrix got = Interpreter(prompt).Run(CompileAll(spec, *lowered, config));
      ASSERT_LT(LargestDifference(want, got), 1e-9)
          << "round " << round << " tp " << config.tp << " pp " << config.pp << "\n"
          << ir::PrintGraph(*lowered);
    }
  }
}

// Each pass by itself, in order, on one model with everything in it.
TEST(Semantics, EveryPassAlone) {
  Rng rng(4);
  ModelSpec spec = RandomSpec(&rng);
  spec.qkv_bias = spec.o_bias = spec.mlp_bias = spec.qk_norm = true;
  for (const NumericClass numeric :
       {NumericClass::kBf16Dot, NumericClass::kFp8Tensor, NumericClass::kFp8F16Tensor}) {
    auto graph = Lower(spec);
    ASSERT_TRUE(graph.ok());
    const testing_util::Prompt prompt{{2, 7, 1, 8}, {3}};
    const Matrix want = Interpreter(prompt).Run({{*graph}});
    PassContext context{.n_layers = spec.n_layers, .sm = OnTensorCores(numeric) ? 90 : 0, .numeric = numeric};
    for (const PassInfo& pass : AllPasses()) {
      ASSERT_TRUE(pass.run(&*graph, &context).ok()) << pass.name;
      ASSERT_LT(LargestDifference(want, Interpreter(prompt).Run({{*graph}})), 1e-12) << "after " << pass.name;
    }
    const auto quantized = std::count_if(graph->ops.begin(), graph->ops.end(),
                                         [](const ir::Op& op) { return op.code == ir::OpCode::kQuantize; });
    EXPECT_EQ(quantized, OnTensorCores(numeric) ? 2 * spec.n_layers : 0) << "attention's and silu_mul's rows";
  }
}

TEST(Semantics, ActivationsWithoutAKernelAreRefused) {
  Rng rng(4);
  ModelSpec spec = RandomSpec(&rng);
  spec.activation = Activation::kGeluTanh;
  EXPECT_EQ(Lower(spec).status().code(), StatusCode::kUnsupported);
}

}  // namespace
}  // namespace lathe
