// A safetensors file: whatever is accepted must give views inside the file that do not overlap.
#include <cstdint>
#include <span>

#include "base/check.h"
#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto entries = lathe::ParseSafetensors(std::as_bytes(std::span(data, size)), "fuzz");
  if (!entries.ok()) {
    LATHE_CHECK(!entries.status().message().empty());
    return 0;
  }
  uint64_t cursor = 0;
  for (const lathe::SafetensorsEntry& entry : *entries) {
    LATHE_CHECK(entry.begin >= 8 && entry.begin <= entry.end && entry.end <= size);
    LATHE_CHECK(cursor == 0 || entry.begin == cursor);
    LATHE_CHECK(entry.shape.NumElements().has_value());
    LATHE_CHECK_EQ(
        static_cast<uint64_t>(*entry.shape.NumElements()) * static_cast<uint64_t>(lathe::SizeOf(entry.dtype)),
        entry.end - entry.begin);
    cursor = entry.end;
  }
  LATHE_CHECK(entries->empty() || cursor == size);
  return 0;
}
