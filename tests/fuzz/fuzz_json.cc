// JSON as every file format of ours meets it: parser limits, typed look-ups, and printing what was read.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = lathe::ParseJson(text, "fuzz");
  const auto lenient =
      lathe::ParseJson(text, "fuzz", {.max_bytes = 4096, .max_depth = 8, .allow_duplicate_keys = true});
  if (lenient.ok()) (void)lathe::DumpJson(*lenient);
  if (!parsed.ok()) return 0;
  for (const char* key : {"a", "name", "offset", "shape"}) {
    (void)lathe::JsonInt(*parsed, key, "fuzz");
    (void)lathe::JsonNumberOr(*parsed, key, 1.0, "fuzz");
    (void)lathe::JsonBoolOr(*parsed, key, true, "fuzz");
    (void)lathe::JsonString(*parsed, key, "fuzz");
  }
  // What was read is written as JSON again, and reads as the same text.
  const std::string dumped = lathe::DumpJson(*parsed);
  const auto again = lathe::ParseJson(dumped, "fuzz");
  LATHE_CHECK(again.ok());
  LATHE_CHECK(lathe::DumpJson(*again) == dumped);
  return 0;
}
