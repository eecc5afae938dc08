#include "hub/select.h"

#include <algorithm>
#include <set>

namespace lathe::hub {
namespace {

constexpr uint64_t kMaxSmall = uint64_t{256} << 20;  // the largest tokenizer.json there is has some 35 MB

bool EndsWithAny(std::string_view path, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [path](std::string_view end) { return path.ends_with(end); });
}

const RemoteFile* FileNamed(const std::vector<RemoteFile>& files, std::string_view path) {
  const auto at =
      std::find_if(files.begin(), files.end(), [path](const RemoteFile& file) { return file.path == path; });
  return at == files.end() ? nullptr : &*at;
}

bool IsSmall(const RemoteFile& file) {
  const std::string& path = file.path;
  if (path.find('/') != std::string::npos || path.starts_with('.') || file.size > kMaxSmall) return false;
  if (path.ends_with(".index.json")) return path == kIndexName;  // those of pickles lead nowhere
  return EndsWithAny(path, {".json", ".jinja", ".model", ".tiktoken"}) || path == "merges.txt" ||
         path == "vocab.txt";
}

Status Pickled(const std::string& repo, const std::string& file) {
  return Error(
      StatusCode::kUnsupported,
      "%s has only pickled weights (%s), which can run code when read and are refused; ask its owner for "
      "safetensors, or, where you trust it, convert it: python -c \"from transformers import "
      "AutoModelForCausalLM as M; M.from_pretrained('%s').save_pretrained('DIR')\"",
      repo.c_str(), Quoted(file).c_str(), repo.c_str());
}

}  // namespace

bool IsPickle(const std::string& path) {
  std::string lower = path;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return EndsWithAny(lower,
                     {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".dill"});
}

std::vector<RemoteFile> SmallFiles(const std::vector<RemoteFile>& files) {
  std::vector<RemoteFile> out;
  std::copy_if(files.begin(), files.end(), std::back_inserter(out), IsSmall);
  return out;
}

bool HasTokenizer(const std::vector<RemoteFile>& files) {
  return std::any_of(std::begin(kTokenizerFiles), std::end(kTokenizerFiles),
                     [&files](const char* name) { return FileNamed(files, name) != nullptr; });
}

Expected<std::vector<RemoteFile>> WeightFiles(const std::vector<RemoteFile>& files, const std::string& repo) {
  if (const RemoteFile* single = FileNamed(files, kSingleName)) return std::vector<RemoteFile>{*single};
  if (FileNamed(files, kIndexName) != nullptr) return std::vector<RemoteFile>();
  std::string pickle, gguf, other;
  for (const RemoteFile& file : files) {
    if (IsPickle(file.path)) pickle = file.path;
    if (file.path.ends_with(".gguf")) gguf = file.path;
    if (file.path.ends_with(".safetensors")) other = file.path;
  }
  if (!other.empty())
    return Error(StatusCode::kNotFound,
                 "%s has %s but neither %s nor %s; is it an adapter, or a part of a model?", repo.c_str(),
                 Quoted(other).c_str(), kSingleName, kIndexName);
  if (!pickle.empty()) return Pickled(repo, pickle);
  if (!gguf.empty())
    return Error(StatusCode::kUnsupported,
                 "%s has GGUF weights (%s); the repository they were made from is needed", repo.c_str(),
                 Quoted(gguf).c_str());
  return Error(StatusCode::kNotFound, "%s has neither weights (%s or %s) nor engines of lathe", repo.c_str(),
               kSingleName, kIndexName);
}

Expected<std::vector<RemoteFile>> ShardFiles(const std::vector<RemoteFile>& files,
                                             const std::string& index_text, const std::string& repo) {
  const std::string where = repo + "/" + kIndexName;
  LATHE_ASSIGN_OR_RETURN(const Json index,
                         ParseJson(index_text, where, {.max_bytes = kHubJson.max_bytes, .max_depth = 8}));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    return Error(StatusCode::kCorrupt, "%s has no object 'weight_map'", where.c_str());
  std::set<std::string> names;
  for (const auto& [tensor, shard] : index["weight_map"].items())
    names.insert(shard.is_string() ? shard.get<std::string>() : "");
  std::vector<RemoteFile> out;
  for (const std::string& name : names) {
    const RemoteFile* file = name.ends_with(".safetensors") ? FileNamed(files, name) : nullptr;
    if (file == nullptr)
      return Error(StatusCode::kCorrupt, "%s names the shard '%s', which the repository does not have",
                   where.c_str(), Quoted(name).c_str());
    out.push_back(*file);
  }
  return out;
}

Expected<std::vector<RemoteFile>> MatchingFiles(const std::vector<RemoteFile>& files,
                                                const std::vector<std::string>& include,
                                                const std::vector<std::string>& exclude,
                                                const std::string& repo) {
  std::vector<RemoteFile> out;
  std::string pickle;
  for (const RemoteFile& file : files) {
    if (!include.empty() && !AnyGlobMatches(include, file.path)) continue;
    if (AnyGlobMatches(exclude, file.path)) continue;
    if (IsPickle(file.path)) {
      pickle = file.path;
    } else {
      out.push_back(file);
    }
  }
  if (out.empty() && !pickle.empty()) return Pickled(repo, pickle);
  if (out.empty())
    return Error(StatusCode::kNotFound, "no file of %s matches; its first is '%s'", repo.c_str(),
                 files.empty() ? "(none)" : Quoted(files.front().path).c_str());
  return out;
}

}  // namespace lathe::hub
