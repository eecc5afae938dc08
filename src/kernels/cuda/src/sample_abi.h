// Parameters of sampling: host and device.
#pragma once

#include "step_abi.h"

namespace lathe::cuda {

struct SampleLaunch {
  const float* logits;         // (rows, ld), ld a multiple of 4
  const SampleParams* params;  // (rows)
  const char* step;            // the step's buffer: counts, biases and masks are at offsets in it
  float* scratch;              // (rows, ld) where blocks have no room for a row (BLOCKS 1), else unused
  SampledRow* out;             // (rows)
  TopLogprob* top;             // (rows, kMaxTopLogprobs)
  long long ld;
};

}  // namespace lathe::cuda
