// The cache folder that lathe and huggingface_hub share, so that what either fetched the other finds:
//
//   CACHE/models--ORG--NAME/refs/main                 the commit that a branch or tag was last seen at
//   CACHE/models--ORG--NAME/snapshots/COMMIT/PATH     relative links to blobs
//   CACHE/models--ORG--NAME/blobs/ETAG                contents
//   CACHE/.locks/models--ORG--NAME/ETAG.lock          flock(2) while a blob is fetched
//
// Ours alone, beside a blob: ETAG.lathe.incomplete, what has come so far, with holes, and ETAG.lathe.ranges,
// its record. (ETAG.incomplete, as older huggingface_hub leaves behind, is a prefix, and is taken over.)
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/status.h"
#include "hub/names.h"

namespace lathe::hub {

// Holds a lock file as Python's filelock does (flock on it, the file stays). Movable.
class BlobLock {
 public:
  // nullopt: somebody else holds it. Errors: kIo.
  static Expected<std::optional<BlobLock>> Try(const std::string& path);
  BlobLock(BlobLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  BlobLock& operator=(BlobLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~BlobLock();

 private:
  explicit BlobLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// One repository's folder. Const members are thread-safe.
class RepoCache {
 public:
  RepoCache(const std::string& cache_dir, const RepoName& repo)
      : cache_dir_(cache_dir), repo_(repo), root_(cache_dir + "/" + repo.Folder()) {}

  const std::string& root() const { return root_; }
  const std::string& cache_dir() const { return cache_dir_; }
  std::string BlobPath(const std::string& etag) const { return root_ + "/blobs/" + etag; }
  std::string PartialPath(const std::string& etag) const { return BlobPath(etag) + ".lathe.incomplete"; }
  std::string RangesPath(const std::string& etag) const { return BlobPath(etag) + ".lathe.ranges"; }
  std::string PrefixPath(const std::string& etag) const { return BlobPath(etag) + ".incomplete"; }
  std::string LockPath(const std::string& etag) const {
    return cache_dir_ + "/.locks/" + repo_.Folder() + "/" + etag + ".lock";
  }
  std::string SnapshotDir(const std::string& commit) const { return root_ + "/snapshots/" + commit; }

  // Makes the folders that downloads go into. Errors: kIo.
  Status Prepare(const std::string& commit) const;
  // Whether the snapshot has the file (through its link).
  bool Has(const std::string& commit, const std::string& path) const;
  // Makes snapshots/COMMIT/PATH a link to the blob, instead of whatever was there. Errors: kIo;
  // kInvalidArgument when a folder of it is a link.
  Status Link(const std::string& commit, const std::string& path, const std::string& etag) const;
  // The commit that the repository's revision was last seen at: the revision itself when it is one.
  // kNotFound.
  Expected<std::string> CachedCommit() const;
  // Errors: kIo.
  Status RememberCommit(const std::string& commit) const;
  // Notes that a commit has no such file, as huggingface_hub does (.no_exist). Faults are let go.
  void RememberAbsent(const std::string& commit, const std::string& path) const;

 private:
  std::string cache_dir_;
  RepoName repo_;
  std::string root_;
};

// Bytes that this user may still write where `path` is or will be. Errors: kIo.
Expected<uint64_t> FreeBytes(const std::string& path);

}  // namespace lathe::hub
