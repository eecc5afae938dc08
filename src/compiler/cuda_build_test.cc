// Engines for GPUs, built without one: a compiler that compiles nothing stands in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/check.h"
#include "compiler/cache.h"
#include "compiler/compile.h"
#include "compiler/cuda_tuner.h"
#include "compiler/inspect.h"
#include "compiler/testing/cuda_options.h"
#include "compiler/testing/engine_weights.h"
#include "compiler/testing/models.h"
#include "kernels/cuda/gemm_table.h"
#include "plan/cuda/kernel_blob.h"
#include "plan/cuda/plan_kernels.h"
#include "platform/cuda/testing/fake_driver.h"
#include "platform/cuda/testing/fake_nvrtc.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;
using testing_util::Build;
using testing_util::Cross;
using testing_util::EngineWeights;
using testing_util::GoldenCheckpoint;
using testing_util::Kernels;
using testing_util::Listing;
using testing_util::ReadPlan;
using testing_util::ScratchDir;

// The golden models that have heads and widths for GPUs, or with changes that give them some. Vocabularies of
// 515 want padding, as do feed-forward sizes of 200 and 328.
struct Model {
  const char* name;
  Json changes = Json::object();
};
const std::vector<Model>& CudaModels() {
  static const std::vector<Model> models = {
      {"llama3_tied"},
      {"mistral_window"},
      {"qwen2", {{"hidden_size", 256}}},
      {"qwen3", {{"hidden_size", 128}}},
      {"llama_biases",
       {{"hidden_size", 128}, {"head_dim", 64}, {"num_attention_heads", 4}, {"num_key_value_heads", 2}}}};
  return models;
}

TEST(CudaBuild, EveryFamilyHoldsItsWeights) {
  const std::string out = ScratchDir("cuda_families");
  for (const Model& model : CudaModels())
    for (const DType dtype : {DType::kBf16, DType::kF16, DType::kF8E4M3})
      for (const Fp8Scales scales : {Fp8Scales::kChannel, Fp8Scales::kTensor}) {
        if (dtype != DType::kF8E4M3 && scales == Fp8Scales::kTensor) continue;
        SCOPED_TRACE(model.name + (" " + std::string(ToString(dtype))) +
                     (scales == Fp8Scales::kTensor ? " tensor" : ""));
        const std::string dir = GoldenCheckpoint(model.name, model.changes);
        const auto source = WeightSource::Open(dir);
        ASSERT_TRUE(source.ok()) << source.status().message();
        BuildOptions options = Cross(out + "/a.lathe");
        options.dtype = dtype;
        options.fp8_scales = scales;
        const EngineReader engine = Build(dir, options);
        EngineWeights(engine, *source, scales).CompareAll();
        EXPECT_TRUE(engine.VerifyWeights().ok());
      }
}

// What is kept is bf16, with every rank's own part of it, and nothing else is.
TEST(CudaBuild, Fp8Keeps) {
  const std::string out = ScratchDir("cuda_keep");
  const std::string dir = GoldenCheckpoint("llama3_tied");
  const auto source = WeightSource::Open(dir);
  ASSERT_TRUE(source.ok()) << source.status().message();
  const int last = source->spec().n_layers - 1;
  for (const char* keep : {"first", "first,last", "down", "qkv,o", "last,gate_up", "qkv,o,gate_up,down"}) {
    SCOPED_TRACE(keep);
    BuildOptions options = Cross(out + "/a.lathe");
    options.dtype = DType::kF8E4M3;
    options.fp8_keep = *ParseFp8Keep(keep);
    const EngineReader engine = Build(dir, options);
    const Plan plan = ReadPlan(engine, 0, 0);
    for (const PlanOp& op : plan.ops) {
      if (op.kind != PlanOpKind::kGemm || op.logit_rows) continue;
      const WeightDef& weight = plan.weights[static_cast<size_t>(op.weight)];
      const bool kept = (options.fp8_keep.first && weight.name.starts_with("layers.0.")) ||
                        (options.fp8_keep.last && weight.name.starts_with(StrFormat("layers.%d.", last))) ||
                        (options.fp8_keep.qkv && weight.name.ends_with("qkv")) ||
                        (options.fp8_keep.o && weight.name.ends_with(".o")) ||
                        (options.fp8_keep.gate_up && weight.name.ends_with("gate_up")) ||
                        (options.fp8_keep.down && weight.name.ends_with(".down"));
      EXPECT_EQ(weight.type, kept ? DType::kBf16 : DType::kF8E4M3) << weight.name;
      EXPECT_EQ(plan.tactics[static_cast<size_t>(op.tactic)].x_type, weight.type) << weight.name;
    }
    EngineWeights(engine, *source).CompareAll();
  }
}

