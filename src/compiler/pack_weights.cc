#include "compiler/pack_weights.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/check.h"
#include "compiler/quantize.h"
#include "kernels/pack/pack.h"
#include "model/tensors.h"

namespace lathe {
namespace {

constexpr size_t kBufferBytes = size_t{16} << 20;
constexpr int64_t kTableRowsBytes = 256 << 10;  // of a row-major table, in one task
constexpr size_t kBlobGap = 4096;               // alignment between two weights, at most

// A tensor of the source that holds the region `cut` of a whole weight.
struct SourcePart {
  TensorView view;
  Cut cut;
};

// Where the bytes of each whole weight lie, whichever way the checkpoint is cut already.
class SourceIndex {
 public:
  static Expected<SourceIndex> Create(const WeightSource& source) {
    SourceIndex out;
    for (const TensorDef& def : source.tensors()) {
      std::vector<SourcePart>& parts = out.parts_[WeightName(def.role, def.layer)];
      const int n_parts = def.split == Split::kNone ? 1 : source.tp();
      for (int rank = 0; rank < n_parts; ++rank) {
        const Cut cut = CutOf(source.spec(), def, source.tp(), rank);
        if (!parts.empty() && parts.back().cut == cut) continue;  // a KV head held by several ranks
        LATHE_ASSIGN_OR_RETURN(TensorView view, source.GetPart(def.role, def.layer, rank));
        parts.push_back({std::move(view), cut});
      }
    }
    return out;
  }
  const std::vector<SourcePart>& operator[](const std::string& name) const { return parts_.at(name); }
  // Rows and columns of the whole weight.
  std::pair<int64_t, int64_t> Extent(const std::string& name) const {
    std::pair<int64_t, int64_t> out;
    for (const SourcePart& part : parts_.at(name)) {
      out.first = std::max(out.first, part.cut.rows.end);
      out.second = std::max(out.second, part.cut.cols.end);
    }
    return out;
  }

