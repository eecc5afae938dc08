// Fetches files of one commit into the cache: several at once, large ones in several pieces, resuming what an
// earlier process left, each blob by one process at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hub/api.h"
#include "hub/cache.h"

namespace lathe::hub {

struct DownloadProgress {
  uint64_t done_bytes = 0, total_bytes = 0;
  // "": fetching; else the file that another process is fetching and this one waits for.
  std::string waiting_for;
};

struct DownloadOptions {
  int connections = 8;
  // On the caller's thread, some ten times a second. false: stop, with kCancelled.
  std::function<bool(const DownloadProgress&)> progress;
  // Bytes free on the disk of a path; a test's, or FreeBytes.
  std::function<Expected<uint64_t>(const std::string&)> free_bytes = FreeBytes;
};

// Fetches what is not there yet. Before the first byte it checks that the disk has room for all of it. A blob
// gets its name only when its size and hash are right, a snapshot's link only when its blob has its name.
// What has come of a file stays, for the next attempt, but when its hash is wrong. Errors: kResourceExhausted
// with the numbers; kCorrupt for a file that is not what the hub's list says; those of ErrorOf; kUnavailable
// when attempts in a row brought nothing; kCancelled.
Status Download(HubApi& api, const RepoName& repo, const std::string& commit, std::vector<RemoteFile> files,
                const DownloadOptions& options);

}  // namespace lathe::hub
