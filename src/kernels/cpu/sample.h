// Choosing the next token, vectorised. Exactly the token that kernels/ref/sample.h defines, on every ISA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/api/kernel.h"
#include "kernels/api/sample.h"

namespace lathe {

// Scratch for one call at a time, 64-byte aligned.
size_t SampleScratchBytes(int vocab);

// Samples one row. logits: (vocab) raw. top: room for row.n_top_logprobs entries, filled in descending order
// (ties: lower id), result.n_top of them. Thread-safe for distinct scratch.
SampleResult SampleToken(Isa isa, const float* logits, int vocab, const SampleRow& row,
                         std::span<std::byte> scratch, TokenLogprob* top);

}  // namespace lathe
