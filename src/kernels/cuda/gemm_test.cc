// Choosing matrix products on the host, and measuring them against a driver without a device.
#include "kernels/cuda/gemm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "kernels/cuda/gemm_measure.h"
#include "kernels/cuda/gemm_table.h"
#include "platform/cuda/testing/fake_driver.h"
#include "platform/cuda/testing/fake_nvrtc.h"

namespace lathe::cuda {
namespace {

using testing::FakeDriver;
using ::testing::HasSubstr;

constexpr int kSms[] = {80, 86, 89, 90, 100, 120};
constexpr int kTokens[] = {1, 2, 3, 7, 8, 9, 16, 17, 64, 65, 128, 200, 8192};

template <typename Fn>
void ForEachProblem(const Fn& fn) {
  for (const GemmType type : {GemmType::kBf16, GemmType::kF16, GemmType::kE4m3}) {
    for (const GemmEpilogue epilogue :
         {GemmEpilogue::kF32, GemmEpilogue::kBf16, GemmEpilogue::kAddF32, GemmEpilogue::kSiluBf16,
          GemmEpilogue::kF16, GemmEpilogue::kSiluF16}) {
      if (!IsGemmPair(type, epilogue)) continue;
      for (const int m : kTokens) {
        for (const auto& [n, k] : {std::pair(4096, 14336), std::pair(256, 64), std::pair(896, 4864)}) {
          fn(GemmProblem{type, epilogue, m, n, k});
        }
      }
    }
  }
}

TEST(GemmPolicy, EveryProblemHasCandidatesThatFitTheChip) {
  for (const int sm : kSms) {
    const GemmChip chip = TypicalChip(sm);
    ForEachProblem([&](const GemmProblem& p) {
      const std::vector<GemmTactic> tactics = GemmCandidates(p, chip);
      ASSERT_FALSE(tactics.empty()) << "sm " << sm << " m " << p.m << " n " << p.n << " k " << p.k;
      std::set<std::string> names;
      for (const GemmTactic& t : tactics) {
        EXPECT_TRUE(names.insert(ToString(t)).second) << ToString(t) << " twice";
        EXPECT_LE(GemmSharedBytes(t, p.type), chip.shared_per_block) << ToString(t);
        EXPECT_LE(GemmThreads(t), 1024) << ToString(t);
        EXPECT_GE(t.stages, 3) << ToString(t);
        EXPECT_TRUE(t.kind != GemmKind::kStream || t.tokens >= p.m) << ToString(t);
        const LaunchShape shape = GemmLaunchShape(t, p, chip);
        EXPECT_GT(shape.grid.x, 0u);
        EXPECT_LE(shape.cluster.x, 8u);
        EXPECT_EQ(shape.grid.x % shape.cluster.x, 0u) << ToString(t);
        // Blocks that stay, or wait for the others of their cluster, must all run at once.
        if (t.kind == GemmKind::kPrompt) {
          EXPECT_LE(shape.grid.x, static_cast<unsigned>(chip.multiprocessors)) << ToString(t);
        }
      }
      EXPECT_TRUE(names.contains(ToString(DefaultGemmTactic(p, chip))));
    });
  }
}

// The model that ranks prompts' tactics, by what was measured on an H200 (docs/benchmarks-cuda.md).
TEST(GemmPolicy, PromptsGetTheTileThatFillsTheChip) {
  const GemmChip chip = TypicalChip(90);
  const auto first = [&](GemmType type, int m, int n, int k) {
    return DefaultGemmTactic({type, GemmEpilogue::kBf16, m, n, k}, chip);
  };
  const GemmTactic large = first(GemmType::kBf16, 2048, 4096, 4096);
  EXPECT_EQ(large.rows, 256);
  EXPECT_EQ(large.tokens, 128);
  EXPECT_EQ(large.promote, 0);
  // 6144 rows in 32 tiles of 192, by 4 of tokens: 128 blocks at once.
  EXPECT_EQ(first(GemmType::kBf16, 512, 6144, 4096).rows, 192);
  EXPECT_EQ(first(GemmType::kE4m3, 512, 6144, 4096).rows, 192);
  // Few tokens and long rows: blocks share K.
  EXPECT_GT(first(GemmType::kBf16, 128, 4096, 14336).split, 1);
  // e4m3 sums have room beside their partial ones.
  for (const int m : {128, 1024, 8192}) {
    const GemmTactic t = first(GemmType::kE4m3, m, 28672, 4096);
    EXPECT_LE(t.rows * t.tokens, 192 * 128);
    EXPECT_GT(t.promote, 0);
  }
}

TEST(GemmPolicy, ShapesThatNoKernelTakes) {
  const GemmChip chip = TypicalChip(90);
  EXPECT_TRUE(GemmCandidates({GemmType::kBf16, GemmEpilogue::kBf16, 1, 4096, 100}, chip).empty());
  EXPECT_TRUE(GemmCandidates({GemmType::kBf16, GemmEpilogue::kBf16, 1, 15, 64}, chip).empty());
  EXPECT_TRUE(GemmCandidates({GemmType::kBf16, GemmEpilogue::kSiluBf16, 1, 192, 64}, chip).empty());
  EXPECT_TRUE(GemmCandidates({GemmType::kF16, GemmEpilogue::kSiluF16, 1, 192, 64}, chip).empty());
  EXPECT_TRUE(GemmCandidates({GemmType::kBf16, GemmEpilogue::kBf16, 0, 64, 64}, chip).empty());
}

// Few tokens that stay in shared memory, of the types that the prologue makes.
TEST(GemmPolicy, PrologueOnlyWhereAKernelDoesIt) {
  for (const int sm : kSms) {
    const GemmChip chip = TypicalChip(sm);
    const auto candidates = [&](GemmType type, GemmPrologue prologue, int m, int k) {
      return GemmCandidates({type, GemmEpilogue::kF32, m, 4096, k, prologue}, chip);
    };
    for (const int m : {1, 2, 3, 4}) {
      for (const auto& [type, prologue] :
           {std::pair(GemmType::kBf16, GemmPrologue::kNorm), std::pair(GemmType::kE4m3, GemmPrologue::kNorm),
            std::pair(GemmType::kE4m3, GemmPrologue::kQuantize)}) {
        EXPECT_FALSE(candidates(type, prologue, m, 4096).empty());
        for (const GemmTactic& t : candidates(type, prologue, m, 4096)) {
          EXPECT_EQ(t.kind, GemmKind::kStream);
          EXPECT_GT(t.x_kb, 0);
          const KernelSource with = GemmKernel(t, {type, GemmEpilogue::kF32, m, 4096, 4096, prologue});
          const KernelSource without = GemmKernel(t, {type, GemmEpilogue::kF32, m, 4096, 4096});
          EXPECT_NE(with.entry, without.entry);
          EXPECT_THAT(with.defines, ::testing::Contains("ROW_THREADS=512"));
          EXPECT_EQ(with.dynamic_shared, without.dynamic_shared);
        }
      }
    }
    EXPECT_TRUE(candidates(GemmType::kBf16, GemmPrologue::kQuantize, 1, 4096).empty());
    EXPECT_TRUE(candidates(GemmType::kF16, GemmPrologue::kQuantizeF16, 1, 4096).empty());
    EXPECT_TRUE(candidates(GemmType::kBf16, GemmPrologue::kNorm, 5, 4096).empty());
    EXPECT_TRUE(candidates(GemmType::kE4m3, GemmPrologue::kQuantize, 1, 32768).empty());
  }
}

TEST(GemmPolicy, TacticsAreReadAsTheyAreWritten) {
  for (const int sm : kSms) {
    for (const int m : kTokens) {
      for (const GemmTactic& t :
           GemmCandidates({GemmType::kBf16, GemmEpilogue::kBf16, m, 4096, 4096}, TypicalChip(sm))) {
        const auto back = ParseGemmTactic(ToString(t));
        ASSERT_TRUE(back.ok()) << ToString(t);
        EXPECT_EQ(*back, t) << ToString(t);
      }
    }
  }
  const GemmTactic library{.kind = GemmKind::kCublasLt, .algorithm = 3};
  EXPECT_EQ(*ParseGemmTactic(ToString(library)), library);
  for (const char* bad : {"", "stream", "stream_r16", "stream_r16_t1_s5_c1024_x8_b1", "cublaslt_",
                          "cublaslt_1x", " cublaslt_1", "wgmma_r1_t2_s3_k4_b6 ", "mma_r128_t32_s3",
                          "prompt_r256_t128_s4_c2_k1", "cublaslt_99999999999999999999"}) {
    EXPECT_FALSE(ParseGemmTactic(bad).ok()) << bad;
  }
}

TEST(GemmPolicy, BytesAreThoseThatMustMove) {
  const GemmProblem p{GemmType::kBf16, GemmEpilogue::kSiluBf16, 2, 256, 64};
  EXPECT_EQ(p.bytes(), (256 + 2) * 64 * 2 + 2 * 128 * 2);
  EXPECT_EQ(GemmProblem({GemmType::kE4m3, GemmEpilogue::kSiluF16, 2, 256, 64}).columns(), 128);
  const GemmProblem add{GemmType::kE4m3, GemmEpilogue::kAddF32, 1, 128, 64};
  EXPECT_EQ(add.bytes(), (128 + 1) * 64 + 2 * 128 * 4);
}

class GemmMeasurerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FakeDriver::Reset().devices[0].memory = size_t{2} << 30;
    driver_ = std::move(Driver::FromTable(FakeDriver::Table())).value();
    device_ = std::move(Device::Open(*driver_, 0)).value();
    GemmMeasureOptions options;
    options.weight_pool_bytes = 16 << 20;
    options.replays = 2;
    options.min_graph_us = 40;
    auto measurer = GemmMeasurer::Create(*device_, nvrtc_, nullptr, 64, 512, 512, options);
    ASSERT_TRUE(measurer.ok()) << measurer.status().message();
    measurer_ = *std::move(measurer);
  }
  FakeDriver& fake() { return FakeDriver::Get(); }
  const GemmProblem problem_{GemmType::kBf16, GemmEpilogue::kBf16, 4, 512, 512};
  const Nvrtc nvrtc_ = testing::FakeNvrtc::Make();
  std::unique_ptr<Driver> driver_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<GemmMeasurer> measurer_;
};

