#include "platform/topology.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

namespace lathe {
namespace {

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
}

std::optional<long long> ParseInt(std::string_view text) {
  text = Trim(text);
  long long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> Ratio(std::optional<long long> quota, std::optional<long long> period) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

// Small files of /proc and /sys; empty when unreadable.
std::string Slurp(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<double> Smaller(std::optional<double> a, std::optional<double> b) {
  if (a && b) return std::min(*a, *b);
  return a ? a : b;
}

// The tightest quota of a cgroup and all its ancestors up to the mount point. Inside a container the path of
// /proc/self/cgroup may not exist below the mount, which then shows the container's own group as its root.
template <typename ReadQuota>
std::optional<double> TightestQuota(const std::string& mount, std::string path, ReadQuota read) {
  std::optional<double> quota = read(mount);
  while (path.size() > 1) {
    quota = Smaller(quota, read(mount + path));
    path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
  }
  return quota;
}

std::optional<double> ReadQuota() {
  const std::string groups = Slurp("/proc/self/cgroup");
  std::optional<double> quota;
  if (const auto v2 = FindCgroupPath(groups, "")) {
    const auto read = [](const std::string& dir) { return ParseCpuMax(Slurp(dir + "/cpu.max")); };
    quota = TightestQuota("/sys/fs/cgroup", std::string(*v2), read);
    quota = Smaller(quota, TightestQuota("/sys/fs/cgroup/unified", std::string(*v2), read));
  }
  if (const auto v1 = FindCgroupPath(groups, "cpu")) {
    const auto read = [](const std::string& dir) {
      return ParseCfsQuota(Slurp(dir + "/cpu.cfs_quota_us"), Slurp(dir + "/cpu.cfs_period_us"));
    };
    quota = Smaller(quota, TightestQuota("/sys/fs/cgroup/cpu", std::string(*v1), read));
    quota = Smaller(quota, TightestQuota("/sys/fs/cgroup/cpu,cpuacct", std::string(*v1), read));
  }
  return quota;
}

std::vector<int> ReadAffinity() {
  std::vector<int> cpus;
  // The kernel's mask may be larger than cpu_set_t: ask with growing sizes.
  for (int limit = CPU_SETSIZE; limit <= (1 << 16) && cpus.empty(); limit *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(limit));
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(limit));
    CPU_ZERO_S(bytes, set);
    if (sched_getaffinity(0, bytes, set) == 0)
      for (int cpu = 0; cpu < limit; ++cpu)
        if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set)) cpus.push_back(cpu);
    CPU_FREE(set);
  }
  if (cpus.empty())
    for (unsigned cpu = 0; cpu < std::max(1u, std::thread::hardware_concurrency()); ++cpu)
      cpus.push_back(static_cast<int>(cpu));
  return cpus;
}

}  // namespace

int Topology::usable_cpus() const {
  int n = static_cast<int>(cpus.size());
  if (quota_cpus) n = std::min(n, static_cast<int>(std::ceil(std::min(*quota_cpus, 1e6))));
  return std::max(1, n);
}

Topology ReadTopology() { return {.cpus = ReadAffinity(), .quota_cpus = ReadQuota()}; }

std::optional<double> ParseCpuMax(std::string_view text) {
  text = Trim(text);
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  return Ratio(ParseInt(text.substr(0, space)), ParseInt(text.substr(space + 1)));
}

std::optional<double> ParseCfsQuota(std::string_view quota, std::string_view period) {
  return Ratio(ParseInt(quota), ParseInt(period));
}

std::vector<int> ParseCpuList(std::string_view text) {
  constexpr long long kMaxCpu = 1 << 16;
  std::vector<int> cpus;
  text = Trim(text);
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    const size_t dash = part.find('-');
    const auto first = ParseInt(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : ParseInt(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last > kMaxCpu) return {};
    for (long long cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<int>(cpu));
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::optional<std::string_view> FindCgroupPath(std::string_view groups, std::string_view controller) {
  while (!groups.empty()) {
    const size_t newline = groups.find('\n');
    const std::string_view line = groups.substr(0, newline);
    groups = newline == std::string_view::npos ? std::string_view{} : groups.substr(newline + 1);
    const size_t colon1 = line.find(':');
    if (colon1 == std::string_view::npos) continue;
    const size_t colon2 = line.find(':', colon1 + 1);
    if (colon2 == std::string_view::npos) continue;
    std::string_view names = line.substr(colon1 + 1, colon2 - colon1 - 1);
    if (controller.empty()) {
      if (names.empty()) return line.substr(colon2 + 1);
      continue;
    }
    while (!names.empty()) {
      const size_t comma = names.find(',');
      if (names.substr(0, comma) == controller) return line.substr(colon2 + 1);
      names = comma == std::string_view::npos ? std::string_view{} : names.substr(comma + 1);
    }
  }
  return std::nullopt;
}

}  // namespace lathe
