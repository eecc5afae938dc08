// Engines for GPUs, measured on one of the fake driver.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/check.h"
#include "compiler/cache.h"
#include "compiler/compile.h"
#include "compiler/cuda_tuner.h"
#include "compiler/inspect.h"
#include "compiler/testing/cuda_options.h"
#include "compiler/testing/engine_weights.h"
#include "compiler/testing/models.h"
#include "kernels/cuda/gemm_table.h"
#include "plan/cuda/kernel_blob.h"
#include "plan/cuda/plan_kernels.h"
#include "platform/cuda/testing/fake_driver.h"
#include "platform/cuda/testing/fake_nvrtc.h"

namespace lathe {
namespace {

using cuda::testing::FakeDriver;
using cuda::testing::FakeNvrtc;
using ::testing::HasSubstr;
using testing_util::Compiler;
using testing_util::Cross;
using testing_util::GoldenCheckpoint;
using testing_util::Kernels;
using testing_util::Listing;
using testing_util::ReadPlan;
using testing_util::ScratchDir;

// A machine with one GPU of the fake driver.
class OnFakeGpu : public ::testing::Test {
 protected:
  OnFakeGpu() {
    FakeDriver& fake = FakeDriver::Reset();
    fake.devices[0].memory = size_t{2} << 30;
    auto driver = cuda::Driver::FromTable(FakeDriver::Table());
    LATHE_CHECK(driver.ok());
    driver_ = *std::move(driver);
  }

  BuildOptions Tuned(const std::string& output) {
    BuildOptions options = Cross(output);
    options.target = "cuda";
    options.tune = true;
    options.cuda.driver = driver_.get();
    return options;
  }

