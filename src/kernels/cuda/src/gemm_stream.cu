// Products of few tokens (M <= 16): W streams past a resident team once, so memory bandwidth is the only limit.
//
// A block takes groups of ROWS rows of W, as many as there are, and all of K. COPIERS warps copy: for each stage, CHUNK
// bytes of every row of the group as one bulk copy each (cp.async before sm_90), through a ring of STAGES stages that
// runs on across groups. A warp issues a bulk copy in about 50 ns, so one warp of 1 KB copies alone is not enough for
// an H200's memory. WARPS warps multiply: they share each stage along K, and add up their sums in a fixed order at the
// end of a group, so the result depends on CHUNK and WARPS, not on M or on the grid.
//
// The tokens either stay in shared memory whole (X_KB kilobytes each) or, where they are too large (X_KB 0), come along
// with every stage. Tokens that stay may be made here, by a norm or by quantisation (gemm_prologue.cuh).
//
// Fragments come without ldmatrix: W is operand A of mma (16 rows), tokens are operand B (8 columns). As a sum over K
// has no order, each thread of a quad takes 16 contiguous bytes of its row of W and the same 16 of its token, which
// are two mma's worth. Rows are CHUNK + 64 bytes apart in shared memory, which makes these loads free of conflicts.
//
// With programmatic dependent launch the first stages of W are under way before the previous kernel has ended, and what
// else are weights (scales, bias, gain) is read: only x, residual and y wait for it.
//
// Macros: TYPE, EPILOGUE (gemm_abi.h), ROWS (16, 32), TOKENS (1..16), STAGES, CHUNK (bytes), WARPS, COPIERS, X_KB, BLOCKS (an SM);
// LATE (when the next kernel may start; 0: at once, 1: when all of W is asked for, 2: a group before that); PROLOGUE, with
// K and ROW_THREADS where it is not PLAIN.
#include "gemm.cuh"
#if PROLOGUE != LATHE_GEMM_PLAIN
#include "gemm_prologue.cuh"
#endif

constexpr bool kResident = X_KB > 0;
constexpr int kPitch = CHUNK + 64;
constexpr int kTokenPitch = kResident ? X_KB * 1024 + 64 : kPitch;
constexpr int kRowTiles = ROWS / 16;
constexpr int kTokenTiles = (TOKENS + 7) / 8;
constexpr int kStageRows = ROWS + (kResident ? 0 : TOKENS);
constexpr int kStageBytes = kStageRows * kPitch;
constexpr int kTokenBytes = kResident ? TOKENS * kTokenPitch : 0;
constexpr int kSumPitch = ROWS + 4;
constexpr int kSumsPerWarp = kTokenTiles * 8 * kSumPitch;
constexpr int kColumns = kSilu ? ROWS / 2 : ROWS;
// Outputs of a group that one multiplying thread stores.
constexpr int kOutputs = (TOKENS * kColumns + WARPS * 32 - 1) / (WARPS * 32);
static_assert(LATHE_THREADS == 32 * (WARPS + COPIERS));
static_assert(CHUNK % 64 == 0 && ROWS % 16 == 0 && TOKENS <= 16);
static_assert(PROLOGUE == LATHE_GEMM_PLAIN || kResident);

struct Shared {
  uint32_t stages, tokens, full, empty;
  float* sums;
  float* scales;  // of tokens that are made here
};

// Row of W that row r of a group's tile is. SiLU: eight gate rows and their eight up rows make one tile of 16.
LATHE_DEVICE int RowOfTile(int group, int r) {
  if (!kSilu) return group * ROWS + r;
  const int column = group * (ROWS / 2) + (r / 16) * 8 + (r & 7);
  return (column / 64) * 128 + (column % 64) + ((r & 8) != 0 ? 64 : 0);
}

// One lane's share of a copy of `bytes` bytes for every row of a stage in [first, last); copying warps take turns.
template <typename Source>
LATHE_DEVICE void CopyRows(uint32_t stage, uint32_t barrier, int first, int last, int bytes, const Source& source,
                           uint64_t hint) {
#if __CUDA_ARCH__ >= 900
  for (int r = first + Warp() - WARPS + Lane() * COPIERS; r < last; r += 32 * COPIERS) {
    const char* from = source(r);
    if (from != nullptr) BulkLoad(stage + r * kPitch, from, bytes, barrier, hint);
  }
#else
  const int pieces = bytes / 16;
  for (int i = threadIdx.x - WARPS * 32; i < (last - first) * pieces; i += 32 * COPIERS) {
    const int r = first + i / pieces;
    const char* from = source(r);
    if (from != nullptr) CopyAsync16(stage + r * kPitch + (i % pieces) * 16, from + (i % pieces) * 16);
  }
#endif
}

