#include "open/fetch_model.h"

#include <algorithm>

#include "base/file.h"
#include "compiler/target.h"
#include "kernels/cpu/registry.h"
#include "lathe/version.h"
#include "platform/cpu_info.h"

namespace lathe {
namespace {

// Scores: any difference in what runs faster outweighs where it was measured, and that outweighs the type.
constexpr int kPerIsa = 10, kSameMachine = 4, kUsualType = 1;

}  // namespace

hub::Fitness FitnessHere(const std::string& target, const std::optional<std::string>& dtype, int device) {
  CudaTools tools;
  tools.device = device;
  const auto parsed = ParseTarget(target, tools);
  const bool gpu = parsed.ok() && parsed->on_cuda();
  const std::string machine = gpu ? (parsed->device ? parsed->device->name : "") : GetCpuInfo().model;
  // Targets that run, the best last. "cpu" means any that this processor has, "cpu:avx2" that one alone.
  std::vector<std::string> targets;
  if (parsed.ok() && (gpu || (target != "cpu" && target != "auto"))) {
    targets.push_back(parsed->Name());
  } else if (parsed.ok()) {
    for (const Isa isa : UsableIsas()) targets.push_back("cpu:" + std::string(ToString(isa)));
  }
  return [=](const hub::EngineEntry& engine) {
    const auto at = std::find(targets.begin(), targets.end(), engine.target);
    if (at == targets.end() || engine.builder != kVersionString || engine.tp * engine.pp != 1) return -1;
    if (engine.format != static_cast<int>(kEngineFormatVersion) || (dtype && engine.dtype != *dtype))
      return -1;
    return static_cast<int>(at - targets.begin()) * kPerIsa + (engine.machine == machine ? kSameMachine : 0) +
           (engine.dtype == "bf16" ? kUsualType : 0);
  };
}

bool NamesRepository(const std::string& model) {
  if (FileExists(model) || DirExists(model) || !hub::LooksLikeRepoName(model)) return false;
  return !DirExists(model.substr(0, model.find('/')));
}

Expected<std::string> FetchModel(const FetchOptions& options, const FetchEvents& events) {
  if (!NamesRepository(options.model)) return options.model;
  LATHE_ASSIGN_OR_RETURN(const hub::RepoName repo, hub::ParseRepoName(options.model));
  LATHE_ASSIGN_OR_RETURN(hub::HubConfig config, hub::ConfigFromEnvironment());
  LATHE_ASSIGN_OR_RETURN(const auto api, hub::HubApi::Create(std::move(config)));
  hub::PullOptions pull;
  pull.want = options.want;
  pull.fitness = FitnessHere(options.target, options.dtype, options.device);
  pull.download.progress = events.progress;
  LATHE_ASSIGN_OR_RETURN(const hub::Pulled pulled, hub::Pull(*api, repo, pull));
  if (!pulled.warning.empty() && events.warning) events.warning(pulled.warning);
  return pulled.path;
}

}  // namespace lathe
