#include "runtime/step/logit_slices.h"

#include <gtest/gtest.h>

#include <array>

namespace lathe {
namespace {

// first_row, n_rows, first_position of each.
using Slices = std::vector<std::array<int32_t, 3>>;

Step MakeStep(const Slices& slices, std::vector<int32_t> logit_rows) {
  Step step;
  for (const auto& [first, n, position] : slices) {
    step.sequences.push_back({.first_row = first, .n_rows = n, .first_position = position});
    step.token_ids.resize(static_cast<size_t>(first + n));
  }
  step.logit_rows = std::move(logit_rows);
  return step;
}

TEST(LogitSlices, RowsThatFollowOneAnotherAreOneSlice) {
  const Slices step = {{0, 4, 100}, {4, 1, 7}, {5, 3, 0}};
  struct Case {
    std::vector<int32_t> logit_rows;
    Slices want;
    bool all = false;
  };
  for (const Case& c :
       {Case{{}, {}}, Case{{3, 4, 7}, {{0, 1, 103}, {1, 1, 7}, {2, 1, 2}}},
        Case{{3, 3, 3}, {{0, 1, 103}, {1, 1, 103}, {2, 1, 103}}},
        Case{{1, 2, 5, 7}, {{0, 2, 101}, {2, 1, 0}, {3, 1, 2}}}, Case{{0, 1, 2, 3, 4, 5, 6, 7}, step, true},
        Case{{0, 1, 1, 2, 4, 5, 6, 7}, {{0, 2, 100}, {2, 2, 101}, {4, 1, 7}, {5, 3, 0}}}}) {
    const Step made = MakeStep(step, c.logit_rows);
    std::vector<SeqSlice> slices;
    SliceLogitRows(made, &slices);
    Slices got;
    for (const SeqSlice& s : slices) got.push_back({s.first_row, s.n_rows, s.first_position});
    EXPECT_EQ(got, c.want);
    EXPECT_EQ(AllRowsAreLogitRows(made), c.all);
  }
}

}  // namespace
}  // namespace lathe
