// The execution plan of an engine file: whatever is accepted by reader and verifier survives a round trip.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "plan/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = lathe::ParseJson({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!json.ok()) return 0;
  const auto plan = lathe::PlanFromJson(*json, "fuzz");
  if (!plan.ok()) return 0;
  if (!lathe::VerifyPlan(*plan, uint64_t{1} << 40).ok()) return 0;
  const auto again = lathe::PlanFromJson(lathe::ToJson(*plan), "fuzz");
  LATHE_CHECK(again.ok());
  LATHE_CHECK(lathe::DumpJson(lathe::ToJson(*again)) == lathe::DumpJson(lathe::ToJson(*plan)));
  return 0;
}
