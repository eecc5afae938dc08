#include "hub/pull.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/file.h"
#include "hub/select.h"

namespace lathe::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxIndex = 4 << 20, kMaxShardIndex = size_t{16} << 20;

// Of one call of Pull.
class Puller {
 public:
  Puller(HubApi& api, const RepoName& repo, const PullOptions& options)
      : api_(api), repo_(repo), options_(options), cache_(api.config().cache_dir, repo) {}

  Expected<Pulled> Run();

 private:
  Status Online(const std::string& commit);
  Status FromCache(const std::string& commit);
  Status Fetch(const std::vector<RemoteFile>& files);
  // Leaves result_.path empty when there is no engine to take.
  Status FetchEngine(const std::vector<RemoteFile>& files);
  Status FetchWeights(const std::vector<RemoteFile>& files);
  bool WeightsWillDo(const std::vector<RemoteFile>& files) const {
    return options_.want == Want::kEither && WeightFiles(files, "").ok();
  }
  bool SnapshotHasTokenizer() const {
    return std::any_of(std::begin(kTokenizerFiles), std::end(kTokenizerFiles),
                       [this](const char* name) { return FileExists(InSnapshot(name)); });
  }
  std::string LoneEngine() const;
  Status NoneFits() const;
  std::string InSnapshot(const std::string& path) const { return result_.snapshot + "/" + path; }

  HubApi& api_;
  const RepoName& repo_;
  const PullOptions& options_;
  const RepoCache cache_;
  std::vector<EngineEntry> engines_;
  Pulled result_;
};

const RemoteFile* FindFile(const std::vector<RemoteFile>& files, std::string_view path) {
  const auto at =
      std::find_if(files.begin(), files.end(), [path](const RemoteFile& file) { return file.path == path; });
  return at == files.end() ? nullptr : &*at;
}

Status Puller::Fetch(const std::vector<RemoteFile>& files) {
  for (const RemoteFile& file : files) result_.bytes += file.size;
  result_.files += files.size();
  return Download(api_, repo_, result_.commit, files, options_.download);
}

Status Puller::NoneFits() const {
  std::set<std::string> targets;
  for (const EngineEntry& engine : engines_)
    targets.insert(engine.target + (engine.machine.empty() ? "" : " (" + Quoted(engine.machine) + ")") +
                   " of lathe " + engine.builder);
  std::string list;
  for (const std::string& target : targets) list += (list.empty() ? "" : ", ") + target;
  return Error(
      StatusCode::kMismatch,
      "%s has engines for %s and no weights, and none fits this machine; build one here from the model's "
      "weights with 'lathe build', or push the weights beside the engines",
      repo_.Id().c_str(), list.c_str());
}

Status Puller::FetchEngine(const std::vector<RemoteFile>& files) {
  const RemoteFile* index = FindFile(files, kIndexFile);
  if (index == nullptr) {
    cache_.RememberAbsent(result_.commit, kIndexFile);
    std::vector<RemoteFile> engines;
    std::copy_if(files.begin(), files.end(), std::back_inserter(engines),
                 [](const RemoteFile& file) { return file.path.ends_with(".lathe"); });
    // Uploaded by other means: where there is but one, it is what is meant, and says itself whether it fits.
    if (engines.size() != 1 || WeightsWillDo(files)) return Status::Ok();
    LATHE_RETURN_IF_ERROR(Fetch(engines));
    result_.path = InSnapshot(engines[0].path);
    return Status::Ok();
  }
  if (index->size > kMaxIndex)
    return Error(StatusCode::kCorrupt,
                 "%s has a %s of %s, and 4 MiB are the most; remove it and push the engines again",
                 repo_.Id().c_str(), kIndexFile, SizeText(index->size).c_str());
  LATHE_RETURN_IF_ERROR(Fetch({*index}));
  LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(InSnapshot(kIndexFile), kMaxIndex));
  LATHE_ASSIGN_OR_RETURN(engines_, ParseEngineIndex(text, repo_.Id() + "/" + kIndexFile));
  std::erase_if(engines_, [&files](const EngineEntry& engine) {
    const RemoteFile* file = FindFile(files, engine.file);
    return file == nullptr || file->size != engine.size || (file->lfs && file->etag != engine.sha256);
  });
  const EngineEntry* best = BestEngine(engines_, options_.fitness);
  if (best == nullptr) return engines_.empty() || WeightsWillDo(files) ? Status::Ok() : NoneFits();
  LATHE_RETURN_IF_ERROR(Fetch({*FindFile(files, best->file)}));
  result_.path = InSnapshot(best->file);
  return Status::Ok();
}

Status Puller::FetchWeights(const std::vector<RemoteFile>& files) {
  LATHE_ASSIGN_OR_RETURN(std::vector<RemoteFile> wanted, WeightFiles(files, repo_.Id()));
  const std::vector<RemoteFile> small = SmallFiles(files);
  if (wanted.empty()) {
    LATHE_RETURN_IF_ERROR(Fetch(small));
    LATHE_ASSIGN_OR_RETURN(const std::string index, ReadFile(InSnapshot(kIndexName), kMaxShardIndex));
    LATHE_ASSIGN_OR_RETURN(wanted, ShardFiles(files, index, repo_.Id()));
  } else {
    wanted.insert(wanted.begin(), small.begin(), small.end());
  }
  LATHE_RETURN_IF_ERROR(Fetch(wanted));
  result_.path = result_.snapshot;
  return Status::Ok();
}

