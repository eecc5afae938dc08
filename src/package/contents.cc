#include "package/contents.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "base/sha.h"
#include "lathe/version.h"
#include "package/embedded.h"
#include "package/engine_source.h"
#include "package/libraries.h"
#include "package/sbom.h"

namespace lathe::package {
namespace {

namespace fs = std::filesystem;

constexpr char kProgram[] = "/usr/bin/lathe";
constexpr char kCertificates[] = "/etc/ssl/certs/ca-certificates.crt";
constexpr char kCache[] = "/cache";
constexpr uint32_t kProgramMode = 0755, kSharedMode = 01777;
// A model is pulled, and maybe built, before the first probe succeeds.
constexpr int kStartSeconds = 120, kPullStartSeconds = 1800;

// Letters, digits, dots, dashes and underscores; everything else becomes a dash.
std::string Safe(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-' || c == '_';
    out += good ? c : '-';
  }
  return out.empty() || out.front() == '.' ? "model" + out : out;
}

Expected<std::string> FileDigest(const std::string& path) {
  Sha hash;
  LATHE_RETURN_IF_ERROR(hash.UpdateFromFile(path));
  return hash.Finish();
}

Expected<std::string> FindCertificates(const std::string& wanted) {
  if (!wanted.empty()) {
    if (FileExists(wanted)) return wanted;
    return Error(StatusCode::kNotFound, "--certificates: there is no file '%s'", wanted.c_str());
  }
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    if (FileExists(path)) return std::string(path);
  }
  return Status(StatusCode::kNotFound,
                "this machine has no CA certificates, which the image needs to reach the hub; install "
                "ca-certificates or name a PEM file with --certificates");
}

// The files of NVRTC in `folder`, under the names that they are loaded by: the compiler and its built-in
// functions, of which there may be several links.
Expected<std::vector<std::string>> NvrtcFiles(const std::string& folder) {
  std::set<std::string> names;
  std::error_code ec;
  for (fs::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string name = it->path().filename().string();
    const bool compiler = name.starts_with("libnvrtc.so."),
               built_in = name.starts_with("libnvrtc-builtins.so.");
    // Of libnvrtc.so.12 and libnvrtc.so.12.4.127 the short one is what lathe opens.
    const bool short_name = std::count(name.begin(), name.end(), '.') == 2;
    if ((compiler && short_name) || (built_in && std::count(name.begin(), name.end(), '.') == 3))
      names.insert(name);
  }
  const bool both = std::any_of(names.begin(), names.end(), [](const auto& n) { return n[8] == '.'; }) &&
                    std::any_of(names.begin(), names.end(), [](const auto& n) { return n[8] == '-'; });
  if (!both)
    return Error(StatusCode::kNotFound,
                 "--with-nvrtc: '%s' has no libnvrtc.so.N with its libnvrtc-builtins.so.N.M; pip install "
                 "nvidia-cuda-nvrtc brings a folder that has",
                 folder.c_str());
  return std::vector<std::string>(names.begin(), names.end());
}

// Adds files of this machine to the runtime and to the list of components.
class RuntimeBuilder {
 public:
  RuntimeBuilder(const PackageOptions& options, Contents* contents)
      : options_(options), contents_(contents) {}

  Status Build() {
    LATHE_ASSIGN_OR_RETURN(built_in_, BuiltInComponents());
    for (const Component& component : built_in_) {
      if (component.kind != ComponentKind::kShared) contents_->components.push_back(component);
    }
    LATHE_RETURN_IF_ERROR(AddProgram());
    LATHE_RETURN_IF_ERROR(AddCertificates());
    AddAccounts();
    AddLicences();
    for (const char* folder : {"/dev", "/proc", "/sys", "/run", "/models", "/etc/lathe"}) {
      contents_->runtime.AddFolder(folder);
    }
    contents_->runtime.AddFolder("/tmp", kSharedMode);
    if (!options_.pull.empty()) contents_->runtime.AddFolder(kCache, kSharedMode);
    return {};
  }