  std::unique_ptr<cuda::Driver> driver_;
};

TEST_F(OnFakeGpu, MeasuresAndRemembers) {
  const std::string out = ScratchDir("cuda_tuned");
  BuildOptions options = Tuned(out + "/a.lathe");
  options.timing_cache = out + "/t.json";
  const std::string dir = GoldenCheckpoint("llama3_tied");
  const auto first = BuildEngine(dir, options);
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_TRUE(first->warnings.empty()) << first->warnings[0];
  EXPECT_EQ(FakeDriver::Get().allocated, 0u) << "device memory is left over";
  EXPECT_EQ(FakeDriver::Get().live_handles, 0);
  const auto engine = EngineReader::Open(options.output);
  ASSERT_TRUE(engine.ok());
  EXPECT_EQ(engine->identity().machine, "Fake H200");
  const Plan plan = ReadPlan(*engine, 0, 0);
  const auto kernels = Kernels(*engine);
  for (const GemmTactic& tactic : plan.tactics)
    for (const TacticBucket& bucket : tactic.buckets) {
      EXPECT_GT(bucket.microseconds, 0);
      EXPECT_GT(bucket.roof_percent, 0);
      EXPECT_FALSE(bucket.kernel.starts_with("cublaslt")) << "the executor has no library";
    }
  EXPECT_EQ(first->build_info["tactics"]["measured"].get<size_t>(), plan.tactics.size());
  EXPECT_GT(first->build_info["roofs"]["read_gbps"].get<double>(), 0);

  // The second build launches nothing and chooses the same.
  const size_t launches = FakeDriver::Get().launches.size();
  const auto second = BuildEngine(dir, options);
  ASSERT_TRUE(second.ok()) << second.status().message();
  EXPECT_EQ(FakeDriver::Get().launches.size(), launches);
  EXPECT_EQ(second->build_info["tactics"]["measured"].get<int>(), 0);
  EXPECT_EQ(second->build_info["tactics"]["from_timing_cache"].get<size_t>(), plan.tactics.size());
  const auto again = EngineReader::Open(options.output);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(DumpJson(ToJson(ReadPlan(*again, 0, 0))), DumpJson(ToJson(plan)));

  // Another GPU measures anew, and says why.
  FakeDriver::Get().devices[0].name = "Fake H100";
  const auto elsewhere = BuildEngine(dir, options);
  ASSERT_TRUE(elsewhere.ok());
  EXPECT_GT(elsewhere->build_info["tactics"]["measured"].get<int>(), 0);
  ASSERT_EQ(elsewhere->warnings.size(), 1u);
  EXPECT_THAT(elsewhere->warnings[0], HasSubstr("nothing for this machine (Fake H100, sm_90a, driver 13.0"));
}

TEST_F(OnFakeGpu, AKernelThatDoesNotCompileIsLeftOut) {
  const std::string out = ScratchDir("cuda_refused_kernel");
  const std::string dir = GoldenCheckpoint("llama3_tied");
  FakeNvrtc::Refused() = "gemm_stream_r16_t1_";
  const auto report = BuildEngine(dir, Tuned(out + "/a.lathe"));
  ASSERT_TRUE(report.ok()) << report.status().message();
  ASSERT_EQ(report->warnings.size(), 1u);
  EXPECT_THAT(report->warnings[0], HasSubstr("do not compile and were not measured, gemm_stream_r16_t1_"));
  const auto engine = EngineReader::Open(out + "/a.lathe");
  ASSERT_TRUE(engine.ok());
  const auto kernels = Kernels(*engine);
  for (const auto& entry : kernels.entries()) EXPECT_FALSE(entry.entry.starts_with(FakeNvrtc::Refused()));
  // Without any there is no engine.
  FakeNvrtc::Refused() = "gemm_";
  EXPECT_FALSE(BuildEngine(dir, Tuned(out + "/b.lathe")).ok());
  FakeNvrtc::Refused() = "norm_";
  const auto broken = BuildEngine(dir, Tuned(out + "/b.lathe"));
  FakeNvrtc::Refused().clear();
  ASSERT_FALSE(broken.ok());
  EXPECT_THAT(broken.status().message(), HasSubstr("does not compile for sm_90a"));
  EXPECT_EQ(Listing(out), std::vector<std::string>{"a.lathe"});
}

TEST_F(OnFakeGpu, FaultsWhileMeasuringEndTheBuild) {
  const std::string out = ScratchDir("cuda_faults");
  FakeDriver::Get().devices[0].memory = size_t{64} << 20;
  const auto small = BuildEngine(GoldenCheckpoint("llama3_tied"), Tuned(out + "/a.lathe"));
  ASSERT_FALSE(small.ok());
  EXPECT_EQ(small.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(small.status().message(), HasSubstr("--no-tune"));
  EXPECT_TRUE(Listing(out).empty());

  FakeDriver::Get().devices[0].memory = size_t{2} << 30;
  for (const char* call : {"graph_launch", "module_load_data", "primary_ctx_retain"}) {
    FakeDriver::Get().Fail(call, 719, std::string(call) == "graph_launch" ? 20 : 0);
    if (std::string(call) == "graph_launch") FakeDriver::Get().Fail("stream_synchronize", 719, 30);
    const auto broken = BuildEngine(GoldenCheckpoint("llama3_tied"), Tuned(out + "/a.lathe"));
    ASSERT_FALSE(broken.ok()) << call;
    EXPECT_EQ(broken.status().code(), StatusCode::kUnavailable) << broken.status().message();
    EXPECT_THAT(broken.status().message(), HasSubstr("719"));
    EXPECT_TRUE(Listing(out).empty()) << call;
    FakeDriver::Get().Heal();
  }
  EXPECT_EQ(FakeDriver::Get().allocated, 0u);
}

// A disk that fills up while kernels are measured: the other thread ends before what it works on.
TEST_F(OnFakeGpu, FullDiskLeavesNothing) {
  const std::string out = ScratchDir("cuda_full");
  const std::string dir = GoldenCheckpoint("llama3_tied");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 300000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto report = BuildEngine(dir, Tuned(out + "/a.lathe"));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.status().code(), StatusCode::kIo);
  EXPECT_TRUE(Listing(out).empty());
  EXPECT_EQ(FakeDriver::Get().allocated, 0u);
  EXPECT_EQ(FakeDriver::Get().live_handles, 0);
}

TEST_F(OnFakeGpu, RefusesAGpuThatIsNotThereOrNotFit) {
  const std::string out = ScratchDir("cuda_no_gpu");
  const auto fault = [&](const std::string& target) {
    BuildOptions options = Tuned(out + "/a.lathe");
    options.target = target;
    const auto report = BuildEngine(GoldenCheckpoint("llama3_tied"), options);
    EXPECT_FALSE(report.ok());
    EXPECT_EQ(report.status().code(), StatusCode::kUnsupported);
    EXPECT_TRUE(Listing(out).empty());
    return report.status().message();
  };
  EXPECT_THAT(fault("cuda:sm_80"), HasSubstr("no GPU here is sm_80"));
  FakeDriver::Get().devices[0].major = 7;
  EXPECT_THAT(fault("cuda"), HasSubstr("device 0 (Fake H200)"));
  EXPECT_THAT(fault("cuda"), HasSubstr("--target cuda:sm_90a --no-tune"));
  FakeDriver::Get().devices.clear();
  EXPECT_THAT(fault("cuda"), HasSubstr("the driver lists none"));
  FakeDriver::Get().devices.resize(1);
  // The one that is asked for, and no other.
  FakeDriver::Get().devices.push_back({.name = "Fake A100", .major = 8});
  for (const int device : {0, 1, 2}) {
    const CudaTools tools{.driver = driver_.get(), .nvrtc = &Compiler(), .device = device};
    const auto target = ParseTarget("cuda", tools);
    EXPECT_EQ(target.ok(), device < 2);
    if (target.ok()) {
      EXPECT_EQ(target->Name(), device == 0 ? "cuda:sm_90a" : "cuda:sm_80");
    } else {
      EXPECT_THAT(target.status().message(), HasSubstr("there is no device 2"));
    }
  }
  EXPECT_EQ(ParseTarget("cuda:sm_80", {.driver = driver_.get()})->device->ordinal, 1);
  FakeDriver::Get().devices.resize(1);
  // Cubins of this compiler would not load.
  FakeDriver::Get().version = 12040;
  auto driver = cuda::Driver::FromTable(FakeDriver::Table());
  ASSERT_TRUE(driver.ok());
  driver_ = *std::move(driver);
  EXPECT_THAT(fault("cuda"), HasSubstr("needs a driver of CUDA 13.0 or newer, the one here is of 12.4"));
}

TEST_F(OnFakeGpu, AutoIsTheGpuWhereItServes) {
  ::setenv("XDG_CACHE_HOME", ScratchDir("cuda_auto").c_str(), 1);
  const auto resolve = [&](const std::string& model, BuildReport* report) {
    BuildOptions options = Tuned("");
    options.target = "auto";
    options.tune = false;
    const auto path = ResolveEngine(GoldenCheckpoint(model), options, report);
    EXPECT_TRUE(path.ok()) << path.status().message();
    const auto engine = EngineReader::Open(*path);
    EXPECT_TRUE(engine.ok());
    return engine.ok() ? engine->identity().target : "";
  };
  BuildReport report;
  EXPECT_EQ(resolve("llama3_tied", &report), "cuda:sm_90a");
  EXPECT_FALSE(report.path.empty());
  BuildReport again;
  EXPECT_EQ(resolve("llama3_tied", &again), "cuda:sm_90a");
  EXPECT_TRUE(again.path.empty()) << "built a second time";

  // No kernel for its heads: on the CPU, and it says so every time.
  for (int i = 0; i < 2; ++i) {
    BuildReport slower;
    EXPECT_THAT(resolve("llama2_mha", &slower), ::testing::StartsWith("cpu:"));
    ASSERT_EQ(slower.warnings.size(), 1u);
    EXPECT_THAT(slower.warnings[0], HasSubstr("running on the CPU, not on Fake H200"));
    EXPECT_EQ(slower.path.empty(), i == 1);
  }
  FakeDriver::Get().devices.clear();
  EXPECT_THAT(resolve("llama3_tied", &report), ::testing::StartsWith("cpu:"));
  ::unsetenv("XDG_CACHE_HOME");
}

TEST_F(OnFakeGpu, EveryGpuAndOptionHasItsOwnCachedEngine) {
  ::setenv("XDG_CACHE_HOME", ScratchDir("cuda_paths").c_str(), 1);
  std::set<std::string> paths;
  const auto add = [&](auto change) {
    BuildOptions options = Tuned("");
    change(&options);
    const auto path = CachedEnginePath(GoldenCheckpoint("llama3_tied"), options);
    ASSERT_TRUE(path.ok()) << path.status().message();
    EXPECT_TRUE(paths.insert(*path).second) << *path;
  };
  add([](BuildOptions*) {});
  add([](BuildOptions* o) { o->dtype = DType::kF8E4M3; });
  add([](BuildOptions* o) { o->dtype = DType::kF8E4M3, o->fp8_scales = Fp8Scales::kTensor; });
  add([](BuildOptions* o) { o->dtype = DType::kF8E4M3, o->fp8_keep = {.first = true}; });
  add([](BuildOptions* o) { o->kv_dtype = DType::kF8E4M3; });
  add([](BuildOptions* o) { o->tune = false; });
  add([](BuildOptions* o) { o->target = "sm_80", o->tune = false; });
  FakeDriver::Get().devices[0].name = "Fake H100";
  add([](BuildOptions*) {});
  ::unsetenv("XDG_CACHE_HOME");
}

}  // namespace
}  // namespace lathe
