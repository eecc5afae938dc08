// The pieces of attention over one block of keys: scores, softmax, weighted values, and the merging of
// blocks.
#pragma once

#include "kernels/cpu/isa/gemm_tile.h"
#include "kernels/cpu/isa/reduce.h"

namespace lathe::LATHE_ISA {
namespace {

constexpr int kKeysPerGroup = 16;  // keys that one page never splits
constexpr int kVecsPerGroup = kKeysPerGroup / kLanes;
// Register tiles: 24 accumulators of 32 registers, 12 of 16.
constexpr int kScoreRows = kLanes == 16 ? 6 : 3;
constexpr int kScoreGroups = kLanes == 16 ? 4 : (kLanes == 8 ? 2 : 1);
constexpr int kValueRows = kLanes == 16 ? 6 : 3;
constexpr int kValueVecs = 4;
// A score row has room for the groups that a tile computes past the block's end.
constexpr int kScoreStride = kAttnBlock + kKeysPerGroup * kScoreGroups;

// The keys of one block for one kv head. Positions low .. high-1 of the block are seen by some row.
struct BlockKeys {
  const KvLayout* kv = nullptr;
  const char* base = nullptr;
  const int32_t* pages = nullptr;
  int head = 0;
  int position = 0;  // of the block's first key
  int low = 0, high = 0;

  int FirstGroup() const { return low / kKeysPerGroup; }
  int LastGroup() const { return CeilDiv(high, kKeysPerGroup); }
  const char* Page(int key) const { return base + pages[(position + key) / kv->page_size] * kv->PageBytes(); }
  // First d of the key, in the transposed K page.
  const char* Key(int key) const {
    constexpr int64_t kBytes = 4;  // a bf16 pair, or one float
    return Page(key) + head * kv->HeadBytes() + (position + key) % kv->page_size * kBytes;
  }
  const char* Value(int key) const {
    const int64_t row = int64_t{kv->head_dim} * (kv->type == DType::kBf16 ? 2 : 4);
    return Page(key) + (kv->n_kv_heads + head) * kv->HeadBytes() + ((position + key) % kv->page_size) * row;
  }
};

// Running softmax of rows: out[row] = sum of exp(score - max) * V, sum[row] of the weights.
struct SoftmaxState {
  float* max;  // (n)
  float* sum;  // (n)
  float* out;  // (n, dim)
};

// scores of MR query rows (stride dim) with kScoreGroups groups of keys.
template <Source kSource, int MR>
[[gnu::noinline]] void ScoreTile(const void* queries, int dim, const char* const* keys, int page_size,
                                 float* scores) {
  constexpr int kVecs = kScoreGroups * kVecsPerGroup;
  using X = typename SourceTypes<kSource>::X;
  const X* q = static_cast<const X*>(queries);
  F acc[MR][kVecs];
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) acc[m][j] = Zero();
  const int64_t stride = int64_t{page_size} * 4;  // from d to d + 1 (f32) or d + 2 (bf16), bytes
  constexpr int kStep = kSource == Source::kFloat ? 1 : 2;
  int64_t offset = 0;
  for (int d = 0; d < dim; d += kStep, offset += stride, q += kStep) {
    const auto at = [&](int j) {
      return keys[j / kVecsPerGroup] + offset + (j % kVecsPerGroup) * kLanes * 4;
    };
    F w[kVecs];
    I raw[kVecs];
    if constexpr (kSource == Source::kFloat) {
#pragma GCC unroll 8
      for (int j = 0; j < kVecs; ++j) w[j] = Load(reinterpret_cast<const float*>(at(j)));
      FmaRow(q, dim, w, acc);
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < kVecs; ++j) raw[j] = LoadPairs(reinterpret_cast<const uint16_t*>(at(j)));
    }
    if constexpr (kSource == Source::kPairs) {
#pragma GCC unroll 8
      for (int j = 0; j < kVecs; ++j) w[j] = Even(raw[j]);
      FmaRow(q, dim, w, acc);
#pragma GCC unroll 8
      for (int j = 0; j < kVecs; ++j) w[j] = Odd(raw[j]);
      FmaRow(q + 1, dim, w, acc);
    }
    if constexpr (kSource == Source::kDot) {
#pragma GCC unroll 32
      for (int m = 0; m < MR; ++m) {
        uint32_t pair;
        __builtin_memcpy(&pair, q + m * dim, sizeof(pair));
        const I qm = Set1Pair(pair);
#pragma GCC unroll 8
        for (int j = 0; j < kVecs; ++j) acc[m][j] = Dot(acc[m][j], raw[j], qm);
      }
    }
  }
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) Store(scores + m * kScoreStride + j * kLanes, acc[m][j]);
}

using ScoreFn = void (*)(const void*, int, const char* const*, int, float*);
template <Source kSource>
struct ScoreTable {
  ScoreFn of_rows[kScoreRows + 1] = {};
  constexpr ScoreTable() { Fill(std::make_integer_sequence<int, kScoreRows>{}); }
  template <int... kRows>
  constexpr void Fill(std::integer_sequence<int, kRows...>) {
    ((of_rows[kRows + 1] = ScoreTile<kSource, kRows + 1>), ...);
  }
};