 private:
  Status AddProgram() {
    const std::string program = options_.program.empty() ? "/proc/self/exe" : options_.program;
    LATHE_ASSIGN_OR_RETURN(const ProgramFiles files, FindLibraries(program, kProgram, options_.library_path));
    contents_->config.architecture = files.architecture;
    LATHE_ASSIGN_OR_RETURN(contents_->lathe_sha256, FileDigest(program));
    LATHE_ASSIGN_OR_RETURN(Source source, FileSource(program));
    contents_->runtime.AddFile(kProgram, std::move(source), kProgramMode);
    std::vector<LibraryFile> libraries = files.libraries;
    libraries.push_back(files.interpreter);
    if (!options_.nvrtc.empty()) {
      LATHE_ASSIGN_OR_RETURN(const auto names, NvrtcFiles(options_.nvrtc));
      for (const std::string& name : names) {
        libraries.push_back({name, options_.nvrtc + "/" + name, "/usr/lib/" + name});
      }
    }
    std::vector<std::string> paths;
    for (const LibraryFile& library : libraries) paths.push_back(library.host_path);
    const auto owners = OwnersOf(paths);
    for (const LibraryFile& library : libraries) {
      LATHE_ASSIGN_OR_RETURN(Source content, FileSource(library.host_path));
      const bool loader = &library == &libraries[files.libraries.size()];
      contents_->runtime.AddFile(library.image_path, std::move(content), loader ? kProgramMode : 0644);
      Component component = DescribeLibrary(library.host_path, library.image_path, built_in_, owners);
      LATHE_ASSIGN_OR_RETURN(component.sha256, FileDigest(library.host_path));
      contents_->components.push_back(std::move(component));
    }
    return {};
  }

  Status AddCertificates() {
    auto path = FindCertificates(options_.certificates);
    // Only what pulls needs them; an image with an engine speaks to nobody.
    if (!path.ok() && options_.pull.empty() && options_.certificates.empty()) return {};
    LATHE_RETURN_IF_ERROR(path.status());
    LATHE_ASSIGN_OR_RETURN(std::string text, ReadFile(*path, size_t{64} << 20));
    Component component{.name = "ca-certificates", .license = "MPL-2.0", .kind = ComponentKind::kData};
    component.file = kCertificates;
    component.sha256 = Sha256Hex(text);
    if (options_.certificates.empty()) {
      // The bundle itself is made on the machine, by a program of the package.
      for (const auto& [maker, owner] : OwnersOf({"/usr/sbin/update-ca-certificates"})) {
        component.version = owner.version;
        component.purl = PurlOf(owner);
      }
    }
    contents_->components.push_back(std::move(component));
    contents_->runtime.AddText(kCertificates, std::move(text));
    return {};
  }

  void AddAccounts() {
    const std::string id = std::to_string(kUserId);
    Rootfs& runtime = contents_->runtime;
    runtime.AddText("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:" + id + ":" + id +
                                       ":nonroot:/tmp:/sbin/nologin\n");
    runtime.AddText("/etc/group", "root:x:0:\nnonroot:x:" + id + ":\n");
    runtime.AddText("/etc/nsswitch.conf", "hosts: files dns\n");
  }

  void AddLicences() {
    for (const EmbeddedFile& file : ComponentFiles()) {
      if (!file.name.starts_with("licences/")) continue;
      contents_->runtime.AddText("/usr/share/doc/lathe/" + std::string(file.name), std::string(file.bytes));
    }
  }

  const PackageOptions& options_;
  Contents* contents_;
  std::vector<Component> built_in_;
};

bool OnCuda(const PackageOptions& options, const std::optional<EngineInside>& engine) {
  return options.cuda || !options.nvrtc.empty() || (engine && engine->identity.target.starts_with("cuda:"));
}

// Settings of the user's come last and take the place of ours.
void Set(Pairs* pairs, const std::string& name, const std::string& value) {
  for (auto& [known, old] : *pairs) {
    if (known == name) {
      old = value;
      return;
    }
  }
  pairs->emplace_back(name, value);
}

Pairs Environment(const PackageOptions& options, const std::optional<EngineInside>& engine) {
  Pairs out{{"PATH", "/usr/bin"}, {"HOME", "/tmp"}, {"SSL_CERT_FILE", kCertificates}};
  if (!options.pull.empty()) {
    Set(&out, "XDG_CACHE_HOME", kCache);
    Set(&out, "HF_HOME", std::string(kCache) + "/huggingface");
  }
  if (OnCuda(options, engine)) {
    Set(&out, "NVIDIA_VISIBLE_DEVICES", "all");
    Set(&out, "NVIDIA_DRIVER_CAPABILITIES", "compute,utility");
    // Where drivers are mounted: GKE's device plugin, NVIDIA's runtime (two layouts).
    Set(&out, "LD_LIBRARY_PATH",
        "/usr/local/nvidia/lib64:/usr/lib64:/usr/lib/x86_64-linux-gnu:"
        "/usr/lib/aarch64-linux-gnu");
  }
  Set(&out, "LATHE_MODEL", engine ? "/models/" + engine->file_name : options.pull);
  Set(&out, "LATHE_HOST", "0.0.0.0");
  Set(&out, "LATHE_PORT", std::to_string(options.port));
  Set(&out, "LATHE_MANAGEMENT_LISTEN", "127.0.0.1:8001");
  Set(&out, "LATHE_LOG_FORMAT", "json");
  for (const auto& [name, value] : options.environment) Set(&out, name, value);
  return out;
}

