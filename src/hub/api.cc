#include "hub/api.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "lathe/version.h"

namespace lathe::hub {
namespace {

constexpr size_t kMaxFiles = 100'000, kMaxPages = 1000;
constexpr int64_t kMaxSize = int64_t{1} << 50;  // of a file, and of all
constexpr double kMaxDelay = 20, kMaxRetryAfter = 300;

// What stands in <> before rel="next" of a Link header.
std::string NextPage(std::string_view link) {
  const size_t rel = link.find("rel=\"next\"");
  if (rel == std::string_view::npos) return "";
  const size_t close = link.rfind('>', rel);
  const size_t open = close == std::string_view::npos ? close : link.rfind('<', close);
  return open == std::string_view::npos ? "" : std::string(link.substr(open + 1, close - open - 1));
}

Expected<RemoteFile> FileFromJson(const Json& entry, const std::string& where) {
  RemoteFile file;
  LATHE_ASSIGN_OR_RETURN(file.path, JsonString(entry, "path", where));
  LATHE_RETURN_IF_ERROR(CheckRepoPath(file.path));
  LATHE_ASSIGN_OR_RETURN(int64_t size, JsonIntOr(entry, "size", 0, where));
  LATHE_ASSIGN_OR_RETURN(file.etag, JsonStringOr(entry, "oid", "", where));
  if (entry.contains("lfs") && entry["lfs"].is_object()) {
    file.lfs = true;
    LATHE_ASSIGN_OR_RETURN(file.etag, JsonString(entry["lfs"], "oid", where));
    LATHE_ASSIGN_OR_RETURN(size, JsonInt(entry["lfs"], "size", where));
  }
  if (size < 0 || size > kMaxSize || (file.lfs && !IsSha256(file.etag)))
    return Error(StatusCode::kCorrupt, "%s lists '%s' with a size or hash that cannot be", where.c_str(),
                 Quoted(file.path).c_str());
  file.size = static_cast<uint64_t>(size);
  if (!IsSha256(file.etag) && !IsCommit(file.etag)) file.etag.clear();
  return file;
}

// A file may not be a folder of another: "a" and "a/b". Sizes add up.
Status CheckTree(const std::vector<RemoteFile>& files) {
  std::set<std::string_view> names;
  uint64_t all = 0;
  for (const RemoteFile& file : files)
    if ((all += file.size) > static_cast<uint64_t>(kMaxSize))
      return Status(StatusCode::kCorrupt,
                    "the hub lists files of more than 10^15 bytes; nothing was fetched");
  for (const RemoteFile& file : files)
    if (!names.insert(file.path).second)
      return Error(StatusCode::kCorrupt, "the hub lists '%s' twice; nothing was fetched",
                   Quoted(file.path).c_str());
  for (const RemoteFile& file : files)
    for (size_t at = file.path.find('/'); at != std::string::npos; at = file.path.find('/', at + 1))
      if (names.contains(std::string_view(file.path).substr(0, at)))
        return Error(StatusCode::kCorrupt, "the hub lists '%s' as below a file; nothing was fetched",
                     Quoted(file.path).c_str());
  return Status::Ok();
}

std::string HubWords(const HttpResponse& response) {
  std::string words(response.Header("x-error-message"));
  if (words.empty() && response.body.size() < 64 << 10) {
    const auto json = ParseJson(response.body, "answer", {.max_bytes = 64 << 10, .max_depth = 8});
    if (json.ok() && json->is_object() && json->contains("error") && (*json)["error"].is_string())
      words = (*json)["error"].get<std::string>();
  }
  return words.empty() ? "" : " (the hub says: " + Quoted(words, 300) + ")";
}

Status Refused(const HttpResponse& response, const HubConfig& config, const RepoName& repo) {
  const std::string what = repo.Id();
  const std::string words = HubWords(response);
  const std::string_view code = response.Header("x-error-code");
  if (code == "GatedRepo")
    return Error(StatusCode::kNotFound,
                 "%s is gated: accept its terms at %s/%s with the account of your token, and set HF_TOKEN%s",
                 what.c_str(), config.endpoint.Origin().c_str(), what.c_str(), words.c_str());
  if (config.token.empty())
    return Error(
        StatusCode::kNotFound,
        "%s is not there, or is private: check its name, or set HF_TOKEN to a token that may read it%s",
        what.c_str(), words.c_str());
  if (response.status == 401 && code != "RepoNotFound")
    return Error(
        StatusCode::kInvalidArgument,
        "%s refuses the token of %s: set it to one that https://huggingface.co/settings/tokens shows%s",
        config.endpoint.Origin().c_str(), config.token_source.c_str(), words.c_str());
  return Error(response.status == 403 ? StatusCode::kInvalidArgument : StatusCode::kNotFound,
               "%s is not there, or the token of %s may not read it%s", what.c_str(),
               config.token_source.c_str(), words.c_str());
}

Status Busy(const HttpResponse& response, const std::string& what) {
  return Error(StatusCode::kUnavailable, "%s answers %d for %s%s; try again later",
               response.url.Origin().c_str(), response.status, what.c_str(), HubWords(response).c_str());
}

}  // namespace

std::optional<DigestKind> RemoteFile::Kind() const {
  if (IsSha256(etag)) return DigestKind::kSha256;
  if (!lfs && IsCommit(etag)) return DigestKind::kGitBlob;
  return std::nullopt;
}

Status ErrorOf(const HttpResponse& response, const HubConfig& config, const RepoName& repo,
               const std::string& what) {
  const std::string_view code = response.Header("x-error-code");
  if (code == "RevisionNotFound")
    return Error(StatusCode::kNotFound,
                 "%s has no such revision; name a branch, a tag or a whole commit after '@'", what.c_str());
  if (code == "EntryNotFound") return Error(StatusCode::kNotFound, "%s has no such file", what.c_str());
  const bool from_hub = response.url.Origin() == config.endpoint.Origin();
  if (from_hub &&
      (response.status == 401 || response.status == 403 || code == "RepoNotFound" || code == "GatedRepo"))
    return Refused(response, config, repo);
  if (response.status == 404)
    return Error(StatusCode::kNotFound, "%s is not there: %s answers 404%s", what.c_str(),
                 response.url.Shown().c_str(), HubWords(response).c_str());
  return Busy(response, what);
}

Status Backoff::Wait(const Status& fault, double retry_after) {
  if (retry_after > kMaxRetryAfter)
    return Error(StatusCode::kUnavailable, "%s; the server asks to come back in %.0f s",
                 fault.message().c_str(), retry_after);
  if (++failures_ > most_) return fault;
  const double delay =
      std::max(retry_after, std::min(kMaxDelay, config_.first_retry_delay * (1 << (failures_ - 1))));
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(delay);
  while (std::chrono::steady_clock::now() < end) {
    if (cancel_ != nullptr && cancel_->load()) return {StatusCode::kCancelled, "stopped"};
    const std::chrono::duration<double> left = end - std::chrono::steady_clock::now();
    std::this_thread::sleep_for(
        std::min<std::chrono::duration<double>>(left, std::chrono::milliseconds(100)));
  }
  return Status::Ok();
}

Expected<std::unique_ptr<HubApi>> HubApi::Create(HubConfig config) {
  std::unique_ptr<HubApi> api(new HubApi(std::move(config)));
  HttpOptions options;
  options.idle_timeout = api->config_.idle_timeout;
  options.user_agent = std::string("lathe/") + kVersionString;
  options.token = api->config_.token;
  options.token_origin = api->config_.endpoint.Origin();
  options.cancel = &api->stop_;
  LATHE_ASSIGN_OR_RETURN(api->http_, HttpClient::Create(std::move(options)));
  return api;
}

Url HubApi::ApiUrl(const std::string& below) const {
  Url url = config_.endpoint;
  url.target += below;
  return url;
}

Url HubApi::ResolveUrl(const RepoName& repo, const std::string& commit, const std::string& path) const {
  return ApiUrl("/" + repo.Id() + "/resolve/" + Escape(commit, false) + "/" + Escape(path, true));
}

Expected<HttpResponse> HubApi::Call(const HttpRequest& request, int most_failures) {
  Backoff backoff(config_, &stop_, most_failures);
  for (;;) {
    auto response = http_->Send(request);
    if (!response.ok()) {
      if (response.status().code() != StatusCode::kUnavailable) return response.status();
      LATHE_RETURN_IF_ERROR(backoff.Wait(response.status()));
      continue;
    }
    if (!IsTransient(response->status)) return response;
    LATHE_RETURN_IF_ERROR(backoff.Wait(Busy(*response, request.url.Shown()), RetryAfter(*response)));
  }
}

Expected<HttpResponse> HubApi::CallOk(const HttpRequest& request, const RepoName& repo,
                                      const std::string& what, int most_failures) {
  LATHE_ASSIGN_OR_RETURN(HttpResponse response, Call(request, most_failures));
  if (response.status >= 200 && response.status < 300) return response;
  return ErrorOf(response, config_, repo, what);
}

Expected<std::string> HubApi::CommitOf(const RepoName& repo, int most_failures) {
  HttpRequest request;
  request.url = ApiUrl("/api/models/" + repo.Id() + "/revision/" + Escape(repo.revision, false));
  const std::string what = repo.revision == "main" ? repo.Id() : repo.Id() + "@" + repo.revision;
  LATHE_ASSIGN_OR_RETURN(const HttpResponse response, CallOk(request, repo, what, most_failures));
  const std::string where = request.url.Shown();
  LATHE_ASSIGN_OR_RETURN(const Json info, ParseJson(response.body, where, kHubJson));
  LATHE_ASSIGN_OR_RETURN(const std::string commit, JsonString(info, "sha", where));
  if (!IsCommit(commit))
    return Error(StatusCode::kCorrupt,
                 "%s names the commit '%s', which is no 40 hexadecimal digits; is HF_ENDPOINT a hub?",
                 where.c_str(), Quoted(commit).c_str());
  return commit;
}

Expected<std::vector<RemoteFile>> HubApi::FilesOf(const RepoName& repo, const std::string& commit) {
  std::vector<RemoteFile> files;
  HttpRequest request;
  request.url =
      ApiUrl("/api/models/" + repo.Id() + "/tree/" + Escape(commit, false) + "?recursive=true&expand=false");
  for (size_t page = 0;; ++page) {
    LATHE_ASSIGN_OR_RETURN(const HttpResponse response, CallOk(request, repo, repo.Id()));
    const std::string where = request.url.Shown();
    LATHE_ASSIGN_OR_RETURN(const Json list, ParseJson(response.body, where, kHubJson));
    if (!list.is_array())
      return Error(StatusCode::kCorrupt, "%s is no list of files; is HF_ENDPOINT a hub?", where.c_str());
    for (const Json& entry : list) {
      if (!entry.is_object())
        return Error(StatusCode::kCorrupt, "%s lists something that is no file", where.c_str());
      LATHE_ASSIGN_OR_RETURN(const std::string type, JsonStringOr(entry, "type", "file", where));
      if (type != "file") continue;
      LATHE_ASSIGN_OR_RETURN(RemoteFile file, FileFromJson(entry, where));
      files.push_back(std::move(file));
    }
    const std::string next = NextPage(response.Header("link"));
    if (files.size() > kMaxFiles || page >= kMaxPages)
      return Error(StatusCode::kUnsupported, "%s has more than %zu files, which no model needs",
                   repo.Id().c_str(), kMaxFiles);
    if (next.empty()) break;
    LATHE_ASSIGN_OR_RETURN(request.url, ResolveReference(response.url, next));
  }
  LATHE_RETURN_IF_ERROR(CheckTree(files));
  return files;
}

Status HubApi::FillIn(const RepoName& repo, const std::string& commit, RemoteFile* file) {
  HttpRequest request;
  request.method = "HEAD";
  request.stay_on_origin = true;
  request.url = ResolveUrl(repo, commit, file->path);
  const std::string what = repo.Id() + "/" + file->path;
  LATHE_ASSIGN_OR_RETURN(const HttpResponse response, Call(request));
  if (response.status >= 400) return ErrorOf(response, config_, repo, what);
  const auto either = [&](const char* first, const char* second) {
    const std::string_view value = response.Header(first);
    return std::string(value.empty() ? response.Header(second) : value);
  };
  file->etag = NormalizedEtag(either("x-linked-etag", "etag"));
  file->lfs = IsSha256(file->etag);
  const std::string size =
      either("x-linked-size", response.status < 300 ? "content-length" : "x-linked-size");
  const bool digits = !size.empty() && size.size() <= 15 && std::all_of(size.begin(), size.end(), ::isdigit);
  // The etag becomes the name of a file.
  const bool plain = !file->etag.empty() && file->etag.size() <= 128 &&
                     std::all_of(file->etag.begin(), file->etag.end(), [](unsigned char c) {
                       return std::isalnum(c) != 0 || c == '-' || c == '_';
                     });
  if (!digits || !plain)
    return Error(StatusCode::kCorrupt,
                 "%s has no ETag or no size by which to fetch it; is HF_ENDPOINT a hub?",
                 request.url.Shown().c_str());
  file->size = std::stoull(size);
  return Status::Ok();
}

std::string NormalizedEtag(std::string_view header) {
  if (header.starts_with("W/")) header.remove_prefix(2);
  if (header.size() >= 2 && header.front() == '"' && header.back() == '"')
    header = header.substr(1, header.size() - 2);
  return std::string(header);
}

}  // namespace lathe::hub
