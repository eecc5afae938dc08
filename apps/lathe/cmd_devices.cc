// `lathe devices`: the GPUs of this machine and whether lathe can use them.
#include <cstdio>
#include <memory>

#include "base/json.h"
#include "base/status.h"
#include "commands.h"
#include "platform/cuda/driver.h"
#include "platform/cuda/nvrtc.h"
#include "terminal/table.h"

namespace lathe::cli {
namespace {

struct Options {
  bool json = false;
};

struct Found {
  Status driver;  // why there is none, or ok
  int driver_version = 0;
  std::vector<cuda::DeviceInfo> devices;
  std::string compiler;  // "13.0", or why there is none
  bool has_compiler = false;
};

Found Look() {
  Found found;
  const Expected<const cuda::Driver*> driver = cuda::Driver::Load();
  if (driver.ok()) {
    found.driver_version = (*driver)->version();
    Expected<std::vector<cuda::DeviceInfo>> devices = cuda::ListDevices(**driver);
    if (devices.ok()) found.devices = *std::move(devices);
    if (!devices.ok()) found.driver = devices.status();
  } else {
    found.driver = driver.status();
  }
  const Expected<const cuda::Nvrtc*> nvrtc = cuda::Nvrtc::Load();
  found.has_compiler = nvrtc.ok();
  found.compiler = nvrtc.ok() ? cuda::VersionText((*nvrtc)->version()) : nvrtc.status().message();
  return found;
}

double GiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

Json ToJson(const Found& found) {
  Json devices = Json::array();
  for (const cuda::DeviceInfo& d : found.devices) {
    devices.push_back({{"ordinal", d.ordinal},
                       {"name", d.name},
                       {"target", d.Target()},
                       {"memory_bytes", d.memory_bytes},
                       {"multiprocessors", d.multiprocessors},
                       {"l2_bytes", d.l2_bytes},
                       {"clock_mhz", d.clock_mhz},
                       {"datasheet_gbps", d.DatasheetGbps()},
                       {"usable", d.unusable.empty()},
                       {"reason", d.unusable}});
  }
  Json json = {{"driver", found.driver_version > 0 ? Json(cuda::VersionText(found.driver_version)) : Json()},
               {"compiler", found.has_compiler ? Json(found.compiler) : Json()},
               {"devices", std::move(devices)}};
  if (!found.driver.ok()) json["reason"] = found.driver.message();
  return json;
}

Expected<int> Run(const Options& options) {
  const Found found = Look();
  if (options.json) {
    std::printf("%s\n", DumpJson(ToJson(found), 2).c_str());
    return kExitOk;
  }
  if (!found.driver.ok() || found.devices.empty()) {
    std::printf("No GPU: %s. lathe runs on the CPU here.\n",
                found.driver.ok() ? "the CUDA driver lists no device" : found.driver.message().c_str());
  } else {
    Table table({{"#"}, {"device"}, {"target"}, {"memory"}, {"SMs"}, {"L2"}, {"clock"}, {"usable"}});
    for (const cuda::DeviceInfo& d : found.devices) {
      table.AddRow({std::to_string(d.ordinal), d.name, d.Target(), StrFormat("%.1f GiB", GiB(d.memory_bytes)),
                    std::to_string(d.multiprocessors),
                    StrFormat("%lld MiB", static_cast<long long>(d.l2_bytes >> 20)),
                    StrFormat("%d MHz", d.clock_mhz), d.unusable.empty() ? "yes" : "no: " + d.unusable});
    }
    std::fputs(table.Render().c_str(), stdout);
    std::printf("CUDA driver: %s\n", cuda::VersionText(found.driver_version).c_str());
  }
  std::printf("CUDA compiler (to build engines): %s\n", found.compiler.c_str());
  return kExitOk;
}

}  // namespace

void AddDevices(Command& root) {
  auto options = std::make_shared<Options>();
  Command command =
      root.Sub("devices", "List the GPUs of this machine and whether lathe can use them", "lathe devices");
  command.Flag("--json", &options->json, "Print JSON");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
