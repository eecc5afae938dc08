#include "hub/ranges.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "base/file.h"

namespace lathe::hub {
namespace {

constexpr char kFresh[] = ".new";
constexpr size_t kMaxLog = size_t{16} << 20;

std::string HeadLine(uint64_t size) { return StrFormat("lathe ranges 1 of %" PRIu64 "\n", size); }
std::string RangeLine(uint64_t begin, uint64_t end) {
  return StrFormat("%" PRIu64 " %" PRIu64 "\n", begin, end);
}

}  // namespace

void RangeSet::Add(uint64_t begin, uint64_t end) {
  end = std::min(end, size_);
  if (begin >= end) return;
  auto next = ranges_.upper_bound(begin);
  if (next != ranges_.begin() && std::prev(next)->second >= begin) {
    --next;
    begin = next->first;
    end = std::max(end, next->second);
    next = ranges_.erase(next);
  }
  while (next != ranges_.end() && next->first <= end) {
    end = std::max(end, next->second);
    next = ranges_.erase(next);
  }
  ranges_.emplace(begin, end);
}

uint64_t RangeSet::Covered() const {
  uint64_t sum = 0;
  for (const auto& [begin, end] : ranges_) sum += end - begin;
  return sum;
}

uint64_t RangeSet::Prefix() const {
  return ranges_.empty() || ranges_.begin()->first != 0 ? 0 : ranges_.begin()->second;
}

std::optional<std::pair<uint64_t, uint64_t>> RangeSet::FirstGap(uint64_t from, uint64_t limit) const {
  auto next = ranges_.upper_bound(from);
  if (next != ranges_.begin()) from = std::max(from, std::prev(next)->second);
  while (next != ranges_.end() && next->first <= from) from = (next++)->second;
  if (from >= size_ || limit == 0) return std::nullopt;
  uint64_t end = next == ranges_.end() ? size_ : next->first;
  if (end - from > limit) end = from + limit;
  return std::pair(from, end);
}

RangeSet RangeLog::Load(const std::string& path, uint64_t size) {
  RangeSet set(size);
  const auto text = ReadFile(path, kMaxLog);
  const std::string head = HeadLine(size);
  if (!text.ok() || !text->starts_with(head)) return set;
  for (size_t at = head.size(), end = 0; (end = text->find('\n', at)) != std::string::npos; at = end + 1) {
    uint64_t begin = 0, past = 0;
    int used = 0;
    const std::string line = text->substr(at, end - at);
    if (std::sscanf(line.c_str(), "%" SCNu64 " %" SCNu64 "%n", &begin, &past, &used) != 2) break;
    if (static_cast<size_t>(used) != line.size() || past > size) break;
    set.Add(begin, past);
  }
  return set;
}

Expected<RangeLog> RangeLog::Open(const std::string& path, const RangeSet& known) {
  std::string text = HeadLine(known.size());
  for (const auto& [begin, end] : known.ranges()) text += RangeLine(begin, end);
  // Under a fixed other name first: a process that is killed here leaves no more than one, which the next
  // takes.
  const std::string fresh = path + kFresh;
  ::unlink(fresh.c_str());
  RangeLog log(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666));
  if (log.fd_ < 0 || ::write(log.fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::rename(fresh.c_str(), path.c_str()) != 0)
    return Error(errno == ENOSPC ? StatusCode::kResourceExhausted : StatusCode::kIo, "cannot write '%s': %s",
                 path.c_str(), std::strerror(errno));
  return log;
}

void RangeLog::Remove(const std::string& path) {
  ::unlink(path.c_str());
  ::unlink((path + kFresh).c_str());
}

RangeLog::~RangeLog() {
  if (fd_ >= 0) ::close(fd_);
}

Status RangeLog::Append(uint64_t begin, uint64_t end) {
  const std::string line = RangeLine(begin, end);
  const ssize_t n = ::write(fd_, line.data(), line.size());
  if (n == static_cast<ssize_t>(line.size())) return Status::Ok();
  return Error(StatusCode::kResourceExhausted, "cannot write the record of a download: %s",
               n < 0 ? std::strerror(errno) : "the disk is full");
}

}  // namespace lathe::hub