// With this many rows a block's bf16 keys and values are widened to f32 once, instead of in every tile.
constexpr int kWidenRows = 3 * kScoreRows;

template <Source kSource>
void ScoreRows(const void* q, int n, int dim, const char* const* keys, int page_size, float* scores) {
  static constexpr ScoreTable<kSource> kTiles{};
  using X = typename SourceTypes<kSource>::X;
  for (int tiles = CeilDiv(n, kScoreRows), r = 0; tiles > 0; --tiles) {
    const int height = CeilDiv(n - r, tiles);
    kTiles.of_rows[height](static_cast<const X*>(q) + r * dim, dim, keys, page_size,
                           scores + r * kScoreStride);
    r += height;
  }
}

// Keys of a tile as an f32 page of kScoreGroups groups: out[d][key].
LATHE_INLINE void WidenKeys(const char* const* keys, int page_size, int dim, float* out) {
  constexpr int kWidth = kScoreGroups * kKeysPerGroup;
  for (int g = 0; g < kScoreGroups; ++g) {
    const uint16_t* in = reinterpret_cast<const uint16_t*>(keys[g]);
    float* to = out + g * kKeysPerGroup;
    for (int d = 0; d < dim; d += 2, in += 2 * page_size, to += 2 * kWidth)
      for (int j = 0; j < kKeysPerGroup; j += kLanes) {
        const I raw = LoadPairs(in + 2 * j);
        Store(to + j, Even(raw));
        Store(to + kWidth + j, Odd(raw));
      }
  }
}

// Scores of n rows with the keys of a block. widened: room for kScoreGroups groups in f32.
LATHE_INLINE void ScoreBlock(const BlockKeys& keys, const void* q, DType q_type, int n, float* scores,
                             float* widened) {
  constexpr int kWidth = kScoreGroups * kKeysPerGroup;
  const int dim = keys.kv->head_dim, last = keys.LastGroup(), page_size = keys.kv->page_size;
  for (int g = keys.FirstGroup(); g < last; g += kScoreGroups) {
    const char* at[kScoreGroups];
    // Past the end the last group is repeated; those scores are not looked at.
    for (int j = 0; j < kScoreGroups; ++j) at[j] = keys.Key(MinInt(g + j, last - 1) * kKeysPerGroup);
    float* out = scores + g * kKeysPerGroup;
    if (kHasDot && q_type == DType::kBf16) {
      ScoreRows<Source::kDot>(q, n, dim, at, page_size, out);
    } else if (keys.kv->type == DType::kF32) {
      ScoreRows<Source::kFloat>(q, n, dim, at, page_size, out);
    } else if (n < kWidenRows) {
      ScoreRows<Source::kPairs>(q, n, dim, at, page_size, out);
    } else {
      WidenKeys(at, page_size, dim, widened);
      for (int j = 0; j < kScoreGroups; ++j)
        at[j] = reinterpret_cast<const char*>(widened + j * kKeysPerGroup);
      ScoreRows<Source::kFloat>(q, n, dim, at, kWidth, out);
    }
  }
}

// Scores of one row become weights exp(s - max), zero outside low .. high-1.
LATHE_INLINE void SoftmaxRow(float* scores, const BlockKeys& keys, int low, int high, float* max,
                             float* sum) {
  const int first = keys.FirstGroup() * kKeysPerGroup, last = keys.LastGroup() * kKeysPerGroup;
  for (int i = first; i < MinInt(low, last); ++i) scores[i] = -__builtin_inff();
  for (int i = MaxInt(high, first); i < last; ++i) scores[i] = -__builtin_inff();
  F largest = Set1(-__builtin_inff());
  for (int i = first; i < last; i += kLanes) largest = Max(Load(scores + i), largest);
  *max = MaxLane(largest);
  if (*max == -__builtin_inff()) {
    for (int i = first; i < last; ++i) scores[i] = 0;
    *sum = 0;
    return;
  }
  const F subtract = Set1(*max);
  F acc[kVecsPerGroup];
#pragma GCC unroll 4
  for (int j = 0; j < kVecsPerGroup; ++j) acc[j] = Zero();
  for (int i = first; i < last; i += kKeysPerGroup)
#pragma GCC unroll 4
    for (int j = 0; j < kVecsPerGroup; ++j) {
      const F weight = Exp(Sub(Load(scores + i + j * kLanes), subtract));
      Store(scores + i + j * kLanes, weight);
      acc[j] = Add(acc[j], weight);
    }
  alignas(64) float parts[kKeysPerGroup];
#pragma GCC unroll 4
  for (int j = 0; j < kVecsPerGroup; ++j) Store(parts + j * kLanes, acc[j]);
  *sum = SumTree16(parts);
}

