// Products on Hopper's warpgroup tensor cores (sm_90a): W is operand A (tiles of ROWS rows), tokens are operand B (tiles
// of TOKENS), so that a few tokens do not pad a tile of 64.
//
// One warp copies tiles of 128 bytes of K by tensor maps into a ring of STAGES stages; ROWS / 64 warpgroups multiply.
// For few tokens K is split over a cluster of SPLIT blocks, whose sums are added through distributed shared memory in
// the order of the ranks: deterministic, and no workspace. Sums leave through shared memory, so that stores are
// contiguous and any epilogue may pair columns.
//
// e4m3: the tensor core keeps about 14 bits of a running sum, so each stage's product of 128 is added in f32 registers.
//
// Macros: TYPE, EPILOGUE (gemm_abi.h), ROWS (64, 128), TOKENS (8, 16, 32, 64), STAGES, SPLIT, BLOCKS (an SM).
#include "gemm.cuh"
#include "wgmma.cuh"

constexpr int kGroups = ROWS / 64;
constexpr int kTileK = 128 / kElementBytes;
constexpr int kTileA = ROWS * 128, kTileB = TOKENS * 128;
constexpr int kStageBytes = kTileA + kTileB;
constexpr int kSumPitch = ROWS + 4;
constexpr bool kPromote = TYPE == LATHE_GEMM_E4M3;
// Blocks that are neighbours in time share tiles of tokens: this many tiles of rows before the next of tokens.
constexpr int kRaster = 16;
static_assert(LATHE_THREADS == 128 * kGroups + 128);

struct Place {
  int row, token;        // first of the tile
  int k_first, k_count;  // tiles of K
  int rank;              // in the cluster
  bool w_once;           // no other block reads these rows of W
};

