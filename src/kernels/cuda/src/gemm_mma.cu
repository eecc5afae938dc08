// Products of any number of tokens on chips without wgmma: one tile of ROWS rows of W by TOKENS tokens a block, 128
// bytes of K a stage by cp.async, mma.sync with the fragments of gemm_stream.cu.
//
// Rows are 128 bytes in shared memory; every other row has its halves swapped, so that a quarter warp's 16-byte loads
// (two rows, four pieces of one half) touch each bank once.
//
// Macros: TYPE, EPILOGUE (gemm_abi.h), ROWS (128), TOKENS (32, 64, 128), STAGES, BLOCKS (an SM).
#include "gemm.cuh"

constexpr int kStageRows = ROWS + TOKENS;
constexpr int kStageBytes = kStageRows * 128;
constexpr int kRowWarps = 4, kTokenWarps = 2;
constexpr int kRowTiles = ROWS / kRowWarps / 16, kTokenTiles = TOKENS / kTokenWarps / 8;
constexpr int kSumPitch = ROWS + 4;
static_assert(LATHE_THREADS == 256 && ROWS == 128 && TOKENS % 16 == 0);

LATHE_DEVICE uint32_t PieceAddress(uint32_t stage, int row, int piece) {
  return stage + row * 128 + (piece ^ ((row & 1) << 2)) * 16;
}

// Starts the copies of K's tile `tile` into a stage. What lies beyond n, m or k reads as zero.
LATHE_DEVICE void CopyStage(const GemmArgs& args, uint32_t stage, int row, int token, int tile) {
  const int k_bytes = args.k * kElementBytes;
  for (int i = threadIdx.x; i < kStageRows * 8; i += LATHE_THREADS) {
    const int r = i / 8, piece = i % 8, at = tile * 128 + piece * 16;
    const bool is_w = r < ROWS;
    const int source_row = is_w ? row + r : token + r - ROWS;
    const bool valid = at < k_bytes && source_row < (is_w ? args.n : args.m);
    const char* base = is_w ? At<const char>(args.w) : At<const char>(args.x);
    const char* from = valid ? base + static_cast<long long>(source_row) * k_bytes + at : base;
    CopyAsync16(PieceAddress(stage, r, piece), from, valid);
  }
  CopyAsyncCommit();
}

LATHE_DEVICE void MultiplyStage(float (&sums)[kRowTiles][kTokenTiles][4], uint32_t stage, int row_warp,
                                int token_warp) {
  const int g = Lane() / 4, c = Lane() % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint4 low[kRowTiles], high[kRowTiles];
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      const int row = row_warp * kRowTiles * 16 + i * 16 + g;
      low[i] = LoadShared16(PieceAddress(stage, row, half * 4 + c));
      high[i] = LoadShared16(PieceAddress(stage, row + 8, half * 4 + c));
    }
#pragma unroll
    for (int j = 0; j < kTokenTiles; ++j) {
      const int row = ROWS + token_warp * kTokenTiles * 8 + j * 8 + g;
      const uint4 b = LoadShared16(PieceAddress(stage, row, half * 4 + c));
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        Multiply(sums[i][j], low[i].x, high[i].x, low[i].y, high[i].y, b.x, b.y);
        Multiply(sums[i][j], low[i].z, high[i].z, low[i].w, high[i].w, b.z, b.w);
      }
    }
  }
}

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, BLOCKS) LATHE_ENTRY(const __grid_constant__ GemmArgs args) {
  extern __shared__ __align__(128) char memory[];
  const uint32_t stages = SharedAddress(memory);
  const int row_tiles = (args.n + ROWS - 1) / ROWS;
  const int row = blockIdx.x % row_tiles * ROWS, token = blockIdx.x / row_tiles * TOKENS;
  const int k_tiles = (args.k * kElementBytes + 127) / 128;
  const int row_warp = Warp() % kRowWarps, token_warp = Warp() / kRowWarps;
  DependencyLaunch();
  DependencyWait();
  for (int i = 0; i < STAGES - 1; ++i) {
    if (i < k_tiles) {
      CopyStage(args, stages + i * kStageBytes, row, token, i);
    } else {
      CopyAsyncCommit();
    }
  }
  float sums[kRowTiles][kTokenTiles][4] = {};
  for (int tile = 0; tile < k_tiles; ++tile) {
    CopyAsyncWait<STAGES - 2>();
    __syncthreads();
    const int next = tile + STAGES - 1;
    if (next < k_tiles) {
      CopyStage(args, stages + next % STAGES * kStageBytes, row, token, next);
    } else {
      CopyAsyncCommit();
    }
    MultiplyStage(sums, stages + tile % STAGES * kStageBytes, row_warp, token_warp);
  }
  CopyAsyncWait<0>();
  __syncthreads();

  float* shared = reinterpret_cast<float*>(memory);
  const int r = row_warp * kRowTiles * 16 + Lane() / 4, t = token_warp * kTokenTiles * 8 + Lane() % 4 * 2;
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kTokenTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        shared[(t + j * 8 + (e & 1)) * kSumPitch + r + i * 16 + (e >> 1) * 8] = sums[i][j][e];
      }
    }
  }
  __syncthreads();
  StoreTile<ROWS, TOKENS>(args, row, token, 0, 1, LATHE_THREADS,
                          [&](int at, int in_row) { return LoadSharedFloats(stages + (at * kSumPitch + in_row) * 4); });
}
