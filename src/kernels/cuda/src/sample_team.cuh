// What the blocks that share a row of logits have in shared memory, and sums over all of them.
//
// Macros: VOCAB, BLOCKS (1, or a power of two up to 8), ROOM and GREEDY_ROOM: the bytes that the host counts for Shared
// and for what of it a greedy launch has.
#pragma once

#include "cluster.cuh"
#include "sample_abi.h"
#include "sample_order.cuh"

using namespace lathe::cuda;
using Group = Cluster<BLOCKS>;

constexpr int kBlocks = BLOCKS;
constexpr int kThreads = LATHE_THREADS, kWarps = kThreads / 32;
constexpr int kSlice = ((VOCAB + kBlocks - 1) / kBlocks + 3) / 4 * 4;
constexpr int kBuckets = 2048, kSections = kBuckets / 32;  // a section: 32 buckets
constexpr int kOwnList = 512, kList = 1024;
constexpr uint32_t kAll = 0xffffffffu;
static_assert(kSections * kBlocks <= kThreads);

// A block's part of a bucket's weights is kept in two halves, so that 32-bit atomics do; the high one is seldom wanted,
// since most tokens weigh little. A whole row in one block may need more than 32 bits of room for it.
constexpr int kLowBits = kBlocks == 1 ? 14 : 17;
static_assert(kBlocks == 1 ? VOCAB <= (1 << 18) : kSlice <= (1 << (32 - kLowBits)));
template <bool kWide>
struct HighHalf {
  using Type = uint32_t;
};
template <>
struct HighHalf<true> {
  using Type = uint64_t;
};
using High = HighHalf<kBlocks == 1>::Type;

struct Common {
  SampleParams params;
  uint64_t exchange[2][kBlocks][2];
  uint64_t reduce[2][kWarps];
  Place found;
  double log_sum;
  float raw_max;
  int finite;
  int turn;  // of the two lists
  uint32_t n_list[2];
};
// A launch whose rows are all greedy, without adjustments or logprobs, has room for Common only.
struct Shared : Common {
  uint64_t list[2][kOwnList];     // ranks that this block has collected, by turns
  uint64_t merged[kList];         // those of all blocks; before that the sums of one section's buckets, by block
  uint32_t merged_weight[kList];  // their weights; before that counts
  uint64_t section_sum[kSections], until_sum[kSections];  // this block's; the row's of this section and those before
  uint32_t section_count[kSections], until_count[kSections];
  High bucket_high[kBuckets];
  uint32_t bucket_count[kBuckets], bucket_low[kBuckets];
};
static_assert(sizeof(Shared) <= ROOM && sizeof(Common) <= GREEDY_ROOM);

struct AddOp {
  LATHE_DEVICE uint64_t operator()(uint64_t a, uint64_t b) const { return a + b; }
};
struct MinOp {
  LATHE_DEVICE uint64_t operator()(uint64_t a, uint64_t b) const { return a < b ? a : b; }
};
struct AddDoubleOp {
  LATHE_DEVICE uint64_t operator()(uint64_t a, uint64_t b) const {
    return __double_as_longlong(__longlong_as_double(a) + __longlong_as_double(b));
  }
};

// The largest value with the lowest id as a rank (its high half 0: no value), and the smallest.
struct Extremes {
  uint64_t top;
  uint32_t lowest;  // ordered bits
  bool strange;

  // Over a warp, on every lane.
  LATHE_DEVICE static Extremes OfWarp(const Extremes& e) {
    const uint32_t high = static_cast<uint32_t>(e.top >> 32);
    const uint32_t largest = __reduce_max_sync(kAll, high);
    const uint32_t low = __reduce_max_sync(kAll, high == largest ? static_cast<uint32_t>(e.top) : 0);
    return {static_cast<uint64_t>(largest) << 32 | low, __reduce_min_sync(kAll, e.lowest), __any_sync(kAll, e.strange) != 0};
  }
  LATHE_DEVICE uint64_t Rest() const { return static_cast<uint64_t>(lowest) << 32 | (strange ? 1 : 0); }
  LATHE_DEVICE static Extremes Of(uint64_t top, uint64_t rest) {
    return {top, static_cast<uint32_t>(rest >> 32), (rest & 1) != 0};
  }
};

struct Team {
  Shared* shared;
  int phase;

  // Of all blocks, on every thread: each publishes, all meet, and each combines what was published.
  LATHE_DEVICE void Exchange() {
    Group::Sync();
    phase ^= 1;
  }
  LATHE_DEVICE uint64_t Told(int block, int slot) const { return shared->exchange[phase ^ 1][block][slot]; }

  template <typename Op>
  LATHE_DEVICE void Publish(int slot, uint64_t v, Op op) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) v = op(v, __shfl_xor_sync(kAll, v, mask));
    if (Lane() == 0) shared->reduce[slot][Warp()] = v;
    __syncthreads();
    if (Warp() == 0) {
      v = shared->reduce[slot][Lane() % kWarps];
#pragma unroll
      for (int mask = kWarps / 2; mask > 0; mask >>= 1) v = op(v, __shfl_xor_sync(kAll, v, mask));
      if (Lane() < kBlocks) Group::Store(&shared->exchange[phase][Group::Rank()][slot], Lane(), v);
    }
    __syncthreads();
  }
  template <typename Op>
  LATHE_DEVICE uint64_t Combine(int slot, Op op) const {
    uint64_t v = Told(0, slot);
#pragma unroll
    for (int i = 1; i < kBlocks; ++i) v = op(v, Told(i, slot));
    return v;
  }
  template <typename Op>
  LATHE_DEVICE uint64_t Reduce(uint64_t v, Op op) {
    Publish(0, v, op);
    Exchange();
    return Combine(0, op);
  }

  LATHE_DEVICE Extremes Reduce(Extremes e) {
    e = Extremes::OfWarp(e);
    if (Lane() == 0) shared->reduce[0][Warp()] = e.top, shared->reduce[1][Warp()] = e.Rest();
    __syncthreads();
    if (Warp() == 0) {
      const int w = Lane() % kWarps;
      e = Extremes::OfWarp(Extremes::Of(shared->reduce[0][w], shared->reduce[1][w]));
      if (Lane() < kBlocks) {
        Group::Store(&shared->exchange[phase][Group::Rank()][0], Lane(), e.top);
        Group::Store(&shared->exchange[phase][Group::Rank()][1], Lane(), e.Rest());
      }
    }
    Exchange();
    e = Extremes::Of(Told(0, 0), Told(0, 1));
#pragma unroll 1
    for (int i = 1; i < kBlocks; ++i) {
      const Extremes other = Extremes::Of(Told(i, 0), Told(i, 1));
      if (other.top > e.top) e.top = other.top;
      e.lowest = min(e.lowest, other.lowest);
      e.strange |= other.strange;
    }
    return e;
  }
};
