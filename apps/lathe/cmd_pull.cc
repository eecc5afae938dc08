// `lathe pull`: a model, or the engine that fits this machine, from a hub into the cache.
#include <cstdio>
#include <memory>

#include "base/clock.h"
#include "base/status.h"
#include "commands.h"
#include "hub_model.h"
#include "next_step.h"
#include "terminal/format.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string repo;
  std::vector<std::string> include, exclude;
  std::optional<std::string> dtype;
  std::string target = "auto";
  bool weights = false, quiet = false;
  hub::DownloadOptions download;
};

Expected<int> Run(const Options& options) {
  LATHE_ASSIGN_OR_RETURN(const hub::RepoName repo, hub::ParseRepoName(options.repo));
  if (options.download.connections < 1 || options.download.connections > 64) {
    return Error(StatusCode::kInvalidArgument, "--connections must be in [1, 64], but is %d",
                 options.download.connections);
  }
  LATHE_ASSIGN_OR_RETURN(hub::HubConfig config, hub::ConfigFromEnvironment());
  const bool offline = config.offline;
  LATHE_ASSIGN_OR_RETURN(const auto api, hub::HubApi::Create(std::move(config)));
  PullBar bar(repo.Id());
  hub::PullOptions pull{.include = options.include,
                        .exclude = options.exclude,
                        .want = options.weights ? hub::Want::kWeights : hub::Want::kEither,
                        .fitness = FitnessHere(options.target, options.dtype, /*device=*/-1),
                        .download = options.download};
  pull.download.progress = [&](const hub::DownloadProgress& now) {
    if (!options.quiet) bar.Draw(now);
    return true;
  };
  const double start = NowSeconds();
  const auto pulled = hub::Pull(*api, repo, pull);
  bar.Clear();
  LATHE_RETURN_IF_ERROR(pulled.status());
  if (!pulled->warning.empty()) std::fprintf(stderr, "lathe: warning: %s\n", pulled->warning.c_str());
  if (options.quiet || offline) {
    std::printf("%s\n", pulled->path.c_str());
    return kExitOk;
  }
  std::printf("pulled %s (%s at %.8s): %s, %zu file%s, in %s\n%s\n", repo.Id().c_str(), repo.revision.c_str(),
              pulled->commit.c_str(), FormatBytes(static_cast<double>(pulled->bytes)).c_str(), pulled->files,
              pulled->files == 1 ? "" : "s", FormatSeconds(NowSeconds() - start).c_str(),
              pulled->path.c_str());
  SuggestNext("lathe serve " + options.repo);
  return kExitOk;
}

}  // namespace

void AddPull(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("pull", "Fetch a model, or an engine that fits this machine, from a hub",
                             "lathe pull mistralai/Mistral-7B-Instruct-v0.2");
  command.Argument("REPOSITORY", &options->repo,
                   "ORG/NAME, or ORG/NAME@REVISION (a branch, a tag or a commit)");
  const auto add_to = [](std::vector<std::string>* patterns) {
    return [patterns](const std::string& text) {
      patterns->push_back(text);
      return Status();
    };
  };
  command.Repeated("--include", "GLOB", "Fetch files that match instead of what a model needs",
                   add_to(&options->include));
  command.Repeated("--exclude", "GLOB", "Leave out files that match", add_to(&options->exclude));
  command.Flag("--weights", &options->weights, "The weights, also where an engine fits this machine");
  command.Option("--dtype", &options->dtype, "Take no engine of another type", "any");
  command.Option("--target", &options->target, "Which engines fit, as of lathe build");
  command.Option("--connections", &options->download.connections, "Connections at once");
  command.Flag("-q,--quiet", &options->quiet, "Print the path alone");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