// The bytes are the same however many threads pack them.
TEST(CudaBuild, Fp8IsTheSameWithAnyThreads) {
  const std::string out = ScratchDir("cuda_threads");
  std::vector<std::vector<std::byte>> blobs;
  for (const int threads : {1, 2, 5}) {
    BuildOptions options = Cross(out + "/a.lathe");
    options.dtype = DType::kF8E4M3;
    options.threads = threads;
    const EngineReader engine = Build(GoldenCheckpoint("mistral_window"), options);
    const auto blob = engine.Blob(RankBlobName("weights", 0, 0));
    ASSERT_TRUE(blob.ok());
    blobs.emplace_back(blob->begin(), blob->end());
  }
  EXPECT_EQ(blobs[1], blobs[0]);
  EXPECT_EQ(blobs[2], blobs[0]);
}

TEST(CudaBuild, PlanAndKernelsFitTogether) {
  const std::string out = ScratchDir("cuda_plan");
  for (const Model& model : CudaModels())
    for (const DType dtype : {DType::kBf16, DType::kF16, DType::kF8E4M3}) {
      SCOPED_TRACE(model.name);
      const DType sixteen = dtype == DType::kF16 ? DType::kF16 : DType::kBf16;
      BuildOptions options = Cross(out + "/a.lathe");
      options.dtype = dtype;
      options.kv_dtype = dtype;
      const EngineReader engine = Build(GoldenCheckpoint(model.name, model.changes), options);
      const bool fp8 = dtype == DType::kF8E4M3;
      EXPECT_EQ(engine.identity().target, "cuda:sm_90a");
      EXPECT_EQ(engine.identity().machine, "");
      EXPECT_EQ(engine.identity().dtype, fp8 ? "fp8" : dtype == DType::kF16 ? "fp16" : "bf16");
      EXPECT_EQ(engine.identity().numeric, fp8                    ? "fp8-tensor"
                                           : dtype == DType::kF16 ? "f16-tensor"
                                                                  : "bf16-tensor");
      const Plan plan = ReadPlan(engine, 0, 0);
      EXPECT_EQ(plan.sm, 90);
      EXPECT_EQ(plan.page_size, 64);
      EXPECT_EQ(plan.kv_type, dtype);
      int matmuls = 0, quantizes = 0;
      for (const PlanOp& op : plan.ops) {
        if (op.kind == PlanOpKind::kAttention) {
          // In the last layer rows are selected in between.
          EXPECT_EQ(cuda::CanFoldRope(plan, op), (&op - 1)->kind == PlanOpKind::kRopeAppend);
        }
        if (op.kind == PlanOpKind::kGemm) {
          // What few rows leave to their product: nothing that another op reads, and not the logit rows.
          const PlanOpKind before = (&op - 1)->kind;
          for (const int m : {1, 4, 8}) {
            const auto tactic = cuda::GemmTacticFor(plan, op, m);
            ASSERT_TRUE(tactic.ok());
            const bool few = m <= cuda::kMostPrologueTokens && !op.logit_rows;
            EXPECT_EQ(cuda::PrologueOf(plan, op, *tactic, m),
                      few && before == PlanOpKind::kQuantize  ? cuda::GemmPrologue::kQuantize
                      : few && before == PlanOpKind::kRmsNorm ? cuda::GemmPrologue::kNorm
                                                              : cuda::GemmPrologue::kPlain);
          }
        }
        quantizes += op.kind == PlanOpKind::kQuantize;
        if (op.kind != PlanOpKind::kGemm) continue;
        ++matmuls;
        // The matmul of q, k and v may write the rotated rows while other blocks of it read its operand.
        if (&op != &plan.ops.back() && (&op + 1)->kind == PlanOpKind::kRopeAppend) {
          EXPECT_NE((&op + 1)->out, op.in);
        }
        const bool head = !plan.weights[static_cast<size_t>(op.weight)].name.starts_with("layers.");
        EXPECT_EQ(plan.weights[static_cast<size_t>(op.weight)].type, fp8 && !head ? DType::kF8E4M3 : sixteen);
        EXPECT_EQ(op.out_type, op.silu_mul ? sixteen : DType::kF32);
        const int reaches = plan.tactics[static_cast<size_t>(op.tactic)].buckets.back().max_m;
        if (!head) {
          EXPECT_EQ(reaches, 8192);
        } else if (plan.vocab != 512) {  // where the head has not the shape of qkv
          EXPECT_EQ(reaches, kMostLogitRows);
        }
      }
      EXPECT_EQ(matmuls, 4 * plan.n_layers + 1);
      EXPECT_EQ(quantizes, fp8 ? 2 * plan.n_layers : 0);
      // Embedding and head are one matrix exactly where the model ties them.
      const PlanOp& embed = plan.ops.front();
      EXPECT_EQ(embed.weight == plan.ops.back().weight,
                plan.weights[static_cast<size_t>(embed.weight)].layout == WeightLayout::kRows);

      const auto kernels = Kernels(engine);
      EXPECT_EQ(kernels.target(), "sm_90a");
      EXPECT_EQ(kernels.driver(), 13000);
      const auto wanted = cuda::KernelsOf(plan, cuda::TypicalChip(90));
      ASSERT_TRUE(wanted.ok()) << wanted.status().message();
      EXPECT_EQ(kernels.entries().size(), wanted->size());
      for (const cuda::KernelSource& source : *wanted)
        EXPECT_NE(kernels.Find(source.entry), nullptr) << source.entry;
    }
}

