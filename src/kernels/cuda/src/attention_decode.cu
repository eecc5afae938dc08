// One new token a sequence against its paged keys and values.
//
// A block is one to four groups of four warps (DecodeKernel in attention.h), which walk the pages of its pieces in turn.
// Of each page a warp takes 16 keys, straight from global memory into registers in the order that mma.m16n8k16 wants:
// both products have the keys' side (K, or V transposed) as the 16-row operand and the query heads that share it as the
// 8 columns, so nothing is padded for a group of 4 or 8, and nothing passes through shared memory. While a product runs,
// the next page's half is already under way.
//
// With ROPE it also does rope_append.cu's work, bit for bit: every block makes the query heads of its piece, and the block
// that has the last page makes the new key and value, appends them to the page and takes them from shared memory itself.
//
// Macros: HEAD_DIM (multiple of 16), GROUP (query heads of a kv head, 1..16), KV_FP8, F16, ROPE; with ROPE those of rope.cuh.
#include "attention_abi.h"
#include "attention_rows.cuh"
#if ROPE
#include "rope.cuh"
#endif

using namespace lathe::cuda;

constexpr int kDim = HEAD_DIM;
constexpr int kGroup = GROUP;
constexpr int kColumns = (GROUP + 7) / 8;  // tiles of 8 query heads
constexpr int kSteps = kDim / 16;
constexpr int kRowBytes = kDim * (KV_FP8 ? 1 : 2);
constexpr int kWarps = LATHE_THREADS / 32;
constexpr int kGroups = kWarps / 4;  // pages that a block reads at once
constexpr float kNever = -1e30f;  // score of a key that is not visible, and the maximum of none

// A row of K is spread over 4 lanes, one of V over 8, in 16-byte pieces and one smaller piece for what remains.
constexpr int kKeyWords = kRowBytes / 16;
constexpr int kKeyFull = kKeyWords / 4, kKeyTail = kKeyWords % 4;
constexpr int kValueWords = kRowBytes / 32;
constexpr int kValueFull = kValueWords / 4, kValueTail = kValueWords % 4;
constexpr bool kValueHalf = kRowBytes % 32 != 0;  // fp8, 80: two more bytes a lane
constexpr int kValueSlots = kValueWords + (kValueHalf ? 1 : 0);
static_assert(kDim % 16 == 0 && kKeyTail != 3);
// Registers hold q where they suffice for it too, else shared memory does.
constexpr bool kQueryShared = kDim * kColumns > 128;
// Bytes from one query head to the next. Made here they lie in shared memory, where 16 more avoid conflicts.
constexpr int kQueryPitch = kDim * 2 + (ROPE ? 16 : 0);
constexpr int kFreshBytes = (kRowBytes + 15) / 16 * 16;

LATHE_DEVICE void LoadKey(const char* row, int t, uint32_t (&to)[kKeyWords]) {
  LoadRow<kKeyFull, kKeyTail, 4>(row, t, to);
}
LATHE_DEVICE void LoadValue(const char* row, int g, uint32_t (&to)[kValueSlots]) {
  LoadRow<kValueFull, kValueTail, 8>(row, g, to);
  if constexpr (kValueHalf) {
    uint16_t two;
    asm volatile("ld.global.L1::no_allocate.u16 %0, [%1];" : "=h"(two) : "l"(row + kDim - 16 + g * 2));
    to[kValueSlots - 1] = two;
  }
}

// First of the 4 elements (fp8) or 2 (16 bits) that word w of a K row is, for lane t; the same order for q.
LATHE_DEVICE constexpr int KeyElement(int w, int t) {
  const int per = KV_FP8 ? 4 : 2;
  return w < 4 * kKeyFull ? ((w / 4) * 16 + t * 4 + w % 4) * per : (kKeyFull * 16 + t * kKeyTail + w % 4) * per;
}
// First of the 2 elements that rows g and g + 8 of tile i of the output are.
LATHE_DEVICE int ValueElement(int i, int g) {
  if (kValueHalf && i == kSteps - 1) return kDim - 16 + 2 * g;
  const int per = KV_FP8 ? 4 : 2;
  const int w = KV_FP8 ? i / 2 : i, pair = KV_FP8 ? 2 * (i % 2) : 0;
  if (kValueTail == 3 && w >= 4 * kValueFull)  // 8 bytes a lane, then 4
    return (kValueFull * 32 + (w % 4 < 2 ? g * 2 + w % 4 : 16 + g)) * per + pair;
  return (w < 4 * kValueFull ? ((w / 4) * 32 + g * 4 + w % 4) * per
                             : (kValueFull * 32 + g * kValueTail + w % 4) * per) + pair;
}

