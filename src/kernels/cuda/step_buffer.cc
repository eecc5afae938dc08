#include "kernels/cuda/step_buffer.h"

#include <cstddef>

#include "kernels/cuda/src/step_abi.h"

namespace lathe::cuda {

StepLayout LayOutStep(const StepBounds& b) {
  int64_t at = 0;
  const auto padded = [](int64_t count, size_t size) {
    return (count * static_cast<int64_t>(size) + 15) / 16 * 16;
  };
  const auto take = [&at](int64_t bytes) {
    const int64_t from = at;
    at += bytes;
    return from;
  };
  StepLayout l;
  l.columns_stride = padded(int64_t{b.decode_columns} + 1, sizeof(int));
  l.pieces_stride = padded(b.decode_pieces, sizeof(DecodePiece));
  l.tiles_stride = padded(b.prompt_tiles, sizeof(PromptTile));
  l.rows_at = take(padded(b.rows, sizeof(StepRow)));
  l.logit_rows_at = take(padded(b.logit_rows, sizeof(int)));
  l.sample_at = take(padded(b.logit_rows, sizeof(SampleParams)));
  l.columns_at = take(l.columns_stride * b.decode_plans);
  l.pieces_at = take(l.pieces_stride * b.decode_plans);
  l.tile_counts_at = take(padded(b.prompt_plans, sizeof(int)));
  l.tiles_at = take(l.tiles_stride * b.prompt_plans);
  l.tail_at = at;
  return l;
}

}  // namespace lathe::cuda
