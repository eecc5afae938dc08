// The readable definition of every op, in scalar code: oracle of the CPU and CUDA kernels. Sums are taken in
// double, so a kernel is compared with (nearly) the exact result and a bound on its own rounding.
// One thread, no scratch; slow.
#pragma once

#include <cstdint>

#include "kernels/api/params.h"
#include "kernels/api/sample.h"

namespace lathe::ref {

// Value of element (n, k) of packed weights, as stored.
float PackedWeight(const void* w, DType type, int64_t K, int64_t n, int64_t k);
// Element of an activation matrix of type kF32 or kBf16, and writing one (rounded to nearest even).
float Element(const void* data, DType type, int64_t index);
void SetElement(void* data, DType type, int64_t index, double value);

// Byte offsets within a layer's pool of one element of K and V. `position` is the token's place in the
// sequence.
int64_t KeyOffset(const KvLayout& kv, const int32_t* pages, int head, int64_t position, int d);
int64_t ValueOffset(const KvLayout& kv, const int32_t* pages, int head, int64_t position, int d);

void Gemm(const GemmParams& p, NumericClass numeric);
void Embed(const EmbedParams& p);
void RmsNorm(const RmsNormParams& p);
void RopeAppend(const RopeAppendParams& p);
void Attention(const AttentionParams& p);

// The weight of a token that sampling adds up: round(2^30 * exp(z)), z <= 0 the distance of its logit to the
// largest one over the temperature. Integers, so that every order of summing gives the same total, and plain
// multiplications and additions (no fused ones), so that every machine gives the same integer.
// 0 below z = -21.5 (the largest token is 2^30 times as likely).
uint32_t SampleWeight(float z);

// As sample.h says, on a full sort of the vocabulary. top: (row.n_top_logprobs) or null.
SampleResult Sample(const float* logits, int vocab, const SampleRow& row, TokenLogprob* top);

}  // namespace lathe::ref
