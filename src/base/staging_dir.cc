#include "base/staging_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/file.h"

namespace lathe {

namespace fs = std::filesystem;

namespace {

// Names in a directory are safe from a crash once the directory itself is flushed. Some file systems cannot;
// the files are there all the same.
void FlushDirectory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)::fsync(fd);
  ::close(fd);
}

void FlushTree(const std::string& root) {
  std::error_code ec;
  for (fs::recursive_directory_iterator it(root, ec), end; !ec && it != end; it.increment(ec)) {
    if (it->is_directory(ec) && !it->is_symlink(ec)) FlushDirectory(it->path().string());
  }
  FlushDirectory(root);
}

std::string ParentOf(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// `path` and `temp` change places: in one step where the file system can, else in two.
bool Exchange(const std::string& temp, const std::string& path) {
  if (::renameat2(AT_FDCWD, temp.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  const std::string old = temp + "-old";
  if (::rename(path.c_str(), old.c_str()) != 0) return false;
  if (::rename(temp.c_str(), path.c_str()) == 0) return ::rename(old.c_str(), temp.c_str()) == 0;
  const int fault = errno;
  (void)::rename(old.c_str(), path.c_str());
  errno = fault;
  return false;
}

}  // namespace

Expected<StagingDir> StagingDir::Create(const std::string& wanted, bool replace) {
  std::string path = wanted;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  std::error_code ec;
  if (fs::exists(path, ec) && !(fs::is_directory(path, ec) && (replace || fs::is_empty(path, ec))))
    return Error(StatusCode::kInvalidArgument,
                 "'%s' exists and is not %s directory; remove it or choose another output with -o",
                 path.c_str(), replace ? "a" : "an empty");
  std::string temp = StrFormat("%s.tmp-%d", path.c_str(), static_cast<int>(::getpid()));
  fs::remove_all(temp, ec);
  LATHE_RETURN_IF_ERROR(MakeDirs(temp));
  return StagingDir(std::move(path), std::move(temp));
}

StagingDir::StagingDir(StagingDir&& other) noexcept
    : path_(std::move(other.path_)), temp_(std::exchange(other.temp_, "")) {}

StagingDir::~StagingDir() {
  std::error_code ec;
  if (!temp_.empty()) fs::remove_all(temp_, ec);
}

Status StagingDir::Commit() {
  FlushTree(temp_);
  int fault = 0;
  if (::rename(temp_.c_str(), path_.c_str()) == 0) {
    temp_.clear();
  } else if (errno != ENOTEMPTY && errno != EEXIST) {
    fault = errno;
  } else if (!Exchange(temp_, path_)) {
    fault = errno;
  }
  if (fault != 0)
    return Error(StatusCode::kIo, "cannot move '%s' to '%s': %s", temp_.c_str(), path_.c_str(),
                 std::strerror(fault));
  FlushDirectory(ParentOf(path_));
  // After an exchange the old directory has the temporary name.
  std::error_code ec;
  if (!temp_.empty()) fs::remove_all(std::exchange(temp_, ""), ec);
  return Status::Ok();
}

}  // namespace lathe
