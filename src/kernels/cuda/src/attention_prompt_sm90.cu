// Prompt attention over paged keys and values on Hopper: one thread has the copy engine fetch blocks of 128 keys and
// values (two pages) into a ring of two, two warpgroups of 64 rows each multiply with wgmma. Within a warpgroup the
// scores of the next block and the output of this one are computed while softmax runs; the two warpgroups take turns at
// the tensor cores, so that one's softmax falls into the other's products. Blocks stay for all their tiles.
//
// A tile is 128 rows of (token, head of the group). Macros: HEAD_DIM (64 or 128), GROUP, TAKE_TURNS, F16.
#include "attention_abi.h"
#include "attention_wgmma.cuh"

using namespace lathe::cuda;

constexpr int kDim = HEAD_DIM;
constexpr int kGroup = GROUP;
constexpr int kRows = 128;
constexpr int kKeys = 128;  // a block
constexpr int kStages = 2;
constexpr int kHalves = kDim / 64;          // 128-byte columns of a tile
constexpr int kHalfBytes = kKeys * 128;     // of one of them; rows and keys are both 128
constexpr int kBlockBytes = kHalves * kHalfBytes;
constexpr int kConsumers = 256;
constexpr float kNever = -1e30f;
static_assert(kDim == 64 || kDim == 128);
static_assert(kRows == kKeys);

struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

// Shared memory: q, then the rings of keys and values, then barriers.
struct Room {
  uint32_t q, k, v, barriers;
  LATHE_DEVICE explicit Room(uint32_t base)
      : q((base + 1023) & ~1023u), k(q + kBlockBytes), v(k + kStages * kBlockBytes), barriers(v + kStages * kBlockBytes) {}
  LATHE_DEVICE uint32_t K(int stage) const { return k + stage * kBlockBytes; }
  LATHE_DEVICE uint32_t V(int stage) const { return v + stage * kBlockBytes; }
  LATHE_DEVICE uint32_t KFull(int stage) const { return barriers + stage * 8; }
  LATHE_DEVICE uint32_t KEmpty(int stage) const { return barriers + (kStages + stage) * 8; }
  LATHE_DEVICE uint32_t VFull(int stage) const { return barriers + (2 * kStages + stage) * 8; }
  LATHE_DEVICE uint32_t VEmpty(int stage) const { return barriers + (3 * kStages + stage) * 8; }
  LATHE_DEVICE uint32_t Flag() const { return barriers + 4 * kStages * 8; }
};

// Which block of the ring comes next, and the parity of its barriers.
struct Ring {
  int stage = 0;
  uint32_t parity = 0;
  LATHE_DEVICE void Next() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

// What a block of threads computes: tile and kv head. Long tiles come first; going through the blocks forth and back
// evens out what each gets.
struct Work {
  PromptTile at;
  int kv_head;
  int last;                           // packed row
  int first_page, end_page, n_blocks;
  int end;  // keys of the sequence: what lies beyond in its last page may be anything

