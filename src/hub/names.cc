#include "hub/names.h"

#include <algorithm>
#include <cctype>

namespace lathe::hub {
namespace {

constexpr size_t kMaxRepoName = 96, kMaxRevision = 200;
constexpr size_t kMaxPath = 1024, kMaxPart = 255, kMaxParts = 32;

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
}

bool IsNamePart(std::string_view part) {
  if (part.empty() || !std::all_of(part.begin(), part.end(), IsNameCharacter)) return false;
  const auto bad_end = [](char c) { return c == '-' || c == '.'; };
  return !bad_end(part.front()) && !bad_end(part.back());
}

bool IsRevision(std::string_view text) {
  if (text.empty() || text.size() > kMaxRevision || text.find("..") != std::string_view::npos) return false;
  if (text.front() == '/' || text.back() == '/' || text.front() == '-' || text.front() == '.') return false;
  if (text.find("//") != std::string_view::npos || text.find("/.") != std::string_view::npos) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return IsNameCharacter(c) || c == '/' || c == '+' || c == '='; });
}

bool IsLowerHex(std::string_view text, size_t digits) {
  return text.size() == digits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

Status BadName(std::string_view text, const char* why) {
  return Error(
      StatusCode::kInvalidArgument,
      "expected a repository like mistralai/Mistral-7B-Instruct-v0.2 or ORG/NAME@REVISION, but '%s' %s",
      Quoted(text).c_str(), why);
}

// Index after a set that starts at `at` ('['), and whether it holds `c`; npos: there is no closing bracket.
size_t MatchSet(std::string_view pattern, size_t at, char c, bool* holds) {
  size_t i = at + 1;
  const bool negated = i < pattern.size() && pattern[i] == '!';
  if (negated) ++i;
  bool found = false;
  for (bool first = true; i < pattern.size(); first = false) {
    if (pattern[i] == ']' && !first) {
      *holds = found != negated;
      return i + 1;
    }
    if (i + 2 < pattern.size() && pattern[i + 1] == '-' && pattern[i + 2] != ']') {
      found |= pattern[i] <= c && c <= pattern[i + 2];
      i += 3;
    } else {
      found |= pattern[i] == c;
      ++i;
    }
  }
  return std::string_view::npos;
}

// One element of the pattern other than '*' at `p` against `c`; index after it, or npos when it does not
// match.
size_t MatchOne(std::string_view pattern, size_t p, char c) {
  if (pattern[p] == '?') return p + 1;
  if (pattern[p] == '[') {
    bool holds = false;
    const size_t after = MatchSet(pattern, p, c, &holds);
    if (after != std::string_view::npos) return holds ? after : std::string_view::npos;
  }
  return pattern[p] == c ? p + 1 : std::string_view::npos;
}

// Bytes of the character of UTF-8 that `text` begins with; 0 where that is a control character, or none.
size_t PlainCharacter(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(i < text.size() ? text[i] : 0); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return lead >= 32 && lead != 127 ? 1 : 0;
  const size_t size = lead >= 0xf0 && lead < 0xf5   ? 4
                      : lead >= 0xe0 && lead < 0xf0 ? 3
                      : lead >= 0xc2 && lead < 0xe0 ? 2
                                                    : 0;
  for (size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  return lead == 0xc2 && byte(1) < 0xa0 ? 0 : size;
}

}  // namespace

std::string RepoName::Folder() const {
  return organization.empty() ? "models--" + name : "models--" + organization + "--" + name;
}

Expected<RepoName> ParseRepoName(std::string_view text) {
  RepoName repo;
  const size_t at = std::min(text.find('@'), text.size());
  const std::string_view id = text.substr(0, at);
  if (at < text.size()) {
    const std::string_view revision = text.substr(at + 1);
    if (!IsRevision(revision)) return BadName(text, "has a revision that is no branch, tag or commit");
    repo.revision = revision;
  }
  if (id.size() > kMaxRepoName) return BadName(text, "is longer than 96 characters");
  if (id.find("..") != std::string_view::npos || id.find("--") != std::string_view::npos)
    return BadName(text, "has '..' or '--' in its name");
  if (id.ends_with(".git")) return BadName(text, "ends in '.git'");
  const size_t slash = id.find('/');
  if (slash != std::string_view::npos) {
    repo.organization = id.substr(0, slash);
    if (!IsNamePart(repo.organization))
      return BadName(text, "has other characters than letters, digits, '-', '_', '.'");
  }
  repo.name = slash == std::string_view::npos ? id : id.substr(slash + 1);
  if (!IsNamePart(repo.name))
    return BadName(text, "has other characters than letters, digits, '-', '_', '.'");
  return repo;
}

bool LooksLikeRepoName(std::string_view text) {
  const auto repo = ParseRepoName(text);
  return repo.ok() && !repo->organization.empty() && !repo->name.ends_with(".lathe");
}

const char* RepoPathFault(std::string_view path) {
  if (path.empty() || path.size() > kMaxPath) return "is empty or longer than 1024 bytes";
  if (path.find('\\') != std::string_view::npos) return "has a backslash";
  for (size_t at = 0, size = 0; at < path.size(); at += size) {
    size = PlainCharacter(path.substr(at));
    if (size == 0) return "has control characters, or bytes that are no UTF-8";
  }
  size_t parts = 0;
  for (size_t at = 0; at <= path.size(); ++parts) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty()) return "is absolute or has an empty part";
    if (part == "." || part == "..") return "leaves its folder";
    if (part.size() > kMaxPart) return "has a part longer than 255 bytes";
    at = end + 1;
  }
  return parts > kMaxParts ? "is more than 32 folders deep" : nullptr;
}

