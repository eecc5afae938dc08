// Weights between the row-major form of checkpoints and the panels of kernels/api/params.h.
#pragma once

#include <cstdint>

#include "kernels/api/params.h"

namespace lathe {

// Bytes of an N x K matrix in panels (N padded to kPanelN, K to 2). With `interleave2` the matrix is two of
// N / 2 rows each whose panels alternate (gate and up), each padded by itself. 64-byte aligned start assumed.
int64_t PackedBytes(int64_t N, int64_t K, DType type, bool interleave2 = false);

// Where rows go. A plain matrix has panel_step 1; of a gate/up pair, gate has (step 2, first 0) and up has
// (step 2, first 1), both with the N of one side and the same data pointer.
struct PackedMatrix {
  void* data = nullptr;
  int64_t N = 0, K = 0;
  DType type = DType::kBf16;  // kBf16 or kF32
  int panel_step = 1, panel_first = 0;
};

// Packs rows [n0, n0 + rows) of the matrix, given row-major with `src_stride` elements from row to row, as
// src_type kF32, kBf16 or kF16. Rounds to nearest even where bits are lost. Any slices in any order; the
// slice with row N - 1 also zeroes the padding rows of the last panel, every slice the padding column of its
// rows. Distinct slices may be packed by distinct threads.
void PackRows(const PackedMatrix& dst, int64_t n0, int64_t rows, const void* src, DType src_type,
              int64_t src_stride);

// The inverse, to row-major f32 (exact).
void UnpackRows(const PackedMatrix& src, int64_t n0, int64_t rows, float* dst, int64_t dst_stride);

}  // namespace lathe