LATHE_DEVICE void Mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (KV_FP8)
    MmaHalf(d, a, b0, b1);
  else
    Mma16(d, a, b0, b1);
}
LATHE_DEVICE uint32_t Pack(float low, float high) { return KV_FP8 ? PackHalf(low, high) : Pack16(low, high); }
LATHE_DEVICE uint32_t Transpose(uint32_t pair) {
  uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
  return out;
}

// q of all heads of the group as the column operand, in the order of K's words.
struct Query {
  uint2 b[kQueryShared ? 1 : kColumns][kQueryShared ? 1 : kSteps];
  const uint2* shared;  // (kColumns, kSteps, 32)

  // `room` is written by the first warp; all threads of the block call this.
  LATHE_DEVICE void Load(const char* q, int g, int t, uint2* room) {
    if constexpr (kQueryShared) {
      __syncthreads();
      shared = room + Lane();
      if (Warp() == 0) {
#pragma unroll 4
        for (int i = 0; i < kColumns * kSteps; ++i) room[i * 32 + Lane()] = Operand(q, i / kSteps, i % kSteps, g, t);
      }
      __syncthreads();
    } else {
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
#pragma unroll
        for (int s = 0; s < kSteps; ++s) b[c][s] = Operand(q, c, s, g, t);
    }
  }
  LATHE_DEVICE static uint2 Operand(const char* q, int c, int s, int g, int t) {
    uint2 out = {0, 0};
    if (c * 8 + g < kGroup) {
      const uint32_t* row = reinterpret_cast<const uint32_t*>(q + (c * 8 + g) * kQueryPitch);
      const int element = KeyElement(KV_FP8 ? s : 2 * s, t);
      out = *reinterpret_cast<const uint2*>(row + element / 2);
      if constexpr (KV_FP8 && !F16) {
        out.x = Pack(Low16(out.x), High16(out.x));
        out.y = Pack(Low16(out.y), High16(out.y));
      }
    }
    return out;
  }
  LATHE_DEVICE uint2 At(int c, int s) const {
    if constexpr (kQueryShared)
      return shared[(c * kSteps + s) * 32];
    else
      return b[c][s];
  }
};

// Running softmax of a warp's keys: heads are the columns 2t and 2t + 1 of each tile of 8.
struct State {
  float out[kColumns][kSteps][4];
  float max[kColumns][2], sum[kColumns][2];

  LATHE_DEVICE void Clear() {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) out[c][i][j] = 0;
      max[c][0] = max[c][1] = kNever;
      sum[c][0] = sum[c][1] = 0;
    }
  }

  // Scores of keys g (s[0], s[1]) and g + 8 (s[2], s[3]) become probabilities, as the second product's operand.
  LATHE_DEVICE void Softmax(int c, float (&s)[4], uint32_t (&p)[2]) {
    float top[2] = {fmaxf(s[0], s[2]), fmaxf(s[1], s[3])};
#pragma unroll
    for (int mask = 4; mask < 32; mask <<= 1)
#pragma unroll
      for (int i = 0; i < 2; ++i) top[i] = fmaxf(top[i], ShuffleXor(top[i], mask));
    if (__any_sync(0xffffffffu, top[0] > max[c][0] || top[1] > max[c][1])) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float larger = fmaxf(max[c][i], top[i]);
        const float shrink = larger == kNever ? 1.0f : Exp2(max[c][i] - larger);
        max[c][i] = larger;
        sum[c][i] *= shrink;
#pragma unroll
        for (int j = 0; j < kSteps; ++j) {
          out[c][j][i] *= shrink;
          out[c][j][i + 2] *= shrink;
        }
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      s[j] = s[j] == kNever ? 0.0f : Exp2(s[j] - max[c][j & 1]);
      sum[c][j & 1] += s[j];
    }
    p[0] = Transpose(Pack(s[0], s[1]));
    p[1] = Transpose(Pack(s[2], s[3]));
  }
};