// Everything that is inside, each licence once.
std::string LicenseExpression(const Contents& contents) {
  std::set<std::string> all{"Apache-2.0"};
  for (const Component& component : contents.components) {
    for (size_t begin = 0; begin < component.license.size();) {
      const size_t end = std::min(component.license.find(" AND ", begin), component.license.size());
      all.insert(component.license.substr(begin, end - begin));
      begin = end + 5;
    }
  }
  std::string out;
  for (const std::string& license : all) out += (out.empty() ? "" : " AND ") + license;
  return out;
}

Pairs Labels(const PackageOptions& options, const std::optional<EngineInside>& engine,
             const Contents& contents) {
  Pairs out;
  const auto add = [&out](const char* name, const std::string& value) {
    if (!value.empty()) Set(&out, name, value);
  };
  add("org.opencontainers.image.title", contents.name);
  add("org.opencontainers.image.version", kVersionString);
  add("org.opencontainers.image.created", contents.config.created);
  add("org.opencontainers.image.licenses", LicenseExpression(contents));
  if (engine) {
    const EngineIdentity& identity = engine->identity;
    add("org.opencontainers.image.description",
        identity.model_name + ", compiled by lathe " + identity.builder + " for " + FitsMachine(identity));
    add("lathe.engine.target", identity.target);
    add("lathe.engine.machine", identity.machine);
    add("lathe.engine.model", identity.model_name);
    add("lathe.engine.model_hash", identity.model_hash);
    add("lathe.engine.dtype", identity.dtype);
    add("lathe.engine.tp", std::to_string(identity.tp));
    add("lathe.engine.pp", std::to_string(identity.pp));
    add("lathe.engine.format", std::to_string(kEngineFormatVersion));
  } else {
    add("org.opencontainers.image.description",
        std::string("lathe ") + kVersionString + ", which pulls " + options.pull + " at its start");
    add("lathe.pull", options.pull);
  }
  for (const auto& [name, value] : options.labels) Set(&out, name, value);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

std::string FitsMachine(const EngineIdentity& identity) {
  std::string out = identity.target;
  if (!identity.machine.empty()) out += ", measured on " + identity.machine;
  if (identity.tp * identity.pp > 1) out += StrFormat(", %d ranks", identity.tp * identity.pp);
  return out;
}

Expected<std::optional<EngineInside>> OpenEngine(const PackageOptions& options) {
  if (options.engine.empty()) return std::optional<EngineInside>();
  if (DirExists(options.engine))
    return Error(StatusCode::kInvalidArgument,
                 "'%s' is a folder; package takes an engine: lathe build %s -o model.lathe makes one",
                 options.engine.c_str(), options.engine.c_str());
  LATHE_ASSIGN_OR_RETURN(const EngineReader reader, EngineReader::Open(options.engine));
  EngineInside engine;
  engine.identity = reader.identity();
  engine.file_name = Safe(fs::path(options.engine).filename().string());
  engine.digest = std::make_shared<std::string>();
  LATHE_ASSIGN_OR_RETURN(engine.source, EngineSource(reader, engine.digest));
  return std::optional<EngineInside>(std::move(engine));
}

Expected<Contents> GatherContents(const PackageOptions& options, const std::optional<EngineInside>& engine) {
  Contents contents;
  contents.name =
      engine ? Safe(engine->identity.model_name) : Safe(fs::path(options.pull).filename().string());
  LATHE_RETURN_IF_ERROR(RuntimeBuilder(options, &contents).Build());
  ImageConfig& config = contents.config;
  config.created = Rfc3339(options.epoch);
  config.environment = Environment(options, engine);
  config.entrypoint = {kProgram};
  config.command = {"serve"};
  config.health_command = {kProgram, "health"};
  config.port = options.port;
  config.health_start_seconds = engine ? kStartSeconds : kPullStartSeconds;
  if (!engine) config.volumes = {kCache};
  config.labels = Labels(options, engine, contents);
  if (engine) contents.engine.AddFile("/models/" + engine->file_name, engine->source);
  return contents;
}

std::string SbomText(const Contents& contents, const std::optional<EngineInside>& engine) {
  SbomInput input{contents.name, contents.lathe_sha256, contents.components, contents.config.created};
  if (engine) {
    Component component{.name = engine->identity.model_name, .version = engine->identity.model_hash};
    component.kind = ComponentKind::kData;
    component.file = "/models/" + engine->file_name;
    component.sha256 = *engine->digest;
    input.components.push_back(std::move(component));
  }
  return DumpJson(BuildSbom(input), 1) + "\n";
}

}  // namespace lathe::package
