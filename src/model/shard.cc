#include "model/shard.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/check.h"
#include "model/tensors.h"

namespace lathe {
namespace {

Shape AsMatrix(const Shape& shape) { return {shape[0], shape.rank > 1 ? shape[1] : 1}; }

// Which q heads, or which KV heads, a rank holds.
Range HeadRange(int n_heads, int tp, int rank) {
  if (n_heads % tp == 0) return {int64_t{n_heads} / tp * rank, int64_t{n_heads} / tp * (rank + 1)};
  const int64_t head = rank / (tp / n_heads);
  return {head, head + 1};
}

Range Scaled(Range range, int64_t by) { return {range.begin * by, range.end * by}; }

// The output features (of q, k, v, gate, up, lm_head) or input features (of o, down) of a rank.
Range Features(const ModelSpec& spec, Role role, int tp, int rank) {
  switch (role) {
    case Role::kQ:
    case Role::kQBias:
    case Role::kO: return Scaled(HeadRange(spec.n_heads, tp, rank), spec.head_dim);
    case Role::kK:
    case Role::kKBias:
    case Role::kV:
    case Role::kVBias: return Scaled(HeadRange(spec.n_kv_heads, tp, rank), spec.head_dim);
    case Role::kLmHead: return {int64_t{spec.vocab} * rank / tp, int64_t{spec.vocab} * (rank + 1) / tp};
    default: return {int64_t{spec.ffn} / tp * rank, int64_t{spec.ffn} / tp * (rank + 1)};
  }
}

uint16_t Load16(const std::byte* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

float LoadFloat(const std::byte* p) {
  float v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <typename T>
T FromFloat(float value) {
  if constexpr (std::is_same_v<T, Bf16>)
    return ToBf16(value);
  else if constexpr (std::is_same_v<T, Half>)
    return ToHalf(value);
  else
    return value;
}

template <typename T>
void ConvertRow(DType type, const std::byte* in, int64_t n, T* out) {
  switch (type) {
    case DType::kBf16:
      if constexpr (std::is_same_v<T, Bf16>)
        std::memcpy(out, in, static_cast<size_t>(n) * 2);
      else
        for (int64_t i = 0; i < n; ++i) out[i] = FromFloat<T>(ToFloat(Bf16{Load16(in + 2 * i)}));
      break;
    case DType::kF16:
      if constexpr (std::is_same_v<T, Half>)
        std::memcpy(out, in, static_cast<size_t>(n) * 2);
      else
        for (int64_t i = 0; i < n; ++i) out[i] = FromFloat<T>(HalfToFloat(Load16(in + 2 * i)));
      break;
    default:
      for (int64_t i = 0; i < n; ++i) out[i] = FromFloat<T>(LoadFloat(in + 4 * i));
  }
}

template <typename T>
Status Read(const TensorView& view, const Cut& cut, std::span<T> out) {
  if (view.dtype != DType::kBf16 && view.dtype != DType::kF16 && view.dtype != DType::kF32)
    return Error(StatusCode::kUnsupported, "tensor %s: bf16, f16 or f32 was expected",
                 view.Describe().c_str());
  const Shape matrix = AsMatrix(view.shape);
  LATHE_CHECK(cut.rows.begin >= 0 && cut.rows.begin <= cut.rows.end && cut.rows.end <= matrix[0]);
  LATHE_CHECK(cut.cols.begin >= 0 && cut.cols.begin <= cut.cols.end && cut.cols.end <= matrix[1]);
  LATHE_CHECK_EQ(out.size(), static_cast<size_t>(cut.rows.size() * cut.cols.size()));
  const int64_t width = cut.cols.size();
  const int64_t item = SizeOf(view.dtype);
  // Whole rows lie one behind the other: one long row.
  if (width == matrix[1]) {
    ConvertRow(view.dtype, view.bytes.data() + cut.rows.begin * width * item, cut.rows.size() * width,
               out.data());
    return Status::Ok();
  }
  for (int64_t r = cut.rows.begin; r < cut.rows.end; ++r)
    ConvertRow(view.dtype, view.bytes.data() + (r * matrix[1] + cut.cols.begin) * item, width,
               out.data() + (r - cut.rows.begin) * width);
  return Status::Ok();
}

}  // namespace

Status CheckSharding(const ModelSpec& spec, int tp, int pp) {
  if (tp < 1 || pp < 1 || pp > spec.n_layers)
    return Error(StatusCode::kInvalidArgument,
                 "tp %d and pp %d: both must be at least 1 and pp at most the %d layers of the model", tp, pp,
                 spec.n_layers);
  if (spec.n_heads % tp != 0 || spec.ffn % tp != 0)
    return Error(StatusCode::kInvalidArgument,
                 "tp %d: must divide the %d heads and the FFN size of %d; choose another --tp", tp,
                 spec.n_heads, spec.ffn);
  if (spec.n_kv_heads % tp != 0 && tp % spec.n_kv_heads != 0)
    return Error(StatusCode::kInvalidArgument,
                 "tp %d: must divide the %d KV heads or be a multiple of them; choose another --tp", tp,
                 spec.n_kv_heads);
  return Status::Ok();
}

Range StageLayers(int n_layers, int pp, int stage) {
  const int64_t each = n_layers / pp, longer = n_layers % pp;
  const int64_t begin = each * stage + std::min<int64_t>(stage, longer);
  return {begin, begin + each + (stage < longer ? 1 : 0)};
}

Cut CutOf(const ModelSpec& spec, const TensorDef& def, int tp, int rank) {
  const Shape matrix = AsMatrix(def.shape);
  Cut cut = {{0, matrix[0]}, {0, matrix[1]}};
  if (def.split == Split::kRows) cut.rows = Features(spec, def.role, tp, rank);
  if (def.split == Split::kCols) cut.cols = Features(spec, def.role, tp, rank);
  return cut;
}

Shape CutShape(const TensorDef& def, const Cut& cut) {
  if (def.shape.rank == 1) return {cut.rows.size()};
  return {cut.rows.size(), cut.cols.size()};
}

std::vector<TensorDef> StageTensors(const ModelSpec& spec, int pp, int stage) {
  const Range layers = StageLayers(spec.n_layers, pp, stage);
  const bool first = stage == 0, last = stage == pp - 1;
  std::vector<TensorDef> out;
  for (TensorDef& def : TensorTable(spec)) {
    const bool wanted = def.role == Role::kEmbed ? first || (last && spec.tied_embeddings)
                        : def.layer < 0          ? last
                                                 : def.layer >= layers.begin && def.layer < layers.end;
    if (wanted) out.push_back(std::move(def));
  }
  return out;
}

Status ReadSlice(const TensorView& view, const Cut& cut, std::span<float> out) {
  return Read(view, cut, out);
}
Status ReadSlice(const TensorView& view, const Cut& cut, std::span<Bf16> out) { return Read(view, cut, out); }
Status ReadSlice(const TensorView& view, const Cut& cut, std::span<Half> out) { return Read(view, cut, out); }

}  // namespace lathe