// Scores of 16 keys: rows[0] is key g, rows[1] is key g + 8.
LATHE_DEVICE void Scores(const uint32_t (&rows)[2][kKeyWords], const Query& query, float (&s)[kColumns][4]) {
#pragma unroll
  for (int c = 0; c < kColumns; ++c) s[c][0] = s[c][1] = s[c][2] = s[c][3] = 0;
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
    uint32_t a[4];
    if constexpr (KV_FP8) {
      E4m3ToHalf2(rows[0][k], &a[0], &a[2]);
      E4m3ToHalf2(rows[1][k], &a[1], &a[3]);
    } else {
      a[0] = rows[0][2 * k], a[1] = rows[1][2 * k], a[2] = rows[0][2 * k + 1], a[3] = rows[1][2 * k + 1];
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const uint2 b = query.At(c, k);
      Mma(s[c], a, b.x, b.y);
    }
  }
}

// out += V^T p: rows are keys 2t, 2t + 1, 2t + 8, 2t + 9.
LATHE_DEVICE void Accumulate(const uint32_t (&rows)[4][kValueSlots], const uint32_t (&p)[kColumns][2], State* state) {
#pragma unroll
  for (int w = 0; w < kValueSlots; ++w) {
    uint32_t pairs[4][2];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      if constexpr (KV_FP8)
        E4m3ToHalf2(rows[r][w], &pairs[r][0], &pairs[r][1]);
      else
        pairs[r][0] = rows[r][w];
    }
#pragma unroll
    for (int i = 0; i < (KV_FP8 ? 2 : 1); ++i) {
      const int tile = KV_FP8 ? 2 * w + i : w;
      if (tile >= kSteps) continue;
      const uint32_t a[4] = {__byte_perm(pairs[0][i], pairs[1][i], 0x5410), __byte_perm(pairs[0][i], pairs[1][i], 0x7632),
                             __byte_perm(pairs[2][i], pairs[3][i], 0x5410), __byte_perm(pairs[2][i], pairs[3][i], 0x7632)};
#pragma unroll
      for (int c = 0; c < kColumns; ++c) Mma(state->out[c][tile], a, p[c][0], p[c][1]);
    }
  }
}

// The 16 keys of one page that are this warp's.
struct Lines {
  uint32_t k[2][kKeyWords];
  uint32_t v[4][kValueSlots];
};

struct Walk {
  const char* base;      // this kv head within page 0
  int64_t page_bytes;
  const int* pages;      // of this piece
  int first, end;        // visible keys, counted from the piece's first page
  int there;             // keys that lie in pages already: end, or with ROPE all but the last one
  int key;               // this warp's first key of the page
  int g, t;

