// Finding places in the order of a row's tokens, without sorting them. A histogram over the logits' range (count and sum
// of weights of each bucket) shows the bucket in which a sum passes a mark; the tokens of that bucket are collected, and
// each of them adds up those before it. Should a bucket have too many (hundreds of equal logits), the rank is found bit
// by bit.
//
// Every block reads what it needs of the others and comes to the same result by itself, so that a place costs one meeting
// of the blocks.
#pragma once

#include "sample_team.cuh"

struct Four {
  float v[4];
};
// A block's tokens. Where a row is shared by blocks, -inf fills up the last four.
struct Slice {
  const float* values;
  int begin, n;

  // fn(values, id of the first) for each four of them, by all threads. -inf stands for what is not there.
  template <typename Fn>
  LATHE_DEVICE void ForEachFour(Fn fn) const {
    const int whole = (kBlocks > 1 ? n + 3 : n) / 4 * 4;
#pragma unroll 1
    for (int i = threadIdx.x * 4; i < whole; i += kThreads * 4) {
      const float4 v = *reinterpret_cast<const float4*>(values + i);
      fn({v.x, v.y, v.z, v.w}, begin + i);
    }
    if constexpr (kBlocks == 1 && VOCAB % 4 != 0) {
      const float none = -__int_as_float(0x7f800000);
      const int i = whole + threadIdx.x;
      if (i < n) fn({values[i], none, none, none}, begin + i);
    }
  }
  // fn(value, id) for each.
  template <typename Fn>
  LATHE_DEVICE void ForEach(Fn fn) const {
    ForEachFour([&](const Four& v, int id) {
#pragma unroll
      for (int e = 0; e < 4; ++e) fn(v.v[e], id + e);
    });
  }
};

LATHE_DEVICE uint64_t WarpSum(uint64_t v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask >>= 1) v += __shfl_xor_sync(kAll, v, mask);
  return v;
}
// The sum over the lanes up to this one.
template <typename T>
LATHE_DEVICE T WarpScan(T v) {
#pragma unroll
  for (int step = 1; step < 32; step <<= 1) {
    const T other = __shfl_up_sync(kAll, v, step);
    if (Lane() >= step) v += other;
  }
  return v;
}

class Finder {
 public:
  using RowScale = Scale<kBuckets>;

  LATHE_DEVICE explicit Finder(Shared* shared) : team_{shared, 0}, shared_(shared) {
    if (threadIdx.x < 2) shared_->n_list[threadIdx.x] = 0;
    if (threadIdx.x == 0) shared_->turn = 0;
  }

  LATHE_DEVICE Team& team() { return team_; }
  LATHE_DEVICE uint64_t total_count() const { return shared_->until_count[kSections - 1]; }
  LATHE_DEVICE uint64_t total_sum() const { return shared_->until_sum[kSections - 1]; }

  // The histogram of `slice`; counts only where a mark asks for them.
  LATHE_DEVICE void Count(const Slice& slice, const RowScale& scale, bool counted) {
    for (int i = threadIdx.x; i < kBuckets; i += kThreads)
      shared_->bucket_count[i] = shared_->bucket_low[i] = shared_->bucket_high[i] = 0;
    __syncthreads();
    if (scale.temperature == 1) {
      Weigh(slice, scale, counted, [&](float v) { return scale.UnitWeight(v); });
    } else if (scale.temperature > 0) {
      Weigh(slice, scale, counted, [&](float v) { return scale.DividedWeight(v); });
    } else {
      slice.ForEach([&](float v, int) {
        if (scale.CountedWeight(v) != 0) atomicAdd(&shared_->bucket_count[scale.Bucket(v)], 1u);
      });
    }
    __syncthreads();
    for (int s = Warp(); s < kSections; s += kWarps) {
      const int b = s * 32 + Lane();
      const uint32_t count = __reduce_add_sync(kAll, shared_->bucket_count[b]);
      const uint64_t sum = WarpSum(SumOf(shared_->bucket_low[b], shared_->bucket_high[b]));
      if (Lane() == 0) shared_->section_count[s] = count, shared_->section_sum[s] = sum;
    }
    Group::Sync();
    if (threadIdx.x < kSections * kBlocks) {
      const int s = threadIdx.x / kBlocks, block = threadIdx.x % kBlocks;
      uint32_t count = Group::Load(&shared_->section_count[s], block);
      uint64_t sum = Group::Load(&shared_->section_sum[s], block);
#pragma unroll
      for (int mask = kBlocks / 2; mask > 0; mask >>= 1) {
        count += __shfl_xor_sync(kAll, count, mask);
        sum += __shfl_xor_sync(kAll, sum, mask);
      }
      if (block == 0) shared_->until_count[s] = count, shared_->until_sum[s] = sum;
    }
    __syncthreads();
    if (Warp() == 0) {
      const int s = Lane() * 2;
      const uint32_t count = shared_->until_count[s + 1], counts = WarpScan(shared_->until_count[s] + count);
      const uint64_t sum = shared_->until_sum[s + 1], sums = WarpScan(shared_->until_sum[s] + sum);
      shared_->until_count[s] = counts - count, shared_->until_count[s + 1] = counts;
      shared_->until_sum[s] = sums - sum, shared_->until_sum[s + 1] = sums;
    }
    __syncthreads();
  }

