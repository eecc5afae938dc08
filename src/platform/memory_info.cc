#include "platform/memory_info.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "base/file.h"
#include "platform/topology.h"

namespace lathe {
namespace {

// A number alone in a file; "max" and anything else is no number.
std::optional<uint64_t> ReadNumber(const std::string& path) {
  const auto text = ReadFile(path, 4096);
  uint64_t value = 0;
  if (!text.ok() || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc())
    return std::nullopt;
  return value;
}

// limit - usage of this process's cgroup (v2, then v1), when it has a limit.
std::optional<uint64_t> CgroupHeadroom() {
  const auto self = ReadFile("/proc/self/cgroup", 1 << 16);
  if (!self.ok()) return std::nullopt;
  struct Source {
    const char* controller;
    const char* root;
    const char* limit;
    const char* usage;
  };
  for (const Source& s :
       {Source{"", "/sys/fs/cgroup", "memory.max", "memory.current"},
        Source{"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"}}) {
    const auto path = FindCgroupPath(*self, s.controller);
    if (!path) continue;
    // Inside a container the path of the host is often not mounted: the root then is the container's own.
    for (const std::string& dir :
         {std::string(s.root) + std::string(*path) + "/", std::string(s.root) + "/"}) {
      const auto limit = ReadNumber(dir + s.limit), usage = ReadNumber(dir + s.usage);
      if (limit && usage) return *limit > *usage ? *limit - *usage : 0;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> ParseMemAvailable(std::string_view meminfo) {
  constexpr std::string_view kKey = "MemAvailable:";
  size_t at = meminfo.find(kKey);
  if (at == std::string_view::npos) return std::nullopt;
  at = meminfo.find_first_not_of(' ', at + kKey.size());
  if (at == std::string_view::npos) return std::nullopt;
  uint64_t kib = 0;
  const auto [end, error] = std::from_chars(meminfo.data() + at, meminfo.data() + meminfo.size(), kib);
  if (error != std::errc()) return std::nullopt;
  return kib * 1024;
}

uint64_t AvailableMemory() {
  const auto meminfo = ReadFile("/proc/meminfo", 1 << 16);
  const uint64_t available = meminfo.ok() ? ParseMemAvailable(*meminfo).value_or(0) : 0;
  const auto headroom = CgroupHeadroom();
  return headroom && (available == 0 || *headroom < available) ? *headroom : available;
}

}  // namespace lathe
