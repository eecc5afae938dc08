// What a hub says: addresses, names, paths, lists of engines. The first byte chooses which.
#include <cstdlib>
#include <string>
#include <string_view>

#include "hub/api.h"
#include "hub/engine_index.h"
#include "hub/select.h"

using namespace lathe::hub;

namespace {

// An accepted address can be written and read again.
void Address(std::string_view text) {
  static const Url base = *ParseUrl("https://hub.example/a/b?c");
  const auto url = ResolveReference(base, text);
  if (!url.ok()) return;
  const auto again = ParseUrl(url->ToString());
  if (!again.ok() || again->Origin() != url->Origin()) std::abort();
}

// An accepted path stays below its folder.
void Path(std::string_view text) {
  if (!CheckRepoPath(text).ok()) return;
  const std::string path = "/" + std::string(text) + "/";
  if (path.find("/../") != std::string::npos || path.find("//") != std::string::npos ||
      path.find('\\') != std::string::npos)
    std::abort();
}

void Name(std::string_view text) {
  const auto repo = ParseRepoName(text);
  if (repo.ok() && repo->Folder().find('/') != std::string::npos) std::abort();
  if (repo.ok() && repo->revision.find("..") != std::string::npos) std::abort();
}

void Engines(std::string_view text) {
  const auto engines = ParseEngineIndex(text, "lathe.json");
  if (!engines.ok()) return;
  const auto again = ParseEngineIndex(EngineIndexText(*engines), "lathe.json");
  if (!again.ok() || again->size() != engines->size()) std::abort();
  for (const EngineEntry& engine : *engines) (void)EngineFileName(engine);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t half = text.size() / 2;
  switch (data[0] % 6) {
    case 0: Address(text); break;
    case 1: Path(text); break;
    case 2: Name(text); break;
    case 3: Engines(text); break;
    case 4: (void)GlobMatches(text.substr(0, half), text.substr(half)); break;
    default: (void)ShardFiles({{"model-1.safetensors", 1, "", false}}, std::string(text), "a/b"); break;
  }
  return 0;
}
