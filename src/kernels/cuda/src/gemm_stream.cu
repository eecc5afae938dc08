// Products of few tokens (M <= 16): W streams past a resident team once, so memory bandwidth is the only limit.
//
// A block takes groups of ROWS rows of W, as many as there are, and all of K. One warp copies: for each stage, CHUNK
// bytes of every row of the group and of every token, as one bulk copy each (cp.async before sm_90), through a ring of
// STAGES stages that runs on across groups. WARPS warps multiply: they share each stage along K, and add up their sums
// in a fixed order at the end of a group, so the result depends on CHUNK and WARPS, not on M or on the grid.
//
// Fragments come without ldmatrix: W is operand A of mma (16 rows), tokens are operand B (8 columns). As a sum over K
// has no order, each thread of a quad takes 16 contiguous bytes of its row of W and the same 16 of its token, which
// are two mma's worth. Rows are CHUNK + 64 bytes apart in shared memory, which makes these loads free of conflicts.
//
// With programmatic dependent launch the first stages of W are under way before the previous kernel has ended: only x,
// residual and y wait for it.
//
// Macros: TYPE, EPILOGUE (gemm_abi.h), ROWS (16, 32), TOKENS (1..16), STAGES, CHUNK (bytes), WARPS.
#include "gemm.cuh"

constexpr int kPitch = CHUNK + 64;
constexpr int kRowTiles = ROWS / 16;
constexpr int kTokenTiles = (TOKENS + 7) / 8;
constexpr int kStageRows = ROWS + TOKENS;
constexpr int kStageBytes = kStageRows * kPitch;
constexpr int kSumPitch = ROWS + 4;
constexpr int kSumsPerWarp = kTokenTiles * 8 * kSumPitch;
static_assert(LATHE_THREADS == 32 * (WARPS + 1));
static_assert(CHUNK % 64 == 0 && ROWS % 16 == 0 && TOKENS <= 16);

struct Shared {
  uint32_t stages, full, empty;
  float* sums;
};

// Row of W that row r of a group's tile is. SiLU: eight gate rows and their eight up rows make one tile of 16.
LATHE_DEVICE int RowOfTile(int group, int r) {
  if (!kSilu) return group * ROWS + r;
  const int column = group * (ROWS / 2) + (r / 16) * 8 + (r & 7);
  return (column / 64) * 128 + (column % 64) + ((r & 8) != 0 ? 64 : 0);
}

// One lane's share of a copy of `bytes` bytes for every row of a stage in [first, last).
template <typename Source>
LATHE_DEVICE void CopyRows(uint32_t stage, uint32_t barrier, int first, int last, int bytes, const Source& source,
                           uint64_t hint) {
#if __CUDA_ARCH__ >= 900
  for (int r = first + Lane(); r < last; r += 32) {
    const char* from = source(r);
    if (from != nullptr) BulkLoad(stage + r * kPitch, from, bytes, barrier, hint);
  }
#else
  const int pieces = bytes / 16;
  for (int i = Lane(); i < (last - first) * pieces; i += 32) {
    const int r = first + i / pieces;
    const char* from = source(r);
    if (from != nullptr) CopyAsync16(stage + r * kPitch + (i % pieces) * 16, from + (i % pieces) * 16);
  }
#endif
}

// What the copying warp does.
struct Producer {
  const GemmArgs& args;
  const Shared& shared;
  int k_bytes, n_chunks, n_groups, n_rows;

  LATHE_DEVICE int Bytes(int chunk) const { return min(CHUNK, k_bytes - chunk * CHUNK); }
  LATHE_DEVICE int Rows(int group) const {
    return kSilu ? ROWS : min(ROWS, args.n - group * ROWS);
  }
  LATHE_DEVICE void CopyW(int slot, int group, int chunk) const {
    const char* w = At<const char>(args.w) + static_cast<long long>(chunk) * CHUNK;
    CopyRows(
        shared.stages + slot * kStageBytes, shared.full + slot * 8, 0, Rows(group), Bytes(chunk),
        [&](int r) { return w + static_cast<long long>(RowOfTile(group, r)) * k_bytes; },
#if __CUDA_ARCH__ >= 900
        kEvictFirst
#else
        0
#endif
    );
  }
  LATHE_DEVICE void CopyX(int slot, int chunk) const {
    const char* x = At<const char>(args.x) + static_cast<long long>(chunk) * CHUNK;
    CopyRows(
        shared.stages + slot * kStageBytes, shared.full + slot * 8, ROWS, ROWS + args.m, Bytes(chunk),
        [&](int r) { return x + static_cast<long long>(r - ROWS) * k_bytes; },
#if __CUDA_ARCH__ >= 900
        kEvictLast
#else
        0
#endif
    );
  }
  LATHE_DEVICE void Expect(int slot, int group, int chunk) const {
#if __CUDA_ARCH__ >= 900
    if (Lane() == 0) BarrierExpect(shared.full + slot * 8, (Rows(group) + args.m) * Bytes(chunk));
    __syncwarp();
#endif
  }
  LATHE_DEVICE void Complete(int slot) const {
#if __CUDA_ARCH__ < 900
    CopyAsyncArrive(shared.full + slot * 8);
#endif
  }

