// Names that come from users and from hubs: repositories, revisions, paths in a repository, glob patterns.
// What a hub says is hostile until it has been through here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lathe::hub {

// A model repository and the revision that is meant.
struct RepoName {
  std::string organization;  // "" for the few old repositories without one
  std::string name;
  std::string revision = "main";

  std::string Id() const { return organization.empty() ? name : organization + "/" + name; }
  // "models--org--name": its folder in the cache.
  std::string Folder() const;
};

// "ORG/NAME" or "ORG/NAME@REVISION". Letters, digits, '-', '_' and '.' alone, up to 96 characters, none of
// "..", "--", a '-' or '.' at an end, ".git" at the end (the rules of the Hugging Face Hub); a revision is a
// branch, a tag or a commit. Errors: kInvalidArgument quoting the text.
Expected<RepoName> ParseRepoName(std::string_view text);

// Whether `text` is meant as a repository rather than as a path: it parses, and it has the one slash.
bool LooksLikeRepoName(std::string_view text);

// Why `path` is none in a repository; nullptr where it is one: relative, '/' between parts, none of them
// empty,
// "." or "..", UTF-8 without backslash and control characters, at most 32 parts of 255 and 1024 bytes in all.
const char* RepoPathFault(std::string_view path);
// Of a path that a hub lists. Errors: kCorrupt with the path quoted.
Status CheckRepoPath(std::string_view path);

// "0123...": 40 hexadecimal digits, in lower case.
bool IsCommit(std::string_view text);
bool IsSha256(std::string_view text);

// fnmatch as huggingface_hub uses it: '*' and '?' match '/' too, '[...]' are sets; a pattern that ends in '/'
// means all below. Linear in text for each '*'.
bool GlobMatches(std::string_view pattern, std::string_view text);
bool AnyGlobMatches(const std::vector<std::string>& patterns, std::string_view text);

// For messages: "512 B", "31.5 MB", "2.21 GB", powers of 1000.
std::string SizeText(uint64_t bytes);

// For messages: control characters (C1, too) and bytes that are no UTF-8 as "\xNN", at most `limit` bytes.
std::string Quoted(std::string_view text, size_t limit = 120);

}  // namespace lathe::hub