// An f16 checkpoint keeps its type unless another is asked for, as what an fp8 engine does not quantise does;
// others are bf16. The cache knows what each comes to.
TEST(CudaBuild, TheSixteenBitTypeIsTheCheckpoints) {
  const std::string out = ScratchDir("cuda_types");
  ::setenv("XDG_CACHE_HOME", out.c_str(), 1);
  const struct {
    const char* checkpoint;
    std::optional<DType> dtype;
    const char *identity, *numeric;
    DType head, kv;
  } cases[] = {{"float16", {}, "fp16", "f16-tensor", DType::kF16, DType::kF16},
               {"float16", DType::kBf16, "bf16", "bf16-tensor", DType::kBf16, DType::kBf16},
               {"float16", DType::kF8E4M3, "fp8", "fp8-f16-tensor", DType::kF16, DType::kF16},
               {"bfloat16", {}, "bf16", "bf16-tensor", DType::kBf16, DType::kBf16},
               {"bfloat16", DType::kF16, "fp16", "f16-tensor", DType::kF16, DType::kF16},
               {"bfloat16", DType::kF8E4M3, "fp8", "fp8-tensor", DType::kBf16, DType::kBf16},
               {"float32", {}, "bf16", "bf16-tensor", DType::kBf16, DType::kBf16}};
  for (const auto& c : cases) {
    SCOPED_TRACE(StrFormat("%s as %s", c.checkpoint, c.identity));
    const std::string dir = GoldenCheckpoint("llama3_tied", {{"torch_dtype", c.checkpoint}});
    BuildOptions options = Cross(out + "/a.lathe");
    options.dtype = c.dtype;
    const EngineReader engine = Build(dir, options);
    EXPECT_EQ(engine.identity().dtype, c.identity);
    EXPECT_EQ(engine.identity().numeric, c.numeric);
    const Plan plan = ReadPlan(engine, 0, 0);
    EXPECT_EQ(plan.kv_type, c.kv);
    EXPECT_EQ(plan.weights[static_cast<size_t>(plan.ops.back().weight)].type, c.head);
    const auto source = WeightSource::Open(dir);
    ASSERT_TRUE(source.ok()) << source.status().message();
    EngineWeights(engine, *source).CompareAll();
    // "auto" and its own type are one engine.
    const auto path = CachedEnginePath(dir, options);
    options.dtype = c.dtype == DType::kF8E4M3 ? c.dtype : c.head;
    const auto named = CachedEnginePath(dir, options);
    ASSERT_TRUE(path.ok() && named.ok()) << path.status().message();
    EXPECT_EQ(*path, *named);
  }
  ::unsetenv("XDG_CACHE_HOME");
}