  // Needs Count of the same slice and scale, and that the mark is reached. Unless `for_all`, only block 0 gets it.
  LATHE_DEVICE Place Find(const Slice& slice, const RowScale& scale, const Mark& mark, bool for_all) {
    const Bucket bucket = FindBucket(mark);
    const int turn = shared_->turn;
    slice.ForEachFour([&](const Four& v, int id) {
      bool here[4], any = false;
#pragma unroll
      for (int e = 0; e < 4; ++e) here[e] = scale.Bucket(v.v[e]) == bucket.index, any |= here[e];
      if (!any) return;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (here[e] && scale.Weight(v.v[e]) != 0) Collect(turn, RankOf(v.v[e], id + e));
      }
    });
    const int n = Merge([&](uint64_t rank) { return scale.Weight(ValueOf(rank)); }, for_all);
    if (n < 0) return FindByBits(slice, scale, mark, bucket);
    // Each token adds up what comes before it, and itself; a few threads share a token while there are threads for that.
    const int shift = n <= kThreads / 8 ? 3 : n <= kThreads / 4 ? 2 : n <= kThreads / 2 ? 1 : 0, threads = 1 << shift;
    for (int from = 0; from < n; from += kThreads >> shift) {
      const int i = from + (threadIdx.x >> shift);
      const uint64_t rank = i < n ? shared_->merged[i] : ~0ull;
      uint32_t count = 0;
      uint64_t sum = 0;
#pragma unroll 4
      for (int j = threadIdx.x & (threads - 1); j < n; j += threads) {
        if (shared_->merged[j] >= rank) ++count, sum += shared_->merged_weight[j];
      }
      for (int mask = threads / 2; mask > 0; mask >>= 1) {
        count += __shfl_xor_sync(kAll, count, mask);
        sum += __shfl_xor_sync(kAll, sum, mask);
      }
      if (i >= n) continue;
      const uint64_t counts = bucket.count_before + count, sums = bucket.sum_before + sum;
      if (mark.Reached(counts, sums) && !mark.Reached(counts - 1, sums - shared_->merged_weight[i])) {
        shared_->found = {rank, sums};
      }
    }
    __syncthreads();
    return shared_->found;
  }

  // Into block 0's `merged`: the ranks of the n tokens of the slices that are not below `least`, n at most kOwnList.
  LATHE_DEVICE int CollectFrom(const Slice& slice, uint64_t least) {
    const int turn = shared_->turn;
    const float lowest = ValueOf(least);
    slice.ForEach([&](float v, int id) {
      if (v >= lowest && RankOf(v, id) >= least) Collect(turn, RankOf(v, id));
    });
    return Merge([](uint64_t) { return 0u; }, false);
  }
  LATHE_DEVICE uint64_t Merged(int i) const { return shared_->merged[i]; }

 private:
  struct Bucket {
    int index;
    uint64_t count_before, sum_before;
  };

  // Without a branch, which would cost more than the addition.
  template <typename T>
  LATHE_DEVICE static void AddUnlessZero(T* to, uint32_t v) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.u32 p, %1, 0;\n@p red.shared.add.u32 [%0], %1;\n}" ::"r"(SharedAddress(to)),
                 "r"(v)
                 : "memory");
  }
  template <typename WeightOf>
  LATHE_DEVICE void Weigh(const Slice& slice, const RowScale& scale, bool counted, WeightOf weight_of) {
    slice.ForEachFour([&](const Four& v, int) {
      uint32_t weight[4];
      int b[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) weight[e] = weight_of(v.v[e]), b[e] = scale.Bucket(v.v[e]);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const uint32_t high = weight[e] >> kLowBits;
        if constexpr (kBlocks > 1) {
          AddUnlessZero(&shared_->bucket_low[b[e]], weight[e] & ((1u << kLowBits) - 1));
          AddUnlessZero(&shared_->bucket_high[b[e]], high);
        } else {
          if (weight[e] != 0) atomicAdd(&shared_->bucket_low[b[e]], weight[e] & ((1u << kLowBits) - 1));
          if (high != 0) atomicAdd(&shared_->bucket_high[b[e]], static_cast<High>(high));
        }
        if (counted && weight[e] != 0) atomicAdd(&shared_->bucket_count[b[e]], 1u);
      }
    });
  }
  LATHE_DEVICE static uint64_t SumOf(uint32_t low, uint64_t high) { return low + (high << kLowBits); }
  // Of a ballot: the first lane's number, 32 if none.
  LATHE_DEVICE static int First(uint32_t lanes) { return lanes != 0 ? __ffs(lanes) - 1 : 32; }

  // Every warp does the same; the first kBlocks fetch a section's buckets from one block each.
  LATHE_DEVICE Bucket FindBucket(const Mark& mark) {
    const auto reached = [&](int s) { return mark.Reached(shared_->until_count[s], shared_->until_sum[s]); };
    const uint32_t lower = __ballot_sync(kAll, reached(Lane())), upper = __ballot_sync(kAll, reached(Lane() + 32));
    const int section = min(lower != 0 ? First(lower) : 32 + First(upper), kSections - 1);
    if (Warp() < kBlocks) {
      const int b = section * 32 + Lane(), at = Opaque(threadIdx.x);
      shared_->merged[at] =
          SumOf(Group::Load(&shared_->bucket_low[b], Warp()), Group::Load(&shared_->bucket_high[b], Warp()));
      shared_->merged_weight[at] = Group::Load(&shared_->bucket_count[b], Warp());
    }
    __syncthreads();
    uint64_t sum = 0;
    uint32_t count = 0;
#pragma unroll
    for (int r = 0; r < kBlocks; ++r) {
      sum += shared_->merged[r * 32 + Lane()];
      count += shared_->merged_weight[r * 32 + Lane()];
    }
    const uint64_t sums = WarpScan(sum) + (section > 0 ? shared_->until_sum[section - 1] : 0);
    const uint32_t counts = WarpScan(count) + (section > 0 ? shared_->until_count[section - 1] : 0);
    const int lane = min(First(__ballot_sync(kAll, mark.Reached(counts, sums))), 31);
    return {section * 32 + lane, __shfl_sync(kAll, counts - count, lane), __shfl_sync(kAll, sums - sum, lane)};
  }

  LATHE_DEVICE void Collect(int turn, uint64_t rank) {
    const uint32_t at = atomicAdd(&shared_->n_list[turn], 1u);
    if (at < kOwnList) shared_->list[turn][at] = rank;
  }
  // What all blocks have collected, in no order, and its weights; how many, or -1 if they are too many. For block 0, or
  // for all. The next turn's list is emptied: whoever read it last has met the others since.
  template <typename WeightOf>
  LATHE_DEVICE int Merge(WeightOf weight_of, bool for_all) {
    const int turn = shared_->turn;
    Group::Sync();
    const uint32_t mine = Lane() < kBlocks ? Group::Load(&shared_->n_list[turn], Lane()) : 0;
    const uint32_t until = WarpScan(mine), total = __shfl_sync(kAll, until, 31);
    const bool overflow = __any_sync(kAll, mine > kOwnList) || total > kList;
    if (threadIdx.x == 0) shared_->turn = turn ^ 1, shared_->n_list[turn ^ 1] = 0;
    if (overflow) return -1;
    if (for_all || Group::Rank() == 0) {
      const int from = Warp() % kBlocks;
      const uint32_t n = __shfl_sync(kAll, mine, from), first = __shfl_sync(kAll, until, from) - n;
      for (uint32_t i = Lane(); Warp() < kBlocks && i < n; i += 32) {
        const uint64_t rank = Group::Load(&shared_->list[turn][i], from);
        shared_->merged[first + i] = rank;
        shared_->merged_weight[first + i] = weight_of(rank);
      }
    }
    __syncthreads();
    return for_all || Group::Rank() == 0 ? static_cast<int>(total) : 0;
  }

  LATHE_DEVICE Place FindByBits(const Slice& slice, const RowScale& scale, const Mark& mark, const Bucket& bucket) {
    Place place = {0, 0};
    for (int bit = 63; bit >= 0; --bit) {
      const uint64_t least = place.rank | 1ull << bit;
      uint64_t count = 0, sum = 0;
      slice.ForEach([&](float v, int id) {
        const uint32_t weight = scale.Weight(v);
        if (weight != 0 && scale.Bucket(v) == bucket.index && RankOf(v, id) >= least) ++count, sum += weight;
      });
      team_.Publish(0, count, AddOp());
      team_.Publish(1, sum, AddOp());
      team_.Exchange();
      count = bucket.count_before + team_.Combine(0, AddOp());
      sum = bucket.sum_before + team_.Combine(1, AddOp());
      if (mark.Reached(count, sum)) {
        place = {least, sum};
      }
    }
    return place;
  }

  Team team_;
  Shared* shared_;
};
