// Causal attention over paged keys and values, by the block contract of kernels/api/params.h. One kernel for
// decode and prompt: a tile of (query row, head) pairs of one kv head shares every load of K and V.
#include "kernels/cpu/isa/attention_tile.h"
#include "kernels/cpu/isa/kernels.h"

namespace lathe::LATHE_ISA {
namespace {

// Rows of a tile: the pairs (query row, q head of the kv head), head fastest, in runs of whole query rows
// where the group is small enough.
constexpr int kTileRows = 64;

struct TileRange {
  const AttnSeq* seq = nullptr;
  int kv_head = 0;
  int first = 0, n = 0;  // flat rows of the sequence: row * group + head
  int group = 1;
  int Row(int i) const { return (first + i) / group; }
  int Head(int i) const { return kv_head * group + (first + i) % group; }
};

// Finds tiles by number. Numbers ascend within one op, so a cursor over the sequences is enough.
class TileWalk {
 public:
  explicit TileWalk(const AttentionParams& p) : p_(p), group_(p.n_heads / p.kv.n_kv_heads) {
    rows_ = group_ >= kTileRows ? kTileRows : kTileRows / group_ * group_;
    for (int s = 0; s < p.n_seqs; ++s) count_ += TilesOf(p.seqs[s]) * p.kv.n_kv_heads;
  }
  int count() const { return count_; }
  int group() const { return group_; }
  // Tiles of a sequence are numbered from its last rows (the longest rows first) for better balance.
  TileRange Get(int tile) {
    while (tile >= before_ + TilesOf(p_.seqs[seq_]) * p_.kv.n_kv_heads)
      before_ += TilesOf(p_.seqs[seq_++]) * p_.kv.n_kv_heads;
    const AttnSeq& seq = p_.seqs[seq_];
    const int local = tile - before_, from_end = local / p_.kv.n_kv_heads;
    TileRange t;
    t.seq = &seq;
    t.kv_head = local % p_.kv.n_kv_heads;
    t.group = group_;
    t.first = (TilesOf(seq) - 1 - from_end) * rows_;
    t.n = MinInt(rows_, seq.n_rows * group_ - t.first);
    return t;
  }

