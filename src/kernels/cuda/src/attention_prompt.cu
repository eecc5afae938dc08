// Prompt attention over paged keys and values, causal or windowed, with the tensor cores that every chip since sm_80
// has. A tile is LATHE_THREADS / 2 rows (16 a warp) of (token, head of the group); it walks the sequence's pages, a
// page at a time: the next page's keys are fetched while probabilities and values are multiplied, the next values
// while the next scores are.
//
// Macros: HEAD_DIM (multiple of 16), GROUP, F16.
#include "attention_abi.h"
#include "common.cuh"

using namespace lathe::cuda;

constexpr int kDim = HEAD_DIM;
constexpr int kGroup = GROUP;
constexpr int kRows = LATHE_THREADS / 2;
constexpr int kStride = kDim * 2 + 16;  // bytes of a row in shared memory: 8 rows fall into different banks
constexpr int kChunks = kDim / 8;       // of 16 bytes
constexpr int kSteps = kDim / 16;
constexpr int kKeyTiles = kPageSize / 8;
constexpr bool kQueryRegisters = kDim <= 128;
constexpr float kNever = -1e30f;

// The visible keys of a tile and where they lie.
struct Tile {
  const char* base;  // this kv head within page 0
  int64_t page_bytes;
  const int* pages;
  int begin, end;  // keys
};

// Rows of keys (part 0) or values (part 1) of one page; what is not visible becomes zero (0 * NaN is NaN).
LATHE_DEVICE void FetchPage(const Tile& tile, int page, int part, uint32_t to) {
  const char* from = tile.base + tile.pages[page] * tile.page_bytes + part * (kPageSize * kDim * 2);
  for (int i = threadIdx.x; i < kPageSize * kChunks; i += LATHE_THREADS) {
    const int row = i / kChunks, chunk = i % kChunks, key = page * kPageSize + row;
    CopyAsync16(to + row * kStride + chunk * 16, from + i * 16, key >= tile.begin && key < tile.end);
  }
  CopyAsyncCommit();
}

struct Softmax {
  float max[2], sum[2];
};

// Scores of 16 rows × 64 keys.
LATHE_DEVICE void Scores(uint32_t q_at, const uint32_t (&q)[kQueryRegisters ? kSteps : 1][4], uint32_t k_at,
                         float (&s)[kKeyTiles][4]) {
  const int lane = Lane();
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
  const uint32_t k_lane = k_at + ((lane & 7) + ((lane >> 4) << 3)) * kStride + ((lane >> 3) & 1) * 16;
  const uint32_t q_lane = q_at + (lane & 15) * kStride + (lane >> 4) * 16;
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
    uint32_t a[4];
    if constexpr (kQueryRegisters) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = q[k][i];
    } else {
      LoadMatrix4(a, q_lane + k * 32);
    }
#pragma unroll
    for (int n = 0; n < kKeyTiles; n += 2) {
      uint32_t b[4];
      LoadMatrix4(b, k_lane + n * 8 * kStride + k * 32);
      Mma16(s[n], a, b[0], b[1]);
      Mma16(s[n + 1], a, b[2], b[3]);
    }
  }
}

// Scores to probabilities (16 bits, as the second product's rows); the output and sums so far shrink as the maximum grows.
LATHE_DEVICE void Weigh(float scale, float (&s)[kKeyTiles][4], Softmax* state, float (&out)[kDim / 8][4],
                        uint32_t (&p)[kKeyTiles / 2][4]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float top = state->max[i];
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) top = fmaxf(top, fmaxf(s[n][2 * i], s[n][2 * i + 1]));
    top = fmaxf(top, ShuffleXor(top, 1));
    top = fmaxf(top, ShuffleXor(top, 2));
    const float shift = top == kNever ? 0.0f : top * scale;
    // Exactly 1 where the maximum stays, so that blocks of keys a row sees nothing of leave its bits alone.
    const float shrink = Exp2((state->max[i] - top) * scale);
    state->max[i] = top;
    float sum = state->sum[i] * shrink;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      out[n][2 * i] *= shrink;
      out[n][2 * i + 1] *= shrink;
    }
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
      s[n][2 * i] = Exp2(s[n][2 * i] * scale - shift);
      s[n][2 * i + 1] = Exp2(s[n][2 * i + 1] * scale - shift);
      sum += s[n][2 * i] + s[n][2 * i + 1];
    }
    state->sum[i] = sum;
  }
#pragma unroll
  for (int n = 0; n < kKeyTiles / 2; ++n) {
    p[n][0] = Pack16(s[2 * n][0], s[2 * n][1]);
    p[n][1] = Pack16(s[2 * n][2], s[2 * n][3]);
    p[n][2] = Pack16(s[2 * n + 1][0], s[2 * n + 1][1]);
    p[n][3] = Pack16(s[2 * n + 1][2], s[2 * n + 1][3]);
  }
}

LATHE_DEVICE void Accumulate(const uint32_t (&p)[kKeyTiles / 2][4], uint32_t v_at, float (&out)[kDim / 8][4]) {
  const int lane = Lane();
  const uint32_t v_lane = v_at + ((lane & 7) + ((lane >> 3) & 1) * 8) * kStride + (lane >> 4) * 16;
#pragma unroll
  for (int k = 0; k < kKeyTiles / 2; ++k)
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      uint32_t b[4];
      LoadMatrix4Transposed(b, v_lane + k * 16 * kStride + n * 16);
      Mma16(out[n], p[k], b[0], b[1]);
      Mma16(out[n + 1], p[k], b[2], b[3]);
    }
}