TEST_F(GemmMeasurerTest, MeasuresEveryCandidate) {
  ASSERT_TRUE(measurer_->Prepare({problem_}).ok());
  const auto measurement = measurer_->Measure(problem_);
  ASSERT_TRUE(measurement.ok()) << measurement.status().message();
  EXPECT_EQ(measurement->timings.size(), GemmCandidates(problem_, ChipOf(device_->info())).size());
  for (const GemmTiming& timing : measurement->timings) EXPECT_NEAR(timing.us, fake().us_per_launch, 1e-3);
  // Own kernels may start before the one before them has ended.
  const auto overlaps = [](const FakeDriver::Launch& launch) {
    return std::any_of(launch.attributes.begin(), launch.attributes.end(), [](const abi::LaunchAttribute& a) {
      return a.id == abi::kAttributeProgrammaticStreamSerialization;
    });
  };
  EXPECT_TRUE(std::any_of(fake().launches.begin(), fake().launches.end(), overlaps));
}

TEST_F(GemmMeasurerTest, TunesASequence) {
  double us = 0;
  const auto tactics = measurer_->TuneSequence({problem_, problem_}, 3, 2, &us);
  ASSERT_TRUE(tactics.ok()) << tactics.status().message();
  EXPECT_EQ(tactics->size(), 2u);
  EXPECT_NEAR(us, 2 * fake().us_per_launch, 1e-3);
}

