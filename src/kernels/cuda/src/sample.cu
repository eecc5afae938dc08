// One token from each row of logits, as kernels/api/sample.h says and kernels/ref/sample.cc shows: the same token, since
// weights are integers and every sum of them is exact. What top-k, top-p and min-p keep is a prefix of the order of tokens
// (sample_order.cuh), so a cut is a place in it, and so is the draw; sample_find.cuh finds places.
//
// A row is one cluster of BLOCKS blocks, each with its part of the row in shared memory, so that logits are read from
// device memory once. With BLOCKS 1 the row stays in global memory.
//
// Macros: sample_team.cuh's. grid: rows * BLOCKS. Shared memory: Shared (ROOM bytes), then a slice of floats.
#include "sample_find.cuh"

constexpr float kLowest = -3.402823466e38f;
constexpr int kAhead = 4;  // loads of 16 bytes that a thread has under way

struct Count {
  int id, in_prompt, in_output;
};
struct Bias {
  int id;
  float bias;
};

class Row {
 public:
  LATHE_DEVICE Row(const SampleLaunch& launch, Shared* shared, float* room)
      : launch_(launch),
        shared_(shared),
        params_(shared->params),
        room_(room),
        finder_(shared),
        begin_(Group::Rank() * kSlice),
        n_(max(0, min(kSlice, VOCAB - begin_))) {}

  LATHE_DEVICE void Run() {
    const bool adjusted = params_.n_counts > 0 || params_.n_biases > 0 || params_.mask_at >= 0;
    const bool random = params_.temperature > 0;
    const bool ranked = params_.want_logprob != 0 || params_.n_top_logprobs > 0;
    const bool keep = adjusted || (kBlocks > 1 && (random || ranked));
    kept_ = keep;
    const bool finite = LoadRow();
    if (threadIdx.x == 0) shared_->finite = finite ? 1 : 0;  // a register less for a long time
    int id = -1;
    if (finite) {
      if (ranked) LogSum();
      if (params_.n_top_logprobs > 0) Top();
      if (adjusted) Adjust();
      id = Choose(random);
    }
    if (threadIdx.x == 0 && Group::Rank() == 0) {
      SampledRow out = {id, 0.0f, shared_->finite, shared_->finite != 0 ? TopCount() : 0};
      if (ranked && id >= 0) out.logprob = LogProb(Logits()[id]);
      launch_.out[RowIndex()] = out;
    }
    __syncwarp();
    Group::Arrive();  // no block leaves while another may still reach into its shared memory
    Group::Wait();
  }

 private:
  using RowScale = Finder::RowScale;
  LATHE_DEVICE static int64_t RowIndex() { return blockIdx.x / kBlocks; }
  LATHE_DEVICE const float* Logits() const { return launch_.logits + RowIndex() * launch_.ld; }
  // Where this block's values may be changed.
  LATHE_DEVICE float* Own() const { return kBlocks > 1 ? room_ : launch_.scratch + RowIndex() * launch_.ld; }
  // Blocks of a cluster look again only at what they have kept.
  LATHE_DEVICE Slice Tokens() const { return {kBlocks > 1 || kept_ ? Own() : Logits(), begin_, n_}; }

  // ---- passes over this block's part of the row --------------------------------------------------------------

  // A thread's largest value with the lowest id, and smallest value.
  struct Seen {
    float largest, smallest;
    int best = 0x7fffffff;

    LATHE_DEVICE Seen() : largest(-__int_as_float(0x7f800000)), smallest(__int_as_float(0x7f800000)) {}
    LATHE_DEVICE Extremes Result(bool strange) const {
      const bool some = best != 0x7fffffff;
      return {some ? RankOf(largest, best) : 0, OrderedBits(smallest), strange};
    }
  };

