#include "open/fetch_model.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/file.h"
#include "compiler/target.h"
#include "kernels/cpu/registry.h"
#include "lathe/version.h"
#include "platform/cpu_info.h"

namespace lathe {
namespace {

// Scores: any difference in what runs faster outweighs where it was measured, and that outweighs the type.
constexpr int kPerIsa = 10, kSameMachine = 4, kUsualType = 1;

constexpr std::chrono::milliseconds kPollTime{100};

// Pulls on a thread of its own, for it may wait long for a hub; this one tells of it and asks meanwhile.
Expected<hub::Pulled> PullAndTell(hub::HubApi& api, const hub::RepoName& repo, hub::PullOptions options,
                                  const FetchEvents& events) {
  std::mutex mutex;
  std::condition_variable ended;
  std::optional<hub::DownloadProgress> news;    // guarded by mutex
  std::optional<Expected<hub::Pulled>> result;  // guarded by mutex
  options.download.progress = [&](const hub::DownloadProgress& now) {
    const std::lock_guard lock(mutex);
    news = now;
    return true;
  };
  std::thread puller([&] {
    auto pulled = hub::Pull(api, repo, options);
    const std::lock_guard lock(mutex);
    result = std::move(pulled);
    ended.notify_one();
  });
  bool stop = false;
  std::unique_lock lock(mutex);
  for (bool over = false; !over;) {
    over = ended.wait_for(lock, kPollTime, [&] { return result.has_value(); });
    const auto now = std::exchange(news, std::nullopt);
    lock.unlock();
    if (now && events.progress && !events.progress(*now)) stop = true;
    if (events.cancelled && events.cancelled()) stop = true;
    if (stop) api.stop() = true;  // again each time: every download begins by clearing it
    lock.lock();
  }
  lock.unlock();
  puller.join();
  return *std::move(result);
}

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
  LATHE_ASSIGN_OR_RETURN(const hub::Pulled pulled, PullAndTell(*api, repo, std::move(pull), events));
  if (!pulled.warning.empty() && events.warning) events.warning(pulled.warning);
  return pulled.path;
}

}  // namespace lathe