  LATHE_DEVICE const char* Page(int id) const { return base + id * page_bytes; }
  // Asks for pages that are read after the first ones to come to L2, keys and values of the head at once: while the
  // kernel before still runs they have time to.
  LATHE_DEVICE void Prefetch(int n_pages) const {
#if __CUDA_ARCH__ >= 900
    constexpr int kMost = kGroups + 7;
    const int page = kGroups + static_cast<int>(threadIdx.x);
    if (page < min(n_pages, kMost))
      BulkFetch(Page(pages[page]), 2 * kPageSize * kRowBytes);
#endif
  }
  LATHE_DEVICE bool Inside(int page) const { return page * kPageSize + key >= first && page * kPageSize + key + 16 <= end; }
  LATHE_DEVICE bool Visible(int page, int row) const {
    const int at = page * kPageSize + key + row;
    return at >= first && at < end;
  }
  LATHE_DEVICE bool AllThere(int page) const { return Inside(page) && page * kPageSize + key + 16 <= there; }
  LATHE_DEVICE bool There(int page, int row) const {
    return Visible(page, row) && page * kPageSize + key + row < there;
  }
  LATHE_DEVICE void Keys(int id, int page, Lines* lines) const {
    const char* rows = Page(id) + key * kRowBytes;
    if (AllThere(page)) {
#pragma unroll
      for (int i = 0; i < 2; ++i) LoadKey(rows + (g + 8 * i) * kRowBytes, t, lines->k[i]);
      return;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int w = 0; w < kKeyWords; ++w) lines->k[i][w] = 0;
      if (There(page, g + 8 * i)) LoadKey(rows + (g + 8 * i) * kRowBytes, t, lines->k[i]);
    }
  }
  LATHE_DEVICE void Values(int id, int page, Lines* lines) const {
    const char* rows = Page(id) + (kPageSize + key) * kRowBytes;
    if (AllThere(page)) {
#pragma unroll
      for (int i = 0; i < 4; ++i) LoadValue(rows + (2 * t + (i & 1) + 8 * (i >> 1)) * kRowBytes, g, lines->v[i]);
      return;
    }
    // What is not visible may be anything, and 0 * NaN is NaN.
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 2 * t + (i & 1) + 8 * (i >> 1);
#pragma unroll
      for (int w = 0; w < kValueSlots; ++w) lines->v[i][w] = 0;
      if (There(page, row)) LoadValue(rows + row * kRowBytes, g, lines->v[i]);
    }
  }
  // ROPE: the new key and value (kFreshBytes each), where this thread has a part of them.
  LATHE_DEVICE void TakeFresh(int page, const char* fresh, Lines* lines) const {
    const int row = there - page * kPageSize - key;  // of this warp's 16
    if (row < 0 || row >= 16) return;
#pragma unroll
    for (int i = 0; i < 2; ++i)
      if (g + 8 * i == row) TakeRow<kKeyFull, kKeyTail, 4>(fresh, t, lines->k[i]);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (2 * t + (i & 1) + 8 * (i >> 1) == row) {
        TakeRow<kValueFull, kValueTail, 8>(fresh + kFreshBytes, g, lines->v[i]);
        if constexpr (kValueHalf)
          lines->v[i][kValueSlots - 1] = *reinterpret_cast<const uint16_t*>(fresh + kFreshBytes + kDim - 16 + g * 2);
      }
  }
};

// The pages `group`, `group` + kGroups, ... of a piece; the first is under way when this is called.
LATHE_DEVICE void WalkPages(const Walk& walk, int group, int n_pages, float scale, const Query& query,
                            const char* fresh, Lines& lines, State* state) {
  int id, next = group + kGroups < n_pages ? walk.pages[group + kGroups] : 0;
  for (int page = group; page < n_pages; page += kGroups) {
    id = next;
    if (page + 2 * kGroups < n_pages) next = walk.pages[page + 2 * kGroups];
    if (ROPE && (page + 1) * kPageSize > walk.there) walk.TakeFresh(page, fresh, &lines);
    float s[kColumns][4];
    Scores(lines.k, query, s);
    if (page + kGroups < n_pages) walk.Keys(id, page + kGroups, &lines);
    uint32_t p[kColumns][2];
    const bool inside = walk.Inside(page);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[c][j] *= scale;
        if (!inside && !walk.Visible(page, walk.g + 8 * (j >> 1))) s[c][j] = kNever;
      }
      state->Softmax(c, s[c], p[c]);
    }
    Accumulate(lines.v, p, state);
    if (page + kGroups < n_pages) walk.Values(id, page + kGroups, &lines);
  }
}

struct Shared {
  float out[kWarps][kGroup][kDim];
  float state[kWarps][kGroup][2];
  uint2 query[kQueryShared ? kColumns * kSteps * 32 : 1];
  DecodePiece piece;  // what is needed behind the walk, which needs the registers
  int last;
#if ROPE
  alignas(16) char heads[kGroup][kQueryPitch];  // q, as attention reads it
  char fresh[2][kFreshBytes];                   // the new key and value
#endif
};

