#include "hub/push.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "base/file.h"
#include "hub/digest.h"
#include "hub/lfs.h"

namespace lathe::hub {
namespace {

constexpr size_t kSample = 512;                       // bytes by which the hub tells text from data
constexpr size_t kPreupload = 256;                    // files in one such question
constexpr uint64_t kMaxRegular = uint64_t{16} << 20;  // what goes into the commit itself
constexpr int kCommitTries = 3;
constexpr char kCardFile[] = "README.md";

struct Entry {
  PushFile file;
  uint64_t size = 0;
  std::string sha256, git;
  bool lfs = false, ignored = false;
};

Url CommitUrl(const HubApi& api, const RepoName& repo, const char* what) {
  return api.ApiUrl("/api/models/" + repo.Id() + "/" + what + "/" + Escape(repo.revision, false));
}

HttpRequest JsonPost(const Url& url, const Json& json) {
  HttpRequest request;
  request.method = "POST";
  request.url = url;
  request.headers = {{"Content-Type", "application/json"}};
  request.body = DumpJson(json);
  return request;
}

Expected<std::string> ContentOf(const PushFile& file) {
  if (file.local_path.empty()) return file.content;
  return ReadFile(file.local_path, kMaxRegular);
}

class Pusher {
 public:
  Pusher(HubApi& api, const RepoName& repo, const PushOptions& options)
      : api_(api), repo_(repo), options_(options) {}

  Expected<Pushed> Run(std::vector<PushFile> files);

 private:
  Status MakeRepository();
  Status MakeBranch();
  Status HashAll();
  Expected<std::string> RemoteText(const std::string& commit, const std::string& path);
  // lathe.json and the card, from what the repository has at `commit`.
  Status AddGenerated(const std::string& commit, const std::vector<RemoteFile>& remote);
  Status AskModes(const std::vector<Entry*>& changed);
  Status Upload(const std::vector<Entry*>& changed);
  // False: somebody else committed first.
  Expected<bool> Commit(const std::string& parent, const std::vector<Entry*>& changed);
  Expected<bool> TryOnce();
  void Tell(const char* stage, uint64_t done, uint64_t total) {
    if (options_.progress) options_.progress(stage, done, total);
  }

