#include "formats/safetensors_writer.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/json.h"
#include "formats/safetensors.h"

namespace lathe {

Expected<SafetensorsWriter> SafetensorsWriter::Create(const std::string& stem,
                                                      std::vector<TensorInfo> tensors,
                                                      uint64_t max_shard_bytes) {
  SafetensorsWriter out;
  out.stem_ = stem;
  out.tensors_ = std::move(tensors);
  std::set<std::string_view> names;
  out.shards_.emplace_back();
  for (size_t i = 0; i < out.tensors_.size(); ++i) {
    const TensorInfo& tensor = out.tensors_[i];
    const auto count = tensor.shape.NumElements();
    int64_t size = 0;
    if (!count || __builtin_mul_overflow(*count, SizeOf(tensor.dtype), &size) ||
        __builtin_add_overflow(out.total_bytes_, static_cast<uint64_t>(size), &out.total_bytes_))
      return Error(StatusCode::kInvalidArgument, "tensor '%s' of shape %s is too large to write",
                   tensor.name.c_str(), tensor.shape.ToString().c_str());
    if (!names.insert(tensor.name).second)
      return Error(StatusCode::kInvalidArgument, "tensor '%s' is to be written twice", tensor.name.c_str());
    Shard* shard = &out.shards_.back();
    if (max_shard_bytes > 0 && shard->bytes > 0 &&
        shard->bytes + static_cast<uint64_t>(size) > max_shard_bytes) {
      out.shards_.push_back({.first = i, .last = i, .bytes = 0, .path = {}});
      shard = &out.shards_.back();
    }
    shard->last = i + 1;
    shard->bytes += static_cast<uint64_t>(size);
    out.sizes_.push_back(static_cast<uint64_t>(size));
  }
  for (size_t i = 0; i < out.shards_.size(); ++i)
    out.shards_[i].path = out.shards_.size() == 1 ? stem + ".safetensors"
                                                  : StrFormat("%s-%05zu-of-%05zu.safetensors", stem.c_str(),
                                                              i + 1, out.shards_.size());
  LATHE_RETURN_IF_ERROR(out.OpenNextShard());
  return out;
}

std::string SafetensorsWriter::Header(const Shard& shard) const {
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};
  uint64_t offset = 0;
  for (size_t i = shard.first; i < shard.last; ++i) {
    Json dims = Json::array();
    for (int d = 0; d < tensors_[i].shape.rank; ++d) dims.push_back(tensors_[i].shape[d]);
    header[tensors_[i].name] = {{"dtype", SafetensorsDTypeName(tensors_[i].dtype)},
                                {"shape", dims},
                                {"data_offsets", {offset, offset + sizes_[i]}}};
    offset += sizes_[i];
  }
  std::string text = DumpJson(header);
  // Tensors begin on a cache line, so that a mapped view of an evenly sized matrix is aligned.
  text.append((64 - (text.size() + 8) % 64) % 64, ' ');
  return text;
}

Status SafetensorsWriter::OpenNextShard() {
  const Shard& shard = shards_[files_.size()];
  const std::string header = Header(shard);
  if (header.size() > kMaxSafetensorsHeader)
    return Error(StatusCode::kInvalidArgument, "%s: a header of %zu bytes exceeds the format's limit",
                 shard.path.c_str(), header.size());
  LATHE_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(shard.path));
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>((header.size() >> (8 * i)) & 0xff);
  LATHE_RETURN_IF_ERROR(file.Append(length + header));
  files_.push_back(std::move(file));
  room_ = shard.bytes;
  return Status::Ok();
}

Status SafetensorsWriter::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (room_ == 0) {
      if (files_.size() == shards_.size())
        return Error(StatusCode::kInternal, "%s: %zu bytes more than the tensors declared", stem_.c_str(),
                     bytes.size());
      LATHE_RETURN_IF_ERROR(OpenNextShard());
      continue;
    }
    const size_t n = static_cast<size_t>(std::min<uint64_t>(room_, bytes.size()));
    LATHE_RETURN_IF_ERROR(files_.back().Append(bytes.first(n)));
    room_ -= n;
    bytes = bytes.subspan(n);
  }
  return Status::Ok();
}

std::string SafetensorsWriter::Index() const {
  Json weight_map = Json::object();
  for (const Shard& shard : shards_)
    for (size_t i = shard.first; i < shard.last; ++i)
      weight_map[tensors_[i].name] = std::filesystem::path(shard.path).filename().string();
  const Json index = {{"metadata", {{"total_size", total_bytes_}}}, {"weight_map", weight_map}};
  return DumpJson(index, 2) + "\n";
}

Status SafetensorsWriter::Commit() {
  while (room_ == 0 && files_.size() < shards_.size()) LATHE_RETURN_IF_ERROR(OpenNextShard());
  if (room_ != 0 || files_.size() != shards_.size())
    return Error(StatusCode::kInternal, "%s: committed before all tensors were written", stem_.c_str());
  for (AtomicFile& file : files_) LATHE_RETURN_IF_ERROR(file.Commit());
  if (shards_.size() == 1) return Status::Ok();
  return WriteFileAtomic(stem_ + ".safetensors.index.json", Index());
}

}  // namespace lathe
