#include "hub_model.h"

#include <unistd.h>

#include <cstdio>

#include "base/file.h"
#include "base/status.h"
#include "terminal/terminal.h"

namespace lathe::cli {

PullBar::PullBar(std::string repo) : repo_(std::move(repo)), bar_(STDERR_FILENO) {}

void PullBar::Draw(const hub::DownloadProgress& now) {
  const std::string label = now.waiting_for.empty()
                                ? "fetching " + repo_
                                : "waiting for another process to fetch " + Printable(now.waiting_for);
  bar_.Update(label, now.done_bytes, now.total_bytes, Unit::kBytes);
}

Expected<std::string> LocalPath(const FetchOptions& options) {
  PullBar bar(options.model);
  const FetchEvents events{.progress =
                               [&bar](const hub::DownloadProgress& now) {
                                 bar.Draw(now);
                                 return true;
                               },
                           .warning =
                               [&bar](const std::string& text) {
                                 bar.Clear();
                                 std::fprintf(stderr, "lathe: warning: %s\n", text.c_str());
                               }};
  return FetchModel(options, events);
}

Expected<std::string> EnginePath(const std::string& engine, int device) {
  LATHE_ASSIGN_OR_RETURN(std::string path,
                         LocalPath({.model = engine, .device = device, .want = hub::Want::kEngine}));
  if (!DirExists(path)) return path;
  return Error(
      StatusCode::kInvalidArgument,
      "%s is a directory, but an engine file is needed, which \"lathe build %s -o model.lathe\" writes",
      path.c_str(), path.c_str());
}

}  // namespace lathe::cli
