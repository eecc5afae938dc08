// The text form of the IR: any bytes are refused or parsed, what is parsed prints and reads back the same,
// and the verifier survives it.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "ir/text.h"
#include "ir/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto graph = lathe::ir::ParseGraph({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!graph.ok()) return 0;
  const std::string text = lathe::ir::PrintGraph(*graph);
  const auto again = lathe::ir::ParseGraph(text, "printed");
  LATHE_CHECK(again.ok());
  LATHE_CHECK(*again == *graph);
  LATHE_CHECK_EQ(lathe::ir::PrintGraph(*again), text);
  (void)lathe::ir::VerifyGraph(*graph);
  return 0;
}