 private:
  int TilesOf(const AttnSeq& seq) const { return CeilDiv(seq.n_rows * group_, rows_); }
  const AttentionParams& p_;
  int group_, rows_ = 1, count_ = 0;
  int seq_ = 0, before_ = 0;
};

// Blocks of keys that some row of a tile sees.
struct BlockRange {
  int first = 0, last = 0;
};
BlockRange BlocksOf(const AttentionParams& p, const TileRange& t) {
  const int low = p.window > 0 ? MaxInt(0, t.seq->first_position + t.Row(0) + 1 - p.window) : 0;
  const int high = t.seq->first_position + t.Row(t.n - 1);
  return {low / kAttnBlock, high / kAttnBlock + 1};
}

// Scratch of one tile.
struct TileState {
  void* q;             // (n, dim) f32 or bf16
  float* scores;       // (n, kScoreStride)
  SoftmaxState sum;    // merged over the blocks so far
  SoftmaxState block;  // of one block
  float* widened;      // (kAttnBlock, dim) keys or values in f32
};

constexpr int kMaxHeadDim = 256;
constexpr size_t kTileScratch = sizeof(float) * kTileRows * (kMaxHeadDim * 3 + kScoreStride + 4) +
                                sizeof(float) * kAttnBlock * kMaxHeadDim;
static_assert(kTileScratch <= kScratchBytes);

TileState CarveScratch(const Worker& worker, int dim) {
  float* at = reinterpret_cast<float*>(worker.scratch.data());
  const auto take = [&at](int n) {
    float* taken = at;
    at += (n + 15) / 16 * 16;
    return taken;
  };
  TileState s;
  s.q = take(kTileRows * dim);
  s.scores = take(kTileRows * kScoreStride);
  s.sum = {take(kTileRows), take(kTileRows), take(kTileRows * dim)};
  s.block = {take(kTileRows), take(kTileRows), take(kTileRows * dim)};
  s.widened = take(kAttnBlock * dim);
  return s;
}

void CopyQueries(const AttentionParams& p, const TileRange& t, void* out) {
  const size_t bytes =
      static_cast<size_t>(p.kv.head_dim) * static_cast<size_t>(p.q_type == DType::kBf16 ? 2 : 4);
  for (int i = 0; i < t.n; ++i) {
    const int64_t row = static_cast<int64_t>(t.seq->first_row + t.Row(i)) * p.n_heads + t.Head(i);
    __builtin_memcpy(static_cast<char*>(out) + static_cast<size_t>(i) * bytes,
                     static_cast<const char*>(p.q) + static_cast<size_t>(row) * bytes, bytes);
  }
}

// (max, sum, sum of p*V) of every row of the tile over block b.
void RunBlock(const AttentionParams& p, const TileRange& t, int b, const TileState& s) {
  const int base = b * kAttnBlock;
  const int first_position = t.seq->first_position;
  const auto low = [&](int i) {
    return p.window > 0 ? MaxInt(0, first_position + t.Row(i) + 1 - p.window - base) : 0;
  };
  const auto high = [&](int i) { return MinInt(kAttnBlock, first_position + t.Row(i) + 1 - base); };
  const BlockKeys keys = {.kv = &p.kv,
                          .base = static_cast<const char*>(p.kv_base),
                          .pages = t.seq->pages,
                          .head = t.kv_head,
                          .position = base,
                          .low = low(0),
                          .high = high(t.n - 1)};
  if (keys.high <= keys.low) {
    for (int i = 0; i < t.n; ++i) s.block.max[i] = -__builtin_inff();
    return;
  }
  ScoreBlock(keys, s.q, p.q_type, t.n, s.scores, s.widened);
  for (int i = 0; i < t.n; ++i)
    SoftmaxRow(s.scores + i * kScoreStride, keys, low(i), high(i), s.block.max + i, s.block.sum + i);
  WeighValues(keys, s.scores, t.n, s.block.out, s.widened);
}

void Begin(const TileState& s, int n, int dim) {
  for (int i = 0; i < n; ++i) {
    s.sum.max[i] = -__builtin_inff();
    s.sum.sum[i] = 0;
  }
  __builtin_memset(s.sum.out, 0, sizeof(float) * static_cast<size_t>(n * dim));
}

template <typename Y>
void WriteRow(const float* out, float sum, int dim, Y* y) {
  const F divisor = Set1(sum);
  for (int d = 0; d < dim; d += kLanes) {
    const int n = MinInt(kLanes, dim - d);
    // + 0 turns -0 into +0: keys with p = 0 may have flipped the sign of a zero, and bits must not tell.
    StoreAsN(y + d, Add(Div(LoadN(out + d, n), divisor), Zero()), n);
  }
}

void End(const AttentionParams& p, const TileRange& t, const TileState& s) {
  const int dim = p.kv.head_dim;
  for (int i = 0; i < t.n; ++i) {
    const int64_t at = (static_cast<int64_t>(t.seq->first_row + t.Row(i)) * p.n_heads + t.Head(i)) * dim;
    if (p.y_type == DType::kBf16)
      WriteRow(s.sum.out + i * dim, s.sum.sum[i], dim, static_cast<uint16_t*>(p.y) + at);
    else
      WriteRow(s.sum.out + i * dim, s.sum.sum[i], dim, static_cast<float*>(p.y) + at);
  }
}

void RunTiles(const AttentionParams& p, const Worker& worker, TileWalk walk) {
  const TileState s = CarveScratch(worker, p.kv.head_dim);
  for (int task; (task = worker.Next(walk.count())) >= 0;) {
    const TileRange t = walk.Get(task);
    CopyQueries(p, t, s.q);
    Begin(s, t.n, p.kv.head_dim);
    const BlockRange blocks = BlocksOf(p, t);
    for (int b = blocks.first; b < blocks.last; ++b) {
      RunBlock(p, t, b, s);
      MergeSoftmax(s.block, t.n, p.kv.head_dim, s.sum);
    }
    End(p, t, s);
  }
}

// Layout of the shared workspace when tiles are split by blocks: one counter a tile, a cache line each
// (always the same room, so that no call's results lie where another's counters are), then for every (tile,
// block) its (max, sum, out).
struct SplitPlan {
  int n_tiles = 0, max_blocks = 0;
  int64_t slot_floats = 0;
  int64_t Bytes() const { return kAttnCounterBytes + int64_t{n_tiles} * max_blocks * slot_floats * 4; }
};

SplitPlan PlanSplit(const AttentionParams& p, TileWalk walk) {
  SplitPlan plan;
  plan.n_tiles = walk.count();
  int rows = 0;
  for (int i = 0; i < plan.n_tiles; ++i) {
    const TileRange t = walk.Get(i);
    const BlockRange blocks = BlocksOf(p, t);
    plan.max_blocks = MaxInt(plan.max_blocks, blocks.last - blocks.first);
    rows = MaxInt(rows, t.n);
  }
  plan.slot_floats = static_cast<int64_t>(CeilDiv(rows, 16)) * 32 +
                     static_cast<int64_t>(CeilDiv(rows * p.kv.head_dim, 16)) * 16;
  return plan;
}

// Every (tile, block) is a task; whoever ends the last block of a tile merges them in ascending order.
void RunSplit(const AttentionParams& p, const Worker& worker, const TileWalk& walk, const SplitPlan& plan) {
  const int dim = p.kv.head_dim;
  TileState s = CarveScratch(worker, dim);
  char* counters = static_cast<char*>(p.workspace);
  float* slots = reinterpret_cast<float*>(counters + kAttnCounterBytes);
  for (int task; (task = worker.Next(plan.n_tiles * plan.max_blocks)) >= 0;) {
    const int tile = task / plan.max_blocks, index = task % plan.max_blocks;
    TileWalk from_start = walk;
    const TileRange t = from_start.Get(tile);
    const BlockRange blocks = BlocksOf(p, t);
    const int n_blocks = blocks.last - blocks.first;
    if (index >= n_blocks) continue;
    const int padded = CeilDiv(t.n, 16) * 16;
    const auto slot = [&](int i) {
      float* at = slots + (int64_t{tile} * plan.max_blocks + i) * plan.slot_floats;
      return SoftmaxState{at, at + padded, at + 2 * padded};
    };
    CopyQueries(p, t, s.q);
    s.block = slot(index);
    RunBlock(p, t, blocks.first + index, s);
    int* done = reinterpret_cast<int*>(counters + int64_t{64} * tile);
    if (__atomic_add_fetch(done, 1, __ATOMIC_ACQ_REL) < n_blocks) continue;
    __atomic_store_n(done, 0, __ATOMIC_RELAXED);  // ready for the next call, which a barrier separates
    Begin(s, t.n, dim);
    for (int i = 0; i < n_blocks; ++i) MergeSoftmax(slot(i), t.n, dim, s.sum);
    End(p, t, s);
  }
}

}  // namespace

void Attention(const AttentionParams& p, const Worker& worker) {
  const TileWalk walk(p);
  const int most = MinInt(2 * worker.count - 1, static_cast<int>(kAttnCounterBytes / 64));
  if (worker.count > 1 && p.workspace && walk.count() <= most && walk.count() > 0) {
    const SplitPlan plan = PlanSplit(p, walk);
    if (plan.max_blocks > 1 && plan.Bytes() <= p.workspace_bytes) return RunSplit(p, worker, walk, plan);
  }
  RunTiles(p, worker, walk);
}

}  // namespace lathe::LATHE_ISA
