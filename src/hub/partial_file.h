// A blob that is being fetched in pieces: its file, which pieces are there, and its hash, which is computed
// while the rest comes in.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "hub/api.h"
#include "hub/cache.h"
#include "hub/digest.h"
#include "hub/ranges.h"

namespace lathe::hub {

// Whoever has one holds the blob's lock. Thread-safe.
class PartialFile {
 public:
  // Takes up what an earlier attempt left: ours, or a prefix of huggingface_hub's. Errors: kIo,
  // kResourceExhausted.
  static Expected<std::unique_ptr<PartialFile>> Open(const RepoCache& cache, const RemoteFile& file);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  // A missing piece of at most `limit` bytes that nobody else was given.
  std::optional<std::pair<uint64_t, uint64_t>> Claim(uint64_t limit);
  // What was claimed and did not come may be claimed again.
  void Unclaim();
  // Errors: kResourceExhausted for a full disk, kIo.
  Status Write(uint64_t offset, std::string_view bytes);
  // [begin, end) was written: records it, and hashes on if that closed a gap at the front.
  Status Done(uint64_t begin, uint64_t end);
  uint64_t Covered() const;
  bool Complete() const;

  // Checks the hash of a complete file and gives it its name. Errors: kCorrupt, with the file removed.
  Status Finish(const std::string& where);

 private:
  PartialFile(const RepoCache& cache, const RemoteFile& file);
  Status HashPart(uint64_t offset, size_t size);
  Status HashOn(std::unique_lock<std::mutex>& lock);
  Status Remove(Status fault);

  const RemoteFile file_;
  const std::string path_, ranges_path_, blob_path_;
  int fd_ = -1;
  std::mutex write_mutex_;
  mutable std::mutex mutex_;
  RangeSet done_, claimed_;      // guarded by mutex_
  std::optional<RangeLog> log_;  // of files large enough to be worth one
  std::optional<Sha> digest_;    // by whoever set hashing_
  uint64_t hashed_ = 0;          // guarded by mutex_
  bool finished_ = false;
  bool hashing_ = false;  // likewise
};

}  // namespace lathe::hub
