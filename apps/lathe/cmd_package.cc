// `lathe package`: an engine as a container image, a Dockerfile's context or a Truss.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/status.h"
#include "commands.h"
#include "formats/engine_file.h"
#include "hub_model.h"
#include "next_step.h"
#include "package/package.h"
#include "runtime/exec/cuda/executor.h"
#include "runtime/exec/executor.h"
#include "serve/server/config.h"
#include "terminal/cleanup.h"
#include "terminal/format.h"
#include "terminal/progress.h"

namespace lathe::cli {
namespace {

struct Options {
  package::PackageOptions package;
  std::optional<std::string> engine;
  std::string format = "oci";
  bool run_here = false, quiet = false;
};

// "KEY=VALUE" into its halves.
Expected<std::pair<std::string, std::string>> SplitPair(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals != std::string::npos && equals > 0) {
    return std::make_pair(text.substr(0, equals), text.substr(equals + 1));
  }
  return Error(StatusCode::kInvalidArgument, "must be KEY=VALUE, but is '%.100s'", text.c_str());
}

// A setting of `lathe serve`, checked as the server will check it.
Status AddSetting(const std::string& text, Options* options) {
  LATHE_ASSIGN_OR_RETURN(const auto pair, SplitPair(text));
  const serve::Setting* setting = serve::FindSetting(pair.first);
  if (setting == nullptr) {
    return Error(StatusCode::kInvalidArgument,
                 "there is no setting '%.100s'; docs/server-limits.md lists all", pair.first.c_str());
  }
  for (const char* fixed : {"model", "port"}) {
    if (pair.first == fixed)
      return Error(StatusCode::kInvalidArgument, "%s is what the argument and --port say", fixed);
  }
  serve::ConfigWithSources scratch;
  LATHE_RETURN_IF_ERROR(serve::SetFromText(*setting, pair.second, "", &scratch));
  options->package.environment.emplace_back(serve::EnvironmentName(*setting), pair.second);
  return {};
}

Expected<package::Format> ParseFormat(const std::string& text) {
  if (text == "oci") return package::Format::kOci;
  if (text == "dockerfile") return package::Format::kDockerfile;
  if (text == "truss") return package::Format::kTruss;
  return Error(StatusCode::kInvalidArgument, "--format must be oci, dockerfile or truss, but is '%.100s'",
               text.c_str());
}

// SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch).
Expected<uint64_t> SourceDateEpoch() {
  const char* text = std::getenv("SOURCE_DATE_EPOCH");
  if (text == nullptr || *text == '\0') return uint64_t{0};
  uint64_t value = 0;
  for (const char* c = text; *c != '\0'; ++c) {
    if (*c < '0' || *c > '9' || value > (uint64_t{1} << 50))
      return Error(StatusCode::kInvalidArgument,
                   "SOURCE_DATE_EPOCH must be seconds since 1970, but is '%.100s'", text);
    value = value * 10 + static_cast<uint64_t>(*c - '0');
  }
  return value;
}

// kMismatch where this machine cannot run the engine.
Status FitsHere(const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const EngineReader engine, EngineReader::Open(path));
  if (!engine.identity().target.starts_with("cuda:")) return CheckCpuTarget(engine);
  LATHE_ASSIGN_OR_RETURN(const cuda::Driver* driver, cuda::Driver::Load());
  LATHE_ASSIGN_OR_RETURN(const auto devices, cuda::ListDevices(*driver));
  Status last(StatusCode::kMismatch, "this machine has no GPU");
  for (const cuda::DeviceInfo& device : devices) {
    last = CheckCudaTarget(engine, device, driver->version());
    if (last.ok()) break;
  }
  return last;
}