TEST_F(GemmMeasurerTest, ATableOfWhatWon) {
  GemmProblem other = problem_;
  other.n = 256;
  const auto table = TuneGemms(*measurer_, {problem_, other}, 24);
  ASSERT_TRUE(table.ok()) << table.status().message();
  EXPECT_EQ(table->choices().size(), 12u);  // 1, 2, 4, 8, 16 and 24 tokens
  for (const int m : {1, 2, 3, 16, 17, 24}) {
    GemmProblem asked = problem_;
    asked.m = m;
    const GemmChoice* choice = table->Find(asked);
    ASSERT_NE(choice, nullptr) << m;
    EXPECT_GE(choice->problem.m, m);
    EXPECT_LE(choice->problem.m, std::max(24, 2 * m));
    EXPECT_EQ(choice->problem.n, asked.n);
  }
  GemmProblem absent = problem_;
  absent.m = 25;
  EXPECT_EQ(table->Find(absent), nullptr);
  absent = problem_;
  absent.epilogue = GemmEpilogue::kF32;
  EXPECT_EQ(table->Find(absent), nullptr);
  const auto back = GemmTable::FromJson(table->ToJson());
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->ToJson(), table->ToJson());
  other.k = 100;
  EXPECT_EQ(TuneGemms(*measurer_, {other}, 1).status().code(), StatusCode::kUnsupported);
}

TEST(GemmTable, DamagedRowsAreFaults) {
  const char* good =
      R"([{"type":"bf16","epilogue":"add","m":1,"n":64,"k":64,"tactic":"cublaslt_0","us":1.5}])";
  const auto parse = [](const std::string& text) { return GemmTable::FromJson(Json::parse(text)); };
  ASSERT_TRUE(parse(good).ok());
  for (const auto& [from, to] :
       {std::pair("bf16", "bf17"), std::pair("add", "mul"), std::pair("\"m\":1", "\"m\":0"),
        std::pair("64", "99999999999"), std::pair("64", "\"64\""), std::pair("cublaslt_0", ""),
        std::pair("\"k\"", "\"K\""), std::pair("[", "[7,"), std::pair("[", "{\"a\":[")}) {
    std::string text = good;
    text.replace(text.find(from), std::string(from).size(), to);
    if (std::string(to).ends_with("[") && to[0] == '{') text += "}";
    const auto table = parse(text);
    EXPECT_EQ(table.status().code(), StatusCode::kCorrupt) << text;
  }
}

TEST_F(GemmMeasurerTest, FaultsOfTheDeviceEndTheMeasurement) {
  ASSERT_TRUE(measurer_->Prepare({problem_}).ok());
  for (const char* call : {"graph_launch", "stream_synchronize", "launch_kernel_ex", "graph_instantiate"}) {
    fake().Fail(call, 719);
    const auto measurement = measurer_->Measure(problem_);
    ASSERT_FALSE(measurement.ok()) << call;
    EXPECT_THAT(measurement.status().message(), HasSubstr("719"));
    fake().Heal();
  }
  EXPECT_TRUE(measurer_->Measure(problem_).ok());
}

TEST_F(GemmMeasurerTest, TheLibraryThatIsNotThereDoesNotCompete) {
  EXPECT_EQ(measurer_->Time(problem_, {.kind = GemmKind::kCublasLt}).status().code(),
            StatusCode::kUnsupported);
}

}  // namespace
}  // namespace lathe::cuda
