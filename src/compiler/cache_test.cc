// The engine cache and the timing cache: found again, never shared wrongly, closed to others.
#include "compiler/cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "compiler/tactics.h"
#include "compiler/testing/models.h"
#include "compiler/timing_cache.h"
#include "formats/engine_file.h"
#include "kernels/cpu/registry.h"
#include "lathe/version.h"
#include "platform/cpu_info.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;
using testing_util::GoldenCheckpoint;
using testing_util::Listing;
using testing_util::ScratchDir;

// XDG_CACHE_HOME in a scratch folder for as long as it lives.
class CacheHome {
 public:
  explicit CacheHome(const std::string& name) : dir_(ScratchDir(name)) {
    ::setenv("XDG_CACHE_HOME", dir_.c_str(), 1);
  }
  ~CacheHome() { ::unsetenv("XDG_CACHE_HOME"); }
  std::string engines() const { return dir_ + "/lathe"; }

 private:
  std::string dir_;
};

BuildOptions Untuned() {
  BuildOptions options;
  options.tune = false;
  options.threads = 1;
  return options;
}

TEST(EngineCache, BuildsOnceAndFindsAgain) {
  const CacheHome home("once");
  const std::string dir = GoldenCheckpoint("llama2_mha");
  BuildReport report;
  const auto first = ResolveEngine(dir, Untuned(), &report);
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(report.path, *first);
  EXPECT_TRUE(first->starts_with(home.engines() + "/llama2_mha-bf16-")) << *first;
  struct stat st {};
  ASSERT_EQ(::stat(home.engines().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);

  BuildReport again;
  const auto second = ResolveEngine(dir, Untuned(), &again);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(*second, *first);
  EXPECT_EQ(again.path, "") << "built a second time";
  // An engine file is what it is.
  EXPECT_EQ(*ResolveEngine(*first, Untuned(), nullptr), *first);
}

TEST(EngineCache, EveryOptionThatMattersIsAnotherFile) {
  const CacheHome home("options");
  const std::string dir = GoldenCheckpoint("llama2_mha");
  std::set<std::string> paths;
  const auto add = [&](auto change) {
    BuildOptions options = Untuned();
    change(&options);
    const auto path = CachedEnginePath(dir, options);
    ASSERT_TRUE(path.ok()) << path.status().message();
    EXPECT_TRUE(paths.insert(*path).second) << *path;
  };
  add([](BuildOptions*) {});
  add([](BuildOptions* o) { o->dtype = DType::kF32; });
  add([](BuildOptions* o) { o->tune = true; });
  add([](BuildOptions* o) { o->tune = true, o->threads = 7; });
  add([](BuildOptions* o) { o->tp = 2; });
  add([](BuildOptions* o) { o->pp = 2; });
  add([](BuildOptions* o) { o->target = "cpu:portable"; });
  add([](BuildOptions* o) { o->numeric = NumericClass::kBf16Fma; });
  add([](BuildOptions* o) { o->disabled_passes = {"prune_dead"}; });
}

TEST(EngineCache, AnotherModelInTheSamePlaceIsBuiltAnew) {
  const CacheHome home("changed");
  const std::string dir = ScratchDir("changing") + "/m";
  std::filesystem::copy(GoldenCheckpoint("llama2_mha"), dir);
  const auto first = ResolveEngine(dir, Untuned(), nullptr);
  ASSERT_TRUE(first.ok()) << first.status().message();
  std::filesystem::last_write_time(dir + "/model.safetensors", std::filesystem::file_time_type::clock::now());
  BuildReport report;
  const auto second = ResolveEngine(dir, Untuned(), &report);
  ASSERT_TRUE(second.ok());
  EXPECT_NE(*second, *first);
  EXPECT_EQ(report.path, *second);
}

TEST(EngineCache, ABrokenEngineIsReplaced) {
  const CacheHome home("broken");
  const std::string dir = GoldenCheckpoint("llama2_mha");
  const auto path = CachedEnginePath(dir, Untuned());
  ASSERT_TRUE(path.ok());
  std::filesystem::create_directories(home.engines());
  std::filesystem::permissions(home.engines(), std::filesystem::perms::owner_all);
  ASSERT_TRUE(WriteFileAtomic(*path, "not an engine").ok());
  BuildReport report;
  const auto resolved = ResolveEngine(dir, Untuned(), &report);
  ASSERT_TRUE(resolved.ok()) << resolved.status().message();
  EXPECT_EQ(report.path, *path);
  EXPECT_TRUE(EngineReader::Open(*path).ok());
}

TEST(EngineCache, ManyAtOnceBuildOnce) {
  const CacheHome home("race");
  const std::string dir = GoldenCheckpoint("qwen3");
  std::vector<BuildReport> reports(4);
  std::vector<std::thread> threads;
  for (BuildReport& report : reports)
    threads.emplace_back([&] { EXPECT_TRUE(ResolveEngine(dir, Untuned(), &report).ok()); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(
      std::count_if(reports.begin(), reports.end(), [](const BuildReport& r) { return !r.path.empty(); }), 1);
  EXPECT_EQ(Listing(home.engines()).size(), 2u);  // engine and lock
}

TEST(EngineCache, RefusesWhatIsNotThereAndWhatOthersCanWrite) {
  const CacheHome home("refuse");
  EXPECT_EQ(ResolveEngine("/no/such/model", Untuned(), nullptr).status().code(), StatusCode::kNotFound);
  std::filesystem::create_directories(home.engines());
  ASSERT_EQ(::chmod(home.engines().c_str(), 0777), 0);
  const auto status = ResolveEngine(GoldenCheckpoint("llama2_mha"), Untuned(), nullptr).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("others cannot write"));
}

TEST(EngineCache, AFailedBuildLeavesNoEngine) {
  const CacheHome home("failed");
  BuildOptions options = Untuned();
  options.disabled_passes = {"fuse_qkv"};
  EXPECT_FALSE(ResolveEngine(GoldenCheckpoint("llama2_mha"), options, nullptr).ok());
  for (const std::string& name : Listing(home.engines())) EXPECT_TRUE(name.ends_with(".lock")) << name;
}

TimingScope HereAndNow() { return {"Some CPU", 2, "1.2.3", UsableIsas().back()}; }

TEST(TimingCache, RemembersByShapeClassAndScope) {
  const std::string path = ScratchDir("timings") + "/t.json";
  const Isa isa = UsableIsas().back();
  const NumericClass numeric = ClassesOf(isa)[0];
  TimingCache cache(HereAndNow());
  std::string warning;
  ASSERT_TRUE(cache.Load(path, &warning).ok()) << "a missing file is an empty cache";
  GemmTactic tactic = DefaultTactic(isa, numeric, {128, 64, false});
  tactic.buckets[2].microseconds = 12.5;
  tactic.buckets[2].roof_percent = 91;
  cache.Put(numeric, tactic);
  cache.PutClass({{128, 64, false}}, NumericClass::kBf16Dot);
  ASSERT_TRUE(cache.Save(path).ok());

  TimingCache again(HereAndNow());
  ASSERT_TRUE(again.Load(path, &warning).ok());
  EXPECT_EQ(warning, "");
  const GemmTactic found = again.Find(numeric, {128, 64, false});
  ASSERT_EQ(found.buckets.size(), tactic.buckets.size());
  EXPECT_EQ(found.buckets[2].microseconds, 12.5);
  EXPECT_EQ(found.buckets[2].kernel, tactic.buckets[2].kernel);
  EXPECT_TRUE(again.Find(numeric, {128, 64, true}).buckets.empty());
  EXPECT_TRUE(again.Find(numeric, {128, 65, false}).buckets.empty());
  NumericClass chosen = NumericClass::kF32;
  EXPECT_TRUE(again.FindClass({{128, 64, false}}, &chosen));
  EXPECT_EQ(chosen, NumericClass::kBf16Dot);

  // Another machine finds nothing, says so, and adds its own without losing these.
  TimingScope other = HereAndNow();
  other.machine = "Another CPU";
  TimingCache elsewhere(other);
  ASSERT_TRUE(elsewhere.Load(path, &warning).ok());
  EXPECT_THAT(warning, HasSubstr("nothing for this machine (Another CPU"));
  EXPECT_TRUE(elsewhere.Find(numeric, {128, 64, false}).buckets.empty());
  elsewhere.Put(numeric, tactic);
  ASSERT_TRUE(elsewhere.Save(path).ok());
  TimingCache third(HereAndNow());
  warning.clear();
  ASSERT_TRUE(third.Load(path, &warning).ok());
  EXPECT_FALSE(third.Find(numeric, {128, 64, false}).buckets.empty());
}

TEST(TimingCache, IsDataOfOursOnly) {
  const std::string path = ScratchDir("foreign") + "/t.json";
  std::string warning;
  const auto load = [&](const std::string& content, mode_t mode) {
    EXPECT_TRUE(WriteFileAtomic(path, content).ok());
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return TimingCache(HereAndNow()).Load(path, &warning);
  };
  EXPECT_EQ(load(R"({"version":1,"entries":{}})", 0666).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(load(R"({"version":1,"entries":{}})", 0664).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(load(R"({"version":1,"entries":{}})", 0644).ok());
  EXPECT_TRUE(load(R"({"version":2,"entries":{"x":1}})", 0644).ok()) << "of another version: empty";
  EXPECT_EQ(load("[1,2", 0644).code(), StatusCode::kCorrupt);
  EXPECT_EQ(load("[1,2]", 0644).code(), StatusCode::kCorrupt);
  EXPECT_EQ(load(R"({"entries":[]})", 0644).code(), StatusCode::kCorrupt);
}

TEST(TimingCache, EntriesThatDoNotFitAreNoHits) {
  const std::string path = ScratchDir("misfits") + "/t.json";
  const Isa isa = UsableIsas().back();
  const NumericClass numeric = ClassesOf(isa)[0];
  const GemmDims dims{128, 64, false};
  TimingCache cache(HereAndNow());
  cache.Put(numeric, DefaultTactic(isa, numeric, dims));
  ASSERT_TRUE(cache.Save(path).ok());
  const auto json = ReadJsonFile(path);
  ASSERT_TRUE(json.ok());
  const auto hit = [&](auto change) {
    Json changed = *json;
    change(&changed["entries"].begin().value());
    EXPECT_TRUE(WriteFileAtomic(path, DumpJson(changed)).ok());
    TimingCache loaded(HereAndNow());
    std::string warning;
    EXPECT_TRUE(loaded.Load(path, &warning).ok());
    return !loaded.Find(numeric, dims).buckets.empty();
  };
  EXPECT_TRUE(hit([](Json*) {}));
  EXPECT_FALSE(hit([](Json* e) { (*e)[0]["kernel"] = "rm -rf"; }));
  EXPECT_FALSE(hit([](Json* e) { (*e)[0]["max_m"] = 3; }));
  EXPECT_FALSE(hit([](Json* e) { (*e)[0].erase("us"); }));
  EXPECT_FALSE(hit([](Json* e) { e->erase(e->begin()); }));
  EXPECT_FALSE(hit([](Json* e) { *e = 7; }));
}

// A measured build fills the file; the next one measures nothing.
TEST(TimingCache, ServesTheNextBuild) {
  const std::string out = ScratchDir("tuned");
  BuildOptions options;
  options.output = out + "/a.lathe";
  options.timing_cache = out + "/t.json";
  options.threads = 1;
  const auto first = BuildEngine(GoldenCheckpoint("llama2_mha"), options);
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_GT(first->build_info["tactics"]["measured"].get<int>(), 0);
  const auto engine = EngineReader::Open(options.output);
  ASSERT_TRUE(engine.ok());
  EXPECT_EQ(engine->identity().machine, GetCpuInfo().model);
  const auto second = BuildEngine(GoldenCheckpoint("llama2_mha"), options);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->build_info["tactics"]["measured"].get<int>(), 0);
  EXPECT_EQ(second->build_info["tactics"]["from_timing_cache"], first->build_info["tactics"]["measured"]);
}

}  // namespace
}  // namespace lathe