// grid: (tiles, n_kv_heads). Shared memory: keys, values, and q where it does not fit registers.
LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const PromptParams p) {
  extern __shared__ __align__(16) char shared[];
  DependencyLaunch();
  DependencyWait();
  if (static_cast<int>(blockIdx.x) >= *p.n_tiles) return;
  const PromptTile at = p.tiles[blockIdx.x];
  const int kv_head = blockIdx.y, n_heads = p.n_kv_heads * kGroup;
  const int n_packed = at.n_rows * kGroup;
  const int last = min(at.packed_row + kRows, n_packed) - 1;
  const int first_position = at.first_position + at.packed_row / kGroup;
  const int last_position = at.first_position + last / kGroup;
  Tile tile;
  tile.base = static_cast<const char*>(p.kv) + static_cast<int64_t>(kv_head) * (2 * kPageSize * kDim * 2);
  tile.page_bytes = static_cast<int64_t>(p.n_kv_heads) * (2 * kPageSize * kDim * 2);
  tile.pages = p.pages + at.pages_at;
  tile.begin = p.window > 0 ? max(0, first_position - p.window + 1) : 0;
  tile.end = last_position + 1;

  // q goes through the room of keys and values when it ends in registers.
  const uint32_t k_at = SharedAddress(shared), v_at = k_at + kPageSize * kStride;
  const uint32_t q_all = kQueryRegisters ? k_at : v_at + kPageSize * kStride;
  const int64_t head0 = static_cast<int64_t>(kv_head) * kGroup;
  for (int i = threadIdx.x; i < kRows * kChunks; i += LATHE_THREADS) {
    const int row = min(at.packed_row + i / kChunks, last), chunk = i % kChunks;
    const int64_t from = (static_cast<int64_t>(at.first_row + row / kGroup) * n_heads + head0 + row % kGroup) * kDim;
    CopyAsync16(q_all + (i / kChunks) * kStride + chunk * 16, static_cast<const char*>(p.q) + from * 2 + chunk * 16);
  }
  CopyAsyncCommit();
  const uint32_t q_at = q_all + Warp() * 16 * kStride;
  uint32_t q[kQueryRegisters ? kSteps : 1][4];
  if constexpr (kQueryRegisters) {
    CopyAsyncWait<0>();
    __syncthreads();
    const uint32_t q_lane = q_at + (Lane() & 15) * kStride + (Lane() >> 4) * 16;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) LoadMatrix4(q[k], q_lane + k * 32);
    __syncthreads();
  }

  const int g = Lane() / 4, t = Lane() % 4;
  int position[2];  // of this thread's two rows
#pragma unroll
  for (int i = 0; i < 2; ++i)
    position[i] = at.first_position + min(at.packed_row + Warp() * 16 + g + 8 * i, last) / kGroup;
  float out[kDim / 8][4];
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0;
  Softmax state = {{kNever, kNever}, {0, 0}};

  const int first_page = at.first_page, end_page = at.end_page;
  FetchPage(tile, first_page, 0, k_at);
  FetchPage(tile, first_page, 1, v_at);
  for (int page = first_page; page < end_page; ++page) {
    CopyAsyncWait<1>();
    __syncthreads();
    float s[kKeyTiles][4];
    Scores(q_at, q, k_at, s);
    __syncthreads();
    if (page + 1 < end_page)
      FetchPage(tile, page + 1, 0, k_at);
    else
      CopyAsyncCommit();
    const int key0 = page * kPageSize;
    if (key0 + kPageSize - 1 > first_position || (p.window > 0 && key0 <= last_position - p.window)) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int key = key0 + n * 8 + t * 2 + (j & 1), row = position[j >> 1];
          if (key > row || (p.window > 0 && key <= row - p.window)) s[n][j] = kNever;
        }
    }
    uint32_t probabilities[kKeyTiles / 2][4];
    Weigh(p.scale, s, &state, out, probabilities);
    CopyAsyncWait<1>();
    __syncthreads();
    Accumulate(probabilities, v_at, out);
    __syncthreads();
    if (page + 1 < end_page)
      FetchPage(tile, page + 1, 1, v_at);
    else
      CopyAsyncCommit();
  }
  CopyAsyncWait<0>();

#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float sum = state.sum[i];
    sum += ShuffleXor(sum, 1);
    sum += ShuffleXor(sum, 2);
    const int row = at.packed_row + Warp() * 16 + g + 8 * i;
    if (row > last) continue;
    const float inverse = sum > 0 ? p.v_scale / sum : 0.0f;
    const int64_t to = (static_cast<int64_t>(at.first_row + row / kGroup) * n_heads + head0 + row % kGroup) * kDim;
    char* line = static_cast<char*>(p.out) + to * 2 + t * 4;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n)
      *reinterpret_cast<uint32_t*>(line + n * 16) = Pack16(out[n][2 * i] * inverse, out[n][2 * i + 1] * inverse);
  }
}
