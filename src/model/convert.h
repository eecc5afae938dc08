// `lathe convert`: a normalised checkpoint, cut for a number of ranks.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/status.h"
#include "model/synth.h"
#include "tensor/dtype.h"

namespace lathe {

struct ConvertOptions {
  std::optional<DType> dtype;  // kBf16, kF16 or kF32; absent: the checkpoint's, which most of its bytes have
  int tp = 1;
  int pp = 1;
  ProgressCallback progress;
};

// Reads the checkpoint `dir` (Hugging Face, or converted with tp 1) and writes the new directory `out`:
//   lathe_checkpoint.json   version, spec, tp, pp, dtype, source_hash
//   rank0.safetensors ...   one for each of tp * pp ranks, number stage * tp + tp_rank, with lathe's own
//   names
//                           ("layers.3.q"), cut by Split (model/shard.h) and in one element type
//   tokenizer, template and generation files, copied
// so that `lathe build out` needs nothing else. Memory stays below a few MiB besides mapped pages.
// Errors: those of WeightSource::Open and CheckSharding; kUnsupported for weights that f16 does not hold;
// kIo; nothing is left behind.
Status ConvertCheckpoint(const std::string& dir, const std::string& out, const ConvertOptions& options);

}  // namespace lathe
