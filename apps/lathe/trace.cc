#include "trace.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include "base/clock.h"

namespace lathe::cli {
namespace {

double g_main_start = 0;
bool g_on = false;

// Milliseconds from the start of the process to now, by the kernel's clock ticks (usually 10 ms); -1 unknown.
double MillisecondsSinceExec() {
  std::string stat;
  if (std::FILE* file = std::fopen("/proc/self/stat", "r")) {
    char buffer[1024];
    stat.assign(buffer, std::fread(buffer, 1, sizeof buffer, file));
    std::fclose(file);
  }
  // Field 22, counted after the command's name, which may hold blanks and ends with the last ')'.
  size_t at = stat.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  timespec now{};
  if (at == std::string::npos || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return -1;
  const double ticks = std::strtod(stat.c_str() + at, nullptr);
  const double started = ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  return (static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - started) * 1e3;
}

}  // namespace

void StartTrace() {
  g_main_start = NowSeconds();
  const char* value = std::getenv("LATHE_TRACE_STARTUP");
  g_on = value != nullptr && std::strcmp(value, "1") == 0;
  if (g_on) {
    std::fprintf(stderr,
                 "startup  main entered %.0f ms after exec (to a clock tick); times below are from main\n",
                 MillisecondsSinceExec());
  }
}

void TraceStage(const char* stage) {
  if (g_on) std::fprintf(stderr, "startup  %8.1f ms  %s\n", (NowSeconds() - g_main_start) * 1e3, stage);
}

}  // namespace lathe::cli
