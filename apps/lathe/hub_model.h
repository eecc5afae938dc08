// Repositories of the hub on the command line: "ORG/NAME" where a path may stand, with a bar while it comes.
#pragma once

#include <optional>
#include <string>

#include "hub/pull.h"
#include "lathe/status.h"
#include "open/fetch_model.h"
#include "terminal/progress.h"

namespace lathe::cli {

// Draws a pull, or says now and then how far it is where there is no terminal.
class PullBar {
 public:
  explicit PullBar(std::string repo);
  void Draw(const hub::DownloadProgress& now);
  void Clear() { bar_.Clear(); }

 private:
  const std::string repo_;
  Progress bar_;
};

// FetchModel with a bar, and warnings on stderr.
Expected<std::string> LocalPath(const FetchOptions& options);

// An engine file: `engine` itself, or where it names a repository that one's engine for this machine.
// `device`: as lathe devices counts them, -1 for any. Errors: FetchModel's; kInvalidArgument for a folder.
Expected<std::string> EnginePath(const std::string& engine, int device = -1);

}  // namespace lathe::cli
