// From a repository's name to files on this machine.
#pragma once

#include <string>
#include <vector>

#include "hub/download.h"
#include "hub/engine_index.h"

namespace lathe::hub {

enum class Want {
  kEither,     // the engine that fits best, or else the weights
  kEngine,     // that engine alone
  kWeights,    // the weights, whatever engines there are
  kTokenizer,  // the tokenizer with configuration and chat template, or else the engine that fits best
};

struct PullOptions {
  // Patterns that choose files instead of what a model needs.
  std::vector<std::string> include, exclude;
  Want want = Want::kEither;
  Fitness fitness;  // of this machine; needed wherever an engine may be taken
  DownloadOptions download;
};

struct Pulled {
  std::string commit;
  std::string snapshot;  // the folder with all files of the commit that are there
  std::string path;      // what to run: the engine in it, or the folder itself
  bool is_engine = false;
  uint64_t bytes = 0;  // of the files chosen, fetched now or before
  size_t files = 0;
  std::string warning;  // "": none
};

// Fetches, by default, the engine that fits best or else the weights with configuration and tokenizer; with
// patterns what they choose. With HF_HUB_OFFLINE, or when the hub cannot be reached (which `warning` says),
// what the cache has is taken. Errors: those of Download and HubApi; kUnsupported for pickles alone;
// kMismatch when there are engines of other machines alone; kNotFound.
Expected<Pulled> Pull(HubApi& api, const RepoName& repo, const PullOptions& options);

}  // namespace lathe::hub
