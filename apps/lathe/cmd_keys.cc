// `lathe keys new`: API keys for the server.
#include <cstdio>
#include <memory>

#include "base/status.h"
#include "commands.h"
#include "serve/http/fields.h"
#include "serve/http/keys.h"

namespace lathe::cli {
namespace {

Expected<int> NewKey(const std::string& name) {
  if (!serve::IsRequestId(name)) {
    return Error(StatusCode::kInvalidArgument,
                 "a key's name must be 1 to 64 of [A-Za-z0-9._-], but is \"%.100s\"", name.c_str());
  }
  LATHE_ASSIGN_OR_RETURN(const std::string key, serve::NewKey());
  std::fprintf(stderr, "The key, shown this once; its owner keeps it:\n");
  std::printf("%s\n", key.c_str());
  std::fflush(stdout);
  std::fprintf(
      stderr,
      "For the server's file of keys, below \"keys:\" (it holds no secret):\n  - name: %s\n    sha256: %s\n",
      name.c_str(), serve::KeyHashHex(serve::HashKey(key)).c_str());
  return kExitOk;
}

}  // namespace

void AddKeys(Command& root) {
  Command keys = root.Sub("keys", "Make API keys for lathe serve", "lathe keys new alice");
  auto name = std::make_shared<std::string>();
  Command command = keys.Sub("new", "Make a key: print it, and the lines for the server's file of keys",
                             "lathe keys new alice");
  command.Argument("NAME", name.get(), "Whose key it is, for the log: 1 to 64 of [A-Za-z0-9._-]");
  command.OnRun([name] { return NewKey(*name); });
}

}  // namespace lathe::cli
