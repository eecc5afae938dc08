#include "model/weight_source.h"

#include "formats/hf_config.h"
#include "model/model_hash.h"
#include "model/read_model.h"
#include "model/spec_json.h"

namespace lathe {

std::string RankFile(const std::string& dir, int rank) {
  return dir + "/rank" + std::to_string(rank) + ".safetensors";
}

Expected<WeightSource> WeightSource::Open(const std::string& dir) {
  WeightSource out;
  out.dir_ = dir;
  LATHE_RETURN_IF_ERROR(FileExists(dir + "/" + kConvertedManifest) ? out.OpenConverted(dir)
                                                                   : out.OpenHuggingFace(dir));
  for (TensorDef& def : TensorTable(out.spec_)) {
    const Key key = {def.role, def.layer};
    out.defs_.emplace(key, std::move(def));
  }
  return out;
}

Status WeightSource::OpenHuggingFace(const std::string& dir) {
  if (!DirExists(dir))
    return Error(StatusCode::kNotFound, "'%s' is no directory; a checkpoint directory was expected",
                 dir.c_str());
  LATHE_ASSIGN_OR_RETURN(spec_, ReadModelSpec(dir));
  LATHE_ASSIGN_OR_RETURN(hash_, ModelHash(dir));
  LATHE_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(dir));
  auto bound = BindTensors(spec_, checkpoint);
  if (!bound.ok()) return bound.status().WithContext(dir);
  spec_.tied_embeddings = bound->tied_embeddings;
  std::map<DType, size_t> bytes;
  views_.resize(1);
  for (BoundTensor& tensor : bound->tensors) {
    bytes[tensor.view.dtype] += tensor.view.bytes.size();
    views_[0].emplace(Key{tensor.def.role, tensor.def.layer}, std::move(tensor.view));
  }
  for (const auto& [type, size] : bytes)
    if (size > bytes[spec_.checkpoint_dtype]) spec_.checkpoint_dtype = type;
  checkpoints_.push_back(std::make_unique<Checkpoint>(std::move(checkpoint)));
  return Status::Ok();
}

Status WeightSource::OpenConverted(const std::string& dir) {
  const std::string path = dir + "/" + kConvertedManifest;
  LATHE_ASSIGN_OR_RETURN(const Json manifest,
                         ReadJsonFile(path, {.max_bytes = size_t{16} << 20, .max_depth = 8}));
  if (!manifest.is_object()) return Error(StatusCode::kCorrupt, "%s: not a JSON object", path.c_str());
  ConfigReader reader(manifest, path);
  LATHE_ASSIGN_OR_RETURN(const int version, reader.Size("version", 0, INT32_MAX));
  if (version != kConvertedVersion)
    return Error(StatusCode::kMismatch,
                 "%s: version %d, this lathe reads version %d; run lathe convert again", path.c_str(),
                 version, kConvertedVersion);
  LATHE_ASSIGN_OR_RETURN(tp_, reader.Size("tp", 1, 1024));
  LATHE_ASSIGN_OR_RETURN(pp_, reader.Size("pp", 1, kMaxLayers));
  LATHE_ASSIGN_OR_RETURN(const std::string dtype, reader.StringOr("dtype", ""));
  LATHE_ASSIGN_OR_RETURN(hash_, reader.StringOr("source_hash", ""));
  const Json* spec = reader.Take("spec");
  if (spec == nullptr) return reader.Bad(StatusCode::kCorrupt, "spec", "is missing");
  LATHE_ASSIGN_OR_RETURN(spec_, ModelSpecFromJson(*spec, path));
  LATHE_RETURN_IF_ERROR(reader.Finish());
  LATHE_RETURN_IF_ERROR(CheckSharding(spec_, tp_, pp_).WithContext(path));
  if (dtype != ToString(spec_.checkpoint_dtype))
    return reader.Bad(StatusCode::kCorrupt, "dtype", "differs from the spec's checkpoint_dtype");
  views_.resize(static_cast<size_t>(tp_));
  for (int rank = 0; rank < tp_ * pp_; ++rank) LATHE_RETURN_IF_ERROR(BindRank(dir, rank));
  return Status::Ok();
}

Status WeightSource::BindRank(const std::string& dir, int rank) {
  const std::string path = RankFile(dir, rank);
  if (!FileExists(path))
    return Error(StatusCode::kNotFound,
                 "'%s' is missing, though %s speaks of tp %d and pp %d; run lathe convert again",
                 path.c_str(), kConvertedManifest, tp_, pp_);
  LATHE_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::OpenFiles({path}));
  const int tp_rank = rank % tp_;
  const std::vector<TensorDef> defs = StageTensors(spec_, pp_, rank / tp_);
  std::vector<ExpectedTensor> expected;
  for (const TensorDef& def : defs)
    expected.push_back({WeightName(def.role, def.layer), CutShape(def, CutOf(spec_, def, tp_, tp_rank))});
  auto matched = MatchTensors(expected, checkpoint, [](const std::string&) { return false; });
  if (!matched.ok()) return matched.status().WithContext(path);
  auto& views = views_[static_cast<size_t>(tp_rank)];
  for (size_t i = 0; i < defs.size(); ++i)
    views.emplace(Key{defs[i].role, defs[i].layer}, std::move((*matched)[i]));
  checkpoints_.push_back(std::make_unique<Checkpoint>(std::move(checkpoint)));
  return Status::Ok();
}

Expected<TensorView> WeightSource::GetPart(Role role, int layer, int tp_rank) const {
  if (tp_rank < 0 || tp_rank >= tp_)
    return Error(StatusCode::kInvalidArgument, "%s: rank %d asked for, tp is %d", dir_.c_str(), tp_rank, tp_);
  const auto& views = views_[static_cast<size_t>(tp_rank)];
  const auto it = views.find({role, layer});
  if (it == views.end())
    return Error(StatusCode::kNotFound, "%s: the model has no weight '%s'", dir_.c_str(),
                 WeightName(role, layer).c_str());
  return it->second;
}

Expected<TensorView> WeightSource::Get(Role role, int layer) const {
  if (tp_ != 1)
    return Error(StatusCode::kInvalidArgument, "%s: was converted for tp %d and has no whole weights",
                 dir_.c_str(), tp_);
  return GetPart(role, layer, 0);
}

Expected<WeightSlice> WeightSource::Slice(Role role, int layer, int tp, int rank) const {
  if (tp < 1 || rank < 0 || rank >= tp)
    return Error(StatusCode::kInvalidArgument, "%s: rank %d of tp %d asked for", dir_.c_str(), rank, tp);
  if (tp_ != 1 && tp_ != tp)
    return Error(
        StatusCode::kMismatch,
        "%s was converted for tp %d, tp %d was asked for; build from the original checkpoint or convert it "
        "again with --tp %d",
        dir_.c_str(), tp_, tp, tp);
  LATHE_ASSIGN_OR_RETURN(TensorView view, GetPart(role, layer, tp_ == 1 ? 0 : rank));
  const int64_t cols = view.shape.rank > 1 ? view.shape[1] : 1;
  Cut cut = {{0, view.shape[0]}, {0, cols}};
  if (tp_ == 1) cut = CutOf(spec_, defs_.at({role, layer}), tp, rank);
  return WeightSlice{std::move(view), cut};
}

}  // namespace lathe
