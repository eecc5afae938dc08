// One token from each row of logits, as kernels/api/sample.h says and kernels/ref/sample.cc shows: the same token, since
// weights are integers and every sum of them is exact. Nothing is sorted but the few tokens around a cut.
//
// Tokens have a total order, larger logit first, then lower id: the 64-bit rank of a token (logit's ordered bits, then
// the id's complement) falls along it. What top-k, top-p and min-p keep is a prefix of it, so a cut is a rank; the draw
// is a place in it. Each is found in two moves: a histogram over the logits' range (count and sum of weights of each
// bucket) shows the bucket, and the tokens of that bucket are sorted. Should a bucket have too many of them (thousands
// of equal logits), the rank is found bit by bit.
//
// A row is one cluster of BLOCKS blocks, each with its part of the row in shared memory, so that logits are read from
// device memory once. With BLOCKS 1 the row stays in global memory.
//
// Macros: VOCAB, BLOCKS (1, or a divisor of 2048 up to 8). grid: rows * BLOCKS. Shared memory: Shared, then SLICE floats.
#include "cluster.cuh"
#include "sample_abi.h"

using namespace lathe::cuda;
using Group = Cluster<BLOCKS>;

constexpr int kBlocks = BLOCKS;
constexpr int kThreads = LATHE_THREADS;
constexpr int kSlice = ((VOCAB + kBlocks - 1) / kBlocks + 3) / 4 * 4;
constexpr int kBuckets = 2048;
constexpr int kOwned = kBuckets / kBlocks;  // buckets whose totals a block has
constexpr int kPer = (kOwned + kThreads - 1) / kThreads;
constexpr int kList = 2048;
constexpr float kLowest = -3.402823466e38f;

struct Count {
  int id, in_prompt, in_output;
};
struct Bias {
  int id;
  float bias;
};

template <bool kWide>
struct HighHalf {
  using Type = uint32_t;
};
template <>
struct HighHalf<true> {
  using Type = unsigned long long;
};
// A block's part of a bucket's weights in two halves: 14 bits, and 16 bits, which for a whole row in one block may need
// more than 32 bits of room.
using High = HighHalf<kBlocks == 1>::Type;

struct Shared {
  SampleParams params;
  uint64_t exchange[2][kBlocks][4];
  uint64_t reduce[32];
  uint64_t total_count, total_sum;  // of the whole row
  uint64_t count_below, sum_below;  // in buckets of blocks of lower rank
  uint32_t n_list, first;
  // From here on: not there in a launch whose rows are all greedy, without adjustments or logprobs.
  uint64_t list[kList];
  uint64_t sums[kOwned];  // inclusive, over all buckets up to this one
  High bucket_high[kBuckets];
  uint32_t counts[kOwned];
  uint32_t bucket_count[kBuckets], bucket_low[kBuckets];
};

// ---- sums over the block and the cluster -----------------------------------------------------------------------

struct AddOp {
  LATHE_DEVICE uint64_t operator()(uint64_t a, uint64_t b) const { return a + b; }
};
struct MaxOp {
  LATHE_DEVICE uint64_t operator()(uint64_t a, uint64_t b) const { return a > b ? a : b; }
};
struct MinOp {
  LATHE_DEVICE uint64_t operator()(uint64_t a, uint64_t b) const { return a < b ? a : b; }
};
struct AddDoubleOp {
  LATHE_DEVICE uint64_t operator()(uint64_t a, uint64_t b) const {
    return __double_as_longlong(__longlong_as_double(a) + __longlong_as_double(b));
  }
};

struct Team {
  Shared* shared;
  int rank;
  int phase;

