// `lathe deploy k8s`: Kubernetes manifests on standard output.
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/status.h"
#include "commands.h"
#include "deploy/kubernetes.h"
#include "formats/engine_file.h"
#include "serve/server/config.h"

namespace lathe::cli {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
// Beside the weights: keys and values, buffers, the program.
constexpr uint64_t kMemoryBeside = 8;

struct DeployOptions {
  deploy::KubernetesOptions kubernetes;
  std::string replicas = "2";
};

// "KEY=VALUE" into its halves.
Expected<std::pair<std::string, std::string>> SplitPair(const char* option, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals != std::string::npos && equals > 0) {
    return std::make_pair(text.substr(0, equals), text.substr(equals + 1));
  }
  return Error(StatusCode::kInvalidArgument, "%s must be KEY=VALUE, but is '%.100s'", option, text.c_str());
}

// A setting of `lathe serve` by the name that its configuration file has, checked as the server will check
// it.
Status AddSetting(const std::string& text, DeployOptions* options) {
  LATHE_ASSIGN_OR_RETURN(const auto pair, SplitPair("--setting", text));
  const serve::Setting* setting = serve::FindSetting(pair.first);
  if (setting == nullptr) {
    return Error(StatusCode::kInvalidArgument,
                 "--setting: there is no setting '%.100s'; docs/server-limits.md lists all",
                 pair.first.c_str());
  }
  for (const char* fixed :
       {"model", "host", "port", "management_listen", "keys_file", "tls_cert", "tls_key"}) {
    if (pair.first != fixed) continue;
    return Error(
        StatusCode::kInvalidArgument,
        "--setting: %s is fixed, because probes, ports or volumes of the manifests depend on it; change "
        "the output instead",
        fixed);
  }
  serve::ConfigWithSources scratch;
  LATHE_RETURN_IF_ERROR(serve::SetFromText(*setting, pair.second, "--setting", &scratch));
  options->kubernetes.environment.emplace_back(serve::EnvironmentName(*setting), pair.second);
  return {};
}

// An engine file of this machine is looked for on the volume under its own name, and its size says how much
// memory a pod needs.
Status TakeLocalEngine(deploy::KubernetesOptions* options) {
  if (DirExists(options->model)) {
    return Error(
        StatusCode::kInvalidArgument,
        "%s is a folder of this machine, which pods do not see: build an engine of it (lathe build) and name "
        "that, or name a repository of the hub",
        options->model.c_str());
  }
  if (!FileExists(options->model)) return {};
  LATHE_ASSIGN_OR_RETURN(const EngineReader engine, EngineReader::Open(options->model));
  const EngineIdentity& identity = engine.identity();
  LATHE_RETURN_IF_ERROR(
      deploy::CheckEngine(*options, identity.target, identity.tp * identity.pp).WithContext(options->model));
  const uint64_t bytes = engine.file_bytes();
  const std::string file = std::filesystem::path(options->model).filename().string();
  if (options->memory.empty()) {
    options->memory = std::to_string((bytes + kGiB - 1) / kGiB + kMemoryBeside) + "Gi";
  }
  options->model = "/models/" + file;
  return {};
}

Expected<int> DeployKubernetes(DeployOptions options) {
  deploy::KubernetesOptions& k8s = options.kubernetes;
  LATHE_RETURN_IF_ERROR(deploy::ParseReplicas(options.replicas, &k8s.min_replicas, &k8s.max_replicas));
  LATHE_RETURN_IF_ERROR(TakeLocalEngine(&k8s));
  LATHE_ASSIGN_OR_RETURN(const std::string yaml, deploy::KubernetesYaml(k8s));
  if (std::fputs(yaml.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return Error(StatusCode::kIo, "cannot write the manifests to standard output");
  }
  const std::string where = k8s.name_space.empty() ? "" : " -n " + k8s.name_space;
  std::fprintf(stderr,
               "Before kubectl apply, the file of API keys (lathe keys new):\n"
               "  kubectl create secret generic %s-keys%s --from-file=keys.yaml\n",
               k8s.name.c_str(), where.c_str());
  if (k8s.model.starts_with("/models/")) {
    std::fprintf(stderr, "and %s on the claim %s.\n", k8s.model.c_str() + 8,
                 (k8s.volume.empty() ? k8s.name + "-models" : k8s.volume).c_str());
  }
  if (k8s.image.empty())
    std::fprintf(stderr, "--image names the server's image; without it a placeholder stands there.\n");
  return kExitOk;
}

}  // namespace

void AddDeploy(Command& root) {
  Command deploy =
      root.Sub("deploy", "Write manifests for a cluster", "lathe deploy k8s org/model --gpu h200 > app.yaml");
  auto options = std::make_shared<DeployOptions>();
  deploy::KubernetesOptions& k8s = options->kubernetes;
  Command command = deploy.Sub("k8s", "Print Kubernetes manifests (those of deploy/kubernetes, put together)",
                               "lathe deploy k8s org/model --gpu h200 --replicas 2..8 > app.yaml");
  command.Argument("MODEL", &k8s.model,
                   "ORG/NAME of the hub; an engine file, or /models/FILE, on a volume; or oci://IMAGE#FILE");
  command.Option("--gpu", &k8s.gpu, "GPU of a pod: " + deploy::GpuNames() + "; none: CPU");
  command.Option("--gpus", &k8s.gpus, "GPUs of a pod");
  command.Option("--replicas", &options->replicas, "Pods: a number, or 2..8 to scale with the queue");
  command.Option("--name", &k8s.name, "Name of every object");
  command.Option("--namespace", &k8s.name_space, "Namespace of every object; none: kubectl's");
  command.Option("--image", &k8s.image, "Image of the server");
  command.Option("--volume", &k8s.volume, "Claim that holds the engine; none: NAME-models");
  command.Option("--cpus", &k8s.cpus, "CPUs of a pod, as Kubernetes writes them (8, 500m)");
  command.Option("--memory", &k8s.memory,
                 "Memory of a pod (32Gi); none: by the engine's size where it is here");
  command.Flag("--spot", &k8s.spot, "On GKE's spot nodes, with a drain of 10 s");
  command.Flag("--monitoring", &k8s.monitoring, "With a ServiceMonitor for the Prometheus operator");
  command.Flag("--gateway", &k8s.gateway, "With an InferencePool, its route and endpoint picker");
  command.Repeated("--node-selector", "KEY=VALUE", "Label of the nodes, instead of GKE's accelerator",
                   [options](const std::string& text) -> Status {
                     LATHE_ASSIGN_OR_RETURN(const auto pair, SplitPair("--node-selector", text));
                     options->kubernetes.node_selector.push_back(pair);
                     return {};
                   });
  command.Repeated("--setting", "NAME=VALUE", "Setting of lathe serve (docs/server-limits.md)",
                   [options](const std::string& text) { return AddSetting(text, options.get()); });
  command.OnRun([options] { return DeployKubernetes(*options); });
}

}  // namespace lathe::cli