#if ROPE
// The query heads of a piece's row, and where `page` (this kv head's block of the last page) is given, the new key and
// value, which become key `place` of it. All threads of the block; ends in a barrier.
LATHE_DEVICE void MakeHeads(const DecodeParams& p, int row, int kv_head, char* page, int place, Shared* shared) {
  const int n = kGroup + (page != nullptr ? 2 : 0);
#pragma unroll 1
  for (int base = 0; base < n; base += LATHE_THREADS / kHeadLanes) {
    const int index = base + static_cast<int>(threadIdx.x) / kHeadLanes, lane = threadIdx.x % kHeadLanes;
    const bool active = index < n && lane < kHeadThreads;
    const int part = min(index - kGroup, 1);  // 0: k, 1: v
    const int head = part < 0 ? kv_head * kGroup + index : p.rope.n_heads + part * p.n_kv_heads + kv_head;
    HeadPieces pieces;
    pieces.Make(p.rope, row, head, lane, active);
    if (active && part < 0) {
      pieces.StoreOf16(shared->heads[index]);
    } else if (active) {
      const float scale = part == 1 ? p.rope.inverse_v_scale : p.rope.inverse_k_scale;
      pieces.Store(shared->fresh[part], scale);
      pieces.Store(page + (part * kPageSize + place) * kRowBytes, scale);
    }
  }
  __syncthreads();
}
#endif

// Every warp's part to shared memory.
LATHE_DEVICE void Deposit(const State& state, Shared* shared, int g, int t) {
  const int warp = Warp();
#pragma unroll
  for (int c = 0; c < kColumns; ++c)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float sum = state.sum[c][i];
#pragma unroll
      for (int mask = 4; mask < 32; mask <<= 1) sum += ShuffleXor(sum, mask);
      const int head = c * 8 + 2 * t + i;
      if (head >= kGroup) continue;
      if (g == 0) {
        shared->state[warp][head][0] = state.max[c][i];
        shared->state[warp][head][1] = sum;
      }
#pragma unroll
      for (int j = 0; j < kSteps; ++j)
        *reinterpret_cast<float2*>(&shared->out[warp][head][ValueElement(j, g)]) =
            make_float2(state.out[c][j][i], state.out[c][j][i + 2]);
    }
}

// Bytes before the query heads of this kv head, in q and in the output.
LATHE_DEVICE int64_t Row(const DecodeParams& p, const DecodePiece& piece, int kv_head) {
  return (static_cast<int64_t>(piece.row) * p.n_kv_heads + kv_head) * kGroup * kDim * 2;
}

LATHE_DEVICE float Weight(float max, float largest) { return max == kNever ? 0.0f : Exp2(max - largest); }

