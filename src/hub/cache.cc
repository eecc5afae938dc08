#include "hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/file.h"

namespace lathe::hub {
namespace {

namespace fs = std::filesystem;

constexpr char kCacheTag[] =
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# A cache of models, which can be fetched again (https://bford.info/cachedir/).\n";

Status SystemFault(const char* doing, const std::string& path) {
  return Error(errno == ENOSPC ? StatusCode::kResourceExhausted : StatusCode::kIo, "cannot %s '%s': %s",
               doing, path.c_str(), std::strerror(errno));
}

// Makes the folders of `path` (up to its last '/') below `root` one by one, none of which may be a link: what
// a repository names may not lead out of its snapshot.
Status MakeFoldersBelow(const std::string& root, const std::string& path) {
  for (size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string folder = root + "/" + path.substr(0, at);
    if (::mkdir(folder.c_str(), 0777) == 0) continue;
    if (errno != EEXIST) return SystemFault("create", folder);
    struct stat st {};
    if (::lstat(folder.c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
      return Error(StatusCode::kInvalidArgument, "'%s' must be a folder, but is a file or a link; remove it",
                   folder.c_str());
  }
  return Status::Ok();
}

}  // namespace

Expected<std::optional<BlobLock>> BlobLock::Try(const std::string& path) {
  for (;;) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664);
    if (fd < 0) return SystemFault("open the lock", path);
    BlobLock lock(fd);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::optional<BlobLock>();
      if (errno == EINTR) continue;
      return SystemFault("lock", path);
    }
    // Some releases of filelock remove the file: then this lock is of a file that nobody else will find.
    struct stat ours {
    }, named{};
    if (::fstat(fd, &ours) == 0 && ::stat(path.c_str(), &named) == 0 && ours.st_ino == named.st_ino)
      return std::optional<BlobLock>(std::move(lock));
  }
}

BlobLock::~BlobLock() {
  if (fd_ >= 0) ::close(fd_);
}

Status RepoCache::Prepare(const std::string& commit) const {
  LATHE_RETURN_IF_ERROR(MakeDirs(cache_dir_));
  LATHE_RETURN_IF_ERROR(MakeDirs(root_ + "/blobs"));
  // Links in a snapshot lead to ../../blobs, which only a folder in its own place has.
  LATHE_RETURN_IF_ERROR(MakeFoldersBelow(root_, "snapshots/" + commit + "/"));
  LATHE_RETURN_IF_ERROR(MakeDirs(cache_dir_ + "/.locks/" + repo_.Folder()));
  const std::string tag = cache_dir_ + "/CACHEDIR.TAG";
  if (!FileExists(tag)) (void)WriteFileAtomic(tag, kCacheTag);
  return Status::Ok();
}

bool RepoCache::Has(const std::string& commit, const std::string& path) const {
  return FileExists(SnapshotDir(commit) + "/" + path);
}

Status RepoCache::Link(const std::string& commit, const std::string& path, const std::string& etag) const {
  const std::string root = SnapshotDir(commit);
  LATHE_RETURN_IF_ERROR(MakeFoldersBelow(root, path));
  std::string target = "../../";
  for (const char c : path)
    if (c == '/') target += "../";
  target += "blobs/" + etag;
  const std::string link = root + "/" + path;
  if (::symlink(target.c_str(), link.c_str()) == 0) return Status::Ok();
  if (errno != EEXIST) return SystemFault("create the link", link);
  char present[512];
  const ssize_t n = ::readlink(link.c_str(), present, sizeof present);
  if (n > 0 && target == std::string_view(present, static_cast<size_t>(n))) return Status::Ok();
  // A link to another blob, or a file where links do not work: replaced so that nobody ever sees the path
  // missing.
  const std::string temporary = BlobPath(etag) + ".tmp-" + std::to_string(::getpid());
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) return SystemFault("create the link", temporary);
  if (::rename(temporary.c_str(), link.c_str()) == 0) return Status::Ok();
  const Status fault = SystemFault("create the link", link);
  ::unlink(temporary.c_str());
  return fault;
}

Expected<std::string> RepoCache::CachedCommit() const {
  const std::string path = root_ + "/refs/" + repo_.revision;
  std::string commit = repo_.revision;
  if (FileExists(path)) {
    LATHE_ASSIGN_OR_RETURN(commit, ReadFile(path, 4096));
    commit.erase(commit.find_last_not_of(" \r\n") + 1);
  }
  if (IsCommit(commit) && DirExists(SnapshotDir(commit))) return commit;
  return Error(StatusCode::kNotFound, "%s is not in the cache '%s'", repo_.Id().c_str(), cache_dir_.c_str());
}

Status RepoCache::RememberCommit(const std::string& commit) const {
  if (repo_.revision == commit) return Status::Ok();
  const std::string path = root_ + "/refs/" + repo_.revision;
  if (FileExists(path)) {
    const auto present = ReadFile(path, 4096);
    if (present.ok() && *present == commit) return Status::Ok();
  }
  LATHE_RETURN_IF_ERROR(MakeDirs(fs::path(path).parent_path().string()));
  return WriteFileAtomic(path, commit);
}

void RepoCache::RememberAbsent(const std::string& commit, const std::string& path) const {
  const std::string note = root_ + "/.no_exist/" + commit + "/" + path;
  if (FileExists(note) || !MakeDirs(fs::path(note).parent_path().string()).ok()) return;
  const int fd = ::open(note.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd >= 0) ::close(fd);
}

Expected<uint64_t> FreeBytes(const std::string& path) {
  fs::path at(path);
  struct statvfs info {};
  while (::statvfs(at.c_str(), &info) != 0) {
    if (errno != ENOENT || !at.has_relative_path())
      return Error(StatusCode::kIo, "cannot keep models in '%s': %s; set HF_HUB_CACHE to another folder",
                   path.c_str(), std::strerror(errno));
    at = at.parent_path();
    if (at.empty()) at = ".";
  }
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace lathe::hub
