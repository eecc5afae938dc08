// A whole engine file: header, manifest, blob table, the plans in it.
//
// Random bytes would never get past the checksums, so the first byte of the input says whether header and
// manifest get their checksums put right before the file is opened.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/check.h"
#include "base/hash.h"
#include "formats/engine_file.h"
#include "plan/plan.h"

namespace {

// Offsets within the header (docs/engine-format.md).
constexpr size_t kManifestOffset = 48, kManifestSize = 56, kManifestChecksum = 64, kFileSize = 72,
                 kHeaderChecksum = 80;

uint64_t ReadU64(const std::string& s, size_t at) {
  uint64_t v;
  std::memcpy(&v, s.data() + at, sizeof v);
  return v;
}
void WriteU64(std::string* s, size_t at, uint64_t v) { std::memcpy(s->data() + at, &v, sizeof v); }
uint64_t HashOf(const std::string& s, size_t offset, size_t size) {
  return lathe::Hash64(std::as_bytes(std::span(s)).subspan(offset, size));
}

void MendChecksums(std::string* file) {
  if (file->size() < lathe::kBlobAlignment) return;
  WriteU64(file, kFileSize, file->size());
  const uint64_t offset = std::min<uint64_t>(ReadU64(*file, kManifestOffset), file->size());
  WriteU64(file, kManifestOffset, offset);
  WriteU64(file, kManifestSize, file->size() - offset);
  WriteU64(file, kManifestChecksum, HashOf(*file, offset, file->size() - offset));
  WriteU64(file, kHeaderChecksum, HashOf(*file, 0, kHeaderChecksum));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string file(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 1) MendChecksums(&file);

  static const int fd = memfd_create("engine", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  LATHE_CHECK(fd >= 0 && ftruncate(fd, 0) == 0);
  LATHE_CHECK(pwrite(fd, file.data(), file.size(), 0) == static_cast<ssize_t>(file.size()));

  const auto reader = lathe::EngineReader::Open(path);
  if (!reader.ok()) {
    LATHE_CHECK(!reader.status().message().empty());
    return 0;
  }
  (void)reader->VerifyWeights();
  for (const lathe::BlobInfo& blob : reader->blobs()) {
    const auto bytes = reader->Blob(blob.name);
    LATHE_CHECK(bytes.ok() && bytes->size() == blob.size);
    if (!blob.name.starts_with("plan")) continue;
    const auto json = lathe::ParseJson(*reader->TextBlob(blob.name), blob.name);
    if (!json.ok()) continue;
    const auto plan = lathe::PlanFromJson(*json, blob.name);
    if (plan.ok()) (void)lathe::VerifyPlan(*plan, reader->file_bytes());
  }
  return 0;
}
