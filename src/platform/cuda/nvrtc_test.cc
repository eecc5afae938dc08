// Compiler and library behind tables of the test's own, and the reading of the compiler's report.
#include "platform/cuda/nvrtc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "platform/cuda/cublaslt.h"
#include "platform/cuda/testing/fake_nvrtc.h"

namespace lathe::cuda {
namespace {

using ::testing::HasSubstr;

TEST(ResourceReport, IsReadAndTakenOutOfTheLog) {
  std::string log =
      "a.cu(3): warning #177-D: variable \"x\" was declared but never referenced\n"
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function 'gemm_a' for 'sm_90a'\n"
      "ptxas info    : Function properties for gemm_a\n"
      "    16 bytes stack frame, 12 bytes spill stores, 24 bytes spill loads\n"
      "ptxas info    : Used 168 registers, used 1 barriers, 16 bytes cumulative stack size, 2048 bytes smem\n"
      "ptxas info    : Compile time = 30.811 ms\n"
      "ptxas info    : Compiling entry function 'gemm_b' for 'sm_90a'\n"
      "ptxas info    : Function properties for gemm_b\n"
      "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
      "ptxas info    : Used 40 registers, used 0 barriers\n";
  const std::vector<KernelResources> kernels = TakeResourceReport(&log);
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].entry, "gemm_a");
  EXPECT_EQ(kernels[0].registers, 168);
  EXPECT_EQ(kernels[0].stack_bytes, 16);
  EXPECT_EQ(kernels[0].spill_bytes, 36);
  EXPECT_EQ(kernels[0].static_shared, 2048);
  EXPECT_EQ(kernels[1].entry, "gemm_b");
  EXPECT_EQ(kernels[1].registers, 40);
  EXPECT_EQ(kernels[1].spill_bytes, 0);
  EXPECT_EQ(log, "a.cu(3): warning #177-D: variable \"x\" was declared but never referenced\n");
}

TEST(ResourceReport, NonsenseIsLeftAlone) {
  for (const char* text :
       {"", "\n\n", "Used registers", " bytes stack frame", "Compiling entry function 'open"}) {
    std::string log = text;
    for (const KernelResources& kernel : TakeResourceReport(&log)) EXPECT_EQ(kernel.registers, 0);
  }
}

TEST(Nvrtc, CompilesAndReports) {
  const Nvrtc nvrtc = testing::FakeNvrtc::Make();
  CompileRequest request{
      .name = "it.cu", .source = "", .headers = {}, .target = "sm_90a", .defines = {"LATHE_ENTRY=it"}};
  const auto code = nvrtc.Compile(request);
  ASSERT_TRUE(code.ok()) << code.status().message();
  ASSERT_EQ(code->kernels.size(), 1u);
  EXPECT_EQ(code->kernels[0].entry, "it");
  EXPECT_EQ(code->kernels[0].registers, 32);
  EXPECT_FALSE(code->cubin.empty());
  request.source = "#error";
  const auto fault = nvrtc.Compile(request);
  ASSERT_FALSE(fault.ok());
  EXPECT_THAT(fault.status().message(), HasSubstr("it.cu does not compile for sm_90a"));
  EXPECT_THAT(fault.status().message(), HasSubstr("#error directive"));
}

// A library of three algorithms, the second of which it says not to use.
abi::CublasLtTable FakeLibrary() {
  static int token;
  abi::CublasLtTable t;
  t.create = [](abi::LtHandle* handle) { return *handle = &token, 0; };
  t.destroy = [](abi::LtHandle) { return 0; };
  t.desc_create = [](abi::LtDesc* desc, int, int) { return *desc = &token, 0; };
  t.desc_destroy = [](abi::LtDesc) { return 0; };
  t.desc_set = [](abi::LtDesc, int, const void*, size_t) { return 0; };
  t.layout_create = [](abi::LtLayout* layout, int, uint64_t, uint64_t columns, int64_t) {
    return *layout = columns == 13 ? nullptr : &token, 0;
  };
  t.layout_destroy = [](abi::LtLayout) { return 0; };
  t.preference_create = [](abi::LtPreference* preference) { return *preference = &token, 0; };
  t.preference_destroy = [](abi::LtPreference) { return 0; };
  t.preference_set = [](abi::LtPreference, int, const void*, size_t) { return 0; };
  t.get_heuristic = [](abi::LtHandle, abi::LtDesc, abi::LtLayout, abi::LtLayout b, abi::LtLayout,
                       abi::LtLayout, abi::LtPreference, int wanted, abi::LtHeuristic* results, int* found) {
    if (b == nullptr) return 15;
    *found = std::min(wanted, 3);
    for (int i = 0; i < *found; ++i)
      results[i] = {{{static_cast<uint64_t>(i)}}, 0, i == 1 ? 15 : 0, 1.0F, {}};
    return 0;
  };
  t.matmul = [](abi::LtHandle, abi::LtDesc, const void*, const void*, abi::LtLayout, const void*,
                abi::LtLayout, const void*, const void*, abi::LtLayout, void*, abi::LtLayout,
                const abi::LtAlgo* algorithm, void*, size_t,
                void*) { return algorithm->data[0] == 2 ? 13 : 0; };
  return t;
}

TEST(CublasLt, KeepsWhatTheLibraryRecommends) {
  const auto lt = CublasLt::FromTable(FakeLibrary());
  ASSERT_TRUE(lt.ok());
  LtMatmulSpec spec;
  spec.m = 8;
  spec.n = 64;
  spec.k = 32;
  const auto matmul = LtMatmul::Create(**lt, spec, 8);
  ASSERT_TRUE(matmul.ok()) << matmul.status().message();
  EXPECT_EQ((*matmul)->n_algorithms(), 2);
  EXPECT_TRUE((*matmul)->Run(0, 1, 2, 3, 4, nullptr).ok());
  EXPECT_EQ((*matmul)->Run(1, 1, 2, 3, 4, nullptr).code(), StatusCode::kUnavailable);
  spec.m = 13;
  EXPECT_EQ(LtMatmul::Create(**lt, spec, 8).status().code(), StatusCode::kUnsupported);
}

}  // namespace
}  // namespace lathe::cuda