 private:
  std::unordered_map<std::string, std::vector<SourcePart>> parts_;
};

Range Intersect(Range a, Range b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

int64_t ColsOf(const TensorView& view) { return view.shape.rank > 1 ? view.shape[1] : 1; }

// Copies the region (rows x cols) of a weight to `out`, row stride `stride`, converting.
template <typename T>
Status Gather(const std::vector<SourcePart>& parts, Range rows, Range cols, T* out, int64_t stride) {
  for (const SourcePart& part : parts) {
    const Range r = Intersect(rows, part.cut.rows), c = Intersect(cols, part.cut.cols);
    if (r.begin >= r.end || c.begin >= c.end) continue;
    for (int64_t row = r.begin; row < r.end; ++row) {
      const Cut cut = {{row - part.cut.rows.begin, row - part.cut.rows.begin + 1},
                       {c.begin - part.cut.cols.begin, c.end - part.cut.cols.begin}};
      T* to = out + (row - rows.begin) * stride + (c.begin - cols.begin);
      LATHE_RETURN_IF_ERROR(ReadSlice(part.view, cut, std::span<T>(to, static_cast<size_t>(c.size()))));
    }
  }
  return Status::Ok();
}

// A row range of one of a recipe's parts.
struct Piece {
  const std::vector<SourcePart>* source = nullptr;
  Range rows, cols;   // of the whole weight
  int64_t first = 0;  // row in the packed order at which it starts
  float scale = 0;    // of e4m3 rows; 0: each has its own
};

// A weight of the plan with its recipe resolved against the source.
struct Target {
  const WeightDef* def = nullptr;
  bool interleave = false;
  std::vector<Piece> parts;
  // e4m3: the scale of each packed row, known when its unit is packed. A unit writes those of its own rows.
  std::unique_ptr<float[]> scales;
  const Target* scales_of = nullptr;  // this is the vector of that target's scales
  int64_t n_units = 0;                // tasks
  int64_t unit_rows = 0;
  size_t unit_bytes = 0;  // of every unit but the last

  size_t UnitOffset(int64_t unit) const { return static_cast<size_t>(unit) * unit_bytes; }
  size_t UnitSize(int64_t unit) const {
    return std::min(unit_bytes, static_cast<size_t>(def->bytes) - UnitOffset(unit));
  }
};

Target Resolve(const WeightDef& def, const WeightRecipe& recipe, const SourceIndex& index) {
  Target target{.def = &def, .interleave = recipe.interleave, .parts = {}, .scales = nullptr};
  if (def.type == DType::kF8E4M3) target.scales = std::make_unique<float[]>(static_cast<size_t>(def.N));
  int64_t first = 0;
  for (const ir::WeightRef& ref : recipe.parts) {
    const auto [n, k] = index.Extent(ref.name);
    const Range rows = {ref.row_begin, ref.row_end < 0 ? n : ref.row_end};
    target.parts.push_back(
        {&index[ref.name], rows, {ref.col_begin, ref.col_end < 0 ? k : ref.col_end}, first});
    first += rows.size();
  }
  const int64_t size = SizeOf(def.type);
  switch (def.layout) {
    case WeightLayout::kVector: target.unit_rows = def.N; break;
    case WeightLayout::kTable:
      target.unit_rows = std::max<int64_t>(1, kTableRowsBytes / (def.K * size));
      break;
    case WeightLayout::kPanels:
    case WeightLayout::kRows: target.unit_rows = kPanelN; break;
  }
  target.n_units = (def.N + target.unit_rows - 1) / target.unit_rows;
  target.unit_bytes =
      static_cast<size_t>(def.layout == WeightLayout::kPanels ? PackedBytes(kPanelN, def.K, def.type)
                                                              : target.unit_rows * def.K * size);
  return target;
}

// The source rows that make the packed rows [begin, end); `at` of each piece is relative to begin.
std::vector<std::pair<Piece, int64_t>> PiecesOf(const Target& target, int64_t begin, int64_t end) {
  std::vector<std::pair<Piece, int64_t>> out;
  if (target.interleave) {
    // Whole panels alternate between the two sides.
    for (int64_t row = begin; row < end; row += kPanelN) {
      const int64_t panel = row / kPanelN;
      Piece piece = target.parts[static_cast<size_t>(panel % 2)];
      const int64_t from = piece.rows.begin + panel / 2 * kPanelN;
      piece.rows = {from, std::min(from + kPanelN, piece.rows.end)};
      out.emplace_back(piece, row - begin);
    }
    return out;
  }
  for (Piece piece : target.parts) {
    const Range packed = Intersect({begin, end}, {piece.first, piece.first + piece.rows.size()});
    if (packed.begin >= packed.end) continue;
    piece.rows = {piece.rows.begin + packed.begin - piece.first, piece.rows.begin + packed.end - piece.first};
    out.emplace_back(piece, packed.begin - begin);
  }
  return out;
}

// Fills units. One object a thread (it owns the row buffer for what cannot be packed in place).
class UnitPacker {
 public:
  Status Pack(const Target& target, int64_t unit, std::byte* out) {
    if (target.def->type == DType::kF8E4M3) return PackE4m3(target, unit, out);
    if (target.scales_of != nullptr) {
      std::memcpy(out, target.scales_of->scales.get(), target.def->bytes);
      return Status::Ok();
    }
    switch (target.def->layout) {
      case WeightLayout::kVector: return PackRowMajor<float>(target, unit, out);
      case WeightLayout::kTable:
      case WeightLayout::kRows:
        if (target.def->type == DType::kF16) return PackHalf(target, unit, out);
        return target.def->type == DType::kBf16 ? PackRowMajor<Bf16>(target, unit, out)
                                                : PackRowMajor<float>(target, unit, out);
      case WeightLayout::kPanels:
        return target.def->type == DType::kBf16 ? PackPanel<Bf16>(target, unit, out)
                                                : PackPanel<float>(target, unit, out);
    }
    return Status::Ok();
  }

  // The largest magnitude in some rows of a piece.
  Status Largest(const Piece& piece, Range rows, float* largest) {
    *largest = 0;
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      LATHE_RETURN_IF_ERROR(ReadRow(piece, {r, r + 1}));
      *largest = std::max(*largest, LargestMagnitude(row_));
    }
    return Status::Ok();
  }

 private:
  template <typename T>
  Status PackRowMajor(const Target& target, int64_t unit, std::byte* out) {
    const int64_t begin = unit * target.unit_rows, end = std::min(begin + target.unit_rows, target.def->N);
    std::memset(out, 0, target.UnitSize(unit));  // padding of rows, and of interleaved biases
    for (const auto& [piece, at] : PiecesOf(target, begin, end))
      LATHE_RETURN_IF_ERROR(Gather(*piece.source, piece.rows, piece.cols,
                                   reinterpret_cast<T*>(out) + at * target.def->K, target.def->K));
    return Status::Ok();
  }

  // What f16 does not hold would be an infinity in the engine, and every answer a failure.
  Status PackHalf(const Target& target, int64_t unit, std::byte* out) {
    LATHE_RETURN_IF_ERROR(PackRowMajor<Half>(target, unit, out));
    const std::span<const Half> made(reinterpret_cast<const Half*>(out),
                                     target.UnitSize(unit) / sizeof(Half));
    if (std::ranges::all_of(made, IsFinite)) return Status::Ok();
    return Error(
        StatusCode::kUnsupported,
        "the weight '%s' has numbers that fp16, which ends at 65504, does not hold; build with --dtype "
        "bf16",
        target.def->name.c_str());
  }

  // Row by row: read, its scale found, written.
  Status PackE4m3(const Target& target, int64_t unit, std::byte* out) {
    const int64_t begin = unit * target.unit_rows, end = std::min(begin + target.unit_rows, target.def->N);
    const int64_t K = target.def->K;
    std::memset(out, 0, target.UnitSize(unit));
    for (const auto& [piece, at] : PiecesOf(target, begin, end))
      for (int64_t r = 0; r < piece.rows.size(); ++r) {
        const Range row = {piece.rows.begin + r, piece.rows.begin + r + 1};
        LATHE_RETURN_IF_ERROR(ReadRow(piece, row));
        const float scale = piece.scale > 0 ? piece.scale : LeastErrorE4m3Scale(row_);
        QuantizeE4m3(row_, scale, out + (at + r) * K);
        target.scales[static_cast<size_t>(begin + at + r)] = scale;
      }
    return Status::Ok();
  }

  Status ReadRow(const Piece& piece, Range row) {
    row_.resize(static_cast<size_t>(piece.cols.size()));
    return Gather(*piece.source, row, piece.cols, row_.data(), piece.cols.size());
  }

  template <typename T>
  Status PackPanel(const Target& target, int64_t panel, std::byte* out) {
    const int64_t begin = panel * kPanelN, end = std::min(begin + kPanelN, target.def->N);
    const auto pieces = PiecesOf(target, begin, end);
    // Rows this panel really has; PackRows zeroes the rest with the last of them.
    int64_t n_rows = 0;
    for (const auto& [piece, at] : pieces) n_rows = std::max(n_rows, at + piece.rows.size());
    const PackedMatrix dst{.data = out, .N = n_rows, .K = target.def->K, .type = target.def->type};
    for (const auto& [piece, at] : pieces) LATHE_RETURN_IF_ERROR(PackPiece<T>(dst, piece, at));
    return Status::Ok();
  }

  template <typename T>
  Status PackPiece(const PackedMatrix& dst, const Piece& piece, int64_t at) {
    for (const SourcePart& part : *piece.source) {
      const bool covers = Intersect(part.cut.rows, piece.rows) == piece.rows &&
                          Intersect(part.cut.cols, piece.cols) == piece.cols;
      const int64_t size = SizeOf(part.view.dtype), stride = ColsOf(part.view);
      const std::byte* from = part.view.bytes.data() + ((piece.rows.begin - part.cut.rows.begin) * stride +
                                                        (piece.cols.begin - part.cut.cols.begin)) *
                                                           size;
      const bool aligned = reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(size) == 0;
      if (!covers || !aligned || piece.cols.size() != dst.K) continue;
      PackRows(dst, at, piece.rows.size(), from, part.view.dtype, stride);
      return Status::Ok();
    }
    rows_.assign(static_cast<size_t>(piece.rows.size() * dst.K) * sizeof(T), std::byte{0});
    T* rows = reinterpret_cast<T*>(rows_.data());
    LATHE_RETURN_IF_ERROR(Gather(*piece.source, piece.rows, piece.cols, rows, dst.K));
    PackRows(dst, at, piece.rows.size(), rows, dst.type, dst.K);
    return Status::Ok();
  }

  std::vector<std::byte> rows_;
  std::vector<float> row_;
};

struct Task {
  const Target* target = nullptr;
  int64_t unit = 0;
  size_t offset = 0;  // in the buffer
};

// A stretch of the blob being put together.
struct Stretch {
  std::unique_ptr<std::byte[]> bytes;
  size_t size = 0;
  std::vector<Task> tasks;
};

// Lets go of the source pages that a finished stretch has read. Done once for a stretch and not row by row,
// and from a little before its first row: the kernel maps pages around a fault, and those left over at the
// seams would add up.
void DropSource(const Stretch& stretch) {
  constexpr int64_t kBehind = 256 << 10;
  std::map<const SourcePart*, Range> read;
  for (const Task& task : stretch.tasks) {
    const int64_t begin = task.unit * task.target->unit_rows;
    for (const auto& [piece, at] :
         PiecesOf(*task.target, begin, std::min(begin + task.target->unit_rows, task.target->def->N)))
      for (const SourcePart& part : *piece.source) {
        const Range rows = Intersect(piece.rows, part.cut.rows);
        if (rows.begin >= rows.end) continue;
        const auto [it, is_new] = read.emplace(&part, rows);
        if (!is_new)
          it->second = {std::min(it->second.begin, rows.begin), std::max(it->second.end, rows.end)};
      }
  }
  for (const auto& [part, rows] : read) {
    const int64_t row_bytes = ColsOf(part->view) * SizeOf(part->view.dtype);
    const int64_t begin = std::max<int64_t>(0, (rows.begin - part->cut.rows.begin) * row_bytes - kBehind);
    part->view.DropPages(static_cast<uint64_t>(begin),
                         static_cast<uint64_t>((rows.end - part->cut.rows.begin) * row_bytes - begin));
  }
}

// Hands out the blob's bytes stretch by stretch, in order.
class Cursor {
 public:
  Cursor(const std::vector<Target>& targets, uint64_t blob_bytes, size_t capacity)
      : targets_(targets), blob_bytes_(blob_bytes), capacity_(capacity) {}