// Merges the parts of a split row in their order. The parts' weights first, a warp a head; then the weighted sum, four
// elements a thread, many parts in flight: what counts here is latency.
LATHE_DEVICE void MergeParts(const DecodeParams& p, const DecodePiece& piece, int kv_head, char* out, Shared* shared) {
  constexpr int kRoom = kWarps * kDim;                                                // weights a head
  constexpr int kItems = (kGroup * kDim / 4 + LATHE_THREADS - 1) / LATHE_THREADS;
  float* weights = &shared->out[0][0][0];  // (kGroup, kRoom)
  // Parts that are asked for before their weights are known, where registers hold them.
  constexpr int kEarly = kItems != 1 ? 0 : KV_FP8 ? 4 : 6;
  constexpr int kKnown = 2;  // states of a lane that are read once
  const int64_t stride = static_cast<int64_t>(p.n_kv_heads) * kGroup;
  const int64_t at = static_cast<int64_t>(piece.first_slot) * stride + kv_head * kGroup;
  const float2* states = reinterpret_cast<const float2*>(p.partial_state) + at;
  float4 sums[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) sums[item] = make_float4(0, 0, 0, 0);
  for (int base = 0; base < piece.n_parts; base += kRoom) {
    const int n = min(kRoom, piece.n_parts - base);
    const float4* outs = reinterpret_cast<const float4*>(p.partial_out + (at + base * stride) * kDim);
    float4 early[kEarly > 0 ? kEarly : 1];
    if (static_cast<int>(threadIdx.x) < kGroup * kDim / 4) {
#pragma unroll
      for (int part = 0; part < kEarly; ++part)
        if (part < n) early[part] = __ldcg(outs + threadIdx.x + part * stride * (kDim / 4));
    }
    for (int head = Warp(); head < kGroup; head += kWarps) {
      float largest = kNever, sum = 0;
      float2 known[kKnown];
#pragma unroll
      for (int i = 0; i < kKnown; ++i)
        known[i] = Lane() + 32 * i < piece.n_parts ? __ldcg(states + (Lane() + 32 * i) * stride + head)
                                                   : make_float2(kNever, 0.0f);
      const auto add = [&](float2 state) {
        const float larger = fmaxf(largest, state.x);
        sum = sum * Weight(largest, larger) + state.y * Weight(state.x, larger);
        largest = larger;
      };
#pragma unroll
      for (int i = 0; i < kKnown; ++i) add(known[i]);
      for (int part = Lane() + 32 * kKnown; part < piece.n_parts; part += 32)
        add(__ldcg(states + part * stride + head));
      const float top = WarpMax(largest);
      sum = WarpSum(sum * Weight(largest, top));
      const float inverse = sum > 0 ? p.v_scale / sum : 0.0f;
      const bool again = base > 0;  // what is known is of the first parts
#pragma unroll
      for (int i = 0; i < kKnown; ++i)
        if (!again && Lane() + 32 * i < n) weights[head * kRoom + Lane() + 32 * i] = Weight(known[i].x, top) * inverse;
      for (int part = Lane() + (again ? 0 : 32 * kKnown); part < n; part += 32)
        weights[head * kRoom + part] = Weight(__ldcg(states + (base + part) * stride + head).x, top) * inverse;
    }
    __syncthreads();
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int i = item * LATHE_THREADS + static_cast<int>(threadIdx.x);
      if (i >= kGroup * kDim / 4) continue;
      const float4* from = outs + i;
      const float* weight = weights + i / (kDim / 4) * kRoom;
      const auto add = [&](int part, float4 v) {
        sums[item].x += weight[part] * v.x;
        sums[item].y += weight[part] * v.y;
        sums[item].z += weight[part] * v.z;
        sums[item].w += weight[part] * v.w;
      };
#pragma unroll
      for (int part = 0; part < kEarly; ++part)
        if (part < n) add(part, early[part]);
#pragma unroll 16
      for (int part = kEarly; part < n; ++part) add(part, __ldcg(from + part * stride * (kDim / 4)));
    }
    __syncthreads();
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int i = item * LATHE_THREADS + static_cast<int>(threadIdx.x);
    if (i >= kGroup * kDim / 4) continue;
    *reinterpret_cast<uint2*>(out + i * 8) =
        make_uint2(Pack16(sums[item].x, sums[item].y), Pack16(sums[item].z, sums[item].w));
  }
}

LATHE_DEVICE void Finish(const DecodeParams& p, int kv_head, Shared* shared) {
  __syncthreads();
  const DecodePiece piece = shared->piece;
  char* out = static_cast<char*>(p.out) + Row(p, piece, kv_head);
  const bool whole = piece.slot < 0;
  const int64_t at = (static_cast<int64_t>(piece.slot) * p.n_kv_heads + kv_head) * kGroup;
  for (int i = threadIdx.x; i < kGroup * kDim / 2; i += blockDim.x) {
    const int head = i / (kDim / 2), d = i % (kDim / 2) * 2;
    float largest = kNever;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, shared->state[w][head][0]);
    float sum = 0, a = 0, b = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float weight = Weight(shared->state[w][head][0], largest);
      const float2 v = *reinterpret_cast<const float2*>(&shared->out[w][head][d]);
      sum += weight * shared->state[w][head][1];
      a += weight * v.x;
      b += weight * v.y;
    }
    if (whole) {
      const float inverse = sum > 0 ? p.v_scale / sum : 0.0f;
      *reinterpret_cast<uint32_t*>(out + i * 4) = Pack16(a * inverse, b * inverse);
    } else {
      __stcg(reinterpret_cast<float2*>(p.partial_out + (at + head) * kDim + d), make_float2(a, b));
      if (d == 0) __stcg(reinterpret_cast<float2*>(p.partial_state) + at + head, make_float2(largest, sum));
    }
  }
  if (whole) {
    __syncthreads();  // the next piece writes the same shared memory
    return;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* counter = p.counters + piece.counter * p.n_kv_heads + kv_head;
    const bool last = atomicAdd(counter, 1u) == static_cast<unsigned>(piece.n_parts - 1);
    if (last) *counter = 0;
    shared->last = last;
  }
  __syncthreads();
  if (shared->last) {
    __threadfence();
    MergeParts(p, piece, kv_head, out, shared);
  }
}