  // Whether all values are finite.
  LATHE_DEVICE bool LoadRow() {
    Seen seen;
    float strange = 0;
    const auto look = [&](float v, int id) {
      if (v > seen.largest) seen.largest = v, seen.best = id;
      seen.smallest = fminf(seen.smallest, v);
      strange += v - v;
    };
    const int whole = n_ / 4 * 4;
    for (int first = threadIdx.x * 4; first < whole; first += kAhead * kThreads * 4) {
      uint4 bits[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int i = first + a * kThreads * 4;
        if (i < whole) bits[a] = LoadStream(Logits() + begin_ + i);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int i = first + a * kThreads * 4;
        if (i >= whole) break;
        const float4 v = {__uint_as_float(bits[a].x), __uint_as_float(bits[a].y), __uint_as_float(bits[a].z),
                          __uint_as_float(bits[a].w)};
        if (kept_) *reinterpret_cast<float4*>(Own() + i) = v;
        const int id = begin_ + i;
        look(v.x, id), look(v.y, id + 1), look(v.z, id + 2), look(v.w, id + 3);
      }
    }
    const int last = whole + threadIdx.x;
    if (last < n_) {
      const float v = Logits()[begin_ + last];
      if (kept_) Own()[last] = v;
      look(v, begin_ + last);
    } else if (kBlocks > 1 && kept_ && last < (n_ + 3) / 4 * 4) {
      Own()[last] = -__int_as_float(0x7f800000);
    }
    __syncwarp();
    Group::Wait();
    return !Summarize(seen.Result(strange != 0)).strange;
  }
  // A second look, after adjusting: -inf is a forbidden token and no strange value.
  LATHE_DEVICE void Look() {
    Seen seen;
    Tokens().ForEach([&](float v, int id) {
      if (v > seen.largest) seen.largest = v, seen.best = id;
      if (v >= kLowest) seen.smallest = fminf(seen.smallest, v);
    });
    Summarize(seen.Result(false));
  }
  LATHE_DEVICE Extremes Summarize(const Extremes& mine) {
    const Extremes all = finder_.team().Reduce(mine);
    best_ = (all.top >> 32) != 0 ? IdOf(all.top) : -1;
    max_ = ValueOf(all.top);
    min_ = FromOrderedBits(all.lowest);
    return all;
  }

  // Leaves what LogProb needs.
  LATHE_DEVICE void LogSum() {
    float part = 0;
    double sum = 0;
    int k = 0;
    Tokens().ForEach([&](float v, int) {
      part += expf(v - max_);
      if (++k % 16 == 0) sum += part, part = 0;  // f32 only for short runs
    });
    sum += part;
    sum = __longlong_as_double(finder_.team().Reduce(__double_as_longlong(sum), AddDoubleOp()));
    if (threadIdx.x == 0) {
      shared_->log_sum = log(sum);
      shared_->raw_max = max_;
    }
    __syncthreads();
  }
  LATHE_DEVICE float LogProb(float logit) const {
    return static_cast<float>(static_cast<double>(logit) - static_cast<double>(shared_->raw_max) - shared_->log_sum);
  }

  LATHE_DEVICE bool Mine(int id) const { return id >= begin_ && id < begin_ + n_; }
  LATHE_DEVICE void Adjust() {
    const Count* counts = reinterpret_cast<const Count*>(launch_.step + params_.counts_at);
    __syncthreads();
    for (int i = threadIdx.x; i < params_.n_counts; i += kThreads) {
      const Count count = counts[i];
      if (!Mine(count.id)) continue;
      float v = Own()[count.id - begin_];
      if (params_.repetition_penalty != 1)
        v = v > 0 ? __fdiv_rn(v, params_.repetition_penalty) : __fmul_rn(v, params_.repetition_penalty);
      v = __fsub_rn(v, __fmul_rn(params_.frequency_penalty, static_cast<float>(count.in_output)));
      if (count.in_output > 0) v = __fsub_rn(v, params_.presence_penalty);
      Own()[count.id - begin_] = v;
    }
    __syncthreads();
    const Bias* biases = reinterpret_cast<const Bias*>(launch_.step + params_.biases_at);
    for (int i = threadIdx.x; i < params_.n_biases; i += kThreads)
      if (Mine(biases[i].id)) Own()[biases[i].id - begin_] += biases[i].bias;
    __syncthreads();
    if (params_.mask_at >= 0) {
      const uint32_t* mask = reinterpret_cast<const uint32_t*>(launch_.step + params_.mask_at);
      for (int i = threadIdx.x; i < n_; i += kThreads) {
        const int id = begin_ + i;
        if ((mask[id / 32] >> (id % 32) & 1u) == 0) Own()[i] = -__int_as_float(0x7f800000);
      }
      __syncthreads();
    }
    Look();
  }

  // ---- what a row is asked for ---------------------------------------------------------------------------------

