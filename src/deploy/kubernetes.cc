#include "deploy/kubernetes.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

#include "deploy/tree.h"

namespace lathe::deploy {
namespace {

constexpr int kMaxReplicas = 1000;
constexpr int kMaxGpus = 16;

// GKE's names of accelerators (https://cloud.google.com/kubernetes-engine/docs/concepts/gpus), and what an
// engine for them is built for.
struct Gpu {
  const char* name;
  const char* accelerator;
  const char* target;
};
constexpr Gpu kGpus[] = {
    {"l4", "nvidia-l4", "cuda:sm_89"},
    {"a100", "nvidia-tesla-a100", "cuda:sm_80"},
    {"a100-80gb", "nvidia-a100-80gb", "cuda:sm_80"},
    {"h100", "nvidia-h100-80gb", "cuda:sm_90a"},
    {"h100-mega", "nvidia-h100-mega-80gb", "cuda:sm_90a"},
    {"h200", "nvidia-h200-141gb", "cuda:sm_90a"},
    {"b200", "nvidia-b200", "cuda:sm_100a"},
};

const Gpu* FindGpu(const std::string& name) {
  const Gpu* found =
      std::find_if(std::begin(kGpus), std::end(kGpus), [&](const Gpu& gpu) { return name == gpu.name; });
  return found == std::end(kGpus) ? nullptr : found;
}

bool Only(const std::string& text, const char* punctuation) {
  return std::all_of(text.begin(), text.end(), [punctuation](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(punctuation).find(c) != std::string_view::npos;
  });
}

// The label of a DNS name, short enough for what is put behind it ("-keys", a pod's own suffix).
Status CheckName(const char* option, const std::string& text) {
  bool good = !text.empty() && text.size() <= 40 && text[0] >= 'a' && text[0] <= 'z' && text.back() != '-';
  for (const char c : text) good = good && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-');
  if (good) return {};
  return Error(
      StatusCode::kInvalidArgument,
      "%s must be 1 to 40 of [a-z0-9-], beginning with a letter and not ending with -, but is '%.100s'",
      option, text.c_str());
}

// What a container or a registry could take: no blanks, quotes or line ends.
Status CheckPlain(const char* option, const std::string& text) {
  if (text.size() <= 500 && Only(text, "._-/:@+#")) return {};
  return Error(StatusCode::kInvalidArgument, "%s may have letters, digits and ._-/:@+# only, but is '%.100s'",
               option, text.c_str());
}

Status CheckQuantity(const char* option, const std::string& text, const char* example) {
  const size_t digits = text.find_first_not_of("0123456789.");
  static const std::set<std::string> kSuffixes = {"", "m", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"};
  const std::string suffix = digits == std::string::npos ? "" : text.substr(digits);
  if (text.empty() || (digits != 0 && text[0] != '.' && text.size() <= 20 && kSuffixes.contains(suffix)))
    return {};
  return Error(StatusCode::kInvalidArgument, "%s must be a quantity such as %s, but is '%.100s'", option,
               example, text.c_str());
}

Status CheckPairs(const char* option, const std::vector<std::pair<std::string, std::string>>& pairs) {
  for (const auto& [key, value] : pairs) {
    if (!key.empty() && key.size() <= 300 && value.size() <= 1000 && Only(key, "._-/") &&
        value.find('\n') == value.npos)
      continue;
    return Error(StatusCode::kInvalidArgument, "%s must be KEY=VALUE in one line, but is '%.100s=%.100s'",
                 option, key.c_str(), value.c_str());
  }
  return {};
}

Status Check(const KubernetesOptions& options) {
  LATHE_RETURN_IF_ERROR(CheckName("--name", options.name));
  if (!options.name_space.empty()) LATHE_RETURN_IF_ERROR(CheckName("--namespace", options.name_space));
  if (!options.volume.empty()) LATHE_RETURN_IF_ERROR(CheckName("--volume", options.volume));
  LATHE_RETURN_IF_ERROR(CheckPlain("the model", options.model));
  LATHE_RETURN_IF_ERROR(CheckPlain("--image", options.image));
  LATHE_RETURN_IF_ERROR(CheckQuantity("--cpus", options.cpus, "8 or 500m"));
  LATHE_RETURN_IF_ERROR(CheckQuantity("--memory", options.memory, "32Gi"));
  LATHE_RETURN_IF_ERROR(CheckPairs("--node-selector", options.node_selector));
  LATHE_RETURN_IF_ERROR(CheckPairs("--setting", options.environment));
  if (!options.gpu.empty() && FindGpu(options.gpu) == nullptr) {
    return Error(StatusCode::kInvalidArgument, "--gpu must be one of %s, but is '%.100s'", GpuNames().c_str(),
                 options.gpu.c_str());
  }
  if (options.gpus < 1 || options.gpus > kMaxGpus) {
    return Error(StatusCode::kInvalidArgument, "--gpus must be in [1, %d], but is %d", kMaxGpus,
                 options.gpus);
  }
  if (options.gpus > 1 && options.gpu.empty()) {
    return Error(StatusCode::kInvalidArgument, "--gpus %d needs --gpu, which says of which kind",
                 options.gpus);
  }
  if (options.spot && options.gpu.empty()) {
    return Error(StatusCode::kInvalidArgument, "--spot needs --gpu: its manifests are those of GPU nodes");
  }
  return {};
}

enum class Source { kHub, kVolume, kImage };

Expected<Source> SourceOf(const std::string& model) {
  if (model.starts_with("oci://")) {
    if (model.size() > 6 && model.find('#', 6) != 6) return Source::kImage;
    return Error(StatusCode::kInvalidArgument, "'%.100s' names no image: oci://REGISTRY/REPOSITORY:TAG#FILE",
                 model.c_str());
  }
  if (model.starts_with("/")) {
    if (model.starts_with("/models/") && model.size() > 8 && model.find("..") == model.npos)
      return Source::kVolume;
    return Error(StatusCode::kInvalidArgument,
                 "the volume is mounted at /models, so the path must be /models/..., but is '%.100s'",
                 model.c_str());
  }
  const bool good = !model.empty() && Only(model, "._-/@") &&
                    std::count(model.begin(), model.end(), '/') <= 1 && model.find("..") == model.npos &&
                    model.back() != '/';
  if (good) return Source::kHub;
  return Error(StatusCode::kInvalidArgument,
               "'%.100s' is neither a repository of the hub (ORG/NAME), nor a path on the volume "
               "(/models/m.lathe), nor "
               "an image (oci://REGISTRY/REPOSITORY:TAG#FILE)",
               model.c_str());
}

// Which folders of the tree, in the order in which they are laid over one another.
std::vector<std::string> Folders(const KubernetesOptions& options, Source source) {
  std::vector<std::string> folders = {"base", options.gpu.empty() ? "overlays/cpu" : "overlays/gke-gpu"};
  const bool scaled = options.max_replicas > options.min_replicas;
  if (options.spot) folders.push_back("overlays/spot");
  if (options.monitoring || scaled) folders.push_back("overlays/monitoring");
  if (scaled) folders.push_back("overlays/autoscale");
  if (source == Source::kVolume) folders.push_back("overlays/engine-volume");
  if (source == Source::kImage) folders.push_back("overlays/engine-image");
  if (options.gateway) folders.push_back("overlays/gateway");
  return folders;
}

YAML::Node Quoted(const std::string& text) {
  YAML::Node node(text);
  node.SetTag("!");
  return node;
}

YAML::Node Named(YAML::Node list, const std::string& name) {
  for (YAML::Node item : list) {
    if (item["name"].Scalar() == name) return item;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

void SetVariable(YAML::Node container, const std::string& name, const std::string& value) {
  YAML::Node variable = Named(container["env"], name);
  if (!variable.IsDefined()) {
    YAML::Node fresh;
    fresh["name"] = name;
    fresh["value"] = Quoted(value);
    container["env"].push_back(fresh);
    return;
  }
  variable["value"] = Quoted(value);
}

YAML::Node Find(Objects& objects, const char* kind, const char* name) {
  for (YAML::Node& object : objects) {
    if (object["kind"].Scalar() == kind && object["metadata"]["name"].Scalar() == name) return object;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

void FillSource(const KubernetesOptions& options, Source source, YAML::Node pod) {
  YAML::Node server = Named(pod["containers"], "lathe");
  if (source == Source::kHub) {
    SetVariable(server, "LATHE_MODEL", options.model);
    SetVariable(Named(pod["initContainers"], "pull"), "LATHE_MODEL", options.model);
  } else if (source == Source::kVolume) {
    SetVariable(server, "LATHE_MODEL", options.model);
  } else {
    const size_t hash = options.model.find('#');
    SetVariable(server, "LATHE_MODEL",
                "/models/" + (hash == std::string::npos ? "model.lathe" : options.model.substr(hash + 1)));
    Named(pod["volumes"], "models")["image"]["reference"] =
        options.model.substr(6, hash == std::string::npos ? hash : hash - 6);
  }
}

void FillMachine(const KubernetesOptions& options, YAML::Node pod) {
  YAML::Node server = Named(pod["containers"], "lathe");
  YAML::Node requests = server["resources"]["requests"], limits = server["resources"]["limits"];
  if (!options.cpus.empty()) {
    requests["cpu"] = Quoted(options.cpus);
    if (limits["cpu"]) limits["cpu"] = Quoted(options.cpus);
  }
  if (!options.memory.empty()) {
    requests["memory"] = options.memory;
    limits["memory"] = options.memory;
  }
  if (!options.gpu.empty()) {
    const std::string key = "cloud.google.com/gke-accelerator";
    pod["nodeSelector"][key] = FindGpu(options.gpu)->accelerator;
    requests["nvidia.com/gpu"] = Quoted(std::to_string(options.gpus));
    limits["nvidia.com/gpu"] = Quoted(std::to_string(options.gpus));
    if (!options.node_selector.empty()) pod["nodeSelector"].remove(key);
  }
  for (const auto& [key, value] : options.node_selector) pod["nodeSelector"][key] = Quoted(value);
}

// A drain of another length needs another grace period: preStop + grace + what the tree leaves beyond the
// two.
void FillGrace(YAML::Node pod, YAML::Node server, const std::string& grace) {
  const int pre_stop = server["lifecycle"]["preStop"]["sleep"]["seconds"].as<int>();
  const int before = Named(server["env"], "LATHE_GRACE")["value"].as<int>();
  const int slack = pod["terminationGracePeriodSeconds"].as<int>() - pre_stop - before;
  pod["terminationGracePeriodSeconds"] =
      pre_stop + static_cast<int>(std::ceil(std::atof(grace.c_str()))) + slack;
}

void Fill(const KubernetesOptions& options, Source source, Objects* objects) {
  YAML::Node deployment = Find(*objects, "Deployment", "lathe");
  YAML::Node pod = deployment["spec"]["template"]["spec"];
  YAML::Node server = Named(pod["containers"], "lathe");
  FillSource(options, source, pod);
  FillMachine(options, pod);
  for (const auto& [name, value] : options.environment) {
    if (name == "LATHE_GRACE") FillGrace(pod, server, value);
    SetVariable(server, name, value);
  }
  if (!options.image.empty()) {
    for (const char* list : {"containers", "initContainers"}) {
      for (YAML::Node container : pod[list]) container["image"] = options.image;
    }
  }
  YAML::Node scaler = Find(*objects, "HorizontalPodAutoscaler", "lathe");
  if (scaler.IsDefined()) {
    scaler["spec"]["minReplicas"] = options.min_replicas;
    scaler["spec"]["maxReplicas"] = options.max_replicas;
  } else {
    deployment["spec"]["replicas"] = options.min_replicas;
  }
}

// Whether the text below `key`, itself below `parent`, is the name of an object or of this deployment.
bool IsName(const std::string& key, const std::string& parent) {
  static const std::set<std::string> kAlways = {"claimName", "secretName", "serviceAccountName",
                                                "app.kubernetes.io/instance"};
  static const std::set<std::string> kParents = {"metadata",          "scaleTargetRef", "poolRef",
                                                 "endpointPickerRef", "roleRef",        "subjects",
                                                 "configMap",         "secretKeyRef",   "backendRefs"};
  return kAlways.contains(key) || (key == "name" && kParents.contains(parent));
}

constexpr std::string_view kPoolFlag = "--pool-name=";

// "lathe" and "lathe-..." become NAME and NAME-... where they name an object.
void Rename(YAML::Node node, const std::string& key, const std::string& parent, const std::string& name) {
  if (node.IsMap()) {
    for (auto item : node) Rename(item.second, item.first.Scalar(), key, name);
  } else if (node.IsSequence()) {
    for (YAML::Node item : node) {
      if (item.IsMap()) {
        for (auto entry : item) Rename(entry.second, entry.first.Scalar(), key, name);
      } else if (key == "args" && item.Scalar().starts_with(kPoolFlag)) {
        item = std::string(kPoolFlag) + name;
      }
    }
  } else if (node.IsScalar() && IsName(key, parent)) {
    const std::string text = node.Scalar();
    if (text == "lathe" || text.starts_with("lathe-")) node = name + text.substr(5);
  }
}

Expected<Objects> Compose(const KubernetesOptions& options) {
  LATHE_RETURN_IF_ERROR(Check(options));
  LATHE_ASSIGN_OR_RETURN(const Source source, SourceOf(options.model));
  Objects objects;
  for (const std::string& folder : Folders(options, source)) {
    LATHE_RETURN_IF_ERROR(ApplyFolder(folder, &objects));
  }
  Fill(options, source, &objects);
  for (YAML::Node& object : objects) {
    Rename(object, {}, {}, options.name);
    if (!options.name_space.empty()) object["metadata"]["namespace"] = options.name_space;
  }
  // A claim of the user's own is not to be renamed.
  if (source == Source::kVolume && !options.volume.empty()) {
    YAML::Node pod = Find(objects, "Deployment", options.name.c_str())["spec"]["template"]["spec"];
    Named(pod["volumes"], "models")["persistentVolumeClaim"]["claimName"] = options.volume;
  }
  return objects;
}

}  // namespace

Status CheckEngine(const KubernetesOptions& options, const std::string& target, int ranks) {
  const Gpu* gpu = FindGpu(options.gpu);
  const bool for_gpu = target.starts_with("cuda:");
  const bool fits = for_gpu ? gpu != nullptr && target == gpu->target : options.gpu.empty();
  if (fits && (!for_gpu || ranks == options.gpus)) return {};
  if (fits) {
    return Error(StatusCode::kMismatch, "the engine has %d ranks, one for each GPU, but --gpus is %d", ranks,
                 options.gpus);
  }
  if (!for_gpu) {
    return Error(
        StatusCode::kMismatch,
        "the engine is for %s and would leave a GPU idle: leave --gpu out, or build one for it (lathe build "
        "--target %s)",
        target.c_str(), gpu == nullptr ? "cuda" : gpu->target);
  }
  std::string names;
  for (const Gpu& other : kGpus) {
    if (target == other.target) names += (names.empty() ? "" : ", ") + std::string(other.name);
  }
  return Error(StatusCode::kMismatch, "the engine is for %s, but --gpu is %s; that runs on %s",
               target.c_str(), options.gpu.empty() ? "not given" : options.gpu.c_str(),
               names.empty() ? "none of the GPUs that --gpu knows" : names.c_str());
}

std::string GpuNames() {
  std::string names;
  for (const Gpu& gpu : kGpus) names += (names.empty() ? "" : ", ") + std::string(gpu.name);
  return names;
}

Status ParseReplicas(const std::string& text, int* low, int* high) {
  const auto number = [](const std::string& part) {
    if (part.empty() || part.size() > 4 || part.find_first_not_of("0123456789") != part.npos) return 0;
    return std::stoi(part);
  };
  const size_t dots = text.find("..");
  *low = number(text.substr(0, dots));
  *high = dots == text.npos ? *low : number(text.substr(dots + 2));
  if (*low >= 1 && *low <= *high && *high <= kMaxReplicas) return {};
  return Error(
      StatusCode::kInvalidArgument,
      "--replicas must be a number in [1, %d], or two as in 2..8, the smaller first, but is '%.100s'",
      kMaxReplicas, text.c_str());
}

Expected<std::string> KubernetesYaml(const KubernetesOptions& options) {
  try {
    LATHE_ASSIGN_OR_RETURN(const Objects objects, Compose(options));
    return "# Made by lathe deploy k8s.\n" + ToYaml(objects);
  } catch (const YAML::Exception& fault) {
    return Error(StatusCode::kInternal, "the manifests of this program do not fit together: %s",
                 fault.what());
  }
}

}  // namespace lathe::deploy
