// Which bytes of a file are there: the book-keeping of a download in several pieces, and its record on disk.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/status.h"

namespace lathe::hub {

// Disjoint ranges [begin, end) of [0, size), joined where they touch. Not thread-safe.
class RangeSet {
 public:
  explicit RangeSet(uint64_t size) : size_(size) {}

  uint64_t size() const { return size_; }
  // Empty ranges, and what lies beyond size, are left out.
  void Add(uint64_t begin, uint64_t end);
  uint64_t Covered() const;
  bool Complete() const { return Covered() == size_; }
  // Bytes from 0 on without a gap.
  uint64_t Prefix() const;
  // The first missing range at or after `from`, at most `limit` long.
  std::optional<std::pair<uint64_t, uint64_t>> FirstGap(uint64_t from, uint64_t limit) const;
  const std::map<uint64_t, uint64_t>& ranges() const { return ranges_; }  // begin -> end

 private:
  uint64_t size_;
  std::map<uint64_t, uint64_t> ranges_;
};

// The record of a partial file: one line a range, appended after its bytes were written, so that a process
// that is killed loses no more than what it had not told of yet. A last line without an end is ignored.
class RangeLog {
 public:
  // What the record at `path` says of a file of `size` bytes; nothing when it is missing, of another size, or
  // is none.
  static RangeSet Load(const std::string& path, uint64_t size);
  // Opens it for appending, with one line for each range of `known` instead of what it held. Errors: kIo.
  static Expected<RangeLog> Open(const std::string& path, const RangeSet& known);
  // Removes the record, if there is one.
  static void Remove(const std::string& path);
  RangeLog(RangeLog&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RangeLog& operator=(RangeLog&&) = delete;
  ~RangeLog();
  // Thread-safe. Errors: kIo, kResourceExhausted.
  Status Append(uint64_t begin, uint64_t end);

 private:
  explicit RangeLog(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace lathe::hub
