#include "formats/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/json.h"

namespace lathe {
namespace {

constexpr char kSingle[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";

// A shard is a plain name beside its index: no separators, not hidden, and of the one kind we read.
bool IsPlainShardName(const std::string& name) {
  return name.size() <= 255 && name.ends_with(".safetensors") && name[0] != '.' &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

// Why a directory without the two known files has nothing to read, and what to do.
Status NothingToRead(const std::string& dir) {
  std::string pickle, gguf, other;
  std::error_code ec;
  for (std::filesystem::directory_iterator it(dir, ec), end; !ec && it != end; it.increment(ec)) {
    const std::string name = it->path().filename().string();
    const std::string extension = it->path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".pkl" ||
        extension == ".ckpt")
      pickle = std::max(pickle, name);
    if (extension == ".gguf") gguf = std::max(gguf, name);
    if (extension == ".safetensors") other = std::max(other, name);
  }
  if (!other.empty())
    return Error(StatusCode::kNotFound, "'%s' holds %s but neither %s nor %s; fetch the missing index too",
                 dir.c_str(), other.c_str(), kSingle, kIndex);
  if (!pickle.empty())
    return Error(
        StatusCode::kUnsupported,
        "'%s' has only pickled weights (%s), which can run code when read and are refused; where you trust "
        "the file, convert it: python -c \"from transformers import AutoModelForCausalLM as M; "
        "M.from_pretrained('%s').save_pretrained('%s-safetensors')\"",
        dir.c_str(), pickle.c_str(), dir.c_str(), dir.c_str());
  if (!gguf.empty())
    return Error(StatusCode::kUnsupported, "'%s' holds a GGUF file (%s); a safetensors checkpoint is needed",
                 dir.c_str(), gguf.c_str());
  return Error(StatusCode::kNotFound, "'%s' holds neither %s nor %s; is it a checkpoint directory?",
               dir.c_str(), kSingle, kIndex);
}

// The weight_map of an index: tensor name -> shard name, checked.
Expected<std::vector<std::pair<std::string, std::string>>> ReadIndex(const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const Json index,
                         ReadJsonFile(path, {.max_bytes = size_t{64} << 20, .max_depth = 8}));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    return Error(StatusCode::kCorrupt, "%s: no object 'weight_map' in it; fetch the index again",
                 path.c_str());
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string() || !IsPlainShardName(shard.get_ref<const std::string&>()))
      return Error(
          StatusCode::kCorrupt,
          "%s: tensor '%s' is said to lie in %s, which is not the plain name of a .safetensors file beside "
          "the index",
          path.c_str(), tensor.substr(0, 120).c_str(), DumpJson(shard).substr(0, 120).c_str());
    out.emplace_back(tensor, shard.get<std::string>());
  }
  if (out.empty()) return Error(StatusCode::kCorrupt, "%s: 'weight_map' is empty", path.c_str());
  return out;
}

// Both directions: what the index lists must lie in its shard, what the shards hold must be listed.
Status CheckIndex(const std::vector<std::pair<std::string, std::string>>& index, const std::string& dir,
                  const Checkpoint& checkpoint) {
  std::set<std::string_view> listed;
  for (const auto& [tensor, shard] : index) {
    listed.insert(tensor);
    const TensorView* view = checkpoint.Find(tensor);
    const std::string expected = dir + "/" + shard;
    if (view == nullptr || view->file->path() != expected)
      return Error(StatusCode::kCorrupt,
                   "%s/%s: tensor '%s' should lie in %s, but %s; index and shards do not "
                   "belong together, fetch them again",
                   dir.c_str(), kIndex, tensor.substr(0, 120).c_str(), shard.c_str(),
                   view == nullptr ? "is in no shard" : ("is in " + view->file->path()).c_str());
  }
  for (const TensorView& view : checkpoint.tensors())
    if (!listed.contains(view.name))
      return Error(StatusCode::kCorrupt, "tensor %s is not listed in %s/%s", view.Describe().c_str(),
                   dir.c_str(), kIndex);
  return Status::Ok();
}

std::vector<std::string> ShardPaths(const std::vector<std::pair<std::string, std::string>>& index,
                                    const std::string& dir) {
  std::set<std::string> names;
  for (const auto& [tensor, shard] : index) names.insert(shard);
  std::vector<std::string> paths;
  for (const std::string& name : names) paths.push_back(dir + "/" + name);
  return paths;
}

}  // namespace

Expected<std::vector<std::string>> CheckpointFiles(const std::string& dir) {
  if (!DirExists(dir))
    return Error(StatusCode::kNotFound, "'%s' is no directory; a checkpoint directory was expected",
                 dir.c_str());
  if (FileExists(dir + "/" + kSingle)) return std::vector<std::string>{dir + "/" + kSingle};
  const std::string index_path = dir + "/" + kIndex;
  if (!FileExists(index_path)) return NothingToRead(dir);
  LATHE_ASSIGN_OR_RETURN(const auto index, ReadIndex(index_path));
  const std::vector<std::string> paths = ShardPaths(index, dir);
  for (const std::string& path : paths)
    if (!FileExists(path))
      return Error(StatusCode::kNotFound, "'%s' is missing, though %s lists it; fetch that shard",
                   path.c_str(), index_path.c_str());
  return paths;
}

Expected<Checkpoint> Checkpoint::Open(const std::string& dir) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<std::string> paths, CheckpointFiles(dir));
  LATHE_ASSIGN_OR_RETURN(Checkpoint out, OpenFiles(paths));
  if (paths.size() == 1 && paths[0] == dir + "/" + kSingle) return out;
  LATHE_ASSIGN_OR_RETURN(const auto index, ReadIndex(dir + "/" + kIndex));
  LATHE_RETURN_IF_ERROR(CheckIndex(index, dir, out));
  return out;
}

Expected<Checkpoint> Checkpoint::OpenFiles(const std::vector<std::string>& paths) {
  Checkpoint out;
  for (const std::string& path : paths) LATHE_RETURN_IF_ERROR(out.AddFile(path));
  return out;
}

Status Checkpoint::AddFile(const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(SafetensorsFile opened, SafetensorsFile::Open(path));
  files_.push_back(std::make_unique<SafetensorsFile>(std::move(opened)));
  const SafetensorsFile& file = *files_.back();
  for (const SafetensorsEntry& entry : file.entries()) {
    const auto [it, inserted] = by_name_.emplace(entry.name, tensors_.size());
    if (!inserted)
      return Error(StatusCode::kCorrupt, "tensor %s is also in %s; each tensor may lie in one shard only",
                   tensors_[it->second].Describe().c_str(), path.c_str());
    tensors_.push_back(file.View(entry));
  }
  return Status::Ok();
}

const TensorView* Checkpoint::Find(std::string_view name) const {
  const auto it = by_name_.find(std::string(name));
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace lathe
