// From files on this machine to a repository: only what has changed, in one commit.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hub/api.h"
#include "hub/engine_index.h"

namespace lathe::hub {

struct PushFile {
  std::string path;        // in the repository
  std::string local_path;  // "": `content` is it
  std::string content;
};

struct PushOptions {
  bool make_private = false;  // when the repository is made now
  std::string message;        // of the commit
  // Entries for lathe.json, one for each engine among the files; their size and hash are filled in here.
  std::vector<EngineEntry> engines;
  // The model card for all engines that the repository has then, instead of the present one ("": none);
  // empty: none is written. A card that the repository has, or that is among the files, is left alone unless
  // it was written by this.
  std::function<std::string(const std::vector<EngineEntry>&, const std::string& present)> card;
  // On the caller's thread or those of uploads. `stage`: "hashing" or "uploading".
  std::function<void(const char* stage, uint64_t done, uint64_t total)> progress;
};

struct Pushed {
  std::string commit;                // "": nothing had changed
  std::vector<std::string> changed;  // paths in the commit
  uint64_t bytes = 0;                // of those
  size_t unchanged = 0;
};

// A line of every card that lathe wrote.
inline constexpr char kCardMark[] =
    "<!-- Written by lathe push, which writes it again unless this line is gone. -->";

// Makes the repository and the branch if they are not there, uploads, and commits on top of what was there
// when it began; when somebody else committed meanwhile, it looks again. Errors: kInvalidArgument without a
// token, or with one that may not write; those of HubApi and UploadLfs.
Expected<Pushed> Push(HubApi& api, const RepoName& repo, std::vector<PushFile> files,
                      const PushOptions& options);

}  // namespace lathe::hub