TEST(CudaBuild, HalfHoldsTheWeightsOrSaysThatItDoesNot) {
  const std::string out = ScratchDir("cuda_half");
  const std::string dir = GoldenCheckpoint("llama3_tied", {{"rope_theta", 20000.0}});
  auto bytes = ReadFile(dir + "/model.safetensors");
  ASSERT_TRUE(bytes.ok()) << bytes.status().message();
  for (size_t i = bytes->size() / 4 * 2; i < bytes->size() / 4 * 2 + 2000; i += 2)
    bytes->replace(i, 2, "\x80\x47");  // 65536
  ASSERT_TRUE(WriteFileAtomic(dir + "/model.safetensors", *bytes).ok());
  BuildOptions options = Cross(out + "/a.lathe");
  options.dtype = DType::kF16;
  const auto report = BuildEngine(dir, options);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(report.status().message(), HasSubstr("65504, does not hold; build with --dtype bf16"));
  EXPECT_FALSE(FileExists(options.output));
}

// Without sharing of buffers only the plan is another.
TEST(CudaBuild, OptionalPassesChangeThePlanOnly) {
  const std::string out = ScratchDir("cuda_passes");
  const EngineReader with = Build(GoldenCheckpoint("qwen3", {{"hidden_size", 128}}), Cross(out + "/a.lathe"));
  BuildOptions options = Cross(out + "/b.lathe");
  options.disabled_passes = {"plan_memory", "prune_dead"};
  const EngineReader without = Build(GoldenCheckpoint("qwen3", {{"hidden_size", 128}}), options);
  EXPECT_LT(ReadPlan(with, 0, 0).buffers.size(), ReadPlan(without, 0, 0).buffers.size());
  EXPECT_EQ(Kernels(with).entries().size(), Kernels(without).entries().size());
}

TEST(CudaBuild, Inspects) {
  BuildOptions options = Cross(ScratchDir("cuda_inspect") + "/a.lathe");
  options.dtype = options.kv_dtype = DType::kF8E4M3;
  const EngineReader engine = Build(GoldenCheckpoint("llama3_tied"), options);
  const auto identity = IdentityTable(engine), memory = MemoryTable(engine), kernels = KernelTable(engine);
  ASSERT_TRUE(identity.ok() && memory.ok() && kernels.ok());
  EXPECT_THAT(*identity, HasSubstr("for sm_90a, for drivers of CUDA 13.0 and newer; none spills registers"));
  EXPECT_THAT(*identity, HasSubstr("fp8, products fp8-tensor"));
  EXPECT_THAT(*memory, HasSubstr("a token, fp8; pages of 64 tokens"));
  EXPECT_THAT(*kernels, HasSubstr("sample_512"));
  const auto json = DescribeEngine(engine);
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["kernels"]["kernels"].size(), Kernels(engine).entries().size());
  EXPECT_EQ((*json)["kernels"]["kernels"][0]["registers"].get<int>(), 32);
}

TEST(CudaBuild, EveryChipByBothOfItsNames) {
  const std::string out = ScratchDir("cuda_chips");
  for (const int sm : {80, 86, 89, 90, 100, 120}) {
    const std::string chip = cuda::DeviceInfo::TargetOf(sm);
    const std::vector<std::string> names = {chip, StrFormat("sm_%d", sm), "cuda:" + chip};
    for (const std::string& target : names) {
      BuildOptions options = Cross(out + "/a.lathe");
      options.target = target;
      const EngineReader engine = Build(GoldenCheckpoint("llama3_tied"), options);
      EXPECT_EQ(engine.identity().target, "cuda:" + chip);
      EXPECT_EQ(ReadPlan(engine, 0, 0).sm, sm);
      EXPECT_EQ(Kernels(engine).target(), chip);
    }
  }
}