  LATHE_DEVICE bool Find(const PromptParams& p, int round) {
    const int n = *p.n_tiles * p.n_kv_heads, grid = gridDim.x;
    const int i = round * grid + ((round & 1) != 0 ? grid - 1 - static_cast<int>(blockIdx.x) : static_cast<int>(blockIdx.x));
    if (i >= n) return false;
    at = p.tiles[i / p.n_kv_heads];
    kv_head = i % p.n_kv_heads;
    last = min(at.packed_row + kRows, at.n_rows * kGroup) - 1;
    first_page = at.first_page;
    end_page = at.end_page;
    n_blocks = (end_page - first_page + 1) / 2;
    end = at.first_position + at.n_rows;
    return true;
  }
};

// One thread: all copies of this block.
LATHE_DEVICE void Produce(const TensorMap& map, const PromptParams& p, const Room& room) {
  constexpr uint64_t kEvictNormal = 0x1000000000000000ull;
  TensorPrefetchMap(&map);
  Ring ring;
  Work work;
  for (int round = 0; work.Find(p, round); ++round) {
    const int* pages = p.pages + work.at.pages_at;
    for (int block = 0; block < work.n_blocks; ++block) {
      int row[2];  // of the map: this kv head's keys in the block's two pages; values follow keys
#pragma unroll
      for (int i = 0; i < 2; ++i)
        row[i] = (pages[min(work.first_page + 2 * block + i, work.end_page - 1)] * p.n_kv_heads + work.kv_head) * 2 * kPageSize;
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const uint32_t full = part == 0 ? room.KFull(ring.stage) : room.VFull(ring.stage);
        const uint32_t to = part == 0 ? room.K(ring.stage) : room.V(ring.stage);
        BarrierWait(part == 0 ? room.KEmpty(ring.stage) : room.VEmpty(ring.stage), ring.parity ^ 1);
        BarrierExpect(full, kBlockBytes);
#pragma unroll
        for (int half = 0; half < kHalves; ++half)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            TensorLoad(to + half * kHalfBytes + i * (kPageSize * 128), &map, half * 64, row[i] + part * kPageSize, full,
                       kEvictNormal);
      }
      ring.Next();
    }
  }
}

// The 64 rows of a warpgroup, swizzled as the copy engine would.
LATHE_DEVICE void FetchQuery(const PromptParams& p, const Work& work, uint32_t q, int group_row, int thread) {
  const int n_heads = p.n_kv_heads * kGroup;
#pragma unroll 8
  for (int i = thread; i < 64 * kDim / 8; i += 128) {
    const int row = i / (kDim / 8), chunk = i % (kDim / 8);
    const int packed = min(work.at.packed_row + group_row + row, work.last);
    const int64_t from =
        (static_cast<int64_t>(work.at.first_row + packed / kGroup) * n_heads + work.kv_head * kGroup + packed % kGroup) * kDim;
    const uint32_t to = q + (chunk / 8) * kHalfBytes + (group_row + row) * 128 + (((chunk % 8) ^ (row & 7)) << 4);
    CopyAsync16(to, static_cast<const char*>(p.q) + from * 2 + chunk * 16);
  }
  CopyAsyncCommit();
}

// Values beyond the sequence's end become zero: their probability is, and 0 * NaN is NaN. Both warpgroups.
LATHE_DEVICE void ClearBeyond(uint32_t v, int n_valid) {
  const int thread = static_cast<int>(threadIdx.x) - 128;
  for (int i = n_valid * 8 + thread; i < kKeys * 8; i += kConsumers)
#pragma unroll
    for (int half = 0; half < kHalves; ++half)
      asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(v + half * kHalfBytes + i * 16), "r"(0) : "memory");
  ProxyFence();
  NamedBarrier(3, kConsumers);
}

LATHE_DEVICE uint64_t ValueDescriptor(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3ffff) >> 4) | (static_cast<uint64_t>(kHalfBytes >> 4) << 16) | (64ull << 32) |
         (1ull << 62);
}
LATHE_DEVICE void IssueScores(uint32_t q, uint32_t k, float (&s)[kKeys / 2]) {
#pragma unroll
  for (int i = 0; i < kDim / 16; ++i) {
    const uint32_t at = (i / 4) * kHalfBytes + (i % 4) * 32;
    WgmmaScores(s, WgmmaDescriptor(q + at), WgmmaDescriptor(k + at), i != 0);
  }
  WgmmaCommit();
}
LATHE_DEVICE void IssueOutput(const uint32_t (&probabilities)[kKeys / 16][4], uint32_t v, float (&out)[kDim / 2]) {
#pragma unroll
  for (int i = 0; i < kKeys / 16; ++i) WgmmaOutput(out, probabilities[i], ValueDescriptor(v + i * 16 * 128));
  WgmmaCommit();
}

struct Consumer {
  const PromptParams& p;
  const Room& room;
  int group, thread;  // warpgroup 0 or 1, thread in it
  int g, t;
  int position[2];
  float max[2], sum[2], shrink[2];

