// Files: whole reads with a limit, read-only mappings, and writes that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lathe {

// Whole content. kNotFound when missing, kIo otherwise, kCorrupt when larger than `max_bytes`.
Expected<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 30);

bool FileExists(const std::string& path);
bool DirExists(const std::string& path);
Expected<uint64_t> FileSize(const std::string& path);

// mkdir -p.
Status MakeDirs(const std::string& path);

// Read-only, shared mapping of a whole file. Movable. Pages are shared between processes.
class MappedFile {
 public:
  static Expected<MappedFile> Open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // Tells the kernel that [offset, offset+size) will not be needed soon (bounds resident memory while
  // a checkpoint many times the machine's memory is read through once).
  void DropPages(size_t offset, size_t size) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

// A file written under a temporary name in the same folder, made visible by Commit() (fsync + rename)
// and removed by the destructor if that was not reached. Every write reports a full disk as kIo with
// the path and the bytes wanted.
class AtomicFile {
 public:
  static Expected<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status Append(std::span<const std::byte> bytes);
  Status Append(std::string_view text);
  // Zeros up to the next multiple of `alignment`.
  Status AlignTo(uint64_t alignment);
  // Overwrites bytes already appended.
  Status WriteAt(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t offset() const { return offset_; }
  Status Commit();

 private:
  AtomicFile(int fd, std::string path, std::string temp_path);
  int fd_ = -1;
  uint64_t offset_ = 0;
  std::string path_, temp_path_;
};

// One-shot AtomicFile.
Status WriteFileAtomic(const std::string& path, std::string_view content);

}  // namespace lathe
