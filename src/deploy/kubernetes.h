// `lathe deploy k8s`: the Kustomize tree of deploy/kubernetes, which the program carries, put together and
// filled in. Whoever prefers kustomize gets the same objects from the tree (tests/deploy compares the two).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace lathe::deploy {

struct KubernetesOptions {
  // Where the engine or the weights come from:
  //   mistralai/Mistral-7B   a repository of the hub, pulled by an init container
  //   /models/m.lathe        a path on the claim `volume`, mounted at /models
  //   oci://REGISTRY/R:T#F   file F (default model.lathe) of an image that is mounted at /models
  std::string model;
  std::string name = "lathe";  // of every object
  std::string name_space;      // empty: whatever kubectl uses
  std::string image;           // of the server; empty: the tree's
  std::string gpu;             // "h200" (GpuNames()); empty: no accelerator
  int gpus = 1;                // of one pod
  int min_replicas = 2;
  int max_replicas = 2;  // more than the least: a HorizontalPodAutoscaler
  bool spot = false;
  bool monitoring = false;  // a ServiceMonitor; an autoscaler has one anyway
  bool gateway = false;     // an InferencePool, its objectives, route and endpoint picker
  std::string volume;       // claim of /models/..; empty: NAME-models
  std::string cpus;         // "8", "500m"; empty: the tree's
  std::string memory;       // "32Gi"; empty: the tree's
  std::vector<std::pair<std::string, std::string>> node_selector;  // instead of GKE's accelerator
  std::vector<std::pair<std::string, std::string>> environment;    // further variables of the server
};

// The manifests as one YAML text, or the fault of an option (kInvalidArgument), which it names.
Expected<std::string> KubernetesYaml(const KubernetesOptions& options);

// Whether an engine for `target` ("cpu:avx512", "cuda:sm_90a") with so many ranks runs on the pods of
// `options`; kMismatch with both sides, and what to do, where it does not.
Status CheckEngine(const KubernetesOptions& options, const std::string& target, int ranks);

// "2" or "2..8" into *low and *high; 1 to 1000.
Status ParseReplicas(const std::string& text, int* low, int* high);

// The values of `gpu`, for help: "l4, a100, .."
std::string GpuNames();

}  // namespace lathe::deploy
