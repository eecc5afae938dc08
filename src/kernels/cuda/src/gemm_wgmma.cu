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
// Macros: TYPE, EPILOGUE (gemm_abi.h), ROWS (64, 128, 256), TOKENS (8..256), STAGES, SPLIT, BLOCKS (an SM).
#include "gemm.cuh"
#include "wgmma.cuh"

constexpr int kGroups = ROWS / 64;
constexpr int kTileK = 128 / kElementBytes;
constexpr int kTileA = ROWS * 128, kTileB = TOKENS * 128;
constexpr int kStageBytes = kTileA + kTileB;
constexpr int kSumPitch = ROWS + 4;
constexpr bool kPromote = TYPE == LATHE_GEMM_E4M3;
// setmaxnreg pays where the sums fill a thread's registers.
constexpr bool kMoveRegisters = kGroups == 2 && TOKENS * (kPromote ? 2 : 1) >= 256 && BLOCKS == 1;
constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
// Blocks that are neighbours in time share tiles of tokens: this many tiles of rows before the next of tokens.
constexpr int kRaster = 16;
static_assert(LATHE_THREADS == 128 * kGroups + 128);

struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

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
LATHE_DEVICE void Produce(const Place& place, const TensorMap* w, const TensorMap* x, uint32_t stages, uint32_t full,
                          uint32_t empty) {
  const int ahead = min(STAGES, place.k_count);
  // With one tile of tokens W is read once; else the next tiles want it in L2.
  const uint64_t w_hint = place.w_once ? kEvictFirst : kEvictNormal;
  for (int i = 0; i < ahead; ++i) {
    BarrierExpect(full + i * 8, kStageBytes);
    TensorLoad(stages + i * kStageBytes, w, (place.k_first + i) * kTileK, place.row, full + i * 8, w_hint);
  }
  DependencyWait();
  for (int i = 0; i < ahead; ++i) {
    TensorLoad(stages + i * kStageBytes + kTileA, x, (place.k_first + i) * kTileK, place.token, full + i * 8,
               kEvictLast);
  }
  int slot = 0;
  uint32_t phase = 0;
  for (int i = ahead; i < place.k_count; ++i) {
    BarrierWait(empty + slot * 8, phase);
    BarrierExpect(full + slot * 8, kStageBytes);
    const uint32_t stage = stages + slot * kStageBytes;
    TensorLoad(stage, w, (place.k_first + i) * kTileK, place.row, full + slot * 8, w_hint);
    TensorLoad(stage + kTileA, x, (place.k_first + i) * kTileK, place.token, full + slot * 8, kEvictLast);
    if (++slot == STAGES) slot = 0, phase ^= 1;
  }
}

// The products of one stage into `d`, from zero or added; four steps of 32 bytes of K.
LATHE_DEVICE void MultiplyStage(float (&d)[TOKENS / 2], uint32_t a, uint32_t b, bool accumulate) {
  WgmmaFence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    Wgmma<TOKENS>::Run(d, WgmmaDescriptor(a + step * 32), WgmmaDescriptor(b + step * 32), step > 0 || accumulate);
  }
  WgmmaCommit();
}

LATHE_DEVICE void Consume(const Place& place, uint32_t stages, uint32_t full, uint32_t empty,
                          float (&sums)[TOKENS / 2]) {
  const int group = threadIdx.x / 128;
  const bool leader = threadIdx.x % 128 == 0;
  int slot = 0;
  uint32_t phase = 0;
  for (int i = 0; i < place.k_count; ++i) {
    const uint32_t a = stages + slot * kStageBytes + group * 64 * 128;
    const uint32_t b = stages + slot * kStageBytes + kTileA;
    BarrierWait(full + slot * 8, phase);
    if (kPromote) {
      float part[TOKENS / 2];
      MultiplyStage(part, a, b, false);
      WgmmaWait<0>();
#pragma unroll
      for (int e = 0; e < TOKENS / 2; ++e) sums[e] += part[e];
      if (leader) BarrierArrive(empty + slot * 8);
    } else {
      MultiplyStage(sums, a, b, true);
      // One stage stays in flight; the one before it has been read.
      WgmmaWait<1>();
      if (leader && i > 0) BarrierArrive(empty + (slot == 0 ? STAGES - 1 : slot - 1) * 8);
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

// The sum over the cluster's ranks, in their order.
LATHE_DEVICE float ClusterSum(uint32_t shared, int offset) {
  float sum = 0;
#pragma unroll
  for (int rank = 0; rank < SPLIT; ++rank) {
    sum += SPLIT == 1 ? LoadSharedFloat(shared + offset * 4) : LoadClusterFloat(shared + offset * 4, rank);
  }
  return sum;
}
#endif

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, BLOCKS)
    LATHE_ENTRY(const __grid_constant__ TensorMap w, const __grid_constant__ TensorMap x,
                const __grid_constant__ GemmArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) char memory[];
  const uint32_t stages = (SharedAddress(memory) + 1023) & ~1023u;
  const uint32_t full = stages + STAGES * kStageBytes, empty = full + STAGES * 8;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      BarrierInit(full + i * 8, 1);
      BarrierInit(empty + i * 8, kGroups);
    }
    BarrierInitFence();
  }
  __syncthreads();
  DependencyLaunch();
  const Place place = FindPlace(args);
  const bool producer = threadIdx.x >= 128 * kGroups;
  if (producer) {
    if constexpr (kMoveRegisters) RegistersDown<kProducerRegisters>();
    if (threadIdx.x == 128 * kGroups) Produce(place, &w, &x, stages, full, empty);
    __syncwarp();
  } else {
    if constexpr (kMoveRegisters) RegistersUp<kConsumerRegisters>();
    float sums[TOKENS / 2] = {};
    DependencyWait();
    Consume(place, stages, full, empty, sums);
    // The ring is free now: every stage has been read by both warpgroups.
    NamedBarrier(1, 128 * kGroups);
    StoreSums(reinterpret_cast<float*>(memory + (stages - SharedAddress(memory))), sums);
    if (SPLIT == 1) NamedBarrier(1, 128 * kGroups);
  }
  if (SPLIT > 1) ClusterBarrier();
  if (!producer) {
    // A rank of the cluster stores tokens rank, rank + SPLIT, …
    StoreTile<ROWS, TOKENS>(args, place.row, place.token, place.rank, SPLIT, 128 * kGroups,
                            [&](int t, int r) { return ClusterSum(stages, t * kSumPitch + r); });
  }
  if (SPLIT > 1) ClusterBarrier();  // nobody leaves while another reads its sums
#endif
}