// grid: (columns, n_kv_heads). The plan and the page tables lie there since before the step's first kernel, so they are
// read, and keys and values of earlier steps are under way, before the kernel that writes q is waited for.
LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, BLOCKS_PER_SM) LATHE_ENTRY(const DecodeParams p) {
  extern __shared__ __align__(16) char shared_bytes[];
  Shared* shared = reinterpret_cast<Shared*>(shared_bytes);
  const int kv_head = blockIdx.y, g = Lane() / 4, t = Lane() % 4, group = kGroups == 1 ? 0 : Warp() / 4;
  const int first = p.column_first[blockIdx.x], end = p.column_first[blockIdx.x + 1];
  bool waited = false;
  DependencyLaunch();
  for (int i = first; i < end; ++i) {
    const DecodePiece piece = p.pieces[i];
    if (threadIdx.x == 0) shared->piece = piece;
    const int before = piece.first_page * kPageSize;
    const Walk walk = {static_cast<const char*>(p.kv) + kv_head * (2 * kPageSize * kRowBytes),
                       static_cast<int64_t>(p.n_kv_heads) * 2 * kPageSize * kRowBytes,
                       p.pages + piece.pages_at + piece.first_page,
                       piece.first_key - before,
                       piece.n_keys - before,
                       piece.n_keys - before - ROPE,
                       (kGroups == 1 ? Warp() : Warp() % 4) * 16,
                       g,
                       t};
    Lines lines;
    const bool some = kGroups == 1 || group < piece.n_pages;
    const int id = some ? walk.pages[group] : 0;
    walk.Prefetch(piece.n_pages);
#if ROPE
    const int last = walk.pages[piece.n_pages - 1];
    if (some) {
      walk.Keys(id, group, &lines);
      walk.Values(id, group, &lines);
    }
    if (!waited) DependencyWait();
    waited = true;
    const bool has_last = walk.there < piece.n_pages * kPageSize;
    char* page = static_cast<char*>(p.rope.kv) + kv_head * (2 * kPageSize * kRowBytes) + last * walk.page_bytes;
    MakeHeads(p, piece.row, kv_head, has_last ? page : nullptr, walk.there % kPageSize, shared);
    const char *heads = shared->heads[0], *fresh = shared->fresh[0];
#else
    // This step's key, the last one, is not there yet.
    if (!waited && before + (group + 1) * kPageSize >= piece.n_keys) {
      DependencyWait();
      waited = true;
    }
    if (some) {
      walk.Keys(id, group, &lines);
      walk.Values(id, group, &lines);
    }
    if (!waited) {
      DependencyWait();
      waited = true;
    }
    const char *heads = static_cast<const char*>(p.q) + Row(p, piece, kv_head), *fresh = nullptr;
#endif
    Query query;
    query.Load(heads, g, t, shared->query);
    State state;
    state.Clear();
    WalkPages(walk, group, piece.n_pages, p.scale, query, fresh, lines, &state);
    Deposit(state, shared, g, t);
    Finish(p, kv_head, shared);
  }
  // A kernel that does not wait would let the next one start before the one before it has ended. One of its blocks does
  // for that; the others without work make room for the next kernel's.
  if (!waited && blockIdx.x == 0) DependencyWait();
}
