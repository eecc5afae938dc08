#include "package/engine_source.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/sha.h"

namespace lathe::package {
namespace {

// Compares the blobs' checksums while the file goes by. Blobs are ascending and do not overlap
// (EngineReader::Open).
class BlobChecker {
 public:
  BlobChecker(const std::vector<BlobInfo>& blobs, const std::string& path) : blobs_(blobs), path_(path) {}

  Status Update(std::span<const std::byte> bytes) {
    const uint64_t end = at_ + bytes.size();
    while (next_ < blobs_.size() && blobs_[next_].offset < end) {
      const BlobInfo& blob = blobs_[next_];
      if (!hasher_) hasher_.emplace();
      const uint64_t from = std::max(at_, blob.offset), to = std::min(end, blob.offset + blob.size);
      if (to > from) {
        hasher_->Update(bytes.subspan(static_cast<size_t>(from - at_), static_cast<size_t>(to - from)));
      }
      if (to < blob.offset + blob.size) break;
      if (hasher_->Digest64() != blob.checksum)
        return Error(
            StatusCode::kCorrupt,
            "engine '%s': the checksum of blob '%s' does not match; the file is damaged, build it again",
            path_.c_str(), blob.name.c_str());
      hasher_.reset();
      ++next_;
    }
    at_ = end;
    return {};
  }

 private:
  std::vector<BlobInfo> blobs_;
  std::string path_;
  size_t next_ = 0;
  uint64_t at_ = 0;
  std::optional<Hasher> hasher_;
};

}  // namespace

Expected<Source> EngineSource(const EngineReader& engine, std::shared_ptr<std::string> digest) {
  LATHE_ASSIGN_OR_RETURN(Source file, FileSource(engine.path()));
  if (file.size != engine.file_bytes())
    return Error(StatusCode::kIo, "'%s' changed its length while it was read; try again",
                 engine.path().c_str());
  Source out{file.size, {}};
  out.read = [file, digest = std::move(digest), blobs = engine.blobs(),
              path = engine.path()](const Sink& sink) {
    BlobChecker checker(blobs, path);
    Sha hash;
    const Status status = file.read([&](std::span<const std::byte> bytes) {
      hash.Update(bytes);
      LATHE_RETURN_IF_ERROR(checker.Update(bytes));
      return sink(bytes);
    });
    if (status.ok()) *digest = hash.Finish();
    return status;
  };
  return out;
}

}  // namespace lathe::package
