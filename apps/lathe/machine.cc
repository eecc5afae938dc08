#include "machine.h"

#include <string>

#include "base/file.h"
#include "compiler/cache.h"
#include "lathe/version.h"
#include "platform/cpu_info.h"
#include "platform/topology.h"

namespace lathe::cli {
namespace {

// "" where there is no cache.
std::string RoofsPath() {
  const auto dir = CacheDir();
  return dir.ok() ? *dir + "/machine.json" : "";
}

// What a remembered measurement must agree with.
Json Key(int threads) {
  return Json{{"version", kVersionString}, {"cpu", GetCpuInfo().model}, {"threads", threads}};
}

}  // namespace

int ResolveThreads(int threads) { return threads > 0 ? threads : ReadTopology().usable_cpus(); }

MachineRoofs MeasureRoofsNow(int threads) {
  threads = ResolveThreads(threads);
  Team team({.threads = threads});
  const MachineRoofs roofs = MeasureRoofs(team);
  const std::string path = RoofsPath();
  if (!path.empty() && MakeDirs(path.substr(0, path.rfind('/'))).ok()) {
    const Json kept{{"key", Key(threads)},
                    {"read_gbps", roofs.read_gbps},
                    {"f32_gflops", roofs.peak.f32_fma},
                    {"bf16_gflops", roofs.peak.bf16_dot}};
    // Only a memo: where it cannot be written the next run measures again.
    (void)WriteFileAtomic(path, DumpJson(kept, 2) + "\n");
  }
  return roofs;
}

MachineRoofs RememberedRoofs(int threads) {
  threads = ResolveThreads(threads);
  const std::string path = RoofsPath();
  if (!path.empty() && FileExists(path)) {
    const auto kept = ReadJsonFile(path);
    if (kept.ok() && kept->is_object() && kept->contains("key") && kept->at("key") == Key(threads)) {
      const auto read = JsonNumberOr(*kept, "read_gbps", 0, path);
      const auto f32 = JsonNumberOr(*kept, "f32_gflops", 0, path);
      const auto bf16 = JsonNumberOr(*kept, "bf16_gflops", 0, path);
      if (read.ok() && f32.ok() && bf16.ok() && *read > 0) {
        return {.read_gbps = *read, .peak = {.f32_fma = *f32, .bf16_dot = *bf16}};
      }
    }
  }
  return MeasureRoofsNow(threads);
}

Json MachineToJson(const MachineRoofs& roofs, int threads) {
  const Topology topology = ReadTopology();
  return Json{{"cpu", GetCpuInfo().model},
              {"features", ToString(GetCpuInfo().features)},
              {"cpus", topology.cpus.size()},
              {"quota_cpus", topology.quota_cpus.has_value() ? Json(*topology.quota_cpus) : Json(nullptr)},
              {"threads", ResolveThreads(threads)},
              {"read_gbps", roofs.read_gbps},
              {"f32_gflops", roofs.peak.f32_fma},
              {"bf16_gflops", roofs.peak.bf16_dot}};
}

}  // namespace lathe::cli