// What a copying warp does.
struct Producer {
  const GemmArgs& args;
  const Shared& shared;
  int k_bytes, n_chunks, n_groups;

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
  // Of `rows` rows, those that this warp copies.
  LATHE_DEVICE static int Mine(int rows) { return (rows + COPIERS - 1 - (static_cast<int>(Warp()) - WARPS)) / COPIERS; }
  // Every copying warp before its own copies, so that no byte arrives before it is expected. (That would be allowed, and one
  // for all is as fast.)
  LATHE_DEVICE void Expect(int slot, int group, int chunk) const {
#if __CUDA_ARCH__ >= 900
    const int rows = Mine(Rows(group)) + (kResident ? 0 : Mine(args.m));
    if (Lane() == 0) BarrierExpect(shared.full + slot * 8, rows * Bytes(chunk));
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
    // Then what is under way of W keeps memory busy until the next kernel's first stages are asked for, and these do until
    // its tokens are there. Earlier they would only take their turn with W's, and memory would idle between.
    const int last = max(0, total - 1 - (LATE == 2 ? n_chunks : 0));
    if (LATE != 0 && last < ahead) DependencyLaunch();
    DependencyWait();
    for (int i = 0; i < ahead; ++i) {
      if (!kResident) CopyX(i, i % n_chunks);
      Complete(i);
    }
    int slot = 0;
    uint32_t phase = 0;
    for (int i = ahead; i < total; ++i) {
      BarrierWait(shared.empty + slot * 8, phase);
      Expect(slot, group, chunk);
      CopyW(slot, group, chunk);
      if (!kResident) CopyX(slot, chunk);
      Complete(slot);
      if (LATE != 0 && i == last) DependencyLaunch();
      if (++chunk == n_chunks) chunk = 0, group += gridDim.x;
      if (++slot == STAGES) slot = 0, phase ^= 1;
    }
  }
};

// 64 bytes of K, from `at` in the stage and `x` in the tokens, both this thread's 16 bytes of them.
LATHE_DEVICE void MultiplyPiece(float (&sums)[kRowTiles][kTokenTiles][4], uint32_t at, uint32_t x) {
  const int g = Lane() / 4;
  uint4 b[kTokenTiles];
#pragma unroll
  for (int j = 0; j < kTokenTiles; ++j) b[j] = LoadShared16(x + min(j * 8 + g, TOKENS - 1) * kTokenPitch);
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

// One stage's products of one warp: `x` is where the stage's part of the tokens begins.
LATHE_DEVICE void MultiplyStage(float (&sums)[kRowTiles][kTokenTiles][4], uint32_t stage, uint32_t x, int bytes) {
  const int mine = Warp() * 64 + Lane() % 4 * 16;
  if (bytes == CHUNK) {
#pragma unroll
    for (int q = 0; q < CHUNK; q += WARPS * 64) {
      if (CHUNK % (WARPS * 64) != 0 && q + Warp() * 64 >= CHUNK) break;
      MultiplyPiece(sums, stage + q + mine, x + q + mine);
    }
  } else {
    for (int q = 0; q + Warp() * 64 < bytes; q += WARPS * 64) MultiplyPiece(sums, stage + q + mine, x + q + mine);
  }
}

// The tokens into shared memory, by the multiplying warps.
LATHE_DEVICE void LoadTokens(const GemmArgs& args, const Shared& shared, int k_bytes) {
  const int pieces = k_bytes / 16;
  for (int t = 0; t < args.m; ++t) {
    const char* from = At<const char>(args.x) + static_cast<long long>(t) * k_bytes;
    for (int i = threadIdx.x; i < pieces; i += WARPS * 32) {
      StoreShared16(shared.tokens + t * kTokenPitch + i * 16, *reinterpret_cast<const uint4*>(from + i * 16));
    }
  }
  NamedBarrier(1, WARPS * 32);
}

// What an output needs beside its sum. Loaded while the group's weights are on their way.
struct Output {
  int t, column;  // token; column of the group; t < 0: this thread has no such output
  Beside value, up;
};

// First what are weights, which may be read before the kernel before has ended.
LATHE_DEVICE void PrepareGroup(const GemmArgs& args, int group, Output (&outputs)[kOutputs]) {
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) {
    Output& output = outputs[i];
    const int index = threadIdx.x + i * WARPS * 32;
    output.t = index / kColumns;
    output.column = index % kColumns;
    const int r = kSilu ? output.column / 8 * 16 + output.column % 8 : output.column;
    const int row = RowOfTile(group, r);
    if (output.t >= args.m || row >= args.n) {
      output.t = -1;
      continue;
    }
    output.value = LoadWeightsBeside(args, row);
    if (kSilu) output.up = LoadWeightsBeside(args, row + 64);
  }
}
LATHE_DEVICE void PrepareTokens(const GemmArgs& args, const Shared& shared, int group, Output (&outputs)[kOutputs]) {
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) {
    Output& output = outputs[i];
    if (output.t < 0) continue;
    float scale = 1.0f;
    if (TYPE == LATHE_GEMM_E4M3)
      scale = PROLOGUE == LATHE_GEMM_PLAIN ? At<const float>(args.x_scale)[output.t] : shared.scales[output.t];
    const int column = group * kColumns + output.column;
    LoadTokensBeside(args, output.t, column, scale, &output.value);
    if (kSilu) LoadTokensBeside(args, output.t, column, scale, &output.up);
  }
}

