#include "serve/metrics/process.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace lathe::serve {
namespace {

uint64_t CountOpenFds() {
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return 0;
  uint64_t n = 0;
  while (const dirent* entry = readdir(dir)) n += entry->d_name[0] != '.';
  closedir(dir);
  return n > 0 ? n - 1 : 0;  // less the one that reads
}

// Unix time of the boot.
double BootSeconds() {
  std::ifstream in("/proc/stat");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("btime ")) return std::strtod(line.c_str() + 6, nullptr);
  }
  return 0;
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats out;
  std::ifstream in("/proc/self/stat");
  std::string stat;
  std::getline(in, stat);
  // The second field, the program's name in parentheses, may hold anything; fields are counted behind it.
  const size_t name_end = stat.rfind(')');
  if (name_end != std::string::npos) {
    std::istringstream fields(stat.substr(name_end + 1));
    std::string state;
    fields >> state;
    constexpr int kFirst = 4, kUserTicks = 14, kSystemTicks = 15, kThreads = 20, kStartTicks = 22,
                  kPages = 24;
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    long long value = 0;
    for (int field = kFirst; field <= kPages && fields >> value; ++field) {
      const auto number = static_cast<double>(value);
      if (field == kUserTicks || field == kSystemTicks) out.cpu_seconds += number / ticks;
      if (field == kThreads) out.threads = static_cast<uint64_t>(value);
      if (field == kStartTicks) out.start_seconds = BootSeconds() + number / ticks;
      if (field == kPages)
        out.resident_bytes = static_cast<uint64_t>(value) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    }
  }
  out.open_fds = CountOpenFds();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) out.max_fds = limit.rlim_cur;
  return out;
}

}  // namespace lathe::serve
