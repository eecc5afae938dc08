// Whole builds of small models: what the engine holds, how they fail, what they leave behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "base/check.h"
#include "compiler/compile.h"
#include "compiler/inspect.h"
#include "compiler/pipeline.h"
#include "compiler/testing/engine_weights.h"
#include "compiler/testing/models.h"
#include "kernels/cpu/registry.h"
#include "model/convert.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;
using testing_util::Build;
using testing_util::EngineWeights;
using testing_util::GoldenCheckpoint;
using testing_util::Listing;
using testing_util::ReadPlan;
using testing_util::ScratchDir;

BuildOptions Untuned(const std::string& output) {
  BuildOptions options;
  options.output = output;
  options.tune = false;
  options.threads = 2;
  return options;
}

std::vector<std::byte> Weights(const EngineReader& reader, int tp_rank = 0) {
  const auto blob = reader.Blob(RankBlobName("weights", tp_rank, 0));
  EXPECT_TRUE(blob.ok());
  return {blob->begin(), blob->end()};
}

TEST(Build, EveryFamilyHoldsItsWeights) {
  const std::string out = ScratchDir("families");
  for (const std::string& name : testing_util::GoldenModels())
    for (DType dtype : {DType::kBf16, DType::kF32}) {
      SCOPED_TRACE(name + " " + std::string(ToString(dtype)));
      const std::string dir = GoldenCheckpoint(name);
      const auto source = WeightSource::Open(dir);
      ASSERT_TRUE(source.ok()) << source.status().message();
      BuildOptions options = Untuned(out + "/a.lathe");
      options.dtype = dtype;
      const EngineReader engine = Build(dir, options);
      EXPECT_EQ(engine.identity().dtype, ToString(dtype));
      EXPECT_EQ(engine.identity().model_name, name);
      EXPECT_EQ(engine.identity().model_hash, source->source_hash());
      EXPECT_TRUE(engine.HasBlob("tokenizer"));
      EngineWeights(engine, *source).CompareAll();
    }
}

struct Ranks {
  const char* model;
  int tp, pp;
  Json changes = Json::object();
};

TEST(Build, ShardsAddUpToTheWhole) {
  const std::string out = ScratchDir("shards");
  const Ranks cases[] = {{"llama_biases", 2, 1, {{"num_key_value_heads", 2}}},
                         {"llama3_tied", 1, 2},
                         {"llama3_tied", 2, 2},
                         {"qwen2", 2, 2},
                         {"qwen3", 4, 1},
                         {"llama2_mha", 4, 3},
                         {"mistral_full", 1, 3}};
  for (const Ranks& c : cases) {
    SCOPED_TRACE(StrFormat("%s tp %d pp %d", c.model, c.tp, c.pp));
    const std::string dir = GoldenCheckpoint(c.model, c.changes);
    const auto source = WeightSource::Open(dir);
    ASSERT_TRUE(source.ok());
    BuildOptions options = Untuned(out + "/a.lathe");
    options.tp = c.tp;
    options.pp = c.pp;
    const EngineReader engine = Build(dir, options);
    EngineWeights(engine, *source).CompareAll();
    for (int tp = 0; tp < c.tp; ++tp) {
      const Plan first = ReadPlan(engine, tp, 0), last = ReadPlan(engine, tp, c.pp - 1);
      EXPECT_EQ(first.ops.front().kind, PlanOpKind::kEmbed);
      EXPECT_GE(last.logits_buffer, 0);
      if (c.pp > 1) {
        EXPECT_EQ(first.ops.back().kind, PlanOpKind::kSend);
        EXPECT_EQ(last.ops.front().kind, PlanOpKind::kRecv);
        EXPECT_EQ(first.logits_buffer, -1);
      }
    }
  }
}

TEST(Build, SameBytesWithAnyThreadsAndFromAnyCut) {
  const std::string out = ScratchDir("same");
  const std::string dir = GoldenCheckpoint("qwen2");
  BuildOptions options = Untuned(out + "/a.lathe");
  const std::vector<std::byte> whole = Weights(Build(dir, options));
  options.threads = 5;
  EXPECT_EQ(Weights(Build(dir, options)), whole);
  options.tp = 2;
  const EngineReader cut = Build(dir, options);

  // A checkpoint converted for two ranks serves one rank and two.
  const std::string converted = out + "/converted";
  ASSERT_TRUE(ConvertCheckpoint(dir, converted, {.dtype = {}, .tp = 2, .pp = 1, .progress = {}}).ok());
  options.output = out + "/b.lathe";
  const EngineReader again = Build(converted, options);
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(Weights(again, rank), Weights(cut, rank));
  options.tp = 1;
  EXPECT_EQ(Weights(Build(converted, options)), whole);
}