  LATHE_DEVICE void Run() const {
    // Calls copy(slot, round, group, chunk) for stages [from, to) of this block, in order.
    const int mine = (n_groups - static_cast<int>(blockIdx.x) + gridDim.x - 1) / gridDim.x;
    const int total = mine * n_chunks;
    const int ahead = min(STAGES, total);
    int group = blockIdx.x, chunk = 0;
    for (int i = 0; i < ahead; ++i) {
      Expect(i, group, chunk);
      CopyW(i, group, chunk);
      if (++chunk == n_chunks) chunk = 0, group += gridDim.x;
    }
    DependencyWait();
    for (int i = 0; i < ahead; ++i) {
      CopyX(i, i % n_chunks);
      Complete(i);
    }
    int slot = 0;
    uint32_t phase = 0;
    for (int i = ahead; i < total; ++i) {
      BarrierWait(shared.empty + slot * 8, phase);
      Expect(slot, group, chunk);
      CopyW(slot, group, chunk);
      CopyX(slot, chunk);
      Complete(slot);
      if (++chunk == n_chunks) chunk = 0, group += gridDim.x;
      if (++slot == STAGES) slot = 0, phase ^= 1;
    }
  }
};

// One stage's products of one warp.
LATHE_DEVICE void MultiplyStage(float (&sums)[kRowTiles][kTokenTiles][4], uint32_t stage, int bytes) {
  const int g = Lane() / 4, c = Lane() % 4;
  for (int q = Warp() * 64; q < bytes; q += WARPS * 64) {
    const uint32_t at = stage + q + c * 16;
    uint4 b[kTokenTiles];
#pragma unroll
    for (int j = 0; j < kTokenTiles; ++j) b[j] = LoadShared16(at + (ROWS + min(j * 8 + g, TOKENS - 1)) * kPitch);
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      const uint4 low = LoadShared16(at + (i * 16 + g) * kPitch);
      const uint4 high = LoadShared16(at + (i * 16 + 8 + g) * kPitch);
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j) {
        Multiply(sums[i][j], low.x, high.x, low.y, high.y, b[j].x, b[j].y);
        Multiply(sums[i][j], low.z, high.z, low.w, high.w, b[j].z, b[j].w);
      }
    }
  }
}

// Adds the warps' sums up and stores a group's results. Entered and left by all multiplying warps together.
LATHE_DEVICE void FinishGroup(const GemmArgs& args, const Shared& shared, int group,
                              const float (&sums)[kRowTiles][kTokenTiles][4]) {
  const int g = Lane() / 4, c = Lane() % 4;
  float* mine = shared.sums + Warp() * kSumsPerWarp;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kTokenTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        mine[(j * 8 + c * 2 + (e & 1)) * kSumPitch + i * 16 + g + (e >> 1) * 8] = sums[i][j][e];
      }
    }
  }
  NamedBarrier(1, WARPS * 32);
  const auto total = [&](int t, int r) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) sum += shared.sums[w * kSumsPerWarp + t * kSumPitch + r];
    return sum;
  };
  constexpr int kColumns = kSilu ? ROWS / 2 : ROWS;
  for (int i = threadIdx.x; i < args.m * kColumns; i += WARPS * 32) {
    const int t = i / kColumns, column = i % kColumns;
    if (kSilu) {
      const int r = (column / 8) * 16 + column % 8;
      const int row = RowOfTile(group, r);
      const float gate = Finish(args, total(t, r), t, row);
      const float up = Finish(args, total(t, r + 8), t, row + 64);
      Store(args, Silu(gate) * up, t, group * kColumns + column);
    } else if (group * ROWS + column < args.n) {
      Store(args, Finish(args, total(t, column), t, group * ROWS + column), t, group * ROWS + column);
    }
  }
  NamedBarrier(1, WARPS * 32);
}

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const __grid_constant__ GemmArgs args) {
  extern __shared__ __align__(128) char memory[];
  Shared shared;
  shared.stages = SharedAddress(memory);
  shared.full = shared.stages + STAGES * kStageBytes;
  shared.empty = shared.full + STAGES * 8;
  shared.sums = reinterpret_cast<float*>(memory + STAGES * kStageBytes + STAGES * 16);
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      BarrierInit(shared.full + i * 8, kCopyArrivals);
      BarrierInit(shared.empty + i * 8, WARPS);
    }
    BarrierInitFence();
  }
  __syncthreads();
  DependencyLaunch();

  const int k_bytes = args.k * kElementBytes;
  const int n_chunks = (k_bytes + CHUNK - 1) / CHUNK;
  const int n_groups = (args.n + ROWS - 1) / ROWS;
  if (Warp() == WARPS) {
    Producer{args, shared, k_bytes, n_chunks, n_groups, args.n}.Run();
    return;
  }
  DependencyWait();
  int slot = 0;
  uint32_t phase = 0;
  for (int group = blockIdx.x; group < n_groups; group += gridDim.x) {
    float sums[kRowTiles][kTokenTiles][4] = {};
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
      BarrierWait(shared.full + slot * 8, phase);
      MultiplyStage(sums, shared.stages + slot * kStageBytes, min(CHUNK, k_bytes - chunk * CHUNK));
      __syncwarp();
      if (Lane() == 0) BarrierArrive(shared.empty + slot * 8);
      if (++slot == STAGES) slot = 0, phase ^= 1;
    }
    FinishGroup(args, shared, group, sums);
  }
}
