// `lathe machine`: what this machine is and what it can reach.
#include <cstdio>
#include <memory>

#include "base/status.h"
#include "commands.h"
#include "machine.h"
#include "platform/cpu_info.h"
#include "platform/topology.h"
#include "terminal/format.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

struct Options {
  int threads = 0;
  bool json = false;
};

std::string CacheSize(int64_t bytes) {
  return bytes > 0 ? StrFormat("%lld KiB", static_cast<long long>(bytes >> 10)) : "unknown";
}

Expected<int> Run(const Options& options) {
  if (options.threads < 0 || options.threads > 4096) {
    return Error(StatusCode::kInvalidArgument, "--threads must be in [0, 4096], but is %d", options.threads);
  }
  const MachineRoofs roofs = MeasureRoofsNow(options.threads);
  if (options.json) {
    std::printf("%s\n", DumpJson(MachineToJson(roofs, options.threads), 2).c_str());
    return kExitOk;
  }
  const CpuInfo& cpu = GetCpuInfo();
  const Topology topology = ReadTopology();
  const int threads = ResolveThreads(options.threads);
  Table table({{""}, {""}});
  table.AddRow({"processor", cpu.model});
  table.AddRow({"instruction sets", ToString(cpu.features)});
  table.AddRow({"CPUs allowed", std::to_string(topology.cpus.size())});
  table.AddRow({"cgroup quota", topology.quota_cpus ? StrFormat("%.2f CPUs", *topology.quota_cpus) : "none"});
  table.AddRow({"threads used", std::to_string(threads)});
  table.AddRow({"cache L1d / L2 / L3", CacheSize(cpu.l1d_bytes) + " / " + CacheSize(cpu.l2_bytes) + " / " +
                                           CacheSize(cpu.l3_bytes)});
  table.AddRow({"memory read", StrFormat("%.1f GB/s", roofs.read_gbps)});
  table.AddRow({"f32 peak", StrFormat("%.0f GFLOP/s", roofs.peak.f32_fma)});
  table.AddRow({"bf16 peak", roofs.peak.bf16_dot > 0 ? StrFormat("%.0f GFLOP/s", roofs.peak.bf16_dot)
                                                     : "no bf16 dot product"});
  std::fputs(table.Render().c_str(), stdout);
  return kExitOk;
}

}  // namespace

void AddMachine(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub(
      "machine", "Show this machine and measure its memory bandwidth and peak arithmetic", "lathe machine");
  command.Option("--threads", &options->threads, "Threads to measure with; 0: usable CPUs");
  command.Flag("--json", &options->json, "Print JSON");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
