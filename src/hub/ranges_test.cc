#include "hub/ranges.h"

#include <unistd.h>

#include <filesystem>
#include <random>

#include "base/file.h"
#include "hub/test_engine.h"

namespace lathe::hub {
namespace {

TEST(RangeSet, JoinsWhatTouches) {
  RangeSet set(100);
  set.Add(10, 20);
  set.Add(30, 40);
  set.Add(20, 30);
  EXPECT_EQ(set.ranges(), (std::map<uint64_t, uint64_t>{{10, 40}}));
  EXPECT_EQ(set.Prefix(), 0u);
  set.Add(0, 5);
  set.Add(4, 12);
  EXPECT_EQ(set.Prefix(), 40u);
  set.Add(90, 1000);
  set.Add(50, 50);
  EXPECT_EQ(set.Covered(), 50u);
  EXPECT_FALSE(set.Complete());
  set.Add(0, 100);
  EXPECT_TRUE(set.Complete());
  EXPECT_EQ(set.ranges().size(), 1u);
}

TEST(RangeSet, Gaps) {
  RangeSet set(100);
  using Gap = std::pair<uint64_t, uint64_t>;
  EXPECT_EQ(set.FirstGap(0, 30), Gap(0, 30));
  set.Add(0, 10);
  set.Add(20, 30);
  EXPECT_EQ(set.FirstGap(0, 100), Gap(10, 20));
  EXPECT_EQ(set.FirstGap(0, 4), Gap(10, 14));
  EXPECT_EQ(set.FirstGap(12, 100), Gap(12, 20));
  EXPECT_EQ(set.FirstGap(25, 100), Gap(30, 100));
  EXPECT_EQ(set.FirstGap(100, 1), std::nullopt);
  set.Add(10, 100);
  EXPECT_EQ(set.FirstGap(0, 100), std::nullopt);
  EXPECT_TRUE(RangeSet(0).Complete());
}

TEST(RangeSet, AgreesWithBits) {
  std::mt19937 rng(5);
  for (int round = 0; round < 200; ++round) {
    constexpr size_t kSize = 60;
    RangeSet set(kSize);
    std::vector<bool> bits(kSize);
    for (int i = 0; i < 12; ++i) {
      const size_t begin = rng() % 70, end = begin + rng() % 12;
      set.Add(begin, end);
      for (size_t at = begin; at < std::min(end, kSize); ++at) bits[at] = true;
      EXPECT_EQ(set.Covered(), static_cast<uint64_t>(std::count(bits.begin(), bits.end(), true)));
      const size_t from = rng() % kSize;
      size_t gap = from;
      while (gap < kSize && bits[gap]) ++gap;
      const auto found = set.FirstGap(from, kSize);
      EXPECT_EQ(found ? found->first : kSize, gap);
      for (size_t at = gap; found && at < found->second; ++at) EXPECT_FALSE(bits[at]);
    }
  }
}

class RangeLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("lathe_ranges_" + std::to_string(::getpid()));
    std::filesystem::create_directories(dir_);
    path_ = (dir_ / "log").string();
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::filesystem::path dir_;
  std::string path_;
};

TEST_F(RangeLogTest, RemembersAndForgetsHalfALine) {
  {
    auto log = RangeLog::Open(path_, RangeSet(1000));
    ASSERT_TRUE(log.ok());
    ASSERT_TRUE(log->Append(0, 100).ok());
    ASSERT_TRUE(log->Append(500, 600).ok());
  }
  EXPECT_EQ(RangeLog::Load(path_, 1000).Covered(), 200u);
  EXPECT_EQ(RangeLog::Load(path_, 1001).Covered(), 0u) << "of a file of another size";
  EXPECT_EQ(RangeLog::Load(path_ + "x", 1000).Covered(), 0u);
  // A process that was killed in the middle of a line, and one that goes on after it.
  ASSERT_TRUE(WriteFileAtomic(path_, *ReadFile(path_) + "700 9").ok());
  const RangeSet known = RangeLog::Load(path_, 1000);
  EXPECT_EQ(known.Covered(), 200u);
  {
    auto log = RangeLog::Open(path_, known);
    ASSERT_TRUE(log.ok());
    ASSERT_TRUE(log->Append(100, 150).ok());
  }
  EXPECT_EQ(RangeLog::Load(path_, 1000).Prefix(), 150u);
}

TEST_F(RangeLogTest, TakesNoNonsense) {
  const std::string head = "lathe ranges 1 of 1000\n";
  for (const char* line :
       {"x\n", "1\n", "1 2 3\n", "-1 5x\n", "0 1001\n", "0 99999999999999999999999\n", "\n"}) {
    ASSERT_TRUE(WriteFileAtomic(path_, head + line + "0 10\n").ok());
    EXPECT_EQ(RangeLog::Load(path_, 1000).Covered(), 0u) << line;
  }
}

TEST(EngineIndex, RoundTripsAndMerges) {
  const EngineEntry cpu = TestEngine("cpu:avx512", "Intel(R) Xeon(R) Processor @ 2.70GHz");
  EXPECT_EQ(cpu.file, "tales-16m-bf16-cpu-avx512-intel-r-xeon-r-processor-2.70ghz.lathe");
  const EngineEntry gpu = TestEngine("cuda:sm_90a", "NVIDIA H200");
  EXPECT_EQ(gpu.file, "tales-16m-bf16-cuda-sm_90a-nvidia-h200.lathe");
  auto both = MergeEngines({cpu}, {gpu});
  ASSERT_EQ(both.size(), 2u);
  EngineEntry newer = cpu;
  newer.size = 11;
  newer.builder = "0.2.0";
  both = MergeEngines(both, {newer});
  ASSERT_EQ(both.size(), 2u);
  const auto again = ParseEngineIndex(EngineIndexText(both), "lathe.json");
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ((*again)[0].size, 11u);
  EXPECT_EQ((*again)[1].machine, "NVIDIA H200");
  const EngineEntry* best =
      BestEngine(both, [](const EngineEntry& e) { return e.target == "cuda:sm_90a" ? 1 : 0; });
  ASSERT_NE(best, nullptr);
  EXPECT_EQ(best->target, "cuda:sm_90a");
  EXPECT_EQ(BestEngine(both, [](const EngineEntry&) { return -1; }), nullptr);
}

TEST(EngineIndex, RefusesWhatIsNone) {
  const std::string good = EngineIndexText({TestEngine("cpu:avx2")});
  const auto replaced = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  ASSERT_TRUE(ParseEngineIndex(good, "x").ok());
  for (const std::string& text :
       {std::string("[]"), std::string("{}"), std::string("{\"engines\": {}}"),
        std::string("{\"engines\": [1]}"), std::string("{\"engines\": [{}]}"),
        replaced("tales-16m-bf16", "../tales"), replaced(".lathe", ".bin"),
        replaced("\"size\": 10", "\"size\": -1"), replaced("\"tp\": 1", "\"tp\": 0"),
        replaced("aaaa", "AAAA"), replaced("\"target\"", "\"tarjet\"")})
    EXPECT_FALSE(ParseEngineIndex(text, "x").ok()) << text;
}

}  // namespace
}  // namespace lathe::hub