TEST(CudaBuild, RefusesWithOneSentenceAndLeavesNothing) {
  static const cuda::Nvrtc old = cuda::Nvrtc::FromTable({}, 12040);
  const struct {
    const char* what;
    void (*change)(BuildOptions*);
    StatusCode code;
    const char* message;
  } cases[] = {
      {"unknown chip", [](BuildOptions* o) { o->target = "cuda:sm_70"; }, StatusCode::kInvalidArgument,
       "cuda:sm_90a, cuda:sm_100a"},
      {"f32", [](BuildOptions* o) { o->dtype = DType::kF32; }, StatusCode::kUnsupported, "bf16, fp16 or fp8"},
      {"kv f32", [](BuildOptions* o) { o->kv_dtype = DType::kF32; }, StatusCode::kUnsupported,
       "bf16, fp16 or fp8"},
      {"kv f16", [](BuildOptions* o) { o->kv_dtype = DType::kF16; }, StatusCode::kUnsupported,
       "bf16, or fp8"},
      {"kv bf16", [](BuildOptions* o) { o->dtype = DType::kF16, o->kv_dtype = DType::kBf16; },
       StatusCode::kUnsupported, "fp16, or fp8"},
      {"class", [](BuildOptions* o) { o->numeric = NumericClass::kBf16Dot; }, StatusCode::kInvalidArgument,
       "bf16-dot is one of CPUs"},
      {"tp", [](BuildOptions* o) { o->tp = 2; }, StatusCode::kUnsupported, "runs on one GPU"},
      {"pp", [](BuildOptions* o) { o->pp = 2; }, StatusCode::kUnsupported, "runs on one GPU"},
      {"pass", [](BuildOptions* o) { o->disabled_passes = {"fuse_norm_residual"}; },
       StatusCode::kInvalidArgument, "cannot be switched off for GPUs"},
      {"old compiler",
       [](BuildOptions* o) {
         o->target = "sm_100a";
         o->cuda.nvrtc = &old;
       },
       StatusCode::kUnsupported, "NVRTC 12.4 () cannot compile for sm_100a; install 12.8"},
      {"fp8 for a CPU",
       [](BuildOptions* o) {
         o->target = "cpu:portable";
         o->dtype = DType::kF8E4M3;
       },
       StatusCode::kUnsupported, "--target cuda"},
  };
  const std::string out = ScratchDir("cuda_refused");
  for (const auto& c : cases) {
    BuildOptions options = Cross(out + "/a.lathe");
    c.change(&options);
    const auto report = BuildEngine(GoldenCheckpoint("llama3_tied"), options);
    ASSERT_FALSE(report.ok()) << c.what;
    EXPECT_EQ(report.status().code(), c.code) << c.what << ": " << report.status().message();
    EXPECT_THAT(report.status().message(), HasSubstr(c.message)) << c.what;
    EXPECT_TRUE(Listing(out).empty()) << c.what;
  }
  // Models that no kernel is written for.
  const std::vector<std::pair<Model, std::string>> unfit = {
      {{"llama2_mha"}, "this model's have 32"},
      {{"qwen3"}, "must be a multiple of 64"},
      {{"llama3_tied", {{"num_attention_heads", 32}, {"num_key_value_heads", 1}}}, "share a key head"}};
  for (const auto& [model, message] : unfit) {
    const auto report = BuildEngine(GoldenCheckpoint(model.name, model.changes), Cross(out + "/a.lathe"));
    ASSERT_FALSE(report.ok()) << model.name;
    EXPECT_EQ(report.status().code(), StatusCode::kUnsupported);
    EXPECT_THAT(report.status().message(), HasSubstr(message));
    EXPECT_TRUE(Listing(out).empty());
  }
}

