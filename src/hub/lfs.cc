#include "hub/lfs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

namespace lathe::hub {
namespace {

constexpr size_t kBatch = 100;             // objects in one request
constexpr size_t kMaxUploadParts = 10000;  // as object stores allow
constexpr int kThreads = 4;
constexpr char kLfsJson[] = "application/vnd.git-lfs+json";

class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// What the hub says is to be done for one object.
struct Action {
  const LfsObject* object = nullptr;
  Url upload;
  std::vector<Url> parts;  // empty: whole
  uint64_t part_size = 0;
  std::optional<Url> verify;
  std::vector<std::pair<std::string, std::string>> headers;  // of a whole upload
  std::vector<std::string> etags;                            // of the parts, as they were answered
};

struct Task {
  Action* action;
  size_t part;  // of several
};

bool ParseNumber(std::string_view text, uint64_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string TextOf(const Json& value) {
  return value.is_string() ? value.get<std::string>() : DumpJson(value);
}

Status BadAnswer(const std::string& where) {
  return Error(StatusCode::kCorrupt, "%s answers the request to upload with something else than where to",
               where.c_str());
}

// The addresses of parts are header fields named by their numbers.
Status ReadParts(const Json& header, const std::string& where, const Url& base, Action* action) {
  std::map<uint64_t, Url> parts;
  for (const auto& [name, value] : header.items()) {
    uint64_t number = 0;
    if (!ParseNumber(name, &number)) continue;
    LATHE_ASSIGN_OR_RETURN(parts[number], ResolveReference(base, TextOf(value)));
  }
  const uint64_t size = action->part_size;
  if (size == 0 || parts.size() > kMaxUploadParts || parts.size() != (action->object->size + size - 1) / size)
    return BadAnswer(where);
  for (auto& [number, url] : parts) action->parts.push_back(std::move(url));
  action->etags.resize(action->parts.size());
  return Status::Ok();
}

Status ReadAction(const Json& actions, const std::string& where, const Url& base, Action* action) {
  if (!actions.contains("upload") || !actions["upload"].is_object()) return BadAnswer(where);
  const Json& upload = actions["upload"];
  LATHE_ASSIGN_OR_RETURN(const std::string href, JsonString(upload, "href", where));
  LATHE_ASSIGN_OR_RETURN(action->upload, ResolveReference(base, href));
  if (actions.contains("verify") && actions["verify"].is_object()) {
    LATHE_ASSIGN_OR_RETURN(const std::string verify, JsonString(actions["verify"], "href", where));
    LATHE_ASSIGN_OR_RETURN(action->verify, ResolveReference(base, verify));
  }
  if (!upload.contains("header") || !upload["header"].is_object()) return Status::Ok();
  const Json& header = upload["header"];
  if (header.contains("chunk_size")) {
    if (!ParseNumber(TextOf(header["chunk_size"]), &action->part_size)) return BadAnswer(where);
    return ReadParts(header, where, base, action);
  }
  for (const auto& [name, value] : header.items()) {
    const std::string text = TextOf(value);
    const auto plain = [](const std::string& s) {
      return std::all_of(s.begin(), s.end(), [](char c) { return c >= ' ' && c < 127; });
    };
    // A token of the hub's own choosing, perhaps; ours is added by the client where it belongs.
    if (plain(name) && plain(text) && name.find_first_of(": ") == std::string::npos)
      action->headers.emplace_back(name, text);
  }
  return Status::Ok();
}

class Uploader {
 public:
  Uploader(HubApi& api, const RepoName& repo, const std::function<void(uint64_t)>& on_sent)
      : api_(api), repo_(repo), on_sent_(on_sent) {}

  Status Run(const LfsObject* objects, size_t n) {
    std::vector<Action> actions(n);
    LATHE_RETURN_IF_ERROR(Batch(objects, n, &actions));
    for (Action& action : actions) {
      if (action.object == nullptr) continue;
      for (size_t part = 0; part < std::max<size_t>(1, action.parts.size()); ++part)
        tasks_.push_back({&action, part});
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) threads.emplace_back([this] { Work(); });
    for (std::thread& thread : threads) thread.join();
    LATHE_RETURN_IF_ERROR(fault_);
    for (Action& action : actions)
      if (action.object != nullptr) LATHE_RETURN_IF_ERROR(Conclude(action));
    return Status::Ok();
  }

 private:
  Status Batch(const LfsObject* objects, size_t n, std::vector<Action>* actions);
  void Work();
  Status Send(const Task& task);
  Status Conclude(const Action& action);
  Status PostJson(const Url& url, const Json& json, const char* type);

  HubApi& api_;
  const RepoName& repo_;
  const std::function<void(uint64_t)>& on_sent_;
  std::vector<Task> tasks_;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  Status fault_;  // guarded by mutex_
};

Status Uploader::Batch(const LfsObject* objects, size_t n, std::vector<Action>* actions) {
  Json list = Json::array();
  std::map<std::string, const LfsObject*> by_oid;
  for (size_t i = 0; i < n; ++i) {
    by_oid[objects[i].sha256] = &objects[i];
    list.push_back({{"oid", objects[i].sha256}, {"size", objects[i].size}});
  }
  HttpRequest request;
  request.method = "POST";
  request.url = api_.ApiUrl("/" + repo_.Id() + ".git/info/lfs/objects/batch");
  request.headers = {{"Accept", kLfsJson}, {"Content-Type", kLfsJson}};
  request.body = DumpJson({{"operation", "upload"},
                           {"transfers", {"basic", "multipart"}},
                           {"objects", list},
                           {"hash_algo", "sha256"},
                           {"ref", {{"name", repo_.revision}}}});
  LATHE_ASSIGN_OR_RETURN(const HttpResponse response, api_.Call(request));
  if (response.status != 200) return WriteErrorOf(response, api_.config(), repo_);
  const std::string where = request.url.Shown();
  LATHE_ASSIGN_OR_RETURN(const Json answer, ParseJson(response.body, where, kHubJson));
  if (!answer.is_object() || !answer.contains("objects") || !answer["objects"].is_array())
    return BadAnswer(where);
  size_t used = 0;
  for (const Json& item : answer["objects"]) {
    if (!item.is_object() || used == n) return BadAnswer(where);
    LATHE_ASSIGN_OR_RETURN(const std::string oid, JsonString(item, "oid", where));
    if (!by_oid.contains(oid)) return BadAnswer(where);
    const LfsObject* object = by_oid[oid];
    if (item.contains("error") && item["error"].is_object()) {
      LATHE_ASSIGN_OR_RETURN(const std::string words,
                             JsonStringOr(item["error"], "message", "no reason", where));
      return Error(StatusCode::kInvalidArgument, "%s does not take '%s': %s", repo_.Id().c_str(),
                   object->local_path.c_str(), Quoted(words, 300).c_str());
    }
    if (!item.contains("actions") || !item["actions"].is_object()) {  // it is there already
      on_sent_(object->size);
      continue;
    }
    Action& action = (*actions)[used++];
    action.object = object;
    LATHE_RETURN_IF_ERROR(ReadAction(item["actions"], where, request.url, &action));
  }
  return Status::Ok();
}

void Uploader::Work() {
  for (size_t i = 0; (i = next_++) < tasks_.size();) {
    const Status sent = Send(tasks_[i]);
    if (sent.ok()) continue;
    const std::lock_guard lock(mutex_);
    if (fault_.ok()) fault_ = sent;
    next_ = tasks_.size();
  }
}

Status Uploader::Send(const Task& task) {
  Action& action = *task.action;
  const bool whole = action.parts.empty();
  const OpenFile file(action.object->local_path);
  if (file.fd() < 0)
    return Error(StatusCode::kIo, "cannot read '%s': %s", action.object->local_path.c_str(),
                 std::strerror(errno));
  HttpRequest request;
  request.method = "PUT";
  request.url = whole ? action.upload : action.parts[task.part];
  if (whole) request.headers = action.headers;
  FilePart part{file.fd(), 0, action.object->size};
  if (!whole) {
    part.offset = action.part_size * task.part;
    part.size = std::min(action.part_size, action.object->size - part.offset);
  }
  request.file = part;
  uint64_t told = 0, sent = 0;  // what is sent again is not told again
  request.on_sent = [&](uint64_t bytes) {
    sent += bytes;
    if (sent > told) on_sent_(sent - told);
    told = std::max(told, sent);
  };
  Backoff backoff(api_.config(), &api_.stop());
  for (;;) {
    sent = 0;
    const auto response = api_.http().Send(request);
    if (response.ok() && response->status >= 200 && response->status < 300) {
      if (!whole) action.etags[task.part] = std::string(response->Header("etag"));
      return Status::Ok();
    }
    Status fault = response.status();
    double retry_after = -1;
    if (response.ok()) {
      fault = Error(StatusCode::kUnavailable, "%s answers %d to the upload of '%s'",
                    request.url.Shown().c_str(), response->status, action.object->local_path.c_str());
      retry_after = RetryAfter(*response);
      if (!IsTransient(response->status)) return fault;
    } else if (fault.code() != StatusCode::kUnavailable) {
      return fault;
    }
    LATHE_RETURN_IF_ERROR(backoff.Wait(fault, retry_after));
  }
}

Status Uploader::PostJson(const Url& url, const Json& json, const char* type) {
  HttpRequest request;
  request.method = "POST";
  request.url = url;
  request.headers = {{"Accept", type}, {"Content-Type", type}};
  request.body = DumpJson(json);
  LATHE_ASSIGN_OR_RETURN(const HttpResponse response, api_.Call(request));
  if (response.status >= 200 && response.status < 300) return Status::Ok();
  return WriteErrorOf(response, api_.config(), repo_);
}

Status Uploader::Conclude(const Action& action) {
  if (!action.parts.empty()) {
    Json parts = Json::array();
    for (size_t i = 0; i < action.etags.size(); ++i) {
      if (action.etags[i].empty()) return BadAnswer(action.parts[i].Shown());
      parts.push_back({{"partNumber", i + 1}, {"etag", action.etags[i]}});
    }
    LATHE_RETURN_IF_ERROR(
        PostJson(action.upload, {{"oid", action.object->sha256}, {"parts", parts}}, kLfsJson));
  }
  if (!action.verify) return Status::Ok();
  return PostJson(*action.verify, {{"oid", action.object->sha256}, {"size", action.object->size}},
                  "application/json");
}

}  // namespace

Status WriteErrorOf(const HttpResponse& response, const HubConfig& config, const RepoName& repo) {
  const bool refused = response.url.Origin() == config.endpoint.Origin() &&
                       (response.status == 403 || (response.status == 401 && !config.token.empty()));
  if (!refused) return ErrorOf(response, config, repo, repo.Id());
  return Error(StatusCode::kInvalidArgument,
               "the token of %s may not write to %s; make one with write access to it at "
               "https://huggingface.co/settings/tokens and set HF_TOKEN",
               config.token_source.c_str(), repo.Id().c_str());
}

Status UploadLfs(HubApi& api, const RepoName& repo, const std::vector<LfsObject>& objects,
                 const std::function<void(uint64_t)>& on_sent) {
  for (size_t i = 0; i < objects.size(); i += kBatch) {
    Uploader uploader(api, repo, on_sent);
    LATHE_RETURN_IF_ERROR(uploader.Run(objects.data() + i, std::min(kBatch, objects.size() - i)));
  }
  return Status::Ok();
}

}  // namespace lathe::hub
