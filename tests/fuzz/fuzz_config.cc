// config.json, generation_config.json and the manifest's model spec: whatever is accepted is a valid spec
// that survives the way through JSON.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "model/read_model.h"
#include "model/shard.h"
#include "model/spec_json.h"
#include "model/tensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto json = lathe::ParseJson(text, "fuzz", {.max_depth = 32});
  if (!json.ok()) return 0;
  const auto generation = lathe::ReadGenerationConfig(*json, "fuzz");
  auto spec =
      lathe::ReadModelSpec(*json, generation.ok() ? *generation : lathe::GenerationDefaults(), "fuzz");
  if (!spec.ok()) {
    LATHE_CHECK(!spec.status().message().empty());
    spec = lathe::ModelSpecFromJson(*json, "fuzz");
    if (!spec.ok()) return 0;
  }
  LATHE_CHECK(lathe::ValidateSpec(*spec, "fuzz").ok());
  const lathe::Json written = lathe::ToJson(*spec);
  const auto again = lathe::ModelSpecFromJson(written, "fuzz");
  LATHE_CHECK(again.ok());
  LATHE_CHECK(lathe::DumpJson(lathe::ToJson(*again)) == lathe::DumpJson(written));
  const int tp = 1 + static_cast<int>(size % 4);
  for (const lathe::TensorDef& def : lathe::TensorTable(*spec)) {
    if (!lathe::CheckSharding(*spec, tp, 1).ok()) break;
    for (int rank = 0; rank < tp; ++rank) {
      const lathe::Cut cut = lathe::CutOf(*spec, def, tp, rank);
      LATHE_CHECK(cut.rows.begin >= 0 && cut.rows.begin <= cut.rows.end && cut.rows.end <= def.shape[0]);
      LATHE_CHECK(cut.cols.begin >= 0 && cut.cols.begin <= cut.cols.end);
    }
  }
  return 0;
}
