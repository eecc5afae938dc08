// A tar archive, written front to back: POSIX ustar, with pax records where a name or a size needs them.
// Every byte follows from the entries: owner 0:0 without names, one time for all. (IEEE Std 1003.1, pax.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lathe::package {

// Where bytes go, in order.
using Sink = std::function<Status(std::span<const std::byte>)>;

struct TarEntry {
  std::string path;  // relative, "usr/bin/lathe"; of a folder without a slash at its end
  bool folder = false;
  uint32_t mode = 0644;
  uint64_t size = 0;  // of a file
};

// Not thread-safe.
class TarWriter {
 public:
  // `mtime` of every entry, in seconds since 1970.
  TarWriter(Sink sink, uint64_t mtime) : sink_(std::move(sink)), mtime_(mtime) {}

  // Opens the next entry. A file's bytes follow in Append(), exactly `size` of them, then the next Begin() or
  // Finish(). kInvalidArgument for a path that is absolute, empty, leaves the root or has control characters.
  Status Begin(const TarEntry& entry);
  Status Append(std::span<const std::byte> bytes);
  Status Append(std::string_view text) { return Append(std::as_bytes(std::span(text))); }
  // The two blocks of zeros that end an archive.
  Status Finish();

 private:
  Status EndEntry();
  Status WriteHeader(const TarEntry& entry, char type, const std::string& name, uint64_t size);
  Sink sink_;
  uint64_t mtime_;
  uint64_t size_ = 0, written_ = 0;  // of the open entry
};

// Whether `path` may be an entry's: relative, without "." and ".." parts, empty parts and control characters.
bool IsSafePath(std::string_view path);

}  // namespace lathe::package
