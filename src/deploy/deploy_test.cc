#include <cctype>
#include <map>
#include <set>

#include "deploy/embedded.h"
#include "deploy/kubernetes.h"
#include "deploy/tree.h"

namespace lathe::deploy {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Text(const YAML::Node& node) { return ToYaml({node}); }

struct MergeCase {
  const char* what;
  const char* key;
  const char* base;
  const char* patch;
  const char* expected;
};

TEST(Merged, FollowsKubernetes) {
  const MergeCase cases[] = {
      {"tables are merged", "spec", "{a: 1, b: {c: 2}}", "{b: {d: 3}}", "{a: 1, b: {c: 2, d: 3}}"},
      {"null removes", "spec", "{a: 1, b: 2}", "{a: null}", "{b: 2}"},
      {"null of what is not there", "spec", "{a: 1}", "{b: null}", "{a: 1}"},
      {"values are replaced", "spec", "{a: 1}", "{a: x}", "{a: x}"},
      {"plain lists are replaced", "tolerations", "[{key: a}]", "[{key: b}]", "[{key: b}]"},
      {"named lists by name", "env", "[{name: a, value: 1}, {name: b, value: 2}]",
       "[{name: b, value: 3}, {name: c, value: 4}]",
       "[{name: a, value: 1}, {name: b, value: 3}, {name: c, value: 4}]"},
      {"mounts by path", "volumeMounts", "[{name: x, mountPath: /a}]", "[{name: y, mountPath: /a}]",
       "[{name: y, mountPath: /a}]"},
      {"an item is removed", "containers", "[{name: a}, {name: b}]", "[{name: a, $patch: delete}]",
       "[{name: b}]"},
      {"a table replaces a value", "spec", "{a: 1}", "{a: {b: 1}}", "{a: {b: 1}}"},
  };
  for (const MergeCase& c : cases) {
    const YAML::Node base = YAML::Load(c.base), patch = YAML::Load(c.patch);
    const std::string before = Text(base);
    EXPECT_EQ(Text(Merged(base, patch, c.key)), Text(YAML::Load(c.expected))) << c.what;
    EXPECT_EQ(Text(base), before) << c.what << ": the base was changed";
  }
}

TEST(ToYaml, KeepsQuotesAndLines) {
  const YAML::Node node =
      YAML::Load("{a: \"8\", b: 8, c: \"true\", d: 0440, e: \"one\\ntwo\\n\", f: [], g: null}");
  const std::string text = Text(node);
  EXPECT_THAT(text, HasSubstr("a: \"8\"\nb: 8\nc: \"true\"\nd: 0440\ne: |\n"));
  const YAML::Node again = YAML::Load(text);
  EXPECT_EQ(again["e"].Scalar(), "one\ntwo\n");
  EXPECT_TRUE(again["f"].IsSequence());
  EXPECT_TRUE(again["g"].IsNull());
}

// Every overlay of the tree can be read, its patches find what they change, and nothing of it is lost.
TEST(Tree, EveryFolderApplies) {
  std::set<std::string> overlays;
  for (const EmbeddedFile& file : ManifestFiles()) {
    const std::string name(file.name);
    if (name.starts_with("overlays/")) overlays.insert(name.substr(0, name.find('/', 9)));
  }
  EXPECT_GE(overlays.size(), 9U);
  for (const std::string& overlay : overlays) {
    Objects objects;
    for (const std::string& folder : {std::string("base"), std::string("overlays/gke-gpu"), overlay}) {
      const Status status = ApplyFolder(folder, &objects);
      EXPECT_TRUE(status.ok()) << overlay << ": " << status.message();
    }
    EXPECT_GE(objects.size(), 5U) << overlay;
  }
}

TEST(Tree, AnUnknownFolderIsAFault) {
  Objects objects;
  EXPECT_EQ(ApplyFolder("overlays/none", &objects).code(), StatusCode::kInternal);
}

KubernetesOptions Options(const char* model) {
  KubernetesOptions options;
  options.model = model;
  return options;
}

// {"Deployment lathe": object} of the manifests.
std::map<std::string, YAML::Node> Made(const KubernetesOptions& options) {
  const auto yaml = KubernetesYaml(options);
  EXPECT_TRUE(yaml.ok()) << yaml.status().message();
  std::map<std::string, YAML::Node> objects;
  if (!yaml.ok()) return objects;
  for (const YAML::Node& node : YAML::LoadAll(*yaml)) {
    objects.emplace(node["kind"].Scalar() + " " + node["metadata"]["name"].Scalar(), node);
  }
  return objects;
}

std::string Variable(const YAML::Node& container, const std::string& name) {
  for (const YAML::Node& item : container["env"]) {
    if (item["name"].Scalar() == name) return item["value"].Scalar();
  }
  return "(none)";
}

TEST(KubernetesYaml, ThreePlacesOfAnEngine) {
  const YAML::Node hub = Made(Options("org/model")).at("Deployment lathe")["spec"]["template"]["spec"];
  EXPECT_EQ(Variable(hub["containers"][0], "LATHE_MODEL"), "org/model");
  EXPECT_EQ(Variable(hub["initContainers"][0], "LATHE_MODEL"), "org/model");

  KubernetesOptions options = Options("/models/m.lathe");
  options.volume = "lathe-other";
  options.name = "tales";
  const YAML::Node volume = Made(options).at("Deployment tales")["spec"]["template"]["spec"];
  EXPECT_EQ(Variable(volume["containers"][0], "LATHE_MODEL"), "/models/m.lathe");
  EXPECT_FALSE(volume["initContainers"].IsDefined());
  EXPECT_EQ(volume["volumes"][3]["persistentVolumeClaim"]["claimName"].Scalar(), "lathe-other");

  const YAML::Node image =
      Made(Options("oci://r.example/m:1#tales.lathe")).at("Deployment lathe")["spec"]["template"]["spec"];
  EXPECT_EQ(Variable(image["containers"][0], "LATHE_MODEL"), "/models/tales.lathe");
  EXPECT_EQ(image["volumes"][3]["image"]["reference"].Scalar(), "r.example/m:1");
}

TEST(KubernetesYaml, NamesReachEveryReference) {
  KubernetesOptions options = Options("org/model");
  options.name = "tales";
  options.name_space = "llm";
  options.gpu = "l4";
  options.gateway = true;
  options.max_replicas = 8;
  const auto yaml = KubernetesYaml(options);
  ASSERT_TRUE(yaml.ok()) << yaml.status().message();
  EXPECT_THAT(*yaml, HasSubstr("--pool-name=tales"));
  EXPECT_THAT(*yaml, HasSubstr("secretName: tales-keys"));
  EXPECT_THAT(*yaml, Not(HasSubstr("instance: lathe")));
  EXPECT_THAT(*yaml, HasSubstr("name: tales-hub"));
  const auto objects = Made(options);
  EXPECT_EQ(objects.at("HorizontalPodAutoscaler tales")["spec"]["scaleTargetRef"]["name"].Scalar(), "tales");
  EXPECT_EQ(objects.at("InferencePool tales")["spec"]["endpointPickerRef"]["name"].Scalar(), "tales-epp");
  for (const auto& [name, object] : objects)
    EXPECT_EQ(object["metadata"]["namespace"].Scalar(), "llm") << name;
}

TEST(KubernetesYaml, MachinesReplicasAndSettings) {
  KubernetesOptions options = Options("org/model");
  options.gpu = "a100-80gb";
  options.gpus = 4;
  options.cpus = "16";
  options.memory = "200Gi";
  options.image = "r.example/lathe:2";
  options.min_replicas = options.max_replicas = 3;
  options.node_selector = {{"gpu", "true"}};
  options.environment = {{"LATHE_GRACE", "300"}, {"LATHE_CONTEXT", "8192"}};
  const auto objects = Made(options);
  EXPECT_FALSE(objects.contains("HorizontalPodAutoscaler lathe"));
  const YAML::Node deployment = objects.at("Deployment lathe");
  const YAML::Node pod = deployment["spec"]["template"]["spec"], server = pod["containers"][0];
  EXPECT_EQ(deployment["spec"]["replicas"].as<int>(), 3);
  EXPECT_EQ(server["resources"]["limits"]["nvidia.com/gpu"].Scalar(), "4");
  EXPECT_EQ(server["resources"]["limits"]["memory"].Scalar(), "200Gi");
  EXPECT_EQ(server["image"].Scalar(), "r.example/lathe:2");
  EXPECT_EQ(pod["initContainers"][0]["image"].Scalar(), "r.example/lathe:2");
  EXPECT_EQ(Text(pod["nodeSelector"]), "---\ngpu: \"true\"\n");
  EXPECT_EQ(Variable(server, "LATHE_CONTEXT"), "8192");
  EXPECT_EQ(pod["terminationGracePeriodSeconds"].as<int>(), 320);
}

TEST(KubernetesYaml, RefusesWithTheOptionsName) {
  struct Case {
    const char* says;
    std::function<void(KubernetesOptions*)> change;
  };
  const Case cases[] = {
      {"neither a repository", [](KubernetesOptions* o) { o->model = "a/b/c"; }},
      {"neither a repository", [](KubernetesOptions* o) { o->model = ""; }},
      {"neither a repository", [](KubernetesOptions* o) { o->model = "../b"; }},
      {"the model", [](KubernetesOptions* o) { o->model = "a/b\nevil: yes"; }},
      {"mounted at /models", [](KubernetesOptions* o) { o->model = "/etc/m.lathe"; }},
      {"mounted at /models", [](KubernetesOptions* o) { o->model = "/models/../m.lathe"; }},
      {"names no image", [](KubernetesOptions* o) { o->model = "oci://#m"; }},
      {"--name", [](KubernetesOptions* o) { o->name = "Tales"; }},
      {"--name", [](KubernetesOptions* o) { o->name = ""; }},
      {"--namespace", [](KubernetesOptions* o) { o->name_space = "a b"; }},
      {"--image", [](KubernetesOptions* o) { o->image = "a b"; }},
      {"--gpu must be one of l4", [](KubernetesOptions* o) { o->gpu = "voodoo2"; }},
      {"--gpus must be", [](KubernetesOptions* o) { o->gpu = "l4", o->gpus = 17; }},
      {"needs --gpu", [](KubernetesOptions* o) { o->gpus = 2; }},
      {"--spot needs --gpu", [](KubernetesOptions* o) { o->spot = true; }},
      {"--memory", [](KubernetesOptions* o) { o->memory = "lots"; }},
      {"--cpus", [](KubernetesOptions* o) { o->cpus = "8 cores"; }},
      {"--node-selector",
       [](KubernetesOptions* o) {
         o->node_selector = {{"a b", "c"}};
       }},
  };
  for (const Case& c : cases) {
    KubernetesOptions options = Options("org/model");
    c.change(&options);
    const auto yaml = KubernetesYaml(options);
    ASSERT_FALSE(yaml.ok()) << c.says;
    EXPECT_EQ(yaml.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(yaml.status().message(), HasSubstr(c.says));
  }
}

TEST(CheckEngine, AnEngineAndItsPods) {
  struct Case {
    const char* target;
    int ranks;
    const char* gpu;
    int gpus;
    const char* says;  // nullptr: they fit
  };
  const Case cases[] = {
      {"cpu:avx512", 1, "", 1, nullptr},
      {"cpu:avx512", 2, "", 1, nullptr},
      {"cuda:sm_90a", 1, "h200", 1, nullptr},
      {"cuda:sm_90a", 4, "h100", 4, nullptr},
      {"cuda:sm_90a", 1, "", 1, "--gpu is not given; that runs on h100, h100-mega, h200"},
      {"cuda:sm_89", 1, "h200", 1, "for cuda:sm_89, but --gpu is h200; that runs on l4"},
      {"cuda:sm_86", 1, "l4", 1, "none of the GPUs"},
      {"cpu:avx512", 1, "h200", 1, "lathe build --target cuda:sm_90a"},
      {"cuda:sm_90a", 2, "h200", 1, "2 ranks, one for each GPU, but --gpus is 1"},
  };
  for (const Case& c : cases) {
    KubernetesOptions options;
    options.gpu = c.gpu;
    options.gpus = c.gpus;
    const Status status = CheckEngine(options, c.target, c.ranks);
    EXPECT_EQ(status.ok(), c.says == nullptr) << c.target << " " << c.gpu << ": " << status.message();
    if (c.says != nullptr) {
      EXPECT_EQ(status.code(), StatusCode::kMismatch);
      EXPECT_THAT(status.message(), HasSubstr(c.says));
    }
  }
}

TEST(ParseReplicas, OneOrTwoNumbers) {
  int low = 0, high = 0;
  EXPECT_TRUE(ParseReplicas("3", &low, &high).ok());
  EXPECT_EQ(low, 3);
  EXPECT_EQ(high, 3);
  EXPECT_TRUE(ParseReplicas("2..8", &low, &high).ok());
  EXPECT_EQ(low, 2);
  EXPECT_EQ(high, 8);
  for (const char* bad :
       {"", "0", "8..2", "2..", "..8", "2...8", "a", "-1", "1001", "99999999999", "2..8..9"}) {
    EXPECT_FALSE(ParseReplicas(bad, &low, &high).ok()) << bad;
  }
}

}  // namespace
}  // namespace lathe::deploy