// What LATHE_NVRTC or the machine has: without one, where to get it.
TEST(CudaBuild, WithoutACompilerSaysWhereToGetIt) {
  BuildOptions options = Cross(ScratchDir("cuda_compiler") + "/a.lathe");
  options.cuda.nvrtc = nullptr;
  if (options.cuda.LoadNvrtc().ok()) return;
  const auto report = BuildEngine(GoldenCheckpoint("llama3_tied"), options);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(report.status().message(), HasSubstr("pip install nvidia-cuda-nvrtc"));
  EXPECT_THAT(report.status().message(), HasSubstr("LATHE_NVRTC"));
}

TEST(CudaTactics, StaleOnesAreNotUsed) {
  const cuda::GemmChip chip = cuda::TypicalChip(90);
  const auto good =
      DefaultCudaTactics(chip).Choose({.N = 256, .K = 128, .x_type = DType::kBf16}, DType::kF32);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->buckets.size(), std::size(cuda::kGemmTokenBuckets));
  const cuda::GemmProblem problem{.epilogue = cuda::GemmEpilogue::kF32, .n = 256, .k = 128};
  EXPECT_TRUE(IsUsableCudaTactic(*good, problem, chip));
  const auto usable = [&](auto change) {
    GemmTactic tactic = *good;
    change(&tactic);
    return IsUsableCudaTactic(tactic, problem, chip);
  };
  EXPECT_FALSE(usable([](GemmTactic* t) { t->buckets.clear(); }));
  EXPECT_FALSE(usable([](GemmTactic* t) { t->buckets[0].kernel = "avx512_bf16"; }));
  EXPECT_FALSE(usable([](GemmTactic* t) { t->buckets[0].kernel = "cublaslt_0"; }));
  EXPECT_FALSE(usable([](GemmTactic* t) { t->buckets.back().kernel = t->buckets.front().kernel; }))
      << "a kernel for one token";
  EXPECT_EQ(DefaultCudaTactics(chip)
                .Choose({.N = 256, .K = 96, .x_type = DType::kBf16}, DType::kF32)
                .status()
                .code(),
            StatusCode::kUnsupported);
}

// With NVIDIA's compiler (make test-kernels): the kernels of a whole engine, for every chip; none spills.
TEST(CudaKernels, CompileForEveryChip) {
  if (std::getenv("LATHE_NVRTC") == nullptr) {
    std::puts("no NVRTC: LATHE_NVRTC is not set");
    return;
  }
  const std::string out = ScratchDir("cuda_nvrtc");
  static constexpr const char* kChips[] = {"sm_90a", "sm_80", "sm_86", "sm_89", "sm_100a", "sm_120a"};
  for (const char* target : kChips)
    for (const DType dtype : {DType::kBf16, DType::kF16, DType::kF8E4M3}) {
      if (dtype == DType::kF8E4M3 && std::string(target) != "sm_90a") continue;
      if (dtype == DType::kF16 && std::string(target) != "sm_90a" && std::string(target) != "sm_80") continue;
      SCOPED_TRACE(target);
      BuildOptions options = Cross(out + "/a.lathe");
      options.target = target;
      options.dtype = options.kv_dtype = dtype;
      options.threads = 0;
      options.cuda.nvrtc = nullptr;
      const auto report = BuildEngine(LATHE_SOURCE_DIR "/models/tales-16m", options);
      ASSERT_TRUE(report.ok()) << report.status().message();
      EXPECT_TRUE(report->warnings.empty()) << report->warnings[0];
      const auto engine = EngineReader::Open(options.output);
      ASSERT_TRUE(engine.ok());
      const auto source = WeightSource::Open(LATHE_SOURCE_DIR "/models/tales-16m");
      ASSERT_TRUE(source.ok());
      EngineWeights(*engine, *source).CompareAll();
      const auto kernels = Kernels(*engine);
      for (const auto& entry : kernels.entries()) {
        EXPECT_GT(entry.resources.registers, 0) << entry.entry;
        EXPECT_EQ(static_cast<char>(entry.cubin[0]), '\x7f') << "an ELF file";
      }
    }
}

}  // namespace
}  // namespace lathe