// Adds the warps' sums up and stores a group's results. Entered and left by all multiplying warps together.
LATHE_DEVICE void FinishGroup(const GemmArgs& args, const Shared& shared, int group, const Output (&outputs)[kOutputs],
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
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) {
    const Output& output = outputs[i];
    if (output.t < 0) continue;
    const int r = kSilu ? output.column / 8 * 16 + output.column % 8 : output.column;
    float value = Finish(output.value, total(output.t, r));
    if (kSilu) value = Silu(value) * Finish(output.up, total(output.t, r + 8));
    StoreResult(args, output.value, value, output.t, group * kColumns + output.column);
  }
  NamedBarrier(1, WARPS * 32);
}

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, BLOCKS) LATHE_ENTRY(const __grid_constant__ GemmArgs args) {
  extern __shared__ __align__(128) char memory[];
  Shared shared;
  shared.stages = SharedAddress(memory);
  shared.tokens = shared.stages + STAGES * kStageBytes;
  shared.full = shared.tokens + kTokenBytes;
  shared.empty = shared.full + STAGES * 8;
  shared.sums = reinterpret_cast<float*>(memory + STAGES * kStageBytes + kTokenBytes + STAGES * 16);
  shared.scales = shared.sums + WARPS * kSumsPerWarp;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      BarrierInit(shared.full + i * 8, kCopyArrivals * COPIERS);
      BarrierInit(shared.empty + i * 8, WARPS);
    }
    BarrierInitFence();
  }
  __syncthreads();
  if (LATE == 0) DependencyLaunch();

  const int k_bytes = args.k * kElementBytes;
  const int n_chunks = (k_bytes + CHUNK - 1) / CHUNK;
  const int n_groups = (args.n + ROWS - 1) / ROWS;
  if (Warp() >= WARPS) {
    Producer{args, shared, k_bytes, n_chunks, n_groups}.Run();
    return;
  }
  Output outputs[kOutputs];
  PrepareGroup(args, blockIdx.x, outputs);
#if PROLOGUE == LATHE_GEMM_PLAIN
  DependencyWait();
  if (kResident) LoadTokens(args, shared, k_bytes);
#else
  TokenMaker maker;
  maker.LoadGain(args);
  DependencyWait();
  maker.Make(args, {memory + STAGES * kStageBytes, kTokenPitch, shared.sums, shared.scales});
#endif
  int slot = 0;
  uint32_t phase = 0;
  for (int group = blockIdx.x; group < n_groups; group += gridDim.x) {
    if (group != static_cast<int>(blockIdx.x)) PrepareGroup(args, group, outputs);
    PrepareTokens(args, shared, group, outputs);
    float sums[kRowTiles][kTokenTiles][4] = {};
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
      const uint32_t stage = shared.stages + slot * kStageBytes;
      BarrierWait(shared.full + slot * 8, phase);
      MultiplyStage(sums, stage, kResident ? shared.tokens + chunk * CHUNK : stage + ROWS * kPitch,
                    min(CHUNK, k_bytes - chunk * CHUNK));
      __syncwarp();
      if (Lane() == 0) BarrierArrive(shared.empty + slot * 8);
      if (++slot == STAGES) slot = 0, phase ^= 1;
    }
    FinishGroup(args, shared, group, outputs, sums);
  }
}
