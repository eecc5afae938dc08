// Uploads of large files: the batch API of git-lfs with the hub's two transfers, whole and in parts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hub/api.h"

namespace lathe::hub {

struct LfsObject {
  std::string local_path;
  uint64_t size = 0;
  std::string sha256;
};

// Uploads what the hub does not have yet, several parts at once. `on_sent` (any thread): bytes that went out,
// or were not needed; what has to be sent again is counted once. Errors: kInvalidArgument for a token that
// may not write; kUnavailable; kCorrupt for answers that are none; kIo.
Status UploadLfs(HubApi& api, const RepoName& repo, const std::vector<LfsObject>& objects,
                 const std::function<void(uint64_t)>& on_sent);

// One sentence for a token that may not write, or ErrorOf.
Status WriteErrorOf(const HttpResponse& response, const HubConfig& config, const RepoName& repo);

}  // namespace lathe::hub
