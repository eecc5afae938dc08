#include "package/context.h"

#include "base/file.h"

namespace lathe::package {
namespace {

std::string Readme(const Contents& contents, const std::optional<EngineInside>& engine,
                   const PackageOptions& options) {
  const std::string name = contents.name + ":" + options.tag, port = std::to_string(options.port);
  std::string out = "# " + contents.name + "\n\n";
  out += engine ? "An engine for " + FitsMachine(engine->identity) + ", and the lathe that serves it.\n"
                : "A lathe that pulls " + options.pull + " at its start, into the volume /cache.\n";
  out += "\n```sh\ndocker build -t " + name + " .\n";
  out += "docker run --rm --read-only -p 127.0.0.1:" + port + ":" + port;
  if (engine && engine->identity.target.starts_with("cuda:")) out += " --gpus all";
  out += " -e LATHE_INSECURE_NO_AUTH=true " + name + "\n```\n\n";
  out +=
      "For more than this machine, leave LATHE_INSECURE_NO_AUTH out, mount a file of API keys (`lathe keys "
      "new`) "
      "and name it in LATHE_KEYS_FILE.\n";
  return out;
}

}  // namespace

Status WriteContext(const std::string& folder, const Contents& contents,
                    const std::optional<EngineInside>& engine, const PackageOptions& options,
                    const std::function<void(uint64_t)>& wrote) {
  const std::string rootfs = folder + "/rootfs";
  LATHE_RETURN_IF_ERROR(MakeDirs(rootfs));
  if (engine) LATHE_RETURN_IF_ERROR(contents.engine.WriteFolder(rootfs, options.epoch, wrote));
  const std::string sbom = SbomText(contents, engine);
  Rootfs documents;
  documents.AddText(kSbomPath, sbom);
  LATHE_RETURN_IF_ERROR(documents.WriteFolder(rootfs, options.epoch, {}));
  // Last, because it sets the times of all folders.
  LATHE_RETURN_IF_ERROR(contents.runtime.WriteFolder(rootfs, options.epoch, wrote));
  Rootfs beside;
  beside.AddText("/sbom.spdx.json", sbom);
  beside.AddText("/Dockerfile", Dockerfile(contents.config, "rootfs"));
  beside.AddText("/.dockerignore", "*\n!rootfs\n");
  beside.AddText("/README.md", Readme(contents, engine, options));
  LATHE_RETURN_IF_ERROR(beside.WriteFolder(folder, options.epoch, {}));
  return SetModeAndTime(rootfs, 0755, options.epoch);
}

}  // namespace lathe::package