TEST(Build, OptionalPassesChangeThePlanOnly) {
  const std::string out = ScratchDir("passes");
  const std::string dir = GoldenCheckpoint("llama3_tied");
  const EngineReader with = Build(dir, Untuned(out + "/a.lathe"));
  BuildOptions options = Untuned(out + "/b.lathe");
  options.disabled_passes = {"fuse_norm_residual", "plan_memory", "prune_dead", "hoist_select"};
  const EngineReader without = Build(dir, options);
  EXPECT_EQ(Weights(with), Weights(without));
  const Plan fused = ReadPlan(with, 0, 0), plain = ReadPlan(without, 0, 0);
  EXPECT_LT(fused.ops.size(), plain.ops.size());
  EXPECT_LT(fused.buffers.size(), plain.buffers.size());
  const auto adds = [](const Plan& plan) {
    return std::count_if(plan.ops.begin(), plan.ops.end(),
                         [](const PlanOp& op) { return op.kind == PlanOpKind::kRmsNorm && op.out < 0; });
  };
  EXPECT_EQ(adds(fused), 0);
  EXPECT_EQ(adds(plain), 2 * plain.n_layers);
  const auto over_logit_rows = [](const Plan& plan) {
    return std::count_if(plan.ops.begin(), plan.ops.end(), [](const PlanOp& op) { return op.logit_rows; });
  };
  EXPECT_EQ(over_logit_rows(fused), 9);  // q and residual, attention, o, norm, gate and up, down, norm, head
  EXPECT_EQ(over_logit_rows(plain), 2);
}

TEST(Build, ReportsAndInspects) {
  const std::string out = ScratchDir("report");
  BuildOptions options = Untuned(out + "/a.lathe");
  uint64_t done = 0, total = 0;
  options.progress = [&](const BuildProgress& p) {
    if (p.stage != "packing") return;
    EXPECT_GE(p.done, done);
    done = p.done;
    total = p.total;
  };
  const auto report = BuildEngine(GoldenCheckpoint("qwen3"), options);
  ASSERT_TRUE(report.ok());
  EXPECT_GT(total, 0u);
  EXPECT_EQ(done, total);
  EXPECT_EQ(report->file_bytes, *FileSize(options.output));
  EXPECT_EQ(report->build_info["passes"].size(), AllPasses().size());
  const auto reader = EngineReader::Open(options.output);
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(reader->VerifyWeights().ok());
  const auto json = DescribeEngine(*reader);
  ASSERT_TRUE(json.ok());
  EXPECT_EQ((*json)["ranks"][0]["weight_bytes"].get<uint64_t>(), report->weight_bytes);
  const auto identity = IdentityTable(*reader), memory = MemoryTable(*reader), tuning = TuningTable(*reader);
  ASSERT_TRUE(identity.ok() && memory.ok() && tuning.ok());
  EXPECT_THAT(*identity, HasSubstr("qwen3"));
  EXPECT_THAT(*memory, HasSubstr("KV cache"));
  EXPECT_THAT(*memory, HasSubstr("fuse_norm_residual"));
  EXPECT_THAT(*tuning, HasSubstr("gate_up"));
}

struct Refusal {
  const char* what;
  void (*change)(BuildOptions*);
  StatusCode code;
  const char* message;
};

