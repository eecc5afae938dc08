// `lathe version`
#include <cstdio>

#include "commands.h"
#include "lathe/version.h"

namespace lathe::cli {

void AddVersion(Command& root) {
  Command command =
      root.Sub("version", "Show the version of the program and of its engine files", "lathe version");
  command.OnRun([]() -> Expected<int> {
    std::printf("lathe %s (engine format %u)\n", kVersionString, kEngineFormatVersion);
    return kExitOk;
  });
}

}  // namespace lathe::cli