  HubApi& api_;
  const RepoName& repo_;
  const PushOptions& options_;
  std::vector<Entry> given_, generated_;
  Pushed result_;
};

Status Pusher::MakeRepository() {
  HttpRequest request;
  request.url = api_.ApiUrl("/api/models/" + repo_.Id());
  LATHE_ASSIGN_OR_RETURN(const HttpResponse response, api_.Call(request));
  if (response.status == 200) return Status::Ok();
  const bool absent = response.status == 404 || response.Header("x-error-code") == "RepoNotFound";
  if (!absent) return WriteErrorOf(response, api_.config(), repo_);
  Json json{{"name", repo_.name}, {"type", "model"}, {"private", options_.make_private}};
  if (!repo_.organization.empty()) json["organization"] = repo_.organization;
  LATHE_ASSIGN_OR_RETURN(const HttpResponse made,
                         api_.Call(JsonPost(api_.ApiUrl("/api/repos/create"), json)));
  if (made.status == 200 || made.status == 201 || made.status == 409) return Status::Ok();
  return WriteErrorOf(made, api_.config(), repo_);
}

Status Pusher::MakeBranch() {
  const auto commit = api_.CommitOf(repo_);
  if (commit.ok() || repo_.revision == "main" || commit.status().code() != StatusCode::kNotFound)
    return commit.status();
  LATHE_ASSIGN_OR_RETURN(const HttpResponse made,
                         api_.Call(JsonPost(CommitUrl(api_, repo_, "branch"), Json::object())));
  if (made.status < 300 || made.status == 409) return Status::Ok();
  return WriteErrorOf(made, api_.config(), repo_);
}

Status Pusher::HashAll() {
  uint64_t total = 0, done = 0;
  for (Entry& entry : given_) {
    if (entry.file.local_path.empty()) {
      entry.size = entry.file.content.size();
    } else {
      LATHE_ASSIGN_OR_RETURN(entry.size, FileSize(entry.file.local_path));
    }
    total += entry.size;
  }
  for (Entry& entry : given_) {
    Tell("hashing", done, total);
    if (entry.file.local_path.empty()) {
      entry.sha256 = DigestOf(DigestKind::kSha256, entry.file.content);
      entry.git = DigestOf(DigestKind::kGitBlob, entry.file.content);
    } else {
      LATHE_ASSIGN_OR_RETURN(entry.sha256, DigestOfFile(DigestKind::kSha256, entry.file.local_path));
      if (entry.size <= kMaxRegular) {
        LATHE_ASSIGN_OR_RETURN(entry.git, DigestOfFile(DigestKind::kGitBlob, entry.file.local_path));
      }
    }
    done += entry.size;
  }
  return Status::Ok();
}

Expected<std::string> Pusher::RemoteText(const std::string& commit, const std::string& path) {
  HttpRequest request;
  request.url = api_.ResolveUrl(repo_, commit, path);
  LATHE_ASSIGN_OR_RETURN(HttpResponse response, api_.CallOk(request, repo_, repo_.Id() + "/" + path));
  return std::move(response.body);
}

Status Pusher::AddGenerated(const std::string& commit, const std::vector<RemoteFile>& remote) {
  generated_.clear();
  if (options_.engines.empty()) return Status::Ok();
  const auto has = [&remote](const char* path) {
    return std::any_of(remote.begin(), remote.end(),
                       [path](const RemoteFile& file) { return file.path == path; });
  };
  std::vector<EngineEntry> engines = options_.engines;
  for (EngineEntry& engine : engines)
    for (const Entry& entry : given_)
      if (entry.file.path == engine.file) {
        engine.size = entry.size;
        engine.sha256 = entry.sha256;
      }
  if (has(kIndexFile)) {
    LATHE_ASSIGN_OR_RETURN(const std::string text, RemoteText(commit, kIndexFile));
    LATHE_ASSIGN_OR_RETURN(std::vector<EngineEntry> present,
                           ParseEngineIndex(text, repo_.Id() + "/" + kIndexFile));
    engines = MergeEngines(std::move(present), engines);
  }
  const auto add = [this](const char* path, std::string content) {
    Entry entry;
    entry.size = content.size();
    entry.sha256 = DigestOf(DigestKind::kSha256, content);
    entry.git = DigestOf(DigestKind::kGitBlob, content);
    entry.file = {path, "", std::move(content)};
    generated_.push_back(std::move(entry));
  };
  add(kIndexFile, EngineIndexText(engines));
  const bool given =
      std::any_of(given_.begin(), given_.end(), [](const Entry& e) { return e.file.path == kCardFile; });
  if (!options_.card || given) return Status::Ok();
  std::string present;
  if (has(kCardFile)) {
    LATHE_ASSIGN_OR_RETURN(present, RemoteText(commit, kCardFile));
    if (present.find(kCardMark) == std::string::npos) return Status::Ok();
  }
  add(kCardFile, options_.card(engines, present));
  return Status::Ok();
}

Status Pusher::AskModes(const std::vector<Entry*>& changed) {
  for (size_t begin = 0; begin < changed.size(); begin += kPreupload) {
    Json files = Json::array();
    std::map<std::string, Entry*> by_path;
    for (size_t i = begin; i < std::min(changed.size(), begin + kPreupload); ++i) {
      const PushFile& file = changed[i]->file;
      std::string sample = file.content.substr(0, kSample);
      if (!file.local_path.empty()) {
        LATHE_ASSIGN_OR_RETURN(const MappedFile mapped, MappedFile::Open(file.local_path));
        sample.assign(reinterpret_cast<const char*>(mapped.data()), std::min(kSample, mapped.size()));
      }
      files.push_back({{"path", file.path}, {"sample", Base64(sample)}, {"size", changed[i]->size}});
      by_path[file.path] = changed[i];
    }
    const HttpRequest request = JsonPost(CommitUrl(api_, repo_, "preupload"), {{"files", files}});
    LATHE_ASSIGN_OR_RETURN(const HttpResponse response, api_.Call(request));
    if (response.status != 200) return WriteErrorOf(response, api_.config(), repo_);
    const std::string where = request.url.Shown();
    LATHE_ASSIGN_OR_RETURN(const Json answer, ParseJson(response.body, where, kHubJson));
    if (!answer.is_object() || !answer.contains("files") || !answer["files"].is_array())
      return Error(StatusCode::kCorrupt, "%s does not say how files are to be uploaded", where.c_str());
    for (const Json& item : answer["files"]) {
      LATHE_ASSIGN_OR_RETURN(const std::string path, JsonString(item, "path", where));
      LATHE_ASSIGN_OR_RETURN(const std::string mode, JsonString(item, "uploadMode", where));
      if (!by_path.contains(path)) continue;
      Entry& entry = *by_path[path];
      entry.lfs = mode == "lfs" && entry.size > 0;  // object stores refuse empty ones
      LATHE_ASSIGN_OR_RETURN(entry.ignored, JsonBoolOr(item, "shouldIgnore", false, where));
    }
  }
  for (const Entry* entry : changed)
    if (!entry->lfs && entry->size > kMaxRegular)
      return Error(StatusCode::kUnsupported,
                   "%s wants '%s' (%llu bytes) as a small file, but it has more than 16 MiB",
                   api_.config().endpoint.Origin().c_str(), entry->file.path.c_str(),
                   static_cast<unsigned long long>(entry->size));
  return Status::Ok();
}

Status Pusher::Upload(const std::vector<Entry*>& changed) {
  std::vector<LfsObject> objects;
  uint64_t total = 0;
  for (const Entry* entry : changed) {
    if (!entry->lfs || entry->ignored) continue;
    if (entry->file.local_path.empty())
      return Error(StatusCode::kUnsupported,
                   "%s wants the generated '%s' as an LFS file; take it out of .gitattributes",
                   api_.config().endpoint.Origin().c_str(), entry->file.path.c_str());
    objects.push_back({entry->file.local_path, entry->size, entry->sha256});
    total += entry->size;
  }
  std::mutex mutex;
  uint64_t done = 0;
  return UploadLfs(api_, repo_, objects, [&](uint64_t bytes) {
    const std::lock_guard lock(mutex);
    Tell("uploading", done += bytes, total);
  });
}

Expected<bool> Pusher::Commit(const std::string& parent, const std::vector<Entry*>& changed) {
  Json header{{"summary", options_.message}, {"description", ""}, {"parentCommit", parent}};
  HttpRequest request;
  request.method = "POST";
  request.url = CommitUrl(api_, repo_, "commit");
  request.headers = {{"Content-Type", "application/x-ndjson"}};
  request.body = DumpJson({{"key", "header"}, {"value", header}}) + "\n";
  for (const Entry* entry : changed) {
    if (entry->ignored) continue;
    Json value{{"path", entry->file.path}};
    if (entry->lfs) {
      value["algo"] = "sha256";
      value["oid"] = entry->sha256;
      value["size"] = entry->size;
    } else {
      LATHE_ASSIGN_OR_RETURN(const std::string content, ContentOf(entry->file));
      value["encoding"] = "base64";
      value["content"] = Base64(content);
    }
    request.body += DumpJson({{"key", entry->lfs ? "lfsFile" : "file"}, {"value", value}}) + "\n";
  }
  LATHE_ASSIGN_OR_RETURN(const HttpResponse response, api_.Call(request));
  if (response.status == 412 || response.status == 409) return false;
  if (response.status != 200 && response.status != 201) return WriteErrorOf(response, api_.config(), repo_);
  const std::string where = request.url.Shown();
  LATHE_ASSIGN_OR_RETURN(const Json answer, ParseJson(response.body, where, kHubJson));
  LATHE_ASSIGN_OR_RETURN(result_.commit, JsonString(answer, "commitOid", where));
  return true;
}

Expected<bool> Pusher::TryOnce() {
  LATHE_ASSIGN_OR_RETURN(const std::string head, api_.CommitOf(repo_));
  LATHE_ASSIGN_OR_RETURN(const std::vector<RemoteFile> remote, api_.FilesOf(repo_, head));
  LATHE_RETURN_IF_ERROR(AddGenerated(head, remote));
  std::map<std::string_view, const RemoteFile*> there;
  for (const RemoteFile& file : remote) there[file.path] = &file;
  std::vector<Entry*> changed;
  result_.unchanged = 0;
  for (std::vector<Entry>* list : {&given_, &generated_})
    for (Entry& entry : *list) {
      const auto at = there.find(entry.file.path);
      if (at != there.end() && at->second->etag == (at->second->lfs ? entry.sha256 : entry.git)) {
        ++result_.unchanged;
      } else {
        changed.push_back(&entry);
      }
    }
  if (changed.empty()) return true;
  LATHE_RETURN_IF_ERROR(AskModes(changed));
  LATHE_RETURN_IF_ERROR(Upload(changed));
  LATHE_ASSIGN_OR_RETURN(const bool committed, Commit(head, changed));
  if (!committed) return false;
  for (const Entry* entry : changed) {
    if (entry->ignored) continue;
    result_.changed.push_back(entry->file.path);
    result_.bytes += entry->size;
  }
  return true;
}

Expected<Pushed> Pusher::Run(std::vector<PushFile> files) {
  const HubConfig& config = api_.config();
  if (config.offline)
    return Status(StatusCode::kInvalidArgument,
                  "HF_HUB_OFFLINE is set, so that nothing can be pushed; unset it");
  if (config.token.empty())
    return Error(StatusCode::kInvalidArgument,
                 "pushing to %s needs a token with write access: make one at "
                 "https://huggingface.co/settings/tokens and set "
                 "HF_TOKEN",
                 repo_.Id().c_str());
  for (PushFile& file : files) {
    if (const char* fault = RepoPathFault(file.path); fault != nullptr)
      return Error(StatusCode::kInvalidArgument, "'%s' cannot be a file's name on a hub: it %s; rename it",
                   Quoted(file.path).c_str(), fault);
    given_.emplace_back().file = std::move(file);
  }
  LATHE_RETURN_IF_ERROR(MakeRepository());
  LATHE_RETURN_IF_ERROR(MakeBranch());
  LATHE_RETURN_IF_ERROR(HashAll());
  for (int i = 0; i < kCommitTries; ++i) {
    LATHE_ASSIGN_OR_RETURN(const bool committed, TryOnce());
    if (committed) return result_;
  }
  return Error(StatusCode::kUnavailable, "others commit to %s all the time; push again in a while",
               repo_.Id().c_str());
}

}  // namespace

Expected<Pushed> Push(HubApi& api, const RepoName& repo, std::vector<PushFile> files,
                      const PushOptions& options) {
  return Pusher(api, repo, options).Run(std::move(files));
}

}  // namespace lathe::hub
