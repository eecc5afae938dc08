#include "hub/partial_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/file.h"

namespace lathe::hub {
namespace {

constexpr uint64_t kLogFrom = 4 << 20;  // smaller files are fetched again as a whole
constexpr size_t kHashBytes = 4 << 20;
constexpr uint64_t kPage = 64 << 10;  // of any machine
constexpr char kPointer[] = "version https://git-lfs.github.com/spec/v1";

Status WriteFault(const std::string& path) {
  if (errno == ENOSPC || errno == EDQUOT)
    return Error(
        StatusCode::kResourceExhausted,
        "the disk of '%s' is full; make room, or set HF_HUB_CACHE to another disk, and pull again: what has "
        "come is kept",
        path.c_str());
  return Error(StatusCode::kIo, "cannot write '%s': %s", path.c_str(), std::strerror(errno));
}

// A link may lead to somebody's file, which is not to be written to.
bool IsPlainFile(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

}  // namespace

PartialFile::PartialFile(const RepoCache& cache, const RemoteFile& file)
    : file_(file),
      path_(cache.PartialPath(file.etag)),
      ranges_path_(cache.RangesPath(file.etag)),
      blob_path_(cache.BlobPath(file.etag)),
      done_(file.size),
      claimed_(file.size) {}

PartialFile::~PartialFile() {
  if (fd_ >= 0) ::close(fd_);
  // What cannot be taken up again is not left lying about.
  if (!finished_ && (!log_ || done_.Covered() == 0)) (void)Remove(Status::Ok());
}

Expected<std::unique_ptr<PartialFile>> PartialFile::Open(const RepoCache& cache, const RemoteFile& file) {
  std::unique_ptr<PartialFile> made(new PartialFile(cache, file));
  const bool logged = file.size >= kLogFrom;
  if (!IsPlainFile(made->path_)) ::unlink(made->path_.c_str());
  if (logged && FileExists(made->path_)) {
    made->done_ = RangeLog::Load(made->ranges_path_, file.size);
  } else if (const std::string prefix = cache.PrefixPath(file.etag); logged && IsPlainFile(prefix)) {
    const auto size = FileSize(prefix);
    if (size.ok() && *size <= file.size && ::rename(prefix.c_str(), made->path_.c_str()) == 0)
      made->done_.Add(0, *size);
  }
  const bool fresh = made->done_.Covered() == 0;
  made->fd_ =
      ::open(made->path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (fresh ? O_TRUNC : 0), 0666);
  if (made->fd_ < 0 || ::ftruncate(made->fd_, static_cast<off_t>(file.size)) != 0)
    return WriteFault(made->path_);
  if (logged) {
    LATHE_ASSIGN_OR_RETURN(RangeLog log, RangeLog::Open(made->ranges_path_, made->done_));
    made->log_.emplace(std::move(log));
  }
  made->claimed_ = made->done_;
  if (file.Kind()) made->digest_.emplace(BeginDigest(*file.Kind(), file.size));
  return made;
}

std::optional<std::pair<uint64_t, uint64_t>> PartialFile::Claim(uint64_t limit) {
  const std::lock_guard lock(mutex_);
  const auto gap = claimed_.FirstGap(0, limit);
  if (gap) claimed_.Add(gap->first, gap->second);
  return gap;
}

void PartialFile::Unclaim() {
  const std::lock_guard lock(mutex_);
  claimed_ = done_;
}

Status PartialFile::Write(uint64_t offset, std::string_view bytes) {
  // The kernel lets one thread at a time write a file, and has the others spin.
  const std::lock_guard lock(write_mutex_);
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return WriteFault(path_);
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return Status::Ok();
}

Status PartialFile::Done(uint64_t begin, uint64_t end) {
  if (log_) LATHE_RETURN_IF_ERROR(log_->Append(begin, end));
  std::unique_lock lock(mutex_);
  done_.Add(begin, end);
  return HashOn(lock);
}

// Mapped, because a hash takes longer than a fast network, and a copy would come on top.
Status PartialFile::HashPart(uint64_t offset, size_t size) {
  const uint64_t into = offset % kPage;
  void* mapped = ::mmap(nullptr, size + into, PROT_READ, MAP_SHARED | MAP_POPULATE, fd_,
                        static_cast<off_t>(offset - into));
  if (mapped == MAP_FAILED)
    return Error(StatusCode::kIo, "cannot read back '%s': %s", path_.c_str(), std::strerror(errno));
  digest_->Update({static_cast<const char*>(mapped) + into, size});
  ::munmap(mapped, size + into);
  return Status::Ok();
}

// One thread at a time; the others go on fetching.
Status PartialFile::HashOn(std::unique_lock<std::mutex>& lock) {
  if (!digest_ || hashing_ || done_.Prefix() <= hashed_) return Status::Ok();
  hashing_ = true;
  Status fault;
  while (fault.ok() && hashed_ < done_.Prefix()) {
    const uint64_t from = hashed_, to = done_.Prefix();
    lock.unlock();
    for (uint64_t at = from; at < to && fault.ok(); at += kHashBytes)
      fault = HashPart(at, static_cast<size_t>(std::min<uint64_t>(kHashBytes, to - at)));
    lock.lock();
    hashed_ = to;
  }
  hashing_ = false;
  return fault;
}

uint64_t PartialFile::Covered() const {
  const std::lock_guard lock(mutex_);
  return done_.Covered();
}

bool PartialFile::Complete() const {
  const std::lock_guard lock(mutex_);
  return done_.Complete();
}

Status PartialFile::Remove(Status fault) {
  ::unlink(path_.c_str());
  RangeLog::Remove(ranges_path_);
  return fault;
}

Status PartialFile::Finish(const std::string& where) {
  std::unique_lock lock(mutex_);
  LATHE_RETURN_IF_ERROR(HashOn(lock));
  if (digest_) {
    const std::string found = digest_->Finish();
    if (found != file_.etag)
      return Remove(Error(StatusCode::kCorrupt,
                          "%s came with the hash %.16s..., but the hub's list says %.16s...; it was removed",
                          where.c_str(), found.c_str(), file_.etag.c_str()));
  }
  char head[sizeof kPointer - 1];
  if (!file_.lfs && file_.size < 1024 && ::pread(fd_, head, sizeof head, 0) == sizeof head &&
      std::string_view(head, sizeof head) == kPointer)
    return Remove(
        Error(StatusCode::kCorrupt,
              "%s is a pointer of git-lfs and not the file itself: it was pushed without git-lfs; ask the "
              "repository's owner to upload the file",
              where.c_str()));
  if (::rename(path_.c_str(), blob_path_.c_str()) != 0) return WriteFault(blob_path_);
  RangeLog::Remove(ranges_path_);
  finished_ = true;
  return Status::Ok();
}

}  // namespace lathe::hub