  LATHE_DEVICE Consumer(const PromptParams& params, const Room& all)
      : p(params), room(all), group(threadIdx.x / 128 - 1), thread(threadIdx.x % 128), g(Lane() / 4), t(Lane() % 4) {}

  // The warpgroups' turns at the tensor cores: barrier 4 + group is complete when the other one has passed.
  LATHE_DEVICE void TakeTurn() const {
#if TAKE_TURNS
    NamedBarrier(4 + group, kConsumers);
#endif
  }
  LATHE_DEVICE void PassTurn() const {
#if TAKE_TURNS
    asm volatile("bar.arrive %0, %1;" ::"r"(5 - group), "r"(kConsumers) : "memory");
#endif
  }
  LATHE_DEVICE void Release(uint32_t barrier) const {
    if (Lane() == 0) BarrierArrive(barrier);
  }

  LATHE_DEVICE void Mask(const Work& work, int block, float (&s)[kKeys / 2]) const {
    const int key0 = work.first_page * kPageSize + block * kKeys;
    const int row0 = min(work.at.packed_row + group * 64, work.last), row1 = min(row0 + 63, work.last);
    if (key0 + kKeys - 1 <= work.at.first_position + row0 / kGroup &&
        (p.window <= 0 || key0 > work.at.first_position + row1 / kGroup - p.window))
      return;
#pragma unroll
    for (int j = 0; j < kKeys / 2; ++j) {
      const int key = key0 + (j / 4) * 8 + t * 2 + (j & 1), row = position[(j >> 1) & 1];
      if (key > row || (p.window > 0 && key <= row - p.window)) s[j] = kNever;
    }
  }
  // Scores to probabilities, still f32; what came before shrinks by `shrink`.
  LATHE_DEVICE void Weigh(float (&s)[kKeys / 2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float top = max[i];
#pragma unroll
      for (int j = 0; j < kKeys / 2; j += 4) top = fmaxf(top, fmaxf(s[j + 2 * i], s[j + 2 * i + 1]));
      top = fmaxf(top, ShuffleXor(top, 1));
      top = fmaxf(top, ShuffleXor(top, 2));
      const float shift = top == kNever ? 0.0f : top * p.scale;
      // Exactly 1 where the maximum stays, so that blocks of keys a row sees nothing of leave its bits alone: the product
      // minus the rounded product would be fused, and give the rounding error.
      shrink[i] = Exp2((max[i] - top) * p.scale);
      max[i] = top;
      float part = 0;
#pragma unroll
      for (int j = 0; j < kKeys / 2; j += 4) {
        s[j + 2 * i] = Exp2(s[j + 2 * i] * p.scale - shift);
        s[j + 2 * i + 1] = Exp2(s[j + 2 * i + 1] * p.scale - shift);
        part += s[j + 2 * i] + s[j + 2 * i + 1];
      }
      sum[i] = sum[i] * shrink[i] + part;
    }
  }
  LATHE_DEVICE static void Round(const float (&s)[kKeys / 2], uint32_t (&probabilities)[kKeys / 16][4]) {
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) probabilities[i][j] = Pack16(s[8 * i + 2 * j], s[8 * i + 2 * j + 1]);
  }
  LATHE_DEVICE void Store(const Work& work, const float (&out)[kDim / 2]) const {
    const int n_heads = p.n_kv_heads * kGroup;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float total = sum[i];
      total += ShuffleXor(total, 1);
      total += ShuffleXor(total, 2);
      const int packed = work.at.packed_row + group * 64 + (thread / 32) * 16 + g + 8 * i;
      if (packed > work.last) continue;
      const float inverse = total > 0 ? p.v_scale / total : 0.0f;
      const int64_t to =
          (static_cast<int64_t>(work.at.first_row + packed / kGroup) * n_heads + work.kv_head * kGroup + packed % kGroup) * kDim;
      char* line = static_cast<char*>(p.out) + to * 2 + t * 4;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
        *reinterpret_cast<uint32_t*>(line + n * 16) = Pack16(out[4 * n + 2 * i] * inverse, out[4 * n + 2 * i + 1] * inverse);
    }
  }
  // A part of a cut tile: its sums, and whoever is last merges all parts in their order.
  LATHE_DEVICE int64_t PartRow(const Work& work, int part, int row) const {
    return ((static_cast<int64_t>(work.at.first_slot) + part) * p.n_kv_heads + work.kv_head) * kRows + row;
  }
  LATHE_DEVICE void StorePart(const Work& work, const float (&out)[kDim / 2]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float total = sum[i];
      total += ShuffleXor(total, 1);
      total += ShuffleXor(total, 2);
      const int64_t row = PartRow(work, work.at.slot - work.at.first_slot, group * 64 + (thread / 32) * 16 + g + 8 * i);
      if (t == 0)
        __stcg(reinterpret_cast<float2*>(p.partial_state) + row, make_float2(max[i] == kNever ? kNever : max[i] * p.scale, total));
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n)
        __stcg(reinterpret_cast<float2*>(p.partial_out + row * kDim + n * 8 + t * 2),
               make_float2(out[4 * n + 2 * i], out[4 * n + 2 * i + 1]));
    }
    __threadfence();
    NamedBarrier(3, kConsumers);
    if (threadIdx.x == 128) {
      unsigned* counter = p.counters + work.at.counter * p.n_kv_heads + work.kv_head;
      const bool last = atomicAdd(counter, 1u) == static_cast<unsigned>(work.at.n_parts - 1);
      if (last) *counter = 0;
      asm volatile("st.shared.u32 [%0], %1;" ::"r"(room.Flag()), "r"(static_cast<int>(last)) : "memory");
    }
    NamedBarrier(3, kConsumers);
    int last;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(last) : "r"(room.Flag()) : "memory");
    if (last != 0) {
      __threadfence();
      MergeParts(work);
    }
  }
  LATHE_DEVICE void MergeParts(const Work& work) const {
    constexpr int kPieces = kDim / 4;
    const int n_heads = p.n_kv_heads * kGroup;
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x) - 128; i < kRows * kPieces; i += kConsumers) {
      const int row = i / kPieces, packed = work.at.packed_row + row;
      float top = kNever, total = 0;
      float4 v = make_float4(0, 0, 0, 0);
#pragma unroll 4
      for (int part = 0; part < work.at.n_parts; ++part) {
        const int64_t at = PartRow(work, part, row);
        const float2 state = __ldcg(reinterpret_cast<const float2*>(p.partial_state) + at);
        const float4 more = __ldcg(reinterpret_cast<const float4*>(p.partial_out + at * kDim) + i % kPieces);
        const float larger = fmaxf(top, state.x);
        const float old = top == kNever ? 0.0f : Exp2(top - larger), now = state.x == kNever ? 0.0f : Exp2(state.x - larger);
        top = larger;
        total = total * old + state.y * now;
        v.x = v.x * old + more.x * now;
        v.y = v.y * old + more.y * now;
        v.z = v.z * old + more.z * now;
        v.w = v.w * old + more.w * now;
      }
      if (packed > work.last) continue;
      const float inverse = total > 0 ? p.v_scale / total : 0.0f;
      const int64_t to =
          (static_cast<int64_t>(work.at.first_row + packed / kGroup) * n_heads + work.kv_head * kGroup + packed % kGroup) * kDim;
      *reinterpret_cast<uint2*>(static_cast<char*>(p.out) + to * 2 + i % kPieces * 8) =
          make_uint2(Pack16(v.x * inverse, v.y * inverse), Pack16(v.z * inverse, v.w * inverse));
    }
  }
  // Waits for the values of `block` in the ring and makes them safe to multiply.
  LATHE_DEVICE void AwaitValues(const Work& work, int block, const Ring& ring) const {
    BarrierWait(room.VFull(ring.stage), ring.parity);
    const int valid = work.end - (work.first_page * kPageSize + block * kKeys);
    if (valid < kKeys) ClearBeyond(room.V(ring.stage), valid);
  }

  // The scores of a tile are all there: q of the next one may take the place of its q.
  LATHE_DEVICE void FetchNextQuery(int round) const {
    NamedBarrier(1 + group, 128);
    Work next;
    if (next.Find(p, round)) FetchQuery(p, next, room.q, group * 64, thread);
  }

  LATHE_DEVICE void Run() {
    const uint32_t q = room.q + group * (64 * 128);
    Ring keys, values;
    Work work;
    if (group == 1) PassTurn();
    if (work.Find(p, 0)) FetchQuery(p, work, room.q, group * 64, thread);
    for (int round = 0; work.Find(p, round); ++round) {
      CopyAsyncWait<0>();
      ProxyFence();
      NamedBarrier(1 + group, 128);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        position[i] = work.at.first_position +
                      min(work.at.packed_row + group * 64 + (thread / 32) * 16 + g + 8 * i, work.last) / kGroup;
        max[i] = kNever;
        sum[i] = 0;
      }
      float out[kDim / 2], s[kKeys / 2];
      uint32_t probabilities[kKeys / 16][4];
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) out[i] = 0;

      BarrierWait(room.KFull(keys.stage), keys.parity);
      TakeTurn();
      WgmmaFence();
      IssueScores(q, room.K(keys.stage), s);
      PassTurn();
      WgmmaWait<0>();
      Pin(s);
      Release(room.KEmpty(keys.stage));
      keys.Next();
      Mask(work, 0, s);
      Weigh(s);
      Round(s, probabilities);
      for (int block = 1; block < work.n_blocks; ++block) {
        BarrierWait(room.KFull(keys.stage), keys.parity);
        TakeTurn();
        Pin(out);
        WgmmaFence();
        IssueScores(q, room.K(keys.stage), s);
        BarrierWait(room.VFull(values.stage), values.parity);
        IssueOutput(probabilities, room.V(values.stage), out);
        PassTurn();
        WgmmaWait<1>();
        Pin(s);
        Release(room.KEmpty(keys.stage));
        keys.Next();
        Mask(work, block, s);
        Weigh(s);
        WgmmaWait<0>();
        Pin(out);
        Pin(s);
        Release(room.VEmpty(values.stage));
        values.Next();
#pragma unroll
        for (int i = 0; i < kDim / 2; ++i) out[i] *= shrink[(i >> 1) & 1];
        Round(s, probabilities);
      }
      AwaitValues(work, work.n_blocks - 1, values);
      Pin(out);
      WgmmaFence();
      IssueOutput(probabilities, room.V(values.stage), out);
      FetchNextQuery(round + 1);
      WgmmaWait<0>();
      Pin(out);
      Release(room.VEmpty(values.stage));
      values.Next();
      if (work.at.slot < 0)
        Store(work, out);
      else
        StorePart(work, out);
    }
  }
};

// grid: as many blocks as the chip has multiprocessors; 384 threads. `map`: the pool of all layers as rows of HEAD_DIM
// in boxes of 64 × 64, 128-byte swizzle; p.kv is not used.
LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, 1)
    LATHE_ENTRY(const __grid_constant__ TensorMap map, const __grid_constant__ PromptParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char shared[];
  const Room room(SharedAddress(shared));
  if (threadIdx.x == 0) {
#pragma unroll
    for (int i = 0; i < kStages; ++i) {
      BarrierInit(room.KFull(i), 1);
      BarrierInit(room.VFull(i), 1);
      BarrierInit(room.KEmpty(i), kConsumers / 32);
      BarrierInit(room.VEmpty(i), kConsumers / 32);
    }
    BarrierInitFence();
  }
  __syncthreads();
  DependencyLaunch();
  DependencyWait();
  if (threadIdx.x < 128) {
    RegistersDown<24>();
    if (threadIdx.x == 0) Produce(map, p, room);
  } else {
    RegistersUp<240>();
    Consumer(p, room).Run();
  }
#endif
}
