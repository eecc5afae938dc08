// How weights are cut over tensor-parallel (tp) and pipeline (pp) ranks. Rank number r = stage * tp +
// tp_rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bf16.h"
#include "base/status.h"
#include "formats/safetensors.h"
#include "model/spec.h"

namespace lathe {

// [begin, end)
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

// A part of a matrix; a vector of n counts as n rows of one column.
struct Cut {
  Range rows, cols;
  friend bool operator==(const Cut&, const Cut&) = default;
};

// Whether the model can be cut so. Heads and FFN must divide by tp; KV heads must divide by tp, or tp by KV
// heads (then each KV head is held by tp / n_kv_heads ranks). kInvalidArgument with the numbers.
Status CheckSharding(const ModelSpec& spec, int tp, int pp);

// Layers of a pipeline stage; the first n_layers % pp stages have one more than the others.
Range StageLayers(int n_layers, int pp, int stage);

// The part of a tensor that tensor-parallel rank `rank` of `tp` holds. The vocabulary need not divide: rank i
// has the rows [vocab * i / tp, vocab * (i + 1) / tp) of lm_head. Call after CheckSharding.
Cut CutOf(const ModelSpec& spec, const TensorDef& def, int tp, int rank);

// Shape of a cut of the tensor.
Shape CutShape(const TensorDef& def, const Cut& cut);

// Weights that a stage needs: its layers, the embedding on the first, final norm and lm_head (or, tied, the
// embedding) on the last.
std::vector<TensorDef> StageTensors(const ModelSpec& spec, int pp, int stage);

// Copies a part of a bf16, f16 or f32 tensor, row by row, converting; `cut` lies within its shape. bf16 and
// f16 round to nearest even, and what is too large for f16 becomes an infinity. `out` has cut.rows.size() *
// cut.cols.size() elements.
Status ReadSlice(const TensorView& view, const Cut& cut, std::span<float> out);
Status ReadSlice(const TensorView& view, const Cut& cut, std::span<Bf16> out);
Status ReadSlice(const TensorView& view, const Cut& cut, std::span<Half> out);

}  // namespace lathe