// out[MR rows][NV vectors] = sum over keys of weight * value, ascending. kPart: only the first `lanes` lanes.
template <typename T, int MR, int NV, bool kPart>
[[gnu::noinline]] void ValueTile(const BlockKeys& keys, const float* weights, int d, int lanes, float* out,
                                 int dim) {
  F acc[MR][NV];
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) acc[m][j] = Zero();
  for (int key = keys.low; key < keys.high;) {
    const int page_end = (keys.position + key) / keys.kv->page_size * keys.kv->page_size + keys.kv->page_size;
    const int end = MinInt(keys.high, page_end - keys.position);
    const T* v = reinterpret_cast<const T*>(keys.Value(key)) + d;
    for (; key < end; ++key, v += dim) {
      F value[NV];
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) value[j] = kPart ? LoadAsN(v, lanes) : LoadAs(v + j * kLanes);
      FmaRow(weights + key, kScoreStride, value, acc);
    }
  }
#pragma GCC unroll 32
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) {
      if constexpr (kPart)
        StoreN(out + m * dim + d, acc[m][j], lanes);
      else
        Store(out + m * dim + d + j * kLanes, acc[m][j]);
    }
}

using ValueFn = void (*)(const BlockKeys&, const float*, int, int, float*, int);
template <typename T, int NV, bool kPart>
struct ValueTable {
  ValueFn of_rows[kValueRows + 1] = {};
  constexpr ValueTable() { Fill(std::make_integer_sequence<int, kValueRows>{}); }
  template <int... kRows>
  constexpr void Fill(std::integer_sequence<int, kRows...>) {
    ((of_rows[kRows + 1] = ValueTile<T, kRows + 1, NV, kPart>), ...);
  }
};

template <typename T>
void WeighValuesOf(const BlockKeys& keys, const float* weights, int n, float* out, int dim) {
  static constexpr ValueTable<T, kValueVecs, false> kWide{};
  static constexpr ValueTable<T, 1, false> kOne{};
  static constexpr ValueTable<T, 1, true> kPart{};
  for (int d = 0; d < dim;) {
    const int left = dim - d;
    const bool wide = left >= kValueVecs * kLanes, whole = left >= kLanes;
    const auto& table = wide ? kWide.of_rows : whole ? kOne.of_rows : kPart.of_rows;
    for (int tiles = CeilDiv(n, kValueRows), r = 0; tiles > 0; --tiles) {
      const int height = CeilDiv(n - r, tiles);
      table[height](keys, weights + r * kScoreStride, d, left, out + r * dim, dim);
      r += height;
    }
    d += wide ? kValueVecs * kLanes : kLanes;
  }
}

// Values low .. high-1 of a block as f32 rows: out[key][dim].
LATHE_INLINE void WidenValues(const BlockKeys& keys, float* out) {
  const int dim = keys.kv->head_dim;
  for (int key = keys.low; key < keys.high; ++key) {
    const uint16_t* in = reinterpret_cast<const uint16_t*>(keys.Value(key));
    float* to = out + key * dim;
    int d = 0;
    for (; d + kLanes <= dim; d += kLanes) Store(to + d, LoadBf16(in + d));
    if (d < dim) StoreN(to + d, LoadBf16N(in + d, dim - d), dim - d);
  }
}

// out = weights x values for n rows. widened: room for kAttnBlock values in f32.
LATHE_INLINE void WeighValues(const BlockKeys& keys, const float* weights, int n, float* out,
                              float* widened) {
  const int dim = keys.kv->head_dim;
  if (keys.kv->type == DType::kF32) return WeighValuesOf<float>(keys, weights, n, out, dim);
  if (n < kWidenRows) return WeighValuesOf<uint16_t>(keys, weights, n, out, dim);
  WidenValues(keys, widened);
  // The widened rows are the only page of a cache without keys.
  static constexpr int32_t kFirstPage = 0;
  KvLayout layout;
  layout.page_size = kAttnBlock;
  layout.head_dim = dim;
  layout.type = DType::kF32;
  BlockKeys flat = keys;
  flat.kv = &layout;
  flat.base = reinterpret_cast<const char*>(widened);
  flat.pages = &kFirstPage;
  flat.head = 0;
  flat.position = 0;
  WeighValuesOf<float>(flat, weights, n, out, dim);
}

// The one definition of merging: (max, sum, out) of `to` with those of a later block. A row that saw no key
// of the block (max -inf) is left as it is.
LATHE_INLINE void MergeSoftmax(const SoftmaxState& from, int n, int dim, const SoftmaxState& to) {
  for (int i = 0; i < n; ++i) {
    if (from.max[i] == -__builtin_inff()) continue;
    const F both = Max(Set1(to.max[i]), Set1(from.max[i]));  // the second where one is NaN
    const F a = Exp(Sub(Set1(to.max[i]), both)), b = Exp(Sub(Set1(from.max[i]), both));
    StoreN(to.max + i, both, 1);
    StoreN(to.sum + i, Fma(Set1(to.sum[i]), a, Mul(Set1(from.sum[i]), b)), 1);
    float* out = to.out + i * dim;
    const float* block = from.out + i * dim;
    for (int d = 0; d < dim; d += kLanes) {
      const int lanes = MinInt(kLanes, dim - d);
      StoreN(out + d, Fma(LoadN(out + d, lanes), a, Mul(LoadN(block + d, lanes), b)), lanes);
    }
  }
}

}  // namespace
}  // namespace lathe::LATHE_ISA
