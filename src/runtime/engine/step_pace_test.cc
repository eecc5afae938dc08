#include "runtime/engine/step_pace.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

TEST(StepPace, WithoutABoundOrMeasurementsAnythingGoes) {
  StepPace off(0, 0), fresh(2, 0);
  off.Record(1, 0, 0, 0.01);
  off.Record(0, 100, 0, 1.0);
  EXPECT_EQ(off.Limits(1, 512).rows, 512);
  EXPECT_EQ(fresh.Limits(1, 512).rows, 512);
  fresh.Record(1, 0, 0, 0.01);  // what a row costs is still unknown
  EXPECT_EQ(fresh.Limits(1, 512).rows, 512);
}

TEST(StepPace, AStepLastsAtMostTwiceAsLong) {
  StepPace pace(2, 0.05);
  pace.Record(0, 512, 0, 3.7);  // 7.2 ms a row
  pace.Record(1, 0, 0, 0.074);  // one sequence decodes in 74 ms
  EXPECT_EQ(pace.Limits(1, 512).rows, 10);
  EXPECT_EQ(pace.Limits(16, 512).rows, 10);  // no larger batch was seen yet
  pace.Record(16, 0, 0, 0.12);
  EXPECT_EQ(pace.Limits(16, 512).rows, 16);
  EXPECT_EQ(pace.Limits(1, 4).rows, 4);
  EXPECT_EQ(pace.Limits(4000, 512).rows, 16);
}

TEST(StepPace, ShortStepsAreNotCut) {
  StepPace pace(2, 0.05);
  pace.Record(1, 0, 0, 0.001);
  pace.Record(1, 10, 0, 0.002);  // 0.1 ms a row
  EXPECT_EQ(pace.Limits(1, 1000).rows, 490);
}

TEST(StepPace, LongPromptsAreBoundedStrictlyAndByWhatTheirRowsCost) {
  StepPace pace(2, 0.05);
  pace.Record(0, 0, 512, 0.512);  // 1 ms a row
  EXPECT_EQ(pace.Limits(0, 2048), (PromptRowLimits{2048, 500}));
  pace.Record(8, 0, 0, 0.010);
  pace.Record(8, 10, 0, 0.011);  // 0.1 ms a row of a short one
  EXPECT_EQ(pace.Limits(8, 2048), (PromptRowLimits{400, 10}));
  for (int i = 0; i < 200; ++i) pace.Record(8, 100, 5, 0.040);  // 4 ms a row: 40 - 10 - 10 ms for 5
  EXPECT_NEAR(pace.Limits(8, 2048).long_rows, 2, 1);
  EXPECT_EQ(pace.Limits(8, 2048).rows, 400);
  for (int i = 0; i < 200; ++i) pace.Record(8, 0, 1, 0.110);  // dearer than all it may take: progress still
  EXPECT_EQ(pace.Limits(8, 2048).long_rows, 1);
}

TEST(StepPace, FollowsWhatItMeasures) {
  StepPace pace(3, 0);
  pace.Record(8, 0, 0, 0.010);
  pace.Record(8, 10, 0, 0.020);  // 1 ms a row
  EXPECT_EQ(pace.Limits(8, 512).rows, 20);
  for (int i = 0; i < 200; ++i) pace.Record(8, 10, 0, 0.012);  // 0.2 ms a row
  EXPECT_NEAR(pace.Limits(8, 512).rows, 100, 1);
  for (int i = 0; i < 200; ++i) pace.Record(8, 10, 0, 0.001);  // faster than without: a row costs nothing
  EXPECT_EQ(pace.Limits(8, 512).rows, 512);
}

}  // namespace
}  // namespace lathe