LATHE_DEVICE Place FindPlace(const GemmArgs& args) {
  Place place;
  place.rank = blockIdx.x % SPLIT;
  const int row_tiles = (args.n + ROWS - 1) / ROWS, token_tiles = (args.m + TOKENS - 1) / TOKENS;
  const int tile = blockIdx.x / SPLIT;
  const int band = tile / (kRaster * token_tiles), in_band = tile % (kRaster * token_tiles);
  const int width = min(kRaster, row_tiles - band * kRaster);
  place.row = (band * kRaster + in_band % width) * ROWS;
  place.token = in_band / width * TOKENS;
  place.w_once = token_tiles == 1;
  const int k_tiles = (args.k + kTileK - 1) / kTileK;
  place.k_first = place.rank * k_tiles / SPLIT;
  place.k_count = (place.rank + 1) * k_tiles / SPLIT - place.k_first;
  return place;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
struct Ring {
  uint32_t stages, full, empty;
};

LATHE_DEVICE void LoadTokens(const Place& place, const TensorMap* x, const Ring& ring, int slot, int tile) {
  TensorLoad(ring.stages + slot * kStageBytes + kTileA, x, (place.k_first + tile) * kTileK, place.token,
             ring.full + slot * 8, kEvictLast);
}

LATHE_DEVICE void Produce(const Place& place, const TensorMap* w, const TensorMap* x, const Ring& ring) {
  const int ahead = min(STAGES, place.k_count);
  // With one tile of tokens W is read once; else the next tiles want it in L2.
  const uint64_t w_hint = place.w_once ? kEvictFirst : kEvictNormal;
  const auto load_w = [&](int slot, int tile) {
    BarrierExpect(ring.full + slot * 8, kStageBytes);
    TensorLoad(ring.stages + slot * kStageBytes, w, (place.k_first + tile) * kTileK, place.row, ring.full + slot * 8,
               w_hint);
  };
  for (int i = 0; i < ahead; ++i) load_w(i, i);
  DependencyWait();
  for (int i = 0; i < ahead; ++i) LoadTokens(place, x, ring, i, i);
  int slot = 0;
  uint32_t phase = 0;
  for (int i = ahead; i < place.k_count; ++i) {
    BarrierWait(ring.empty + slot * 8, phase);
    load_w(slot, i);
    LoadTokens(place, x, ring, slot, i);
    if (++slot == STAGES) slot = 0, phase ^= 1;
  }
}

// Says that this warpgroup has read a stage.
LATHE_DEVICE void Release(const Ring& ring, int slot) {
  if (threadIdx.x % 128 == 0) BarrierArrive(ring.empty + slot * 8);
}

// Where this warpgroup is in the ring.
struct Cursor {
  int slot;
  uint32_t phase;
};

// Starts the products of the next stage, which `cursor` leaves behind.
LATHE_DEVICE void MultiplyNext(const Ring& ring, Cursor& cursor, float (&d)[TOKENS / 2], bool accumulate) {
  const uint32_t stage = ring.stages + cursor.slot * kStageBytes;
  BarrierWait(ring.full + cursor.slot * 8, cursor.phase);
  MultiplyStage<TOKENS>(d, stage + threadIdx.x / 128 * 64 * 128, stage + kTileA, accumulate);
  if (++cursor.slot == STAGES) cursor.slot = 0, cursor.phase ^= 1;
}

// The stage `back` before the cursor.
LATHE_DEVICE int Before(const Cursor& cursor, int back) {
  return cursor.slot >= back ? cursor.slot - back : cursor.slot - back + STAGES;
}

// e4m3 with registers to spare: one stage's product is added while the next is under way.
LATHE_DEVICE void ConsumePromoting(const Ring& ring, int count, float (&sums)[TOKENS / 2]) {
  float first[TOKENS / 2], second[TOKENS / 2];
  Cursor cursor = {0, 0};
  MultiplyNext(ring, cursor, first, false);
  int i = 1;
  for (; i + 1 < count; i += 2) {
    MultiplyNext(ring, cursor, second, false);
    WgmmaWait<1>();
    Add(sums, first);
    Release(ring, Before(cursor, 2));
    MultiplyNext(ring, cursor, first, false);
    WgmmaWait<1>();
    Add(sums, second);
    Release(ring, Before(cursor, 2));
  }
  if (i < count) {
    MultiplyNext(ring, cursor, second, false);
    WgmmaWait<1>();
    Add(sums, first);
    WgmmaWait<0>();
    Add(sums, second);
  } else {
    WgmmaWait<0>();
    Add(sums, first);
  }
}

LATHE_DEVICE void Consume(const Ring& ring, int count, float (&sums)[TOKENS / 2]) {
  if constexpr (kPromote && BLOCKS == 1) {
    ConsumePromoting(ring, count, sums);
    return;
  }
  const int group = threadIdx.x / 128;
  int slot = 0;
  uint32_t phase = 0;
  for (int i = 0; i < count; ++i) {
    const uint32_t a = ring.stages + slot * kStageBytes + group * 64 * 128;
    const uint32_t b = ring.stages + slot * kStageBytes + kTileA;
    BarrierWait(ring.full + slot * 8, phase);
    if constexpr (kPromote) {
      float part[TOKENS / 2];
      MultiplyStage<TOKENS>(part, a, b, false);
      WgmmaWait<0>();
      Add(sums, part);
      Release(ring, slot);
    } else {
      MultiplyStage<TOKENS>(sums, a, b, true);
      // One stage stays in flight; the one before it has been read.
      WgmmaWait<1>();
      if (i > 0) Release(ring, slot == 0 ? STAGES - 1 : slot - 1);
    }
    if (++slot == STAGES) slot = 0, phase ^= 1;
  }
  WgmmaWait<0>();
}

// Sums of this block to shared memory, [token][row].
LATHE_DEVICE void StoreSums(float* shared, const float (&sums)[TOKENS / 2]) {
  const int group = threadIdx.x / 128, warp = threadIdx.x % 128 / 32;
  const int row = group * 64 + warp * 16 + Lane() / 4, column = Lane() % 4 * 2;
#pragma unroll
  for (int e = 0; e < TOKENS / 2; ++e) {
    shared[((e / 4) * 8 + column + (e & 1)) * kSumPitch + row + ((e >> 1) & 1) * 8] = sums[e];
  }
}

// Four sums over the cluster's ranks, in their order.
LATHE_DEVICE float4 ClusterSums(uint32_t shared, int offset) {
  if (SPLIT == 1) return LoadSharedFloats(shared + offset * 4);
  float4 sum = {0, 0, 0, 0};
#pragma unroll
  for (int rank = 0; rank < SPLIT; ++rank) {
    const float4 part = LoadClusterFloats(shared + offset * 4, rank);
    sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
  }
  return sum;
}
#endif

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, BLOCKS)
    LATHE_ENTRY(const __grid_constant__ TensorMap w, const __grid_constant__ TensorMap x,
                const __grid_constant__ GemmArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) char memory[];
  Ring ring;
  ring.stages = (SharedAddress(memory) + 1023) & ~1023u;
  ring.full = ring.stages + STAGES * kStageBytes;
  ring.empty = ring.full + STAGES * 8;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      BarrierInit(ring.full + i * 8, 1);
      BarrierInit(ring.empty + i * 8, kGroups);
    }
    BarrierInitFence();
  }
  __syncthreads();
  DependencyLaunch();
  const Place place = FindPlace(args);
  const bool producer = threadIdx.x >= 128 * kGroups;
  if (producer) {
    if (threadIdx.x == 128 * kGroups) Produce(place, &w, &x, ring);
    __syncwarp();
  } else {
    float sums[TOKENS / 2] = {};
    DependencyWait();
    Consume(ring, place.k_count, sums);
    // The ring is free now: every stage has been read by both warpgroups, and no copy is under way, since all that this
    // block's stages were to get has been waited for.
    NamedBarrier(1, 128 * kGroups);
    StoreSums(reinterpret_cast<float*>(memory + (ring.stages - SharedAddress(memory))), sums);
    if (SPLIT == 1) NamedBarrier(1, 128 * kGroups);
  }
  if (SPLIT > 1) ClusterBarrier();
  if (!producer) {
    // A rank of the cluster stores tokens rank, rank + SPLIT, …
    StoreTile<ROWS, TOKENS>(args, place.row, place.token, place.rank, SPLIT, 128 * kGroups,
                            [&](int t, int r) { return ClusterSums(ring.stages, t * kSumPitch + r); });
  }
  if (SPLIT > 1) {
    // Lanes store different numbers of pieces, and the barrier counts warps: all lanes of one must come to it together.
    __syncwarp();
    ClusterBarrier();  // nobody leaves while another reads its sums
  }
#endif
}
