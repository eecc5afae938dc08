#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <vector>

#include "base/clock.h"
#include "platform/bandwidth.h"
#include "platform/cpu_info.h"
#include "platform/team.h"
#include "platform/topology.h"

namespace lathe {
namespace {

TEST(CpuInfo, FeaturesAreConsistent) {
  const CpuInfo& info = GetCpuInfo();
  EXPECT_FALSE(info.model.empty());
  EXPECT_LE(info.features.avx512_bf16, info.features.avx512);
  EXPECT_LE(info.features.avx512, info.features.avx2 && info.features.fma);
#if defined(__x86_64__)
  EXPECT_EQ(info.features.avx2, static_cast<bool>(__builtin_cpu_supports("avx2")));
  EXPECT_EQ(info.features.avx512_bf16, static_cast<bool>(__builtin_cpu_supports("avx512bf16")));
#endif
  CpuFeatures some;
  some.avx2 = some.avx512 = true;
  EXPECT_EQ(ToString(some), "avx2 avx512");
}

TEST(Topology, CpuMax) {
  EXPECT_EQ(ParseCpuMax("max 100000\n"), std::nullopt);
  EXPECT_EQ(ParseCpuMax("150000 100000\n"), 1.5);
  EXPECT_EQ(ParseCpuMax("400000 100000"), 4.0);
  for (const char* bad : {"", "max", "x 100000", "100000 0", "-1 100000", "1 2 3"})
    EXPECT_EQ(ParseCpuMax(bad), std::nullopt);
}

TEST(Topology, CfsQuota) {
  EXPECT_EQ(ParseCfsQuota("-1\n", "100000\n"), std::nullopt);
  EXPECT_EQ(ParseCfsQuota("50000\n", "100000\n"), 0.5);
  EXPECT_EQ(ParseCfsQuota("", ""), std::nullopt);
}

TEST(Topology, CpuList) {
  EXPECT_THAT(ParseCpuList("0-3,8\n"), testing::ElementsAre(0, 1, 2, 3, 8));
  EXPECT_THAT(ParseCpuList("5,2,2-3"), testing::ElementsAre(2, 3, 5));
  for (const char* bad : {"", "a", "3-1", "1-", "-1", "0-99999999999", ","})
    EXPECT_TRUE(ParseCpuList(bad).empty()) << bad;
}

TEST(Topology, CgroupPath) {
  const char* v1 = "9:name=systemd:/a\n2:cpuacct,cpu:/docker/x\n1:cpuset:/y\n0::/unified\n";
  EXPECT_EQ(FindCgroupPath(v1, "cpu"), "/docker/x");
  EXPECT_EQ(FindCgroupPath(v1, ""), "/unified");
  EXPECT_EQ(FindCgroupPath(v1, "memory"), std::nullopt);
  EXPECT_EQ(FindCgroupPath("garbage\n:\n", "cpu"), std::nullopt);
}

TEST(Topology, UsableCpus) {
  EXPECT_EQ((Topology{{0, 1, 2, 3}, std::nullopt}).usable_cpus(), 4);
  EXPECT_EQ((Topology{{0, 1, 2, 3}, 1.5}).usable_cpus(), 2);
  EXPECT_EQ((Topology{{0, 1, 2, 3}, 0.1}).usable_cpus(), 1);
  EXPECT_EQ((Topology{{0}, 64.0}).usable_cpus(), 1);
  EXPECT_GE(ReadTopology().usable_cpus(), 1);
}

class TeamTest : public testing::TestWithParam<int> {};

TEST_P(TeamTest, EveryThreadRunsOnce) {
  Team team({.threads = GetParam()});
  std::vector<int> calls(static_cast<size_t>(team.size()));
  for (int i = 0; i < 200; ++i) team.Run([&](int index) { ++calls[static_cast<size_t>(index)]; });
  EXPECT_THAT(calls, testing::Each(200));
}

TEST_P(TeamTest, BarrierOrdersWrites) {
  Team team({.threads = GetParam()});
  const size_t n = static_cast<size_t>(team.size());
  std::vector<int> values(n);  // plain memory: tsan judges the ordering
  std::atomic<int> wrong{0};
  team.Run([&](int index) {
    for (int round = 1; round <= 300; ++round) {
      values[static_cast<size_t>(index)] = round;
      team.Barrier();
      if (std::accumulate(values.begin(), values.end(), 0) != round * static_cast<int>(n)) ++wrong;
      team.Barrier();
    }
  });
  EXPECT_EQ(wrong.load(), 0);
}

TEST_P(TeamTest, SleepsAndWakes) {
  Team team({.threads = GetParam(), .spin_us = 0});
  std::atomic<int> sum{0};
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    team.Run([&](int index) {
      if (index == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      team.Barrier();
      sum += 1;
    });
  }
  EXPECT_EQ(sum.load(), 20 * team.size());
}

INSTANTIATE_TEST_SUITE_P(Sizes, TeamTest, testing::Values(1, 2, 3, 8));

TEST(Team, DefaultSizeIsUsableCpus) { EXPECT_EQ(Team().size(), ReadTopology().usable_cpus()); }

TEST(Team, RestoresAffinityOfTheCaller) {
  const std::vector<int> before = ReadTopology().cpus;
  { Team team; }
  EXPECT_EQ(ReadTopology().cpus, before);
}

TEST(Bandwidth, MeasuresSomethingPlausible) {
  Team team;
  const double gbps = MeasureReadBandwidth(team, 64 << 20, 3);
  EXPECT_GT(gbps, 0.0);
  EXPECT_LT(gbps, 5000);
  const PeakFlops peak = MeasurePeakFlops(team, 2);
  EXPECT_GT(peak.f32_fma, 0.0);
  EXPECT_EQ(peak.bf16_dot > 0, GetCpuInfo().features.avx512_bf16);
  RecordProperty("read_gbps", std::to_string(gbps));
  RecordProperty("f32_gflops", std::to_string(peak.f32_fma));
  RecordProperty("bf16_gflops", std::to_string(peak.bf16_dot));
}

}  // namespace
}  // namespace lathe