  // Of the whole cluster, on every thread. `slot`s of one exchange share a barrier: see Publish and Combine.
  template <typename Op>
  LATHE_DEVICE void Publish(int slot, uint64_t v, Op op) {
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) v = op(v, __shfl_xor_sync(0xffffffffu, v, mask));
    if (Lane() == 0) shared->reduce[Warp()] = v;
    __syncthreads();
    if (Warp() == 0) {
      v = shared->reduce[Lane() % (kThreads / 32)];
#pragma unroll
      for (int mask = kThreads / 64; mask > 0; mask >>= 1) v = op(v, __shfl_xor_sync(0xffffffffu, v, mask));
      if (Lane() < kBlocks) Group::Store(&shared->exchange[phase][rank][slot], Lane(), v);
    }
    __syncthreads();
  }
  LATHE_DEVICE void Exchange() {
    Group::Sync();
    phase ^= 1;
  }
  template <typename Op>
  LATHE_DEVICE uint64_t Combine(int slot, Op op) const {
    uint64_t v = shared->exchange[phase ^ 1][0][slot];
#pragma unroll
    for (int i = 1; i < kBlocks; ++i) v = op(v, shared->exchange[phase ^ 1][i][slot]);
    return v;
  }
  template <typename Op>
  LATHE_DEVICE uint64_t Reduce(uint64_t v, Op op) {
    Publish(0, v, op);
    Exchange();
    return Combine(0, op);
  }
};

// ---- tokens ------------------------------------------------------------------------------------------------------

