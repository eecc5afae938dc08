#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

namespace lathe {
namespace {

Status Errno(const char* what, const std::string& path, int error = errno) {
  const StatusCode code = error == ENOENT || error == ENOTDIR ? StatusCode::kNotFound : StatusCode::kIo;
  return Error(code, "cannot %s '%s': %s", what, path.c_str(), std::strerror(error));
}

// RAII for a descriptor that lives within one function.
struct Fd {
  int fd;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
};

Expected<uint64_t> RegularSize(int fd, const std::string& path) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return Errno("stat", path);
  if (S_ISDIR(st.st_mode))
    return Error(StatusCode::kInvalidArgument, "'%s' is a directory, a file was expected", path.c_str());
  if (!S_ISREG(st.st_mode))
    return Error(StatusCode::kInvalidArgument, "'%s' is not a regular file", path.c_str());
  return static_cast<uint64_t>(st.st_size);
}

}  // namespace

Expected<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return Errno("open", path);
  LATHE_ASSIGN_OR_RETURN(const uint64_t size, RegularSize(file.fd, path));
  if (size > max_bytes)
    return Error(StatusCode::kCorrupt, "'%s' has %llu bytes, at most %zu are accepted here", path.c_str(),
                 static_cast<unsigned long long>(size), max_bytes);
  // Files of /proc and /sys say they are empty or a page long: read to the end, whatever the size was.
  std::string out(size + 1, '\0');
  size_t done = 0;
  while (true) {
    if (done == out.size()) out.resize(out.size() * 2 + 4096);
    const ssize_t n = ::read(file.fd, out.data() + done, out.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Errno("read", path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
    if (done > max_bytes)
      return Error(StatusCode::kCorrupt, "'%s' grew past %zu bytes while it was read", path.c_str(),
                   max_bytes);
  }
  out.resize(done);
  return out;
}

bool FileExists(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

bool DirExists(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

Expected<uint64_t> FileSize(const std::string& path) {
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return Errno("open", path);
  return RegularSize(file.fd, path);
}

Status MakeDirs(const std::string& path) {
  std::error_code ec;
  std::filesystem::create_directories(path, ec);
  if (ec)
    return Error(StatusCode::kIo, "cannot create directory '%s': %s", path.c_str(), ec.message().c_str());
  return Status::Ok();
}

Expected<MappedFile> MappedFile::Open(const std::string& path) {
  const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return Errno("open", path);
  LATHE_ASSIGN_OR_RETURN(const uint64_t size, RegularSize(file.fd, path));
  MappedFile out;
  out.path_ = path;
  out.size_ = size;
  if (size > 0) {
    void* p = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
    if (p == MAP_FAILED) return Errno("map", path);
    out.data_ = static_cast<const std::byte*>(p);
  }
  return out;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::DropPages(size_t offset, size_t size) const {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = std::min(offset + size, size_) / page * page;
  if (end > begin) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

Expected<AtomicFile> AtomicFile::Create(const std::string& path) {
  // The rename would put a plain file in the place of a device or a pipe, or of a link to one (/dev/stdout).
  struct stat existing {};
  if (::stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode) && !S_ISDIR(existing.st_mode)) {
    return Error(StatusCode::kInvalidArgument, "'%s' exists and is not a regular file: choose another output",
                 path.c_str());
  }
  static std::atomic<unsigned> counter{0};
  std::string temp = StrFormat("%s.tmp-%d-%u", path.c_str(), static_cast<int>(::getpid()), counter++);
  const int fd = ::open(temp.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return Errno("create", temp);
  return AtomicFile(fd, path, std::move(temp));
}

AtomicFile::AtomicFile(int fd, std::string path, std::string temp_path)
    : fd_(fd), path_(std::move(path)), temp_path_(std::move(temp_path)) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      offset_(other.offset_),
      path_(std::move(other.path_)),
      temp_path_(std::move(other.temp_path_)) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temp_path_.c_str());
}

Status AtomicFile::Append(std::span<const std::byte> bytes) {
  LATHE_RETURN_IF_ERROR(WriteAt(offset_, bytes));
  offset_ += bytes.size();
  return Status::Ok();
}

Status AtomicFile::Append(std::string_view text) { return Append(std::as_bytes(std::span(text))); }

Status AtomicFile::AlignTo(uint64_t alignment) {
  const uint64_t pad = (alignment - offset_ % alignment) % alignment;
  const std::vector<std::byte> zeros(pad);
  return Append(zeros);
}

Status AtomicFile::WriteAt(uint64_t offset, std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : ENOSPC;
      return Error(StatusCode::kIo,
                   "cannot write %zu bytes at offset %llu of '%s': %s; free some space or "
                   "choose another output with -o",
                   bytes.size() - done, static_cast<unsigned long long>(offset + done), path_.c_str(),
                   std::strerror(error));
    }
    done += static_cast<size_t>(n);
  }
  return Status::Ok();
}

Status AtomicFile::Commit() {
  if (::fsync(fd_) != 0) return Errno("flush", path_);
  if (::close(std::exchange(fd_, -1)) != 0) {
    const int error = errno;
    ::unlink(temp_path_.c_str());
    return Errno("close", path_, error);
  }
  if (::rename(temp_path_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temp_path_.c_str());
    return Errno("rename into place", path_, error);
  }
  return Status::Ok();
}

Status WriteFileAtomic(const std::string& path, std::string_view content) {
  LATHE_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  LATHE_RETURN_IF_ERROR(file.Append(content));
  return file.Commit();
}

}  // namespace lathe
