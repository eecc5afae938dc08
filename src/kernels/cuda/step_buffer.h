// Where everything of a step lies in the one buffer that is copied to the device for it (src/step_abi.h has
// the elements).
//
// What has a bound for a batch bucket stands first, at offsets that depend on the bounds alone: a captured
// graph keeps its addresses. Page tables, and counts, biases and masks of sampling, whose lengths vary, stand
// behind; only what is used of them is copied.
#pragma once

#include <cstdint>

namespace lathe::cuda {

// Most of each kind that a step may have.
struct StepBounds {
  int rows = 0;
  int logit_rows = 0;
  int decode_pieces = 0, decode_columns = 0;  // of one plan; one for each distinct window of the model
  int decode_plans = 0;
  int prompt_tiles = 0;
  int prompt_plans = 0;
};

// Byte offsets, multiples of 16.
struct StepLayout {
  int64_t rows_at = 0;        // StepRow (rows)
  int64_t logit_rows_at = 0;  // int (logit_rows)
  int64_t sample_at = 0;      // SampleParams (logit_rows)
  int64_t columns_at = 0;     // int (decode_columns + 1), for each decode plan, columns_stride apart
  int64_t columns_stride = 0;
  int64_t pieces_at = 0;  // DecodePiece (decode_pieces), for each decode plan
  int64_t pieces_stride = 0;
  int64_t tile_counts_at = 0;  // int (prompt_plans)
  int64_t tiles_at = 0;        // PromptTile (prompt_tiles), for each prompt plan
  int64_t tiles_stride = 0;
  int64_t tail_at = 0;  // page tables, then counts, biases and masks
};
StepLayout LayOutStep(const StepBounds& bounds);

}  // namespace lathe::cuda
