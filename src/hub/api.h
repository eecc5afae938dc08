// What a hub says about a repository: the commit of a revision, its files, where each is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "hub/config.h"
#include "hub/digest.h"
#include "hub/http.h"
#include "hub/names.h"

namespace lathe::hub {

struct RemoteFile {
  std::string path;
  uint64_t size = 0;
  // The name of its blob in a cache: the SHA-256 of an LFS file, git's name of a small one; of other servers
  // whatever their ETag is.
  std::string etag;
  bool lfs = false;

  // What its bytes must hash to; absent when the etag is no hash.
  std::optional<DigestKind> Kind() const;
};

// A sentence for an answer that is no success, from the hub's own words (X-Error-Code, X-Error-Message) and
// what we sent. `what` of `repo` was asked for: itself, a revision, a file.
Status ErrorOf(const HttpResponse& response, const HubConfig& config, const RepoName& repo,
               const std::string& what);

// Attempts at something that may fail for a while. Not thread-safe.
class Backoff {
 public:
  static constexpr int kUsualFailures = 5;
  // `most`: failures in a row, none of which brought anything, that are waited out.
  Backoff(const HubConfig& config, const std::atomic<bool>* cancel, int most = kUsualFailures)
      : config_(config), cancel_(cancel), most_(most) {}
  // Waits before the next attempt: at least `retry_after` seconds (-1: none said). Returns `fault` when there
  // have been enough, or when the server asks for more than five minutes; kCancelled.
  Status Wait(const Status& fault, double retry_after = -1);
  // Something came: as if no attempt had failed.
  void Reset() { failures_ = 0; }

 private:
  const HubConfig& config_;
  const std::atomic<bool>* cancel_;
  const int most_;
  int failures_ = 0;
};

// Thread-safe.
class HubApi {
 public:
  // Errors: those of HttpClient::Create.
  static Expected<std::unique_ptr<HubApi>> Create(HubConfig config);

  const HubConfig& config() const { return config_; }
  HttpClient& http() { return *http_; }
  // While true, whatever is under way ends soon, with kCancelled.
  std::atomic<bool>& stop() { return stop_; }

  // Sends, and again after up to `most_failures` that are transient. Answers with other statuses than 2xx are
  // returned as they are once they are not.
  Expected<HttpResponse> Call(const HttpRequest& request, int most_failures = Backoff::kUsualFailures);
  // The same, and only success is success.
  Expected<HttpResponse> CallOk(const HttpRequest& request, const RepoName& repo, const std::string& what,
                                int most_failures = Backoff::kUsualFailures);

  // The commit that a revision is. Errors: kNotFound for a repository or revision that is missing or private,
  // kInvalidArgument for a token that is refused, kUnavailable.
  Expected<std::string> CommitOf(const RepoName& repo, int most_failures = Backoff::kUsualFailures);
  // Its files, paths checked; at most 100,000. Errors: as above; kCorrupt for an answer that is none.
  Expected<std::vector<RemoteFile>> FilesOf(const RepoName& repo, const std::string& commit);
  // Size and etag by asking for the head of the file itself, for servers whose lists lack them.
  Status FillIn(const RepoName& repo, const std::string& commit, RemoteFile* file);

  Url ResolveUrl(const RepoName& repo, const std::string& commit, const std::string& path) const;
  // `below` starts with '/': "/api/models/...".
  Url ApiUrl(const std::string& below) const;

 private:
  explicit HubApi(HubConfig config) : config_(std::move(config)) {}
  HubConfig config_;
  std::atomic<bool> stop_{false};
  std::unique_ptr<HttpClient> http_;
};

// "W/"..."" without its quotes.
std::string NormalizedEtag(std::string_view header);

inline constexpr JsonLimits kHubJson{.max_bytes = size_t{16} << 20, .max_depth = 16};

}  // namespace lathe::hub
