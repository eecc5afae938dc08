#include "kernels/tune/tune.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/clock.h"
#include "kernels/cpu/registry.h"

namespace lathe {
namespace {

MachineRoofs SomeRoofs() { return {.read_gbps = 10, .peak = {.f32_fma = 100, .bf16_dot = 0}}; }

void ExpectCoversAllM(const std::vector<TunedGemm>& tuned, Isa isa, NumericClass numeric) {
  ASSERT_EQ(tuned.size(), TuneBuckets().size());
  int next = 1;
  for (size_t i = 0; i < tuned.size(); ++i) {
    EXPECT_EQ(tuned[i].min_m, next);
    EXPECT_EQ(tuned[i].measured_m, TuneBuckets()[i]);
    next = tuned[i].max_m + (i + 1 < tuned.size());
    const auto tactics = GemmTactics(isa, numeric, tuned[i].measured_m);
    EXPECT_TRUE(std::any_of(tactics.begin(), tactics.end(), [&](const GemmKernel* k) {
      return k->name == tuned[i].kernel;
    })) << tuned[i].kernel;
  }
  EXPECT_EQ(next, std::numeric_limits<int>::max());
}

TEST(TuneGemm, ChoosesATacticForEveryM) {
  Team team;
  Workers workers(team);
  for (const Isa isa : UsableIsas())
    for (const NumericClass numeric : ClassesOf(isa)) {
      const GemmShape shape{.N = 320, .K = 130, .silu_mul = isa == Isa::kAvx2, .y_type = DType::kF32};
      const auto tuned = TuneGemm(isa, numeric, shape, workers, SomeRoofs(), 5000);
      ExpectCoversAllM(tuned, isa, numeric);
      for (const TunedGemm& t : tuned) {
        EXPECT_TRUE(t.measured);
        EXPECT_EQ(t.shape, shape);
        EXPECT_GT(t.us, 0);
        EXPECT_GT(t.gbps, 0);
        EXPECT_GT(t.gflops, 0);
        EXPECT_GT(t.percent_of_roof, 0);
      }
    }
}

TEST(TuneGemm, AnEmptyBudgetTakesTheDefaults) {
  Team team({.threads = 1});
  Workers workers(team);
  const Isa isa = UsableIsas().back();
  const auto tuned = TuneGemm(isa, NumericClass::kBf16Fma, {.N = 64, .K = 64}, workers, SomeRoofs(), 0);
  ExpectCoversAllM(tuned, isa, NumericClass::kBf16Fma);
  for (const TunedGemm& t : tuned) {
    EXPECT_FALSE(t.measured);
    EXPECT_EQ(t.kernel, GemmTactics(isa, NumericClass::kBf16Fma, t.measured_m).front()->name);
  }
}

TEST(TuneGemm, LeavesBucketsAboveMaxMAlone) {
  Team team({.threads = 1});
  Workers workers(team);
  const Isa isa = UsableIsas().back();
  for (const TunedGemm& t :
       TuneGemm(isa, NumericClass::kBf16Fma, {.N = 128, .K = 64}, workers, SomeRoofs(), 5000, 8))
    EXPECT_EQ(t.measured, t.measured_m <= 8);
}

// A wide shape is measured on a slice and within its time, give or take the round in progress.
TEST(TuneGemm, KeepsToItsBudgetOnWideShapes) {
  Team team;
  Workers workers(team);
  const Isa isa = UsableIsas().back();
  const double start = NowSeconds();
  const auto tuned =
      TuneGemm(isa, NumericClass::kBf16Fma, {.N = 1 << 20, .K = 1024}, workers, SomeRoofs(), 300, 16);
  EXPECT_TRUE(tuned.front().measured);
  EXPECT_GT(tuned.front().us, 1000);  // scaled to the whole 2 GiB
  RecordProperty("ms", std::to_string((NowSeconds() - start) * 1e3));
}

TEST(ChooseClass, TimesBothClassesWhereTheIsaOffersThem) {
  Team team;
  Workers workers(team);
  const std::vector<GemmShape> shapes = {{.N = 256, .K = 256}, {.N = 512, .K = 256, .silu_mul = true}};
  for (const Isa isa : UsableIsas()) {
    const ClassChoice choice = ChooseClass(isa, shapes, workers, 100);
    const auto offered = ClassesOf(isa);
    EXPECT_NE(std::find(offered.begin(), offered.end(), choice.chosen), offered.end());
    EXPECT_NE(choice.chosen, NumericClass::kF32);
    EXPECT_EQ(choice.timings.size(), isa == Isa::kAvx512Bf16 ? 2u : 0u);
    for (const ClassTiming& t : choice.timings) {
      EXPECT_GT(t.decode_us, 0);
      EXPECT_GT(t.prompt_us, 0);
    }
  }
}

TEST(MeasureRoofs, FindsBothRoofs) {
  Team team;
  const MachineRoofs roofs = MeasureRoofs(team, 300);
  EXPECT_GT(roofs.read_gbps, 0.1);
  EXPECT_GT(roofs.peak.best(), 0.1);
}

}  // namespace
}  // namespace lathe
