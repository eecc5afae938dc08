#include "model/convert.h"

#include <algorithm>
#include <vector>

#include "base/file.h"
#include "base/staging_dir.h"
#include "formats/safetensors_writer.h"
#include "model/model_hash.h"
#include "model/shard.h"
#include "model/spec_json.h"
#include "model/weight_source.h"

namespace lathe {
namespace {

constexpr int64_t kConvertChunk = int64_t{1} << 21;  // elements converted at once

Status CopyTextFiles(const std::string& from, const std::string& to) {
  for (const char* name : TextFiles()) {
    const std::string path = from + "/" + name;
    if (!FileExists(path)) continue;
    LATHE_ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
    LATHE_RETURN_IF_ERROR(WriteFileAtomic(to + "/" + name, content));
  }
  return Status::Ok();
}

// Appends the slice in element type T, some rows at a time.
template <typename T>
Status AppendSlice(const WeightSlice& slice, SafetensorsWriter& writer,
                   const std::function<void(uint64_t)>& wrote) {
  const int64_t width = std::max<int64_t>(slice.cut.cols.size(), 1);
  const int64_t step = std::max<int64_t>(kConvertChunk / width, 1);
  std::vector<T> buffer(static_cast<size_t>(std::min(step, slice.cut.rows.size()) * width));
  for (int64_t row = slice.cut.rows.begin; row < slice.cut.rows.end; row += step) {
    const Cut part = {{row, std::min(row + step, slice.cut.rows.end)}, slice.cut.cols};
    const auto out = std::span(buffer).first(static_cast<size_t>(part.rows.size() * width));
    LATHE_RETURN_IF_ERROR(ReadSlice(slice.view, part, out));
    if constexpr (std::is_same_v<T, Half>) {
      if (slice.view.dtype != DType::kF16 && !std::ranges::all_of(out, [](Half v) { return IsFinite(v); }))
        return Error(
            StatusCode::kUnsupported,
            "tensor %s has numbers that fp16, which ends at 65504, does not hold; convert with --dtype "
            "bf16 or f32",
            slice.view.Describe().c_str());
    }
    LATHE_RETURN_IF_ERROR(writer.Append(std::as_bytes(out)));
    wrote(out.size_bytes());
  }
  return Status::Ok();
}

}  // namespace

Status ConvertCheckpoint(const std::string& dir, const std::string& out, const ConvertOptions& options) {
  LATHE_ASSIGN_OR_RETURN(const WeightSource source, WeightSource::Open(dir));
  ModelSpec spec = source.spec();
  LATHE_RETURN_IF_ERROR(CheckSharding(spec, options.tp, options.pp));
  const DType dtype = options.dtype.value_or(spec.checkpoint_dtype);
  if (dtype != DType::kBf16 && dtype != DType::kF16 && dtype != DType::kF32)
    return Error(StatusCode::kInvalidArgument, "--dtype %s: bf16, fp16 or f32 was expected",
                 std::string(ToString(dtype)).c_str());
  spec.checkpoint_dtype = dtype;

  LATHE_ASSIGN_OR_RETURN(StagingDir staging, StagingDir::Create(out));
  LATHE_RETURN_IF_ERROR(CopyTextFiles(dir, staging.path()));
  uint64_t done = 0, total = 0;
  std::vector<SafetensorsWriter> writers;
  for (int rank = 0; rank < options.tp * options.pp; ++rank) {
    std::vector<TensorInfo> infos;
    for (const TensorDef& def : StageTensors(spec, options.pp, rank / options.tp))
      infos.push_back({WeightName(def.role, def.layer), dtype,
                       CutShape(def, CutOf(spec, def, options.tp, rank % options.tp))});
    const std::string stem = RankFile(staging.path(), rank);
    LATHE_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                           SafetensorsWriter::Create(stem.substr(0, stem.rfind('.')), std::move(infos), 0));
    total += writer.total_bytes();
    writers.push_back(std::move(writer));
  }
  const auto wrote = [&](uint64_t bytes) {
    done += bytes;
    if (options.progress) options.progress(done, total);
  };
  // Tensor by tensor over all ranks, so that each byte of the source is paged in once.
  for (int stage = 0; stage < options.pp; ++stage) {
    for (const TensorDef& def : StageTensors(spec, options.pp, stage)) {
      for (int tp_rank = 0; tp_rank < options.tp; ++tp_rank) {
        LATHE_ASSIGN_OR_RETURN(const WeightSlice slice,
                               source.Slice(def.role, def.layer, options.tp, tp_rank));
        SafetensorsWriter& writer = writers[static_cast<size_t>(stage * options.tp + tp_rank)];
        LATHE_RETURN_IF_ERROR(dtype == DType::kBf16  ? AppendSlice<Bf16>(slice, writer, wrote)
                              : dtype == DType::kF16 ? AppendSlice<Half>(slice, writer, wrote)
                                                     : AppendSlice<float>(slice, writer, wrote));
        if (tp_rank == options.tp - 1) slice.view.DropPages();
      }
    }
  }
  for (SafetensorsWriter& writer : writers) LATHE_RETURN_IF_ERROR(writer.Commit());
  const Json manifest = {{"version", kConvertedVersion},
                         {"tp", options.tp},
                         {"pp", options.pp},
                         {"dtype", ToString(dtype)},
                         {"source_hash", source.source_hash()},
                         {"spec", ToJson(spec)}};
  LATHE_RETURN_IF_ERROR(
      WriteFileAtomic(staging.path() + "/" + kConvertedManifest, DumpJson(manifest, 2) + "\n"));
  return staging.Commit();
}

}  // namespace lathe
