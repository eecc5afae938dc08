#include "compiler/target.h"

#include <algorithm>

#include "kernels/cpu/registry.h"

namespace lathe {
namespace {

constexpr Isa kAllIsas[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};
constexpr int kAllSms[] = {80, 86, 89, 90, 100, 120};

std::string IsaName(Isa isa) { return std::string(ToString(isa)); }

Status Unknown(const std::string& target) {
  std::string known = "cpu";
  for (const Isa isa : kAllIsas) known += ", cpu:" + IsaName(isa);
  known += ", cuda";
  for (const int sm : kAllSms) known += ", cuda:" + cuda::DeviceInfo::TargetOf(sm);
  return Error(StatusCode::kInvalidArgument, "unknown target '%s'; the targets are %s, auto", target.c_str(),
               known.c_str());
}

// The GPU that is meant, or the first that can be used; of compute capability `sm`, if that is not 0.
Expected<cuda::DeviceInfo> FindDevice(const CudaTools& tools, int sm) {
  LATHE_ASSIGN_OR_RETURN(const cuda::Driver* driver, tools.LoadDriver());
  LATHE_ASSIGN_OR_RETURN(const std::vector<cuda::DeviceInfo> devices, cuda::ListDevices(*driver));
  std::string faults;
  for (const cuda::DeviceInfo& device : devices) {
    const bool meant = tools.device < 0 || tools.device == device.ordinal;
    if (meant && device.unusable.empty() && (sm == 0 || device.sm == sm)) return device;
    if (!meant) continue;
    faults +=
        StrFormat("%sdevice %d (%s) %s", faults.empty() ? "" : "; ", device.ordinal, device.name.c_str(),
                  device.unusable.empty() ? ("is " + device.Target()).c_str() : device.unusable.c_str());
  }
  return Error(StatusCode::kUnsupported, "no GPU here can be used: %s",
               !faults.empty()    ? faults.c_str()
               : tools.device < 0 ? "the driver lists none"
                                  : StrFormat("there is no device %d (lathe devices)", tools.device).c_str());
}

Expected<BuildTarget> CpuTarget(const std::string& target) {
  BuildTarget out;
  if (target == "cpu") {
    LATHE_ASSIGN_OR_RETURN(out.isa, SelectIsa());
    return out;
  }
  for (const Isa isa : kAllIsas) {
    if (target != "cpu:" + IsaName(isa)) continue;
    const auto usable = UsableIsas();
    out.isa = isa;
    out.runs_here = std::find(usable.begin(), usable.end(), isa) != usable.end();
    return out;
  }
  return Unknown(target);
}

BuildTarget TargetOf(const cuda::DeviceInfo& device) { return {.sm = device.sm, .device = device}; }

// `chip`: "sm_90a" or "sm_90".
Expected<BuildTarget> ChipTarget(const std::string& target, const std::string& chip, const CudaTools& tools) {
  for (const int sm : kAllSms) {
    if (chip != cuda::DeviceInfo::TargetOf(sm) && chip != StrFormat("sm_%d", sm)) continue;
    const Expected<cuda::DeviceInfo> device = FindDevice(tools, sm);
    if (device.ok()) return TargetOf(*device);
    return BuildTarget{.sm = sm, .runs_here = false};
  }
  return Unknown(target);
}

}  // namespace

Expected<const cuda::Driver*> CudaTools::LoadDriver() const {
  if (driver != nullptr) return driver;
  return cuda::Driver::Load();
}

Expected<const cuda::Nvrtc*> CudaTools::LoadNvrtc() const {
  if (nvrtc != nullptr) return nvrtc;
  return cuda::Nvrtc::Load();
}

std::string BuildTarget::Chip() const { return on_cuda() ? cuda::DeviceInfo::TargetOf(sm) : IsaName(isa); }

std::string BuildTarget::Name() const { return (on_cuda() ? "cuda:" : "cpu:") + Chip(); }

Expected<BuildTarget> ParseTarget(const std::string& target, const CudaTools& tools) {
  if (target == "cuda" || target == "auto") {
    const Expected<cuda::DeviceInfo> device = FindDevice(tools, 0);
    if (device.ok()) return TargetOf(*device);
    if (target == "auto") return CpuTarget("cpu");
    return Status(device.status().code(), device.status().message() +
                                              "; to build for a GPU elsewhere name its chip and measure "
                                              "nothing, as in --target cuda:sm_90a --no-tune");
  }
  if (target.starts_with("cuda:")) return ChipTarget(target, target.substr(5), tools);
  if (target.starts_with("sm_")) return ChipTarget(target, target, tools);
  return CpuTarget(target);
}

}  // namespace lathe
