#include "package/package.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/staging_dir.h"
#include "package/context.h"
#include "package/oci.h"
#include "package/truss.h"

namespace lathe::package {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSpareDiskBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxEpoch = uint64_t{1} << 33;  // what an archive's header can say
constexpr size_t kMaxTag = 128;

bool GoodTag(const std::string& tag) {
  const auto word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !tag.empty() && tag.size() <= kMaxTag && word(tag.front()) &&
         std::all_of(tag.begin(), tag.end(), [&](char c) { return word(c) || c == '.' || c == '-'; });
}

bool GoodText(const std::string& text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

Status CheckOptions(const PackageOptions& options) {
  const auto fault = [](const char* text) { return Status(StatusCode::kInvalidArgument, text); };
  if (options.engine.empty() == options.pull.empty())
    return fault(
        "package needs an engine (lathe package model.lathe -o image) or --pull ORG/NAME, and not both");
  if (options.output.empty()) return fault("-o names no folder");
  if (!options.pull.empty()) {
    const bool good = std::count(options.pull.begin(), options.pull.end(), '/') == 1 &&
                      options.pull.front() != '/' && options.pull.back() != '/' &&
                      options.pull.find("..") == std::string::npos &&
                      options.pull.find(' ') == std::string::npos;
    if (!good || !GoodText(options.pull))
      return Error(StatusCode::kInvalidArgument, "--pull must be ORG/NAME, but is '%.100s'",
                   options.pull.c_str());
  }
  if (!options.engine.empty() && options.cuda)
    return fault("--cuda goes with --pull: an engine says itself what it is for");
  if (!options.engine.empty() && !options.nvrtc.empty())
    return fault("--with-nvrtc goes with --pull: an engine is compiled already and needs no compiler");
  if (options.port < 1 || options.port > 65535)
    return Error(StatusCode::kInvalidArgument, "--port must be 1 to 65535, but is %d", options.port);
  if (!GoodTag(options.tag))
    return Error(StatusCode::kInvalidArgument,
                 "--tag must be of letters, digits, '_', '.' and '-', at most %zu, but is '%.150s'", kMaxTag,
                 options.tag.c_str());
  if (options.epoch >= kMaxEpoch) return fault("SOURCE_DATE_EPOCH must be seconds since 1970, below 2^33");
  const bool truss = options.format == Format::kTruss;
  if (!options.python_package.empty() && !truss) return fault("--python-package goes with --format truss");
  // What a Truss runs is the Python package, behind Truss' own server.
  if (truss && !(options.environment.empty() && options.labels.empty() && options.nvrtc.empty() &&
                 options.program.empty() && options.certificates.empty()))
    return fault(
        "--setting, --label, --with-nvrtc, --program and --certificates are for images and do not go with "
        "--format truss");
  for (const Pairs* pairs : {&options.environment, &options.labels}) {
    for (const auto& [name, value] : *pairs) {
      if (!GoodText(name) || !GoodText(value))
        return Error(StatusCode::kInvalidArgument,
                     "the value of %.100s has control characters, which cannot go "
                     "into an image's settings",
                     name.c_str());
    }
  }
  return {};
}

// --force replaces what an earlier run of ours wrote, and nothing else.
Status CheckOutput(const PackageOptions& options) {
  std::error_code ec;
  const std::string& path = options.output;
  if (!fs::exists(path, ec) || (fs::is_directory(path, ec) && fs::is_empty(path, ec))) return {};
  if (!options.force)
    return Error(StatusCode::kInvalidArgument,
                 "'%s' exists and is not an empty directory; remove it, choose another output with -o, or "
                 "replace it with --force",
                 path.c_str());
  const bool oci = FileExists(path + "/oci-layout") && FileExists(path + "/index.json");
  const bool context = FileExists(path + "/Dockerfile") && DirExists(path + "/rootfs");
  const bool truss = FileExists(path + "/config.yaml") && FileExists(path + "/model/model.py");
  if (oci || context || truss) return {};
  return Error(
      StatusCode::kInvalidArgument,
      "'%s' is nothing that lathe package wrote, so --force does not replace it; choose another output "
      "with -o",
      path.c_str());
}

Status CheckDisk(const std::string& folder, uint64_t bytes) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0)
    return Error(StatusCode::kIo, "cannot look at the disk of '%s': %s", folder.c_str(),
                 std::strerror(errno));
  const uint64_t free_bytes = uint64_t{info.f_bavail} * info.f_frsize;
  if (free_bytes >= bytes + kSpareDiskBytes) return {};
  return Error(
      StatusCode::kResourceExhausted,
      "the package needs up to %.1f MiB in '%s', %.1f MiB are free; free some space or choose another "
      "output with -o",
      static_cast<double>(bytes + kSpareDiskBytes) / (1 << 20), folder.c_str(),
      static_cast<double>(free_bytes) / (1 << 20));
}

}  // namespace

Expected<PackageReport> WritePackage(const PackageOptions& options) {
  LATHE_RETURN_IF_ERROR(CheckOptions(options));
  LATHE_RETURN_IF_ERROR(CheckOutput(options));
  LATHE_ASSIGN_OR_RETURN(const std::optional<EngineInside> engine, OpenEngine(options));
  PackageReport report;
  if (engine) {
    report.target = engine->identity.target;
    report.engine_for = FitsMachine(engine->identity);
    report.engine_bytes = engine->source.size;
  }
  Contents contents;
  Rootfs truss;
  uint64_t expected = report.engine_bytes;
  if (options.format == Format::kTruss) {
    LATHE_ASSIGN_OR_RETURN(truss, GatherTruss(options, engine));
    expected = truss.file_bytes();
  } else {
    LATHE_ASSIGN_OR_RETURN(contents, GatherContents(options, engine));
    expected += contents.runtime.file_bytes();
    report.architecture = contents.config.architecture;
  }
  LATHE_ASSIGN_OR_RETURN(StagingDir staging, StagingDir::Create(options.output, options.force));
  LATHE_RETURN_IF_ERROR(CheckDisk(staging.path(), expected));
  uint64_t done = 0;
  const auto wrote = [&](uint64_t bytes) {
    done += bytes;
    if (options.progress) options.progress(done, expected);
  };
  switch (options.format) {
    case Format::kOci: {
      LATHE_ASSIGN_OR_RETURN(const OciResult oci, WriteOci(staging.path(), contents, engine, options, wrote));
      report.digest = oci.digest;
      report.runtime_bytes = oci.runtime_bytes;
      report.engine_bytes = oci.engine_bytes;
      break;
    }
    case Format::kDockerfile:
      LATHE_RETURN_IF_ERROR(WriteContext(staging.path(), contents, engine, options, wrote));
      report.runtime_bytes = contents.runtime.file_bytes();
      break;
    case Format::kTruss:
      LATHE_RETURN_IF_ERROR(truss.WriteFolder(staging.path(), options.epoch, wrote));
      report.runtime_bytes = truss.file_bytes() - report.engine_bytes;
      break;
  }
  report.total_bytes = report.runtime_bytes + report.engine_bytes;
  LATHE_RETURN_IF_ERROR(staging.Commit());
  return report;
}

}  // namespace lathe::package
