#include "package/rootfs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "base/file.h"

namespace lathe::package {
namespace {

constexpr size_t kSlice = size_t{1} << 22;

struct OpenFile {
  int fd = -1;
  ~OpenFile() {
    if (fd >= 0) ::close(fd);
  }
};

Status ReadWhole(const std::string& path, uint64_t size, const Sink& sink) {
  const OpenFile file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return Error(StatusCode::kIo, "cannot open '%s': %s", path.c_str(), std::strerror(errno));
  (void)::posix_fadvise(file.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  std::vector<std::byte> slice(static_cast<size_t>(std::min<uint64_t>(size + 1, kSlice)));
  uint64_t done = 0;
  while (true) {
    const ssize_t n = ::read(file.fd, slice.data(), slice.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error(StatusCode::kIo, "cannot read '%s': %s", path.c_str(), std::strerror(errno));
    if (n > 0 && static_cast<uint64_t>(n) <= size - done) {
      done += static_cast<uint64_t>(n);
      LATHE_RETURN_IF_ERROR(sink(std::span(slice).first(static_cast<size_t>(n))));
      continue;
    }
    if (n == 0 && done == size) return {};
    return Error(StatusCode::kIo, "'%s' changed its length while it was read; try again", path.c_str());
  }
}

}  // namespace

Source TextSource(std::string text) {
  const auto shared = std::make_shared<const std::string>(std::move(text));
  return {shared->size(), [shared](const Sink& sink) { return sink(std::as_bytes(std::span(*shared))); }};
}

Expected<Source> FileSource(const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const uint64_t size, FileSize(path));
  return Source{size, [path, size](const Sink& sink) { return ReadWhole(path, size, sink); }};
}

Status SetModeAndTime(const std::string& path, uint32_t mode, uint64_t mtime) {
  const timespec time{static_cast<time_t>(mtime), 0};
  const timespec times[2] = {time, time};
  if (::chmod(path.c_str(), mode) == 0 && ::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0) return {};
  return Error(StatusCode::kIo, "cannot set mode and time of '%s': %s", path.c_str(), std::strerror(errno));
}

void Rootfs::AddParents(const std::string& path) {
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    nodes_.try_emplace(path.substr(0, slash), Node{.folder = true, .mode = 0755, .source = {}});
  }
}

void Rootfs::AddFolder(const std::string& path, uint32_t mode) {
  AddParents(path);
  nodes_[path] = {.folder = true, .mode = mode, .source = {}};
}

void Rootfs::AddFile(const std::string& path, Source source, uint32_t mode) {
  AddParents(path);
  nodes_[path] = {.folder = false, .mode = mode, .source = std::move(source)};
}

uint64_t Rootfs::file_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [path, node] : nodes_) bytes += node.source.size;
  return bytes;
}

Status Rootfs::WriteTar(TarWriter* tar, const std::function<void(uint64_t)>& wrote) const {
  for (const auto& [path, node] : nodes_) {
    LATHE_RETURN_IF_ERROR(tar->Begin(
        {.path = path.substr(1), .folder = node.folder, .mode = node.mode, .size = node.source.size}));
    if (node.folder) continue;
    LATHE_RETURN_IF_ERROR(node.source.read([&](std::span<const std::byte> bytes) {
      if (wrote) wrote(bytes.size());
      return tar->Append(bytes);
    }));
  }
  return tar->Finish();
}

Status Rootfs::WriteFolder(const std::string& folder, uint64_t mtime,
                           const std::function<void(uint64_t)>& wrote) const {
  for (const auto& [path, node] : nodes_) {
    if (!IsSafePath(path.substr(1)))
      return Error(StatusCode::kInvalidArgument, "'%.200s' cannot be the path of a file in an image",
                   path.c_str());
    const std::string to = folder + path;
    if (node.folder) {
      LATHE_RETURN_IF_ERROR(MakeDirs(to));
      continue;
    }
    LATHE_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(to));
    LATHE_RETURN_IF_ERROR(node.source.read([&](std::span<const std::byte> bytes) {
      if (wrote) wrote(bytes.size());
      return file.Append(bytes);
    }));
    LATHE_RETURN_IF_ERROR(file.Commit());
    LATHE_RETURN_IF_ERROR(SetModeAndTime(to, node.mode, mtime));
  }
  // Last, and from the leaves up: what is written into a folder changes its time, and may need its old mode.
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    if (node->second.folder)
      LATHE_RETURN_IF_ERROR(SetModeAndTime(folder + node->first, node->second.mode, mtime));
  }
  return {};
}

}  // namespace lathe::package