LATHE_DEVICE uint32_t OrderedBits(float v) {
  const uint32_t bits = __float_as_uint(v + 0.0f);  // -0 counts as 0
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
LATHE_DEVICE float FromOrderedBits(uint32_t key) {
  return __uint_as_float(key ^ ((key >> 31) != 0 ? 0x80000000u : 0xffffffffu));
}
LATHE_DEVICE uint64_t RankOf(float v, int id) { return static_cast<uint64_t>(OrderedBits(v)) << 32 | ~static_cast<uint32_t>(id); }
LATHE_DEVICE float ValueOf(uint64_t rank) { return FromOrderedBits(static_cast<uint32_t>(rank >> 32)); }
LATHE_DEVICE int IdOf(uint64_t rank) { return static_cast<int>(~static_cast<uint32_t>(rank)); }

// round(2^30 exp(z)) by the same additions and multiplications as everywhere (kernels/ref/ref.h).
LATHE_DEVICE uint32_t SampleWeight(float z) {
  if (!(z >= -21.5f)) return 0;
  constexpr float kMagic = 12582912.0f;
  const float shifted = __fadd_rn(__fmul_rn(z, 1.44269504f), kMagic);
  const float n = __fsub_rn(shifted, kMagic);
  const float r = __fsub_rn(__fsub_rn(z, __fmul_rn(n, 0.693359375f)), __fmul_rn(n, -2.12194440e-4f));
  float p = 1.98412698e-4f;
  p = __fadd_rn(__fmul_rn(p, r), 1.38888889e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 8.33333333e-3f);
  p = __fadd_rn(__fmul_rn(p, r), 4.16666667e-2f);
  p = __fadd_rn(__fmul_rn(p, r), 1.66666667e-1f);
  p = __fadd_rn(__fmul_rn(p, r), 0.5f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f);
  p = __fadd_rn(__fmul_rn(p, r), 1.0f);
  const uint32_t exponent = (__float_as_uint(shifted) << 23) + (30u << 23);
  return static_cast<uint32_t>(__float2int_rn(__uint_as_float(__float_as_uint(p) + exponent)));
}

// How tokens are weighed and put into buckets. temperature 0: every token weighs 1 (ranking by raw logits).
struct Scale {
  float largest, temperature, per_bucket;

  // `lowest`: the smallest value that matters.
  LATHE_DEVICE Scale(float max, float lowest, float t) : largest(max), temperature(t) {
    float range = max - lowest;
    if (t > 0) range = fminf(range, 22.0f * t);
    per_bucket = range > 0 && range < 1e38f ? (kBuckets - 1) / range : 0.0f;
  }
  LATHE_DEVICE uint32_t Weight(float v) const {
    if (temperature == 1) return SampleWeight(__fsub_rn(v, largest));
    return temperature > 0 ? SampleWeight(__fdiv_rn(__fsub_rn(v, largest), temperature)) : 1;
  }
  LATHE_DEVICE int Bucket(float v) const {
    return per_bucket == 0 ? 0 : static_cast<int>(fminf((largest - v) * per_bucket, static_cast<float>(kBuckets - 1)));
  }
};

// The first place in the order at which a sum passes a mark: after `count` tokens, or once their weights reach `enough`,
// or once they exceed `target`.
struct Mark {
  enum Kind { kCount, kEnough, kExceed } kind;
  uint64_t number;
  double enough;
  LATHE_DEVICE bool Reached(uint64_t count, uint64_t sum) const {
    if (kind == kCount) return count >= number;
    if (kind == kEnough) return sum > 0 && static_cast<double>(sum) >= enough;
    return sum > number;
  }
};
struct Place {
  uint64_t rank, sum;  // of the token there; of all weights up to it
};

// ---- a row ---------------------------------------------------------------------------------------------------------

class Row {
 public:
  LATHE_DEVICE Row(const SampleLaunch& launch, Shared* shared, float* room)
      : row_(blockIdx.x / kBlocks),
        params_(shared->params),
        logits_(launch.logits + row_ * launch.ld),
        step_(launch.step),
        team_{shared, Group::Rank(), 0},
        shared_(shared),
        begin_(Group::Rank() * kSlice),
        n_(max(0, min(kSlice, VOCAB - begin_))),
        own_(kBlocks > 1 ? room : launch.scratch + row_ * launch.ld),
        values_(own_) {}

  LATHE_DEVICE void Run(const SampleLaunch& launch) {
    const bool adjusted = params_.n_counts > 0 || params_.n_biases > 0 || params_.mask_at >= 0;
    const bool random = params_.temperature > 0;
    const bool ranked = params_.want_logprob != 0 || params_.n_top_logprobs > 0;
    const bool keep = adjusted || (kBlocks > 1 && (random || ranked));
    if (!keep) values_ = logits_ + begin_;
    LoadRow(keep);
    SampledRow out = {-1, 0.0f, finite_ ? 1 : 0, 0};
    if (finite_) {
      double log_sum = 0;
      const float raw_max = max_;
      if (ranked) log_sum = LogSum();
      if (params_.n_top_logprobs > 0) out.n_top = Top(launch, log_sum);
      if (adjusted) Adjust();
      out.id = Choose(random);
      if (ranked && out.id >= 0)
        out.logprob = static_cast<float>(static_cast<double>(logits_[out.id]) - static_cast<double>(raw_max) - log_sum);
    }
    if (threadIdx.x == 0 && team_.rank == 0) launch.out[row_] = out;
    Group::Sync();  // no block leaves while another may still reach into its shared memory
  }

 private:
  // ---- passes over this block's part of the row --------------------------------------------------------------

  // Largest value with the lowest id, smallest value, and whether all are finite.
  LATHE_DEVICE void LoadRow(bool keep) {
    float largest = -__int_as_float(0x7f800000), smallest = -largest, strange = 0;
    int best = 0x7fffffff;
    const auto look = [&](float v, int i) {
      if (v > largest) largest = v, best = begin_ + i;
      smallest = fminf(smallest, v);
      strange += v - v;
    };
    const int whole = n_ / 4 * 4;
#pragma unroll 4
    for (int i = threadIdx.x * 4; i < whole; i += kThreads * 4) {
      const uint4 bits = LoadStream(logits_ + begin_ + i);
      const float4 v = make_float4(__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z), __uint_as_float(bits.w));
      if (keep) *reinterpret_cast<float4*>(own_ + i) = v;
      look(v.x, i), look(v.y, i + 1), look(v.z, i + 2), look(v.w, i + 3);
    }
    if (whole + static_cast<int>(threadIdx.x) < n_) {
      const int i = whole + threadIdx.x;
      const float v = logits_[begin_ + i];
      if (keep) own_[i] = v;
      look(v, i);
    }
    Summarize(largest, smallest, best, strange == 0);
  }
  // A second look, after adjusting: -inf is a forbidden token and no strange value.
  LATHE_DEVICE void Look() {
    float largest = -__int_as_float(0x7f800000), smallest = -largest;
    int best = 0x7fffffff;
    for (int i = threadIdx.x; i < n_; i += kThreads) {
      const float v = values_[i];
      if (v > largest) largest = v, best = begin_ + i;
      if (v >= kLowest) smallest = fminf(smallest, v);
    }
    Summarize(largest, smallest, best, true);
  }
  LATHE_DEVICE void Summarize(float largest, float smallest, int best, bool finite) {
    const bool some = best != 0x7fffffff;
    team_.Publish(0, some ? RankOf(largest, best) : 0, MaxOp());
    team_.Publish(1, OrderedBits(smallest), MinOp());
    team_.Publish(2, finite ? 0 : 1, MaxOp());
    team_.Exchange();
    const uint64_t top = team_.Combine(0, MaxOp());
    any_ = top != 0;
    best_ = IdOf(top);
    max_ = ValueOf(top);
    min_ = FromOrderedBits(static_cast<uint32_t>(team_.Combine(1, MinOp())));
    finite_ = team_.Combine(2, MaxOp()) == 0;
  }

  LATHE_DEVICE double LogSum() {
    float part = 0;
    double sum = 0;
    int k = 0;
    for (int i = threadIdx.x; i < n_; i += kThreads) {
      part += expf(values_[i] - max_);
      if (++k % 16 == 0) sum += part, part = 0;  // f32 only for short runs
    }
    sum += part;
    return log(__longlong_as_double(team_.Reduce(__double_as_longlong(sum), AddDoubleOp())));
  }

  LATHE_DEVICE bool Mine(int id) const { return id >= begin_ && id < begin_ + n_; }
  LATHE_DEVICE void Adjust() {
    const Count* counts = reinterpret_cast<const Count*>(step_ + params_.counts_at);
    __syncthreads();
    for (int i = threadIdx.x; i < params_.n_counts; i += kThreads) {
      const Count count = counts[i];
      if (!Mine(count.id)) continue;
      float v = own_[count.id - begin_];
      if (params_.repetition_penalty != 1)
        v = v > 0 ? __fdiv_rn(v, params_.repetition_penalty) : __fmul_rn(v, params_.repetition_penalty);
      v = __fsub_rn(v, __fmul_rn(params_.frequency_penalty, static_cast<float>(count.in_output)));
      if (count.in_output > 0) v = __fsub_rn(v, params_.presence_penalty);
      own_[count.id - begin_] = v;
    }
    __syncthreads();
    const Bias* biases = reinterpret_cast<const Bias*>(step_ + params_.biases_at);
    for (int i = threadIdx.x; i < params_.n_biases; i += kThreads)
      if (Mine(biases[i].id)) own_[biases[i].id - begin_] += biases[i].bias;
    __syncthreads();
    if (params_.mask_at >= 0) {
      const uint32_t* mask = reinterpret_cast<const uint32_t*>(step_ + params_.mask_at);
      for (int i = threadIdx.x; i < n_; i += kThreads) {
        const int id = begin_ + i;
        if ((mask[id / 32] >> (id % 32) & 1u) == 0) own_[i] = -__int_as_float(0x7f800000);
      }
      __syncthreads();
    }
    Look();
  }

  // ---- places in the order -------------------------------------------------------------------------------------

  // Counts and sums of all buckets; counts only where a mark asks for them. Leaves cumulative ones in the blocks that own them; total_ on every thread.
  LATHE_DEVICE void Histogram(const Scale& scale, bool counted) {
    for (int i = threadIdx.x; i < kBuckets; i += kThreads)
      shared_->bucket_count[i] = shared_->bucket_low[i] = shared_->bucket_high[i] = 0;
    __syncthreads();
    const bool summed = scale.temperature > 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < n_; i += kThreads) {
      const float v = values_[i];
      const uint32_t weight = scale.Weight(v);
      if (weight == 0) continue;
      const int b = scale.Bucket(v);
      if (counted) atomicAdd(&shared_->bucket_count[b], 1u);
      if (!summed) continue;
      atomicAdd(&shared_->bucket_low[b], weight & 0x3fffu);
      atomicAdd(&shared_->bucket_high[b], static_cast<High>(weight >> 14));
    }
    Group::Sync();
    uint64_t count = 0, sum = 0, counts[kPer], sums[kPer];
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int b = static_cast<int>(threadIdx.x) * kPer + i;
      if (b < kOwned) {
        for (int r = 0; r < kBlocks; ++r) {
          count += Group::Load(&shared_->bucket_count[team_.rank * kOwned + b], r);
          sum += Group::Load(&shared_->bucket_low[team_.rank * kOwned + b], r) +
                 (static_cast<uint64_t>(Group::Load(&shared_->bucket_high[team_.rank * kOwned + b], r)) << 14);
        }
      }
      counts[i] = count;
      sums[i] = sum;
    }
    const uint64_t count_before = ScanBefore(count), sum_before = ScanBefore(sum);
    team_.Publish(0, count, AddOp());
    team_.Publish(1, sum, AddOp());
    team_.Exchange();
    uint64_t counts_below = 0, sums_below = 0;
    for (int r = 0; r < team_.rank; ++r) {
      counts_below += shared_->exchange[team_.phase ^ 1][r][0];
      sums_below += shared_->exchange[team_.phase ^ 1][r][1];
    }
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int b = static_cast<int>(threadIdx.x) * kPer + i;
      if (b >= kOwned) continue;
      shared_->counts[b] = static_cast<uint32_t>(counts_below + count_before + counts[i]);
      shared_->sums[b] = sums_below + sum_before + sums[i];
    }
    if (threadIdx.x == 0) {
      shared_->count_below = counts_below;
      shared_->sum_below = sums_below;
      shared_->total_count = team_.Combine(0, AddOp());
      shared_->total_sum = team_.Combine(1, AddOp());
    }
    __syncthreads();
  }
  // Sum over the threads before this one in the block.
  LATHE_DEVICE uint64_t ScanBefore(uint64_t v) {
    uint64_t inclusive = v;
#pragma unroll
    for (int step = 1; step < 32; step <<= 1) {
      const uint64_t other = __shfl_up_sync(0xffffffffu, inclusive, step);
      if (Lane() >= step) inclusive += other;
    }
    if (Lane() == 31) shared_->reduce[Warp()] = inclusive;
    __syncthreads();
    uint64_t before = 0;
    for (int w = 0; w < Warp(); ++w) before += shared_->reduce[w];
    __syncthreads();
    return before + inclusive - v;
  }

  // Needs Histogram(scale), and that the mark is reached.
  LATHE_DEVICE Place Find(const Scale& scale, const Mark& mark) {
    if (threadIdx.x == 0) shared_->n_list = 0;
    for (int b = threadIdx.x; b < kOwned; b += kThreads) {
      const uint64_t count = shared_->counts[b], sum = shared_->sums[b];
      const uint64_t count_before = b > 0 ? shared_->counts[b - 1] : shared_->count_below;
      const uint64_t sum_before = b > 0 ? shared_->sums[b - 1] : shared_->sum_below;
      if (!mark.Reached(count, sum) || mark.Reached(count_before, sum_before)) continue;
      for (int r = 0; r < kBlocks; ++r) {
        Group::Store(&shared_->exchange[team_.phase][0][0], r, team_.rank * kOwned + b);
        Group::Store(&shared_->exchange[team_.phase][0][1], r, count_before);
        Group::Store(&shared_->exchange[team_.phase][0][2], r, sum_before);
      }
    }
    team_.Exchange();
    const uint64_t* told = shared_->exchange[team_.phase ^ 1][0];
    const int bucket = static_cast<int>(told[0]);
    const uint64_t count_before = told[1], sum_before = told[2];
    Collect([&](float v) { return scale.Bucket(v) == bucket && scale.Weight(v) != 0; }, 0);
    Group::Sync();
    const bool overflow = Group::Load(&shared_->n_list, 0) > kList;
    if (overflow) return FindByBits(scale, mark, bucket, count_before, sum_before);
    if (team_.rank == 0) FindInList(scale, mark, count_before, sum_before);
    team_.Exchange();
    told = shared_->exchange[team_.phase ^ 1][0];
    return {told[0], told[1]};
  }

  // Ranks of the tokens that `wanted` names, and are not below `least`, into the list of block 0: each block's own list
  // first, which the others then send over in one go.
  template <typename Wanted>
  LATHE_DEVICE void Collect(Wanted wanted, uint64_t least) {
#pragma unroll 4
    for (int i = threadIdx.x; i < n_; i += kThreads) {
      const float v = values_[i];
      if (!wanted(v)) continue;
      const uint64_t rank = RankOf(v, begin_ + i);
      if (rank < least) continue;
      const uint32_t at = atomicAdd(&shared_->n_list, 1u);
      if (at < kList) shared_->list[at] = rank;
    }
    if (team_.rank == 0) return;
    __syncthreads();
    const uint32_t n = shared_->n_list;
    if (threadIdx.x == 0) shared_->first = Group::Add(&shared_->n_list, 0, n);
    __syncthreads();
    const uint32_t base = shared_->first;
    for (uint32_t i = threadIdx.x; i < n && base + i < kList; i += kThreads)
      Group::Store(&shared_->list[base + i], 0, shared_->list[i]);
  }

  // Descending, one block; what is missing to a power of two sorts last. Returns that power.
  LATHE_DEVICE int SortList() {
    const int n = shared_->n_list;
    int size = 2;
    while (size < n) size *= 2;
    for (int i = n + threadIdx.x; i < size; i += kThreads) shared_->list[i] = 0;
    __syncthreads();
    for (int run = 2; run <= size; run *= 2)
      for (int step = run / 2; step > 0; step /= 2) {
        for (int i = threadIdx.x; i < size / 2; i += kThreads) {
          const int low = (i & ~(step - 1)) << 1 | (i & (step - 1)), high = low + step;
          const uint64_t a = shared_->list[low], b = shared_->list[high];
          if ((a < b) == ((low & run) == 0)) shared_->list[low] = b, shared_->list[high] = a;
        }
        // Up to a distance of 32 a warp's pairs are its own.
        const int next = step > 1 ? step / 2 : run;
        if (step > 32 || next > 32)
          __syncthreads();
        else
          __syncwarp();
      }
    __syncthreads();
    return size;
  }

  LATHE_DEVICE void FindInList(const Scale& scale, const Mark& mark, uint64_t count_before, uint64_t sum_before) {
    SortList();
    constexpr int kEach = kList / kThreads;
    const int n = shared_->n_list, start = threadIdx.x * kEach;
    uint64_t sums[kEach], sum = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (start + i < n) sum += scale.Weight(ValueOf(shared_->list[start + i]));
      sums[i] = sum;
    }
    if (threadIdx.x == 0) shared_->first = n - 1;
    sum_before += ScanBefore(sum);
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (start + i < n && mark.Reached(count_before + start + i + 1, sum_before + sums[i]))
        atomicMin(&shared_->first, static_cast<uint32_t>(start + i));
    __syncthreads();
    const int first = shared_->first;
    if (first >= start && first < start + kEach) {
      for (int r = 0; r < kBlocks; ++r) {
        Group::Store(&shared_->exchange[team_.phase][0][0], r, shared_->list[first]);
        uint64_t until = sum_before;
#pragma unroll
        for (int i = 0; i < kEach; ++i)
          if (start + i == first) until += sums[i];
        Group::Store(&shared_->exchange[team_.phase][0][1], r, until);
      }
    }
  }

  LATHE_DEVICE Place FindByBits(const Scale& scale, const Mark& mark, int bucket, uint64_t count_before, uint64_t sum_before) {
    Place place = {0, 0};
    for (int bit = 63; bit >= 0; --bit) {
      const uint64_t least = place.rank | 1ull << bit;
      uint64_t count = 0, sum = 0;
      for (int i = threadIdx.x; i < n_; i += kThreads) {
        const float v = values_[i];
        const uint32_t weight = scale.Weight(v);
        if (weight != 0 && scale.Bucket(v) == bucket && RankOf(v, begin_ + i) >= least) ++count, sum += weight;
      }
      team_.Publish(0, count, AddOp());
      team_.Publish(1, sum, AddOp());
      team_.Exchange();
      count = count_before + team_.Combine(0, AddOp());
      sum = sum_before + team_.Combine(1, AddOp());
      if (mark.Reached(count, sum)) place = {least, sum};
    }
    return place;
  }

  // ---- what a row is asked for ---------------------------------------------------------------------------------

  LATHE_DEVICE int Top(const SampleLaunch& launch, double log_sum) {
    const int n = min(min(params_.n_top_logprobs, kMaxTopLogprobs), VOCAB);
    const Scale scale(max_, min_, 0.0f);
    Histogram(scale, true);
    const Place last = Find(scale, {Mark::kCount, static_cast<uint64_t>(n), 0});
    if (threadIdx.x == 0) shared_->n_list = 0;
    Group::Sync();
    Collect([](float) { return true; }, last.rank);
    Group::Sync();
    if (team_.rank == 0) {
      SortList();
      const int i = threadIdx.x;
      if (i < n) {
        const uint64_t rank = shared_->list[i];
        const double v = static_cast<double>(ValueOf(rank)) - static_cast<double>(max_) - log_sum;
        launch.top[row_ * kMaxTopLogprobs + i] = {IdOf(rank), static_cast<float>(v)};
      }
    }
    Group::Sync();
    return n;
  }

  LATHE_DEVICE int Choose(bool random) {
    if (!any_) return -1;
    if (!random || max_ > -kLowest) return best_;
    const Scale scale(max_, min_, params_.temperature);
    Histogram(scale, params_.top_k > 0);
    uint64_t cut = 0, sum = shared_->total_sum;
    if (params_.top_k > 0 && static_cast<uint64_t>(params_.top_k) < shared_->total_count) {
      const Place place = Find(scale, {Mark::kCount, static_cast<uint64_t>(params_.top_k), 0});
      cut = place.rank, sum = place.sum;
    }
    if (params_.top_p < 1) {
      const double enough = __dmul_rn(static_cast<double>(params_.top_p), static_cast<double>(sum));
      const Place place = Find(scale, {Mark::kEnough, 0, enough});
      cut = place.rank, sum = place.sum;
    }
    if (params_.min_p > 0) sum = DropBelow(scale, cut, sum);
    const double u = Uniform(params_.seed, params_.counter);
    uint64_t target = static_cast<uint64_t>(__dmul_rn(u, static_cast<double>(sum)));
    if (target > sum - 1) target = sum - 1;
    return IdOf(Find(scale, {Mark::kExceed, target, 0}).rank);
  }
  // Ends the kept prefix at its last token that weighs at least min_p of the first; one stays.
  LATHE_DEVICE uint64_t DropBelow(const Scale& scale, uint64_t cut, uint64_t sum) {
    const double least = __dmul_rn(static_cast<double>(params_.min_p), static_cast<double>(SampleWeight(0.0f)));
    uint64_t last = ~0ull;
    for (int i = threadIdx.x; i < n_; i += kThreads) {
      const float v = values_[i];
      const uint32_t weight = scale.Weight(v);
      if (weight == 0 || static_cast<double>(weight) < least) continue;
      const uint64_t rank = RankOf(v, begin_ + i);
      if (rank >= cut && rank < last) last = rank;
    }
    last = team_.Reduce(last, MinOp());
    if (last == ~0ull) return SampleWeight(0.0f);
    uint64_t part = 0;
    for (int i = threadIdx.x; i < n_; i += kThreads)
      if (RankOf(values_[i], begin_ + i) >= last) part += scale.Weight(values_[i]);
    return team_.Reduce(part, AddOp());
  }
  LATHE_DEVICE static uint64_t Mix(uint64_t x) {  // splitmix64
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }
  LATHE_DEVICE static double Uniform(uint64_t seed, uint64_t counter) {
    return static_cast<double>(Mix(Mix(seed) ^ Mix(~counter)) >> 11) * 0x1p-53;
  }

  const int64_t row_;
  const SampleParams& params_;
  const float* logits_;
  const char* step_;
  Team team_;
  Shared* shared_;
  const int begin_, n_;  // this block's tokens
  float* own_;           // (n_) where values may be changed
  const float* values_;  // (n_) own_, or the logits themselves
  bool any_ = false, finite_ = true;
  int best_ = -1;
  float max_ = 0, min_ = 0;
};

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, BLOCKS == 1 ? 2 : 3) LATHE_ENTRY(const SampleLaunch launch) {
  extern __shared__ __align__(16) char room[];
  DependencyWait();
  DependencyLaunch();
  constexpr int kWords = sizeof(SampleParams) / 4;
  if (threadIdx.x < kWords)
    reinterpret_cast<uint32_t*>(&reinterpret_cast<Shared*>(room)->params)[threadIdx.x] =
        reinterpret_cast<const uint32_t*>(launch.params + blockIdx.x / kBlocks)[threadIdx.x];
  Group::Sync();  // every block of the cluster runs before any writes into another
  Row(launch, reinterpret_cast<Shared*>(room), reinterpret_cast<float*>(room + (sizeof(Shared) + 15) / 16 * 16)).Run(launch);
}
