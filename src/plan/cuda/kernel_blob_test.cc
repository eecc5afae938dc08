#include "plan/cuda/kernel_blob.h"

#include <gtest/gtest.h>

namespace lathe::cuda {
namespace {

CompiledKernel Kernel(const std::string& entry, const std::string& cubin, int registers) {
  CompiledKernel kernel;
  kernel.source.entry = entry;
  kernel.cubin = cubin;
  kernel.resources = {.entry = entry, .registers = registers, .spill_bytes = 8};
  return kernel;
}

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(KernelBlob, RoundTrip) {
  const std::string big(1000, 'x');
  const std::string packed =
      PackKernels({Kernel("norm", "\x7f\n\n\x01", 32), Kernel("gemm", big, 200)}, "sm_90a", 13000);
  const auto blob = KernelBlob::Parse(Bytes(packed), "e.lathe");
  ASSERT_TRUE(blob.ok()) << blob.status().message();
  EXPECT_EQ(blob->target(), "sm_90a");
  EXPECT_EQ(blob->driver(), 13000);
  ASSERT_EQ(blob->entries().size(), 2u);
  ASSERT_NE(blob->Find("gemm"), nullptr);
  EXPECT_EQ(Text(blob->Find("gemm")->cubin), big);
  EXPECT_EQ(blob->Find("gemm")->resources.registers, 200);
  EXPECT_EQ(blob->Find("gemm")->resources.spill_bytes, 8);
  EXPECT_EQ(Text(blob->Find("norm")->cubin), "\x7f\n\n\x01");
  EXPECT_EQ(blob->Find("sample"), nullptr);
  for (const auto& entry : blob->entries())
    EXPECT_EQ((entry.cubin.data() - Bytes(packed).data()) % 64, 0) << entry.entry;
}

TEST(KernelBlob, RefusesDamage) {
  const std::string packed = PackKernels({Kernel("norm", "12345678", 32)}, "sm_90a", 13000);
  const auto fault = [](const std::string& bytes) {
    const auto blob = KernelBlob::Parse(Bytes(bytes), "e.lathe");
    EXPECT_FALSE(blob.ok());
    EXPECT_EQ(blob.status().code(), StatusCode::kCorrupt);
    return blob.status().message();
  };
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string out = packed;
    out.replace(out.find(from), from.size(), to);
    return out;
  };
  EXPECT_NE(fault(packed.substr(0, 20)).find("no end"), std::string::npos);
  EXPECT_NE(fault(packed.substr(0, packed.size() - 64)).find("'norm' lies outside"), std::string::npos);
  EXPECT_NE(fault(replaced("\"offset\":0", "\"offset\":-1")).find("lies outside"), std::string::npos);
  EXPECT_NE(fault(replaced("\"size\":8", "\"size\":9999999999")).find("lies outside"), std::string::npos);
  EXPECT_NE(fault(replaced("\"kernels\"", "\"kernals\"")).find("must be an array"), std::string::npos);
  EXPECT_NE(fault(replaced("\"registers\":32", "\"registers\":-2")).find("'registers'"), std::string::npos);
  EXPECT_NE(fault(replaced("13000", "\"new\"")).find("'driver'"), std::string::npos);
}

}  // namespace
}  // namespace lathe::cuda