Status Puller::Online(const std::string& commit) {
  result_.commit = commit;
  result_.snapshot = cache_.SnapshotDir(commit);
  LATHE_ASSIGN_OR_RETURN(const std::vector<RemoteFile> files, api_.FilesOf(repo_, commit));
  if (!options_.include.empty() || !options_.exclude.empty()) {
    LATHE_ASSIGN_OR_RETURN(const std::vector<RemoteFile> wanted,
                           MatchingFiles(files, options_.include, options_.exclude, repo_.Id()));
    LATHE_RETURN_IF_ERROR(Fetch(wanted));
    result_.path = result_.snapshot;
  } else if (options_.want == Want::kTokenizer && HasTokenizer(files)) {
    LATHE_RETURN_IF_ERROR(Fetch(SmallFiles(files)));
    result_.path = result_.snapshot;
  } else {
    if (options_.want != Want::kWeights) LATHE_RETURN_IF_ERROR(FetchEngine(files));
    if (result_.path.empty() && options_.want == Want::kEngine)
      return Error(StatusCode::kNotFound, "%s has no engines; build one of its weights with 'lathe build %s'",
                   repo_.Id().c_str(), repo_.Id().c_str());
    if (result_.path.empty() && options_.want == Want::kTokenizer)
      return Error(StatusCode::kNotFound, "%s has neither a tokenizer (%s, %s or %s) nor engines of lathe",
                   repo_.Id().c_str(), kTokenizerFiles[0], kTokenizerFiles[1], kTokenizerFiles[2]);
    if (result_.path.empty()) LATHE_RETURN_IF_ERROR(FetchWeights(files));
  }
  return cache_.RememberCommit(commit);
}

Status Puller::FromCache(const std::string& commit) {
  result_.commit = commit;
  result_.snapshot = result_.path = cache_.SnapshotDir(commit);
  if (options_.want == Want::kWeights) return Status::Ok();
  if (options_.want == Want::kTokenizer && SnapshotHasTokenizer()) return Status::Ok();
  if (FileExists(InSnapshot(kIndexFile))) {
    LATHE_ASSIGN_OR_RETURN(const std::string text, ReadFile(InSnapshot(kIndexFile), kMaxIndex));
    LATHE_ASSIGN_OR_RETURN(engines_, ParseEngineIndex(text, InSnapshot(kIndexFile)));
    std::erase_if(engines_,
                  [this](const EngineEntry& engine) { return !FileExists(InSnapshot(engine.file)); });
    if (const EngineEntry* best = BestEngine(engines_, options_.fitness))
      result_.path = InSnapshot(best->file);
  } else if (const std::string engine = LoneEngine(); !engine.empty()) {
    result_.path = engine;
  }
  if (options_.want != Want::kEngine || result_.path != result_.snapshot) return Status::Ok();
  return Error(StatusCode::kNotFound,
               "the cache has no engine of %s that fits this machine; pull it when the hub can be reached",
               repo_.Id().c_str());
}

// The one engine of a snapshot without weights, as FetchEngine takes it; "" where there is none, or several.
std::string Puller::LoneEngine() const {
  if (FileExists(InSnapshot(kSingleName)) || FileExists(InSnapshot(kIndexName))) return "";
  std::vector<std::string> engines;
  std::error_code error;
  for (fs::recursive_directory_iterator it(result_.snapshot, error), end; !error && it != end;
       it.increment(error)) {
    const std::string path = it->path().string();
    if (path.ends_with(".lathe") && FileExists(path)) engines.push_back(path);
  }
  return engines.size() == 1 ? engines[0] : "";
}

Expected<Pulled> Puller::Run() {
  const auto cached = cache_.CachedCommit();
  if (api_.config().offline) {
    if (!cached.ok())
      return Error(StatusCode::kNotFound,
                   "HF_HUB_OFFLINE is set, and %s@%s is not in the cache '%s'; unset it and pull once",
                   repo_.Id().c_str(), repo_.revision.c_str(), api_.config().cache_dir.c_str());
    LATHE_RETURN_IF_ERROR(FromCache(*cached));
  } else {
    // What the cache has will do where the hub cannot be reached, and is not waited for long.
    const auto commit = api_.CommitOf(repo_, cached.ok() ? 1 : Backoff::kUsualFailures);
    if (commit.ok()) {
      LATHE_RETURN_IF_ERROR(Online(*commit));
    } else if (commit.status().code() == StatusCode::kUnavailable && cached.ok()) {
      LATHE_RETURN_IF_ERROR(FromCache(*cached).WithContext(commit.status().message()));
      result_.warning = "taking what the cache has of " + repo_.Id() + ": " + commit.status().message();
    } else {
      return commit.status();
    }
  }
  result_.is_engine = result_.path != result_.snapshot;
  return result_;
}

}  // namespace

Expected<Pulled> Pull(HubApi& api, const RepoName& repo, const PullOptions& options) {
  return Puller(api, repo, options).Run();
}

}  // namespace lathe::hub
