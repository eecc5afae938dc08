#include "runtime/engine/step_pace.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

TEST(StepPace, WithoutABoundOrMeasurementsAnythingGoes) {
  StepPace off(0, 0), fresh(2, 0);
  off.Record(1, 0, 0.01);
  off.Record(0, 100, 1.0);
  EXPECT_EQ(off.PromptRows(1, 512), 512);
  EXPECT_EQ(fresh.PromptRows(1, 512), 512);
  fresh.Record(1, 0, 0.01);  // what a row costs is still unknown
  EXPECT_EQ(fresh.PromptRows(1, 512), 512);
}

TEST(StepPace, AStepLastsAtMostTwiceAsLong) {
  StepPace pace(2, 0.05);
  pace.Record(0, 512, 3.7);  // 7.2 ms a row
  pace.Record(1, 0, 0.074);  // one sequence decodes in 74 ms
  EXPECT_EQ(pace.PromptRows(1, 512), 10);
  EXPECT_EQ(pace.PromptRows(16, 512), 10);  // no larger batch was seen yet
  pace.Record(16, 0, 0.12);
  EXPECT_EQ(pace.PromptRows(16, 512), 16);
  EXPECT_EQ(pace.PromptRows(1, 4), 4);
  EXPECT_EQ(pace.PromptRows(4000, 512), 16);
}

TEST(StepPace, ShortStepsAreNotCut) {
  StepPace pace(2, 0.05);
  pace.Record(1, 0, 0.001);
  pace.Record(1, 10, 0.002);  // 0.1 ms a row
  EXPECT_EQ(pace.PromptRows(1, 1000), 490);
}

TEST(StepPace, FollowsWhatItMeasures) {
  StepPace pace(3, 0);
  pace.Record(8, 0, 0.010);
  pace.Record(8, 10, 0.020);  // 1 ms a row
  EXPECT_EQ(pace.PromptRows(8, 512), 20);
  for (int i = 0; i < 200; ++i) pace.Record(8, 10, 0.012);  // 0.2 ms a row
  EXPECT_NEAR(pace.PromptRows(8, 512), 100, 1);
  for (int i = 0; i < 200; ++i) pace.Record(8, 10, 0.001);  // faster than without: a row costs nothing
  EXPECT_EQ(pace.PromptRows(8, 512), 512);
}

}  // namespace
}  // namespace lathe