TEST(Build, RefusesWithOneSentenceAndLeavesNothing) {
  const Refusal cases[] = {
      {"no output", [](BuildOptions* o) { o->output = ""; }, StatusCode::kInvalidArgument, "no output file"},
      {"dtype", [](BuildOptions* o) { o->dtype = DType::kI8; }, StatusCode::kInvalidArgument, "bf16 or f32"},
      {"f16", [](BuildOptions* o) { o->dtype = DType::kF16; }, StatusCode::kUnsupported, "are for GPUs"},
      {"target", [](BuildOptions* o) { o->target = "cpu:mmx"; }, StatusCode::kInvalidArgument,
       "the targets are cpu,"},
      {"class", [](BuildOptions* o) { o->numeric = NumericClass::kF32; }, StatusCode::kInvalidArgument,
       "has no numeric class f32"},
      {"pass", [](BuildOptions* o) { o->disabled_passes = {"fold"}; }, StatusCode::kInvalidArgument,
       "no pass 'fold'"},
      {"required pass", [](BuildOptions* o) { o->disabled_passes = {"fuse_qkv"}; },
       StatusCode::kInvalidArgument, "'fuse_qkv' cannot be switched off"},
      {"tp", [](BuildOptions* o) { o->tp = 7; }, StatusCode::kInvalidArgument, "tp 7"},
      {"pp", [](BuildOptions* o) { o->pp = 99; }, StatusCode::kInvalidArgument, "pp 99"},
      {"a directory", [](BuildOptions* o) { o->output = "/tmp"; }, StatusCode::kInvalidArgument,
       "is a directory"},
      {"folder", [](BuildOptions* o) { o->output += "/no/such/a.lathe"; }, StatusCode::kNotFound,
       "No such file"},
  };
  const std::string out = ScratchDir("refused");
  for (const Refusal& c : cases) {
    BuildOptions options = Untuned(out + "/a.lathe");
    c.change(&options);
    const auto report = BuildEngine(GoldenCheckpoint("llama2_mha"), options);
    ASSERT_FALSE(report.ok()) << c.what;
    EXPECT_EQ(report.status().code(), c.code) << c.what << ": " << report.status().message();
    EXPECT_THAT(report.status().message(), HasSubstr(c.message)) << c.what;
    EXPECT_TRUE(Listing(out).empty()) << c.what;
  }
  EXPECT_EQ(BuildEngine(out + "/nothing", Untuned(out + "/a.lathe")).status().code(), StatusCode::kNotFound);
}

// A file size limit stands in for a disk that fills up in the middle of the weights.
TEST(Build, FullDiskLeavesNothing) {
  const std::string out = ScratchDir("full");
  const std::string dir = GoldenCheckpoint("qwen3");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  for (rlim_t limit : {rlim_t{1000}, rlim_t{300000}}) {
    rlimit small = before;
    small.rlim_cur = limit;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto report = BuildEngine(dir, Untuned(out + "/a.lathe"));
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.status().code(), StatusCode::kIo);
    EXPECT_THAT(report.status().message(), HasSubstr("free some space or choose another output"));
    EXPECT_TRUE(Listing(out).empty());
  }
  std::signal(SIGXFSZ, old_handler);
}

// An engine that was there stays whole when its replacement fails.
TEST(Build, FailureKeepsTheOldEngine) {
  const std::string out = ScratchDir("keep");
  ASSERT_TRUE(BuildEngine(GoldenCheckpoint("qwen2"), Untuned(out + "/a.lathe")).ok());
  BuildOptions options = Untuned(out + "/a.lathe");
  options.tp = 7;
  EXPECT_FALSE(BuildEngine(GoldenCheckpoint("qwen2"), options).ok());
  EXPECT_TRUE(EngineReader::Open(out + "/a.lathe").ok());
  EXPECT_EQ(Listing(out), std::vector<std::string>{"a.lathe"});
}

TEST(Build, CrossBuildsOnlyUntuned) {
  const auto usable = UsableIsas();
  const std::string out = ScratchDir("cross");
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    const std::string target = "cpu:" + std::string(ToString(isa));
    BuildOptions options = Untuned(out + "/a.lathe");
    options.target = target;
    const EngineReader engine = Build(GoldenCheckpoint("llama2_mha"), options);
    EXPECT_EQ(engine.identity().target, target);
    EXPECT_EQ(engine.identity().machine, "");
    if (std::find(usable.begin(), usable.end(), isa) != usable.end()) continue;
    options.tune = true;
    const auto report = BuildEngine(GoldenCheckpoint("llama2_mha"), options);
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.status().code(), StatusCode::kUnsupported);
    EXPECT_THAT(report.status().message(), HasSubstr("--no-tune"));
  }
}

TEST(Build, DumpsTheIrAfterEachPass) {
  const std::string out = ScratchDir("dump");
  std::filesystem::create_directories(out + "/ir");
  BuildOptions options = Untuned(out + "/a.lathe");
  options.dump_ir_dir = out + "/ir";
  Build(GoldenCheckpoint("llama2_mha"), options);
  EXPECT_EQ(Listing(out + "/ir").size(), AllPasses().size() + 1);
  EXPECT_TRUE(FileExists(out + "/ir/tp0.pp0.00-lowered.ir"));
}

}  // namespace
}  // namespace lathe