void Report(const Options& options, const package::PackageReport& report) {
  const package::PackageOptions& package = options.package;
  const auto bytes = [](uint64_t n) { return FormatBytes(static_cast<double>(n)); };
  const bool inside = !report.engine_for.empty();
  std::printf("wrote %s: %s", package.output.c_str(), bytes(report.total_bytes).c_str());
  if (inside) {
    std::printf(", of which %s are the engine", bytes(report.engine_bytes).c_str());
  } else {
    std::printf(", without the model, which it pulls at its start");
  }
  std::printf("\n");
  if (!report.digest.empty()) std::printf("digest %s\n", report.digest.c_str());
  if (inside) std::printf("runs on %s\n", report.engine_for.c_str());
  const std::string& out = package.output;
  switch (package.format) {
    case package::Format::kOci:
      SuggestNext("skopeo copy --preserve-digests oci:" + out + ":" + package.tag +
                  " docker://REGISTRY/NAME:" + package.tag);
      break;
    case package::Format::kDockerfile: SuggestNext("docker build -t NAME " + out); break;
    case package::Format::kTruss: SuggestNext("truss push " + out); break;
  }
}

Expected<int> Run(Options options) {
  package::PackageOptions& package = options.package;
  package.engine = options.engine.value_or("");
  LATHE_ASSIGN_OR_RETURN(package.format, ParseFormat(options.format));
  LATHE_ASSIGN_OR_RETURN(package.epoch, SourceDateEpoch());
  const char* library_path = std::getenv("LD_LIBRARY_PATH");
  if (library_path != nullptr) package.library_path = library_path;
  if (!package.pull.empty()) {
    LATHE_RETURN_IF_ERROR(hub::ParseRepoName(package.pull).status().WithContext("--pull"));
  } else if (!package.engine.empty()) {
    LATHE_ASSIGN_OR_RETURN(package.engine, EnginePath(package.engine));
  }
  if (options.run_here && !package.engine.empty()) LATHE_RETURN_IF_ERROR(FitsHere(package.engine));
  const CleanUpOnSignal cleanup(FolderOf(package.output));
  Progress progress(STDERR_FILENO);
  if (!options.quiet) {
    package.progress = [&progress](uint64_t done, uint64_t total) {
      progress.Update("packaging", done, total, Unit::kBytes);
    };
  }
  const auto report = package::WritePackage(package);
  progress.Clear();
  LATHE_RETURN_IF_ERROR(report.status());
  if (!options.quiet) Report(options, *report);
  return kExitOk;
}

}  // namespace

void AddPackage(Command& root) {
  auto options = std::make_shared<Options>();
  package::PackageOptions& package = options->package;
  Command command = root.Sub("package", "Make a container image (or a Truss) of an engine",
                             "lathe package model.lathe -o image");
  command.Argument("ENGINE", &options->engine,
                   "An engine file (lathe build), or ORG/NAME of a hub; none with --pull");
  command.Option("-o,--output", &package.output, "Folder to write; must not exist", /*required=*/true);
  command.Option("--format", &options->format,
                 "oci: an image layout; dockerfile: a folder to docker build; truss: a Truss directory");
  command.Option("--pull", &package.pull,
                 "ORG/NAME[@REVISION] of the hub, pulled when the image starts, instead of an engine inside");
  command.Flag("--cuda", &package.cuda, "With --pull: the image is for GPUs");
  command.Option("--with-nvrtc", &package.nvrtc,
                 "With --pull: folder of NVIDIA's compiler, to go inside so that it builds engines for GPUs");
  command.Option("--port", &package.port, "Port that the server listens on");
  command.Repeated("--setting", "NAME=VALUE", "Setting of lathe serve (docs/server-limits.md)",
                   [options](const std::string& text) { return AddSetting(text, options.get()); });
  command.Repeated("--label", "NAME=VALUE", "A label of the image",
                   [options](const std::string& text) -> Status {
                     LATHE_ASSIGN_OR_RETURN(const auto pair, SplitPair(text));
                     options->package.labels.push_back(pair);
                     return {};
                   });
  command.Option("--tag", &package.tag, "Name of the image within the layout");
  command.Option("--program", &package.program, "The lathe that goes inside; none: this one");
  command.Option("--certificates", &package.certificates,
                 "PEM file of CA certificates that go inside; none: this machine's");
  command.Option("--python-package", &package.python_package,
                 "With --format truss: folder of the Python package lathe; none: from PyPI");
  command.Flag("--run-here", &options->run_here, "Refuse an engine that this machine cannot run");
  command.Flag("--force", &package.force, "Replace the folder if lathe package wrote it");
  command.Flag("-q,--quiet", &options->quiet, "Print faults alone");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
