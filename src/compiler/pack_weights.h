// Fills a rank's weight blob: reads the source slice by slice, converts, packs and writes in one stream.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "compiler/emit.h"
#include "model/weight_source.h"
#include "platform/team.h"

namespace lathe {

// Takes the next bytes of the blob.
using BlobSink = std::function<Status(std::span<const std::byte>)>;

// What an e4m3 weight has a scale for.
enum class Fp8Scales : uint8_t {
  kChannel,  // each row: LeastErrorE4m3Scale
  kTensor,   // each tensor of the checkpoint: its largest magnitude becomes the largest e4m3
};

// Streams the weights of `emitted` to `sink` in order of offset, zeros between them, blob_bytes in all.
// `packed` is called with the bytes finished since its last call. Memory: two buffers of 16 MiB (or one
// panel, when larger) and a few rows a thread; source pages are dropped behind. kTensor scales read the
// source once more, before. Errors: those of the source and of `sink`.
Status PackWeights(const EmittedPlan& emitted, const WeightSource& source, Fp8Scales fp8_scales, Team& team,
                   const BlobSink& sink, const std::function<void(uint64_t bytes)>& packed);

}  // namespace lathe