  LATHE_DEVICE int TopCount() const { return max(0, min(min(params_.n_top_logprobs, kMaxTopLogprobs), VOCAB)); }
  LATHE_DEVICE void Top() {
    const int n = TopCount();
    const RowScale scale(max_, min_, 0.0f);
    finder_.Count(Tokens(), scale, true);
    const Place last = finder_.Find(Tokens(), scale, {Mark::kCount, static_cast<uint64_t>(n), 0}, true);
    finder_.CollectFrom(Tokens(), last.rank);
    if (Group::Rank() == 0 && static_cast<int>(threadIdx.x) < n) {
      const uint64_t rank = finder_.Merged(threadIdx.x);
      int before = 0;
      for (int i = 0; i < n; ++i) before += finder_.Merged(i) > rank;
      launch_.top[RowIndex() * kMaxTopLogprobs + before] = {IdOf(rank), LogProb(ValueOf(rank))};
    }
  }

  LATHE_DEVICE int Choose(bool random) {
    if (best_ < 0 || !random || max_ > -kLowest) return best_;
    const RowScale scale(max_, min_, params_.temperature);
    finder_.Count(Tokens(), scale, params_.top_k > 0);
    uint64_t cut = RankOf(kLowest, 0x7fffffff), sum = finder_.total_sum();
    Place place = {0, 0};
    // Top-k, top-p, then the draw from what they and min-p leave.
#pragma unroll 1
    for (int stage = 0; stage < 3; ++stage) {
      Mark mark = {Mark::kExceed, 0, 0};
      if (stage == 0) {
        if (params_.top_k <= 0 || static_cast<uint64_t>(params_.top_k) >= finder_.total_count()) continue;
        mark = {Mark::kCount, static_cast<uint64_t>(params_.top_k), 0};
      } else if (stage == 1) {
        if (params_.top_p >= 1) continue;
        mark = {Mark::kEnough, 0, __dmul_rn(static_cast<double>(params_.top_p), static_cast<double>(sum))};
      } else {
        if (params_.min_p > 0) sum = DropBelow(scale, cut, sum);
        const double u = Uniform(params_.seed, params_.counter);
        mark.number = min(static_cast<uint64_t>(__dmul_rn(u, static_cast<double>(sum))), sum - 1);
      }
      place = finder_.Find(Tokens(), scale, mark, stage < 2);
      cut = place.rank, sum = place.sum;
    }
    return IdOf(place.rank);
  }
  // Ends the kept prefix at its last token that weighs at least min_p of the first; one stays.
  LATHE_DEVICE uint64_t DropBelow(const RowScale& scale, uint64_t cut, uint64_t sum) {
    const double least = __dmul_rn(static_cast<double>(params_.min_p), static_cast<double>(SampleWeight(0.0f)));
    uint64_t last = ~0ull;
    const float lowest = ValueOf(cut);
    Tokens().ForEach([&](float v, int id) {
      if (!(v >= lowest)) return;
      const uint64_t rank = RankOf(v, id);
      if (rank < cut || rank >= last) return;
      const uint32_t weight = scale.Weight(v);
      if (weight != 0 && static_cast<double>(weight) >= least) last = rank;
    });
    last = finder_.team().Reduce(last, MinOp());
    if (last == ~0ull) return SampleWeight(0.0f);
    uint64_t part = 0;
    const float last_value = ValueOf(last);
    Tokens().ForEach([&](float v, int id) {
      if (v >= last_value && RankOf(v, id) >= last) part += scale.Weight(v);
    });
    return finder_.team().Reduce(part, AddOp());
  }

  const SampleLaunch& launch_;
  Shared* const shared_;
  const SampleParams& params_;
  float* const room_;
  Finder finder_;
  const int begin_, n_;  // this block's tokens
  bool kept_ = false;    // the values stand in Own()
  int best_ = -1;  // none: no token is allowed
  float max_ = 0, min_ = 0;
};

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, BLOCKS == 1 ? 1 : 2) LATHE_ENTRY(const SampleLaunch launch) {
  extern __shared__ __align__(16) char room[];
  DependencyLaunch();
  DependencyWait();
  constexpr int kWords = sizeof(SampleParams) / 4;
  if (threadIdx.x < kWords)
    reinterpret_cast<uint32_t*>(&reinterpret_cast<Shared*>(room)->params)[threadIdx.x] =
        reinterpret_cast<const uint32_t*>(launch.params + blockIdx.x / kBlocks)[threadIdx.x];
  __syncthreads();
  Group::Arrive();  // every block of the cluster runs before any writes into another: Row waits for that
  Row(launch, reinterpret_cast<Shared*>(room), reinterpret_cast<float*>(room + ROOM)).Run();
}
