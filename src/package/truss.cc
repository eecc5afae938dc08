#include "package/truss.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/file.h"
#include "lathe/version.h"
#include "package/embedded.h"

namespace lathe::package {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kGiB = uint64_t{1} << 30;
// Beside the weights: keys and values, buffers, the program.
constexpr uint64_t kMemoryBeside = 8;
constexpr size_t kMaxPackageFiles = 10000;

// Truss' accelerators by what an engine is for. Of two with one chip, the one whose name is in that of the
// machine that measured, else the first.
struct Accelerator {
  const char* target;
  const char* name;
  const char* machine;
};
constexpr Accelerator kAccelerators[] = {
    {"cuda:sm_75", "T4", "T4"},
    {"cuda:sm_80", "A100", "A100"},
    {"cuda:sm_86", "A10G", "A10"},
    {"cuda:sm_89", "L4", "L4"},
    {"cuda:sm_89", "L40S", "L40S"},
    {"cuda:sm_90a", "H100", "H100"},
    {"cuda:sm_90a", "H200", "H200"},
    {"cuda:sm_100a", "B200", "B200"},
    {"cuda:sm_120a", "RTX_PRO_6000", "RTX PRO 6000"},
};

constexpr char kSmallest[] = "L4";

// "H200", "H100:2"; empty for a CPU.
Expected<std::string> AcceleratorOf(const EngineIdentity& identity) {
  if (!identity.target.starts_with("cuda:")) return std::string();
  const Accelerator* best = nullptr;
  for (const Accelerator& accelerator : kAccelerators) {
    if (identity.target != accelerator.target) continue;
    // The longest name that fits: "L40S" has an "L4" in it.
    if (best == nullptr || identity.machine.find(accelerator.machine) != std::string::npos)
      best = &accelerator;
  }
  if (best == nullptr)
    return Error(StatusCode::kUnsupported, "Truss has no accelerator for an engine of %s; build one for %s",
                 identity.target.c_str(), "cuda:sm_80, 86, 89, 90a, 100a or 120a");
  const int ranks = identity.tp * identity.pp;
  return std::string(best->name) + (ranks > 1 ? ":" + std::to_string(ranks) : "");
}

// A compiled module of the stable ABI runs from 3.12 on; another names the one version it is for.
std::string PythonVersion(const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    const std::string mark = ".cpython-";
    const size_t at = file.find(mark);
    if (at == std::string::npos) continue;
    std::string digits;
    for (size_t i = at + mark.size(); i < file.size() && std::isdigit(static_cast<unsigned char>(file[i]));
         ++i) {
      digits += file[i];
    }
    return "py" + digits;
  }
  return "py312";
}

// The files of the package, by their paths below it; what Python writes itself is left out.
Expected<std::vector<std::string>> PackageFiles(const std::string& folder) {
  if (!FileExists(folder + "/__init__.py"))
    return Error(
        StatusCode::kNotFound,
        "--python-package: '%s' is no Python package; name the folder 'lathe' that has __init__.py, as "
        "'pip install --target DIR ./python' makes it",
        folder.c_str());
  std::vector<std::string> files;
  std::error_code ec;
  for (fs::recursive_directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string path = it->path().lexically_relative(folder).string();  // links keep their names
    if (!it->is_regular_file(ec) || path.find("__pycache__") != std::string::npos) continue;
    files.push_back(path);
    if (files.size() > kMaxPackageFiles)
      return Error(StatusCode::kInvalidArgument, "--python-package: '%s' has more than %zu files",
                   folder.c_str(), kMaxPackageFiles);
  }
  if (ec) return Error(StatusCode::kIo, "cannot list '%s': %s", folder.c_str(), ec.message().c_str());
  std::sort(files.begin(), files.end());
  return files;
}

// YAML's double quotes take JSON's strings.
std::string YamlText(const std::string& text) { return DumpJson(Json(text)); }

std::string ConfigYaml(const PackageOptions& options, const std::optional<EngineInside>& engine,
                       const std::string& accelerator, const std::string& python) {
  const std::string name = engine ? engine->identity.model_name : options.pull;
  const uint64_t gigabytes =
      engine ? (engine->source.size + kGiB - 1) / kGiB + kMemoryBeside : 2 * kMemoryBeside;
  const bool gpu = !accelerator.empty();
  std::string out = "# Made by lathe package.\n";
  out += "model_name: " + YamlText(name) + "\n";
  out += "description: " +
         YamlText(engine ? "Compiled by lathe " + engine->identity.builder + " for " +
                               FitsMachine(engine->identity)
                         : "Pulled by lathe at its start") +
         "\n";
  out +=
      "model_metadata:\n  example_model_input:\n    prompt: \"Once upon a time\"\n    max_tokens: 64\n    "
      "stream: true\n";
  if (engine) out += "  lathe_engine: " + YamlText(engine->identity.target) + "\n";
  out += "python_version: " + python + "\n";
  out += options.python_package.empty()
             ? std::string("requirements:\n  - lathe-llm==") + kVersionString + "\n"
             : std::string("requirements: []\n");
  out += "resources:\n  cpu: \"4\"\n  memory: " + std::to_string(gigabytes) + "Gi\n";
  out += std::string("  use_gpu: ") + (gpu ? "true" : "false") + "\n";
  if (gpu && !engine)
    out += "  # The smallest that lathe has kernels for; the model may need a larger one.\n";
  if (gpu) out += "  accelerator: " + accelerator + "\n";
  out += "runtime:\n  predict_concurrency: 64\n";
  Pairs environment;
  if (!engine) {
    environment.emplace_back("LATHE_MODEL", options.pull);
    environment.emplace_back("XDG_CACHE_HOME", "/tmp/cache");
  }
  if (!environment.empty()) out += "environment_variables:\n";
  for (const auto& [variable, value] : environment) out += "  " + variable + ": " + YamlText(value) + "\n";
  return out;
}

}  // namespace

Expected<Rootfs> GatherTruss(const PackageOptions& options, const std::optional<EngineInside>& engine) {
  Rootfs tree;
  std::vector<std::string> files;
  if (!options.python_package.empty()) {
    LATHE_ASSIGN_OR_RETURN(files, PackageFiles(options.python_package));
    for (const std::string& file : files) {
      LATHE_ASSIGN_OR_RETURN(Source source, FileSource(options.python_package + "/" + file));
      tree.AddFile("/packages/lathe/" + file, std::move(source));
    }
  }
  std::string accelerator;
  if (engine) {
    LATHE_ASSIGN_OR_RETURN(accelerator, AcceleratorOf(engine->identity));
    tree.AddFile("/data/" + engine->file_name, engine->source);
  }
  if (!engine && options.cuda) accelerator = kSmallest;
  tree.AddText("/config.yaml", ConfigYaml(options, engine, accelerator, PythonVersion(files)));
  tree.AddText("/model/__init__.py", "");
  for (const EmbeddedFile& file : ComponentFiles()) {
    if (file.name == "truss_model.py") tree.AddText("/model/model.py", std::string(file.bytes));
  }
  return tree;
}

}  // namespace lathe::package
