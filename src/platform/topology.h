// How many processors this process may really use: its affinity mask, cut by the CPU quota of its cgroup, so
// that a container with two of a host's 64 cores runs two threads.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace lathe {

struct Topology {
  std::vector<int> cpus;  // affinity mask, ascending; never empty
  std::optional<double>
      quota_cpus;  // cgroup limit in CPUs ("cpu.max" 150000 100000 = 1.5); none when unlimited
  // Threads worth running: min(cpus, ceil(quota)), at least 1.
  int usable_cpus() const;
};

// Reads affinity and cgroup files now (both can change while a process runs).
Topology ReadTopology();

// Pure parsers. cgroup v2 `cpu.max` ("max 100000" or "150000 100000"), v1 quota and period in microseconds
// (quota -1: none), and "0-3,8" lists. Malformed text gives nullopt (an empty list), never a fault.
std::optional<double> ParseCpuMax(std::string_view text);
std::optional<double> ParseCfsQuota(std::string_view quota, std::string_view period);
std::vector<int> ParseCpuList(std::string_view text);
// Path of this process in a controller's hierarchy from /proc/self/cgroup: `controller` "cpu" finds the v1
// line naming it, "" the v2 line "0::/path". nullopt when there is none.
std::optional<std::string_view> FindCgroupPath(std::string_view proc_self_cgroup,
                                               std::string_view controller);

}  // namespace lathe