Status CheckRepoPath(std::string_view path) {
  const char* fault = RepoPathFault(path);
  if (fault == nullptr) return Status::Ok();
  return Error(StatusCode::kCorrupt, "the hub lists a file named '%s', which %s; nothing was fetched",
               Quoted(path).c_str(), fault);
}

bool IsCommit(std::string_view text) { return IsLowerHex(text, 40); }
bool IsSha256(std::string_view text) { return IsLowerHex(text, 64); }

bool GlobMatches(std::string_view pattern, std::string_view text) {
  std::string folder;
  if (pattern.ends_with('/')) pattern = folder = std::string(pattern) + "*";
  size_t p = 0, t = 0, star = std::string_view::npos, retry = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      retry = t;
      continue;
    }
    const size_t after = p < pattern.size() ? MatchOne(pattern, p, text[t]) : std::string_view::npos;
    if (after != std::string_view::npos) {
      p = after;
      ++t;
    } else if (star != std::string_view::npos) {  // let the last '*' take one more
      p = star;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool AnyGlobMatches(const std::vector<std::string>& patterns, std::string_view text) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [text](const std::string& pattern) { return GlobMatches(pattern, text); });
}

std::string SizeText(uint64_t bytes) {
  if (bytes < 1000) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1000;
  const char* unit = "kB";
  for (const char* larger : {"MB", "GB", "TB"}) {
    if (value < 1000) break;
    value /= 1000;
    unit = larger;
  }
  return StrFormat(value < 10 ? "%.2f %s" : value < 100 ? "%.1f %s" : "%.0f %s", value, unit);
}

std::string Quoted(std::string_view text, size_t limit) {
  std::string out;
  const std::string_view shown = text.substr(0, limit);
  for (size_t at = 0; at < shown.size();) {
    const size_t size = PlainCharacter(shown.substr(at));
    if (size > 0) {
      out += shown.substr(at, size);
    } else {
      out += StrFormat("\\x%02x", static_cast<unsigned char>(shown[at]));
    }
    at += std::max<size_t>(size, 1);
  }
  return text.size() > limit ? out + "..." : out;
}

}  // namespace lathe::hub
