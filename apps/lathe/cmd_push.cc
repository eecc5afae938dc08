// `lathe push`: an engine, or a folder with weights and engines, to a repository of a hub.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "commands.h"
#include "formats/engine_file.h"
#include "hub/card.h"
#include "hub/push.h"
#include "hub/select.h"
#include "lathe/version.h"
#include "next_step.h"
#include "terminal/format.h"
#include "terminal/progress.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 10'000;

struct Options {
  std::string source, repo, base_model;
  std::optional<std::string> revision, message;
  bool make_private = false;
};

struct Upload {
  std::vector<hub::PushFile> files;
  std::vector<hub::EngineEntry> engines;
};

// Under a name that says who it is for, unless `path` (in a folder, which has its own names) is given.
Status AddEngine(const std::string& local, const std::string& path, Upload* upload) {
  LATHE_ASSIGN_OR_RETURN(const EngineReader engine, EngineReader::Open(local));
  LATHE_RETURN_IF_ERROR(engine.VerifyWeights());
  const EngineIdentity& identity = engine.identity();
  hub::EngineEntry entry{.file = path,
                         .target = identity.target,
                         .machine = identity.machine,
                         .model = identity.model_name,
                         .model_hash = identity.model_hash,
                         .dtype = identity.dtype,
                         .builder = identity.builder,
                         .format = static_cast<int>(kEngineFormatVersion),
                         .tp = identity.tp,
                         .pp = identity.pp,
                         .size = engine.file_bytes(),
                         .sha256 = ""};
  if (path.empty()) entry.file = hub::EngineFileName(entry);
  upload->files.push_back({entry.file, local, ""});
  upload->engines.push_back(std::move(entry));
  return {};
}

// All of a folder but what is hidden, half-written, or a pickle.
Status AddFolder(const std::string& dir, Upload* upload) {
  std::error_code error;
  std::vector<std::string> paths;
  fs::recursive_directory_iterator it(dir, error), end;
  for (; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with('.')) {
      it.disable_recursion_pending();
      continue;
    }
    if (!it->is_regular_file(error) || name.find(".tmp-") != std::string::npos) continue;
    paths.push_back(fs::relative(it->path(), dir, error).generic_string());
    if (paths.size() > kMaxFiles) {
      return Error(StatusCode::kInvalidArgument, "'%s' has more than %zu files; is it a model's directory?",
                   dir.c_str(), kMaxFiles);
    }
  }
  if (error) return Error(StatusCode::kIo, "cannot list '%s': %s", dir.c_str(), error.message().c_str());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    if (path == hub::kIndexFile) continue;  // written anew
    if (hub::IsPickle(path)) {
      std::fprintf(stderr, "lathe: warning: %s is left out: pickles can run code when read\n", path.c_str());
    } else if (path.ends_with(".lathe")) {
      LATHE_RETURN_IF_ERROR(AddEngine(dir + "/" + path, path, upload));
    } else {
      upload->files.push_back({path, dir + "/" + path, ""});
    }
  }
  if (!upload->files.empty()) return {};
  return Error(StatusCode::kNotFound, "'%s' has no file to push", dir.c_str());
}

Expected<int> Run(const Options& options) {
  LATHE_ASSIGN_OR_RETURN(hub::RepoName repo, hub::ParseRepoName(options.repo));
  if (options.revision) {
    LATHE_ASSIGN_OR_RETURN(repo, hub::ParseRepoName(repo.Id() + "@" + *options.revision));
  }
  if (!options.base_model.empty()) LATHE_RETURN_IF_ERROR(hub::ParseRepoName(options.base_model).status());
  Upload upload;
  if (DirExists(options.source)) {
    LATHE_RETURN_IF_ERROR(AddFolder(options.source, &upload));
  } else {
    LATHE_RETURN_IF_ERROR(AddEngine(options.source, "", &upload));
  }
  LATHE_ASSIGN_OR_RETURN(hub::HubConfig config, hub::ConfigFromEnvironment());
  const std::string address = config.endpoint.ToString() + "/" + repo.Id();
  LATHE_ASSIGN_OR_RETURN(const auto api, hub::HubApi::Create(std::move(config)));
  Progress bar(STDERR_FILENO);
  hub::PushOptions push{.make_private = options.make_private,
                        .message = options.message.value_or(StrFormat("Push with lathe %s", kVersionString)),
                        .engines = upload.engines,
                        .card =
                            [&](const auto& engines, const std::string& present) {
                              const std::string& named = options.base_model;
                              return hub::ModelCard(
                                  repo.Id(), named.empty() ? hub::BaseModelOf(present) : named, engines);
                            },
                        .progress = [&](const char* stage, uint64_t done,
                                        uint64_t total) { bar.Update(stage, done, total, Unit::kBytes); }};
  const double start = NowSeconds();
  const auto pushed = hub::Push(*api, repo, std::move(upload.files), push);
  bar.Clear();
  LATHE_RETURN_IF_ERROR(pushed.status());
  if (pushed->commit.empty()) {
    std::printf("%s has all of it already: %zu files unchanged\n", repo.Id().c_str(), pushed->unchanged);
    return kExitOk;
  }
  std::printf("pushed %s to %s (%s at %.8s) in %s\n", FormatBytes(static_cast<double>(pushed->bytes)).c_str(),
              address.c_str(), repo.revision.c_str(), pushed->commit.c_str(),
              FormatSeconds(NowSeconds() - start).c_str());
  for (const std::string& path : pushed->changed) std::printf("  %s\n", path.c_str());
  SuggestNext("lathe serve " + repo.Id());
  return kExitOk;
}

}  // namespace

void AddPush(Command& root) {
  auto options = std::make_shared<Options>();
  Command command =
      root.Sub("push", "Upload an engine, or a model's directory, to a hub",
               "lathe push m.lathe my-org/mistral-7b-h200 --base-model mistralai/Mistral-7B-Instruct-v0.2");
  command.Argument("SOURCE", &options->source,
                   "An engine file, or a directory (its engines are listed for machines)");
  command.Argument("REPOSITORY", &options->repo, "ORG/NAME; made if it is not there");
  command.Flag("--private", &options->make_private, "Make the repository a private one, if it is made");
  command.Option("--revision", &options->revision, "Branch to commit to; made if it is not there", "main");
  command.Option("--base-model", &options->base_model,
                 "Repository that the weights came from, for the model card");
  command.Option("--message", &options->message, "Of the commit", "Push with lathe VERSION");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
