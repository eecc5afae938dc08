#include "bench_machine.h"

#include <algorithm>

#include "base/file.h"
#include "base/status.h"
#include "compiler/target.h"
#include "formats/engine_file.h"
#include "kernels/cuda/gemm_measure.h"
#include "machine.h"
#include "platform/cuda/nvrtc.h"

namespace lathe::cli {
namespace {

// Larger than any cache.
constexpr int64_t kPoolBytes = int64_t{4} << 30;

Expected<double> GpuReadGbps(const cuda::Device& device) {
  LATHE_ASSIGN_OR_RETURN(const cuda::Nvrtc* const nvrtc, cuda::Nvrtc::Load());
  cuda::GemmMeasureOptions options;
  options.weight_pool_bytes = kPoolBytes;
  LATHE_ASSIGN_OR_RETURN(const auto measurer,
                         cuda::GemmMeasurer::Create(device, *nvrtc, /*lt=*/nullptr, /*max_m=*/16,
                                                    /*max_n=*/4096, /*max_k=*/4096, options));
  return measurer->ReadBandwidth();
}

}  // namespace

bool IsForGpu(const ModelOptions& model) {
  if (DirExists(model.path)) {
    const auto target = ParseTarget(model.target);
    return target.ok() && target->on_cuda();
  }
  const auto reader = EngineReader::Open(model.path);
  return reader.ok() && reader->identity().target.starts_with("cuda:");
}

BenchMachine BenchMachine::Measure(const ModelOptions& model) {
  BenchMachine out;
  out.threads_ = model.engine.threads;
  out.gpu_ = IsForGpu(model);
  if (!out.gpu_) {
    out.name_ = StrFormat("%d threads", ResolveThreads(out.threads_));
    out.MeasureAgain();
    return out;
  }
  out.name_ = "GPU";
  const auto driver = cuda::Driver::Load();
  if (!driver.ok()) return out;
  const auto device = cuda::Device::Open(**driver, model.engine.device);
  if (!device.ok()) return out;
  const cuda::DeviceInfo& info = (*device)->info();
  const auto gbps = GpuReadGbps(**device);
  out.name_ = info.name;
  out.read_gbps_ = gbps.ok() ? *gbps : 0;
  out.json_ = {{"gpu", info.name},
               {"target", info.Target()},
               {"memory_bytes", info.memory_bytes},
               {"multiprocessors", info.multiprocessors},
               {"clock_mhz", info.clock_mhz},
               {"driver", cuda::VersionText((*driver)->version())}};
  return out;
}

void BenchMachine::MeasureAgain() {
  if (gpu_) return;
  const MachineRoofs roofs = MeasureRoofsNow(threads_);
  read_gbps_ = std::max(read_gbps_, roofs.read_gbps);
  json_ = MachineToJson(roofs, threads_);
}

Json BenchMachine::ToJson() const {
  Json json = json_;
  json["read_gbps"] = read_gbps_ > 0 ? Json(read_gbps_) : Json(nullptr);
  return json;
}

}  // namespace lathe::cli