  bool AtEnd() const { return position_ == blob_bytes_; }

  // Lays out the next stretch: zeros the gaps, lists the tasks.
  void Next(Stretch* out) {
    out->size = 0;
    out->tasks.clear();
    while (!AtEnd()) {
      const bool done = index_ == targets_.size();
      // Scales are known when the last of their rows is packed.
      if (!done && targets_[index_].scales_of != nullptr && !out->tasks.empty()) return;
      const uint64_t begin =
          done ? blob_bytes_ : targets_[index_].def->offset + targets_[index_].UnitOffset(unit_);
      const auto gap = static_cast<size_t>(begin - position_);
      const size_t unit = done ? 0 : targets_[index_].UnitSize(unit_);
      if (out->size + gap + unit > capacity_) return;
      std::memset(out->bytes.get() + out->size, 0, gap);
      out->size += gap;
      if (!done) {
        out->tasks.push_back({&targets_[index_], unit_, out->size});
        out->size += unit;
        if (++unit_ == targets_[index_].n_units) {
          unit_ = 0;
          ++index_;
        }
      }
      position_ = begin + unit;
    }
  }

 private:
  const std::vector<Target>& targets_;
  uint64_t blob_bytes_;
  size_t capacity_;
  uint64_t position_ = 0;
  size_t index_ = 0;
  int64_t unit_ = 0;
};

// One scale for all rows of each tensor that an e4m3 weight is made of.
Status FindTensorScales(Target* target, Team& team) {
  struct Chunk {
    Piece* piece;
    Range rows;
    float largest;
  };
  std::vector<Chunk> chunks;
  for (Piece& piece : target->parts)
    for (int64_t r = piece.rows.begin; r < piece.rows.end; r += kPanelN)
      chunks.push_back({&piece, {r, std::min(r + kPanelN, piece.rows.end)}, 0});
  std::atomic<size_t> next{0};
  std::vector<Status> statuses(static_cast<size_t>(team.size()));
  team.Run([&](int worker) {
    Status& status = statuses[static_cast<size_t>(worker)];
    UnitPacker packer;
    for (size_t i = next++; i < chunks.size() && status.ok(); i = next++)
      status = packer.Largest(*chunks[i].piece, chunks[i].rows, &chunks[i].largest);
  });
  for (const Status& status : statuses) LATHE_RETURN_IF_ERROR(status);
  for (const Chunk& chunk : chunks)
    chunk.piece->scale = std::max(chunk.piece->scale, E4m3Scale(chunk.largest));
  for (const Piece& piece : target->parts)
    for (const SourcePart& part : *piece.source) part.view.DropPages(0, part.view.bytes.size());
  return Status::Ok();
}

// Every weight of the plan with its source, and the size of the largest unit.
std::vector<Target> ResolveAll(const EmittedPlan& emitted, const SourceIndex& index) {
  std::vector<Target> targets;
  for (size_t i = 0; i < emitted.recipes.size(); ++i)
    targets.push_back(Resolve(emitted.plan.weights[i], emitted.recipes[i], index));
  for (size_t i = 0; i < targets.size(); ++i)
    if (const int of = emitted.recipes[i].scales_of; of >= 0)
      targets[i].scales_of = &targets[static_cast<size_t>(of)];
  return targets;
}

}  // namespace

Status PackWeights(const EmittedPlan& emitted, const WeightSource& source, Fp8Scales fp8_scales, Team& team,
                   const BlobSink& sink, const std::function<void(uint64_t bytes)>& packed) {
  LATHE_ASSIGN_OR_RETURN(const SourceIndex index, SourceIndex::Create(source));
  std::vector<Target> targets = ResolveAll(emitted, index);
  size_t capacity = kBufferBytes;
  for (Target& target : targets) {
    capacity = std::max(capacity, target.unit_bytes + kBlobGap);
    if (target.scales != nullptr && fp8_scales == Fp8Scales::kTensor)
      LATHE_RETURN_IF_ERROR(FindTensorScales(&target, team));
  }
  Cursor cursor(targets, emitted.blob_bytes, capacity);
  Stretch filling, writing;
  filling.bytes = std::make_unique_for_overwrite<std::byte[]>(capacity);
  writing.bytes = std::make_unique_for_overwrite<std::byte[]>(capacity);
  std::vector<UnitPacker> packers(static_cast<size_t>(team.size()));
  std::vector<Status> statuses(static_cast<size_t>(team.size()));
  // Worker 0 writes one stretch while the others already pack the next, then helps them.
  while (!cursor.AtEnd() || writing.size > 0) {
    cursor.Next(&filling);
    std::atomic<size_t> next{0};
    team.Run([&](int worker) {
      Status& status = statuses[static_cast<size_t>(worker)];
      if (worker == 0 && writing.size > 0) status = sink(std::span(writing.bytes.get(), writing.size));
      while (status.ok()) {
        const size_t t = next.fetch_add(1, std::memory_order_relaxed);
        if (t >= filling.tasks.size()) return;
        const Task& task = filling.tasks[t];
        status = packers[static_cast<size_t>(worker)].Pack(*task.target, task.unit,
                                                           filling.bytes.get() + task.offset);
      }
    });
    for (const Status& status : statuses) LATHE_RETURN_IF_ERROR(status);
    DropSource(filling);
    if (packed && writing.size > 0) packed(writing.size);
    std::swap(filling, writing);
    filling.size = 0;
  }
  return Status::Ok();
}

}  // namespace lathe
