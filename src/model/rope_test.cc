// RoPE frequencies against transformers, for each scaling type (tests/golden/make_goldens.py wrote the
// values).
#include "model/rope.h"

#include <cmath>

#include "model/read_model.h"
#include "model/test_util.h"

namespace lathe {
namespace {

using testing_util::Golden;
using testing_util::GoldenModels;

// Both sides evaluate in float with a power function good to one unit in the last place.
void ExpectClose(const std::vector<float>& got, const Json& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    const float expected = want[i].get<float>();
    EXPECT_NEAR(got[i], expected, 4 * std::numeric_limits<float>::epsilon() * expected) << what << " " << i;
  }
}

TEST(Rope, EveryTypeEqualsTheReference) {
  const Json cases = Golden("rope");
  ASSERT_GE(cases.size(), 10u);
  for (const auto& [name, c] : cases.items()) {
    const auto spec = ReadModelSpec(c["config"], {}, name);
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    ExpectClose(spec->rope.inv_freq, c["inv_freq"], name);
    EXPECT_FLOAT_EQ(spec->rope.attention_factor, c["attention_scaling"].get<float>()) << name;
    if (!c.contains("inv_freq_at")) continue;
    EXPECT_EQ(RopeInvFreq(spec->rope, spec->rope.original_max_positions), spec->rope.inv_freq);
    for (const auto& [length, want] : c["inv_freq_at"].items())
      ExpectClose(RopeInvFreq(spec->rope, std::stoi(length)), want, name + " at " + length);
  }
}

TEST(Rope, GoldenModelsHaveTheReferencesFrequencies) {
  for (const std::string& name : GoldenModels()) {
    const Json golden = Golden(name);
    const auto spec = ReadModelSpec(golden["config"], {}, name);
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    ExpectClose(spec->rope.inv_freq, golden["rope"]["inv_freq"], name);
    EXPECT_FLOAT_EQ(spec->rope.attention_factor, golden["rope"]["attention_scaling"].get<float>()) << name;
  }
}

TEST(Rope, OnlyDynamicDependsOnTheLength) {
  RopeSpec rope;
  ASSERT_TRUE(FillRope({.type = RopeType::kLinear, .factor = 2.0}, 64, 128, "f", &rope).ok());
  EXPECT_EQ(RopeInvFreq(rope, 100000), rope.inv_freq);
  ASSERT_TRUE(FillRope({.type = RopeType::kDynamic, .factor = 2.0}, 64, 128, "f", &rope).ok());
  EXPECT_LT(RopeInvFreq(rope, 129)[31], rope.inv_freq[31]);
  EXPECT_EQ(RopeInvFreq(rope, 129)[0], 1.0f);
}

TEST(Rope, PositionsStretchWithTheFactor) {
  EXPECT_EQ(RopeMaxPositions({.type = RopeType::kDefault}, 100), 100);
  EXPECT_EQ(RopeMaxPositions({.type = RopeType::kLinear, .factor = 2.5}, 100), 250);
  EXPECT_EQ(RopeMaxPositions({.type = RopeType::kDynamic, .factor = 2}, 100), 200);
  EXPECT_EQ(RopeMaxPositions({.type = RopeType::kLlama3, .factor = 8, .original_max_positions = 10}, 100),
            100);
  EXPECT_EQ(RopeMaxPositions({.type = RopeType::kYarn, .factor = 4, .original_max_positions = 100}, 100),
            400);
  EXPECT_EQ(RopeMaxPositions({.type = RopeType::kYarn, .factor = 4, .original_max_positions = 25}, 200), 200);
  EXPECT_EQ(RopeMaxPositions({.type = RopeType::kLinear, .factor = 1e9}, 100), INT32_MAX);
}

TEST(Rope, RefusesHeadsThatCannotBeRotated) {
  RopeSpec rope;
  EXPECT_FALSE(FillRope({}, 63, 128, "f", &rope).ok());
  EXPECT_FALSE(FillRope({.type = RopeType::kDynamic, .factor = 2}, 2, 128, "f", &rope).ok());
  EXPECT_FALSE(
      FillRope({.theta = 1e300}, 64, 128, "f", &rope).ok() &&
      FillRope({.type = RopeType::kYarn, .theta = 1e300, .attention_factor = 1e300}, 64, 128, "f", &rope)
          .ok());
}

}  // namespace
}  // namespace lathe
