// Products for prompts and large batches on Hopper (sm_90a): tokens are operand A (64 a warpgroup), W is operand B (tiles
// of ROWS rows), so that a thread's sums lie along y's rows and gate and up of one output meet in one thread.
//
// A block stays on its multiprocessor and takes tile after tile: one warp copies tiles of 128 bytes of K by tensor maps
// into a ring of STAGES stages, without regard to where a tile ends, and TOKENS / 64 warpgroups multiply. While they
// store one tile, the ring fills with the next. A warp stores on its own: 128 bytes of 16 rows at a time, turned in
// shared memory so that every store is of whole lines.
//
// CLUSTER 2: two blocks with neighbouring tiles of tokens and the same rows of W; each copies half of these to both.
// SPLIT > 1 (then a block has one tile): a cluster's blocks share K; rank r sums up and stores pieces r, r + SPLIT, … of
// the tile, adding in the order of the ranks: deterministic, and no workspace.
//
// e4m3: the tensor core keeps about 14 bits of a running sum (2^-13 of it may be lost in each of the steps of 32), so the
// products of PROMOTE stages, PROMOTE * 4 steps, are added in f32: at most PROMOTE * 4 * 2^-13 of a partial sum is lost.
//
// Epilogues of ROPE: tiles are of whole heads, so that both elements of a pair that is rotated meet in one thread, too.
//
// Macros: TYPE, EPILOGUE (gemm_abi.h), ROWS (64 … 256), TOKENS (128, 192), STAGES, CLUSTER, SPLIT, PROMOTE.
#include "gemm.cuh"
#include "step_abi.h"
#include "wgmma.cuh"

constexpr int kGroups = TOKENS / 64;
constexpr int kTileK = 128 / kElementBytes;
constexpr int kTileX = TOKENS * 128, kTileW = ROWS * 128;
constexpr int kStageBytes = kTileX + kTileW;
constexpr int kSums = ROWS / 2;  // a thread
constexpr bool kPromote = TYPE == LATHE_GEMM_E4M3;
constexpr int kTeam = CLUSTER * SPLIT;  // blocks of a cluster
// Where a block has its multiprocessor to itself for long, the sums may take what the copying warp leaves.
constexpr bool kMoveRegisters = SPLIT == 1;
constexpr int kConsumerRegisters = kGroups == 2 ? 232 : 152;
constexpr int kProducerRegisters = kGroups == 2 ? 40 : 56;
// Blocks that run at the same time share tiles: so many tiles of W before the next of tokens, about 2048 rows.
constexpr int kBand = 2048 / ROWS;
static_assert(LATHE_THREADS == 128 * kGroups + 128 && (CLUSTER == 1 || SPLIT == 1));
constexpr int kHeadDim = 128;  // ROPE

// What a warp turns at a time: 16 rows of 128 bytes of y, apart so that neither way of access meets a bank twice.
constexpr bool kRope = EPILOGUE == LATHE_GEMM_ROPE_BF16 || EPILOGUE == LATHE_GEMM_ROPE_E4M3;
constexpr int kOutColumns = kSilu ? ROWS / 2 : ROWS;
constexpr int kPieceColumns = kOut16 ? 64 : 32;
constexpr int kPieces = (kOutColumns + kPieceColumns - 1) / kPieceColumns;
constexpr int kPitch = kOut16 ? 144 : 160;
constexpr int kTurnBytes = 16 * 160;

struct Tile {
  int row, token;  // the first
};

// The tiles that this block's cluster takes are first, first + step, … below count.
struct Tiles {
  int rank, first, step, count;
  int row_tiles, token_tiles;  // of tokens: a cluster's worth

  LATHE_DEVICE explicit Tiles(const GemmArgs& args) {
    rank = blockIdx.x % kTeam;
    first = blockIdx.x / kTeam;
    step = gridDim.x / kTeam;
    row_tiles = (args.n + ROWS - 1) / ROWS;
    token_tiles = (args.m + TOKENS * CLUSTER - 1) / (TOKENS * CLUSTER);
    count = row_tiles * token_tiles;
  }
  LATHE_DEVICE Tile At(int index) const {
    const int band = index / (kBand * token_tiles), in_band = index % (kBand * token_tiles);
    const int width = min(kBand, row_tiles - band * kBand);
    const int token_tile = in_band / width * CLUSTER + (CLUSTER > 1 ? rank : 0);
    return {(band * kBand + in_band % width) * ROWS, token_tile * TOKENS};
  }
};

struct Part {
  int first, count;  // tiles of K
};
LATHE_DEVICE Part FindPart(const GemmArgs& args, int rank) {
  const int tiles = (args.k + kTileK - 1) / kTileK;
  if (SPLIT == 1) return {0, tiles};
  const int first = rank * tiles / SPLIT;
  return {first, (rank + 1) * tiles / SPLIT - first};
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
struct Ring {
  uint32_t stages, full, empty;
  uint32_t beside;  // floats: scales of the tile's rows of W, then their biases; two of that a warpgroup
  uint32_t turn;    // kTurnBytes a warp
};

// ---- copying -------------------------------------------------------------------------------------------------------

class Producer {
 public:
  LATHE_DEVICE Producer(const GemmArgs& args, const TensorMap* w, const TensorMap* x, const Ring& ring)
      : tiles_(args), part_(FindPart(args, tiles_.rank)), w_(w), x_(x), ring_(ring) {
    // With one tile of tokens W is read once; else other blocks want it in L2. x is read by every tile of W.
    w_hint_ = tiles_.token_tiles == 1 ? kEvictFirst : kEvictNormal;
    const bool x_fits = static_cast<int64_t>(args.m) * args.k * kElementBytes <= (32 << 20);
    x_hint_ = x_fits ? kEvictLast : kEvictNormal;
  }

  LATHE_DEVICE void Run() {
    if (tiles_.first >= tiles_.count) return;
    // W is no kernel's output: the first stages' rows may come before the previous kernel has ended.
    const Tile tile = tiles_.At(tiles_.first);
    const int ahead = min(STAGES, part_.count);
    for (int i = 0; i < ahead; ++i) LoadW(i, tile, i);
    DependencyWait();
    for (int i = 0; i < ahead; ++i) LoadX(i, tile, i);
    slot_ = ahead % STAGES;
    phase_ = ahead / STAGES;
    LoadTile(tile, ahead);
    for (int t = tiles_.first + tiles_.step; t < tiles_.count; t += tiles_.step) LoadTile(tiles_.At(t), 0);
  }

 private:
  LATHE_DEVICE void LoadTile(const Tile& tile, int from) {
    for (int i = from; i < part_.count; ++i) {
      BarrierWait(ring_.empty + slot_ * 8, phase_ ^ 1);  // at once where a stage was never filled
      LoadW(slot_, tile, i);
      LoadX(slot_, tile, i);
      if (++slot_ == STAGES) slot_ = 0, phase_ ^= 1;
    }
  }
  LATHE_DEVICE void LoadW(int slot, const Tile& tile, int k) {
    const uint32_t stage = ring_.stages + slot * kStageBytes + kTileX, full = ring_.full + slot * 8;
    BarrierExpect(full, kStageBytes);
    const int column = (part_.first + k) * kTileK;
    if constexpr (CLUSTER == 1) {
      TensorLoad(stage, w_, column, tile.row, full, w_hint_);
    } else {
      const int half = tiles_.rank * (ROWS / CLUSTER);
      TensorLoadToAll<CLUSTER>(stage + half * 128, w_, column, tile.row + half, full, w_hint_);
    }
  }
  LATHE_DEVICE void LoadX(int slot, const Tile& tile, int k) {
    TensorLoad(ring_.stages + slot * kStageBytes, x_, (part_.first + k) * kTileK, tile.token, ring_.full + slot * 8,
               x_hint_);
  }

  const Tiles tiles_;
  const Part part_;
  const TensorMap* const w_;
  const TensorMap* const x_;
  const Ring ring_;
  uint64_t w_hint_, x_hint_;
  int slot_ = 0;
  uint32_t phase_ = 0;
};

// ---- multiplying ---------------------------------------------------------------------------------------------------

class Consumer {
 public:
  LATHE_DEVICE Consumer(const GemmArgs& args, const GemmRope& rope, const Ring& ring)
      : args_(args),
        rope_(rope),
        tiles_(args),
        part_(FindPart(args, tiles_.rank)),
        ring_(ring),
        group_(threadIdx.x / 128),
        turn_(ring.turn + threadIdx.x / 32 * kTurnBytes) {}

  LATHE_DEVICE void Run() {
    DependencyWait();
    if constexpr (SPLIT > 1) {
      RunTile(tiles_.At(tiles_.first), 0);
    } else {
      int n = 0;
      for (int t = tiles_.first; t < tiles_.count; t += tiles_.step) RunTile(tiles_.At(t), n++ & 1);
    }
  }

 private:
  LATHE_DEVICE void RunTile(const Tile& tile, int buffer) {
    float sums[kSums];
    Forget(sums);
    if constexpr (kPromote) LoadScales(tile);
    if constexpr (kPromote) {
      MultiplyPromoting(sums);
    } else {
      Multiply(sums, part_.count);
    }
    ShareBeside(tile, buffer);
    if constexpr (SPLIT > 1) {
      // The ring is free now: all that this block's stages were to get has been waited for, and read by all.
      NamedBarrier(1 + kGroups, 128 * kGroups);
      StorePart(sums);
      ClusterBarrier();
    }
    if constexpr (kRope) {
      Rotate<0>(tile, sums);
      StoreHeads(tile, sums);
    } else {
      Store(tile, sums);
    }
  }
  LATHE_DEVICE void Release(int slot) {
    if (threadIdx.x % 128 >= CLUSTER) return;
    const uint32_t barrier = ring_.empty + slot * 8;
    if constexpr (CLUSTER == 1) {
      BarrierArrive(barrier);
    } else {
      BarrierArriveAt(barrier, threadIdx.x % 128);
    }
  }
  LATHE_DEVICE void Advance() {
    if (++slot_ == STAGES) slot_ = 0, phase_ ^= 1;
  }

  // Zeros are not needed, but they say that what the last tile left there is not either.
  LATHE_DEVICE static void Forget(float (&sums)[kSums]) {
    if constexpr (SPLIT == 1) {
#pragma unroll
      for (int e = 0; e < kSums; ++e) sums[e] = 0;
    }
  }

  // The products of the next `count` stages, from zero.
  LATHE_DEVICE void Multiply(float (&sums)[kSums], int count) {
    for (int i = 0; i < count; ++i) {
      const uint32_t stage = ring_.stages + slot_ * kStageBytes;
      BarrierWait(ring_.full + slot_ * 8, phase_);
      MultiplyStage<ROWS>(sums, stage + group_ * 64 * 128, stage + kTileX, i > 0);
      // One stage stays in flight; the one before it has been read.
      WgmmaWait<1>();
      if (i > 0) Release(slot_ == 0 ? STAGES - 1 : slot_ - 1);
      Advance();
    }
    WgmmaWait<0>();
    Pin(sums);
    Release(slot_ == 0 ? STAGES - 1 : slot_ - 1);
  }

  LATHE_DEVICE void MultiplyPromoting(float (&sums)[kSums]) {
    float part[kSums];
    Forget(part);
#pragma unroll
    for (int e = 0; e < kSums; ++e) sums[e] = 0;
#pragma unroll 1
    for (int left = part_.count; left > 0; left -= PROMOTE) {
      Multiply(part, min(PROMOTE, left));
      Add(sums, part);
    }
  }

  // ---- from sums to y ------------------------------------------------------------------------------------------

  LATHE_DEVICE bool HasBeside() const { return kPromote || args_.bias != 0; }
  // This thread's share of the scales of the tile's rows of W, and its two tokens' scales: asked for before the products,
  // stored to shared memory after them.
  LATHE_DEVICE void LoadScales(const Tile& tile) {
#pragma unroll
    for (int i = 0; i < kShare; ++i) {
      const int row = min(tile.row + i * 128 + static_cast<int>(threadIdx.x % 128), args_.n - 1);
      scale_[i] = At<const float>(args_.w_scale)[static_cast<int64_t>(row) * args_.w_scale_step];
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int token = min(tile.token + FirstRow() + h * 8 + Lane() / 4, args_.m - 1);
      x_scale_[h] = At<const float>(args_.x_scale)[token];
    }
  }
  LATHE_DEVICE void ShareBeside(const Tile& tile, int buffer) {
    if (!HasBeside()) return;
    beside_ = ring_.beside + (group_ * 2 + buffer) * ROWS * 8;
#pragma unroll
    for (int i = 0; i < kShare; ++i) {
      const int row = i * 128 + threadIdx.x % 128;
      if (row >= ROWS) continue;
      const bool biased = args_.bias != 0 && tile.row + row < args_.n;
      StoreSharedFloat(beside_ + row * 4, kPromote ? scale_[i] : 1.0f);
      StoreSharedFloat(beside_ + (ROWS + row) * 4, biased ? At<const float>(args_.bias)[tile.row + row] : 0.0f);
    }
    // Of two buffers, the one that is written next was last read before this barrier.
    NamedBarrier(1 + group_, 128);
  }
  // The first of the 16 tokens of the tile whose sums this warp has.
  LATHE_DEVICE int FirstRow() const { return static_cast<int>(threadIdx.x) / 32 * 16; }

  // Columns 8 * block + 2 * (lane % 4) + {0, 1} of W's tile, tokens lane / 4 + {0, 8}: v[2 * (token half) + column].
  template <int kBlock>
  LATHE_DEVICE void Finish(const float (&sums)[kSums], float (&v)[4]) const {
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = sums[kBlock * 4 + e];
    if (!HasBeside()) return;
    const uint32_t at = beside_ + (kBlock * 8 + Lane() % 4 * 2) * 4;
    const float2 scale = LoadSharedPair(at), bias = LoadSharedPair(at + ROWS * 4);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      v[2 * h] = v[2 * h] * (kPromote ? x_scale_[h] * scale.x : 1.0f) + bias.x;
      v[2 * h + 1] = v[2 * h + 1] * (kPromote ? x_scale_[h] * scale.y : 1.0f) + bias.y;
    }
  }
  // The same of y's columns.
  template <int kBlock>
  LATHE_DEVICE void Result(const float (&sums)[kSums], float (&v)[4]) const {
    if constexpr (kSilu) {
      constexpr int kGate = kBlock / 8 * 16 + kBlock % 8;
      float up[4];
      Finish<kGate>(sums, v);
      Finish<kGate + 8>(sums, up);
#pragma unroll
      for (int e = 0; e < 4; ++e) v[e] = Silu(v[e]) * up[e];
    } else if constexpr (kRope) {
#pragma unroll
      for (int e = 0; e < 4; ++e) v[e] = sums[kBlock * 4 + e];
    } else {
      Finish<kBlock>(sums, v);
    }
  }

  // Piece kPiece of y's columns, its blocks from kFrom on, to this warp's room.
  template <int kPiece, int kFrom>
  LATHE_DEVICE void Turn(const float (&sums)[kSums]) const {
    constexpr int kBlock = kPiece * (kPieceColumns / 8) + kFrom;
    if constexpr (kFrom * 8 < kPieceColumns && kBlock * 8 < kOutColumns) {
      if constexpr (kOut16) {
        float a[4], b[4];
        Result<kBlock>(sums, a);
        Result<kBlock + 1>(sums, b);
        const uint32_t at = turn_ + Lane() % 16 * kPitch + (kFrom + Lane() / 16) * 16;
        StoreMatrix4(at, Pack16(a[0], a[1]), Pack16(a[2], a[3]), Pack16(b[0], b[1]), Pack16(b[2], b[3]));
        Turn<kPiece, kFrom + 2>(sums);
      } else {
        float v[4];
        Result<kBlock>(sums, v);
        const uint32_t at = turn_ + Lane() / 4 * kPitch + (kFrom * 8 + Lane() % 4 * 2) * 4;
        StoreSharedPair(at, v[0], v[1]);
        StoreSharedPair(at + 8 * kPitch, v[2], v[3]);
        Turn<kPiece, kFrom + 1>(sums);
      }
    }
  }

  // Eight lanes store 128 bytes of a row: this lane's are those of rows Lane() / 8 + {0, 4, 8, 12} of the warp's.
  struct Place {
    int64_t at;   // in y, of its first row and the tile's first column
    int rows;     // of its rows inside of y, in steps of 4
    int columns;  // of y from there on
    int stride;
  };
  LATHE_DEVICE Place FindPlace(const Tile& tile) const {
    // Nothing of this is to be computed before the products: they need the registers.
    const int lane = Opaque(Lane()), stride = Opaque(args_.y_stride);
    const int token = tile.token + FirstRow() + lane / 8, in_piece = lane % 8 * (kPieceColumns / 8);
    const int column = (kSilu ? tile.row / 2 : tile.row) + in_piece;
    return {static_cast<int64_t>(token) * stride + column, args_.m - token,
            min(kOutColumns - in_piece, (kSilu ? args_.n / 2 : args_.n) - column), stride};
  }
  template <int kPiece>
  LATHE_DEVICE bool Inside(const Place& place, int i) const {
    return i * 4 < place.rows && kPiece * kPieceColumns < place.columns;
  }
  template <int kPiece>
  LATHE_DEVICE int64_t OffsetOf(const Place& place, int i) const {
    return place.at + (kPiece * kPieceColumns + i * 4 * place.stride);
  }
  struct Residual {
    float4 v[4];
  };
  template <int kPiece>
  LATHE_DEVICE void LoadResidual(const Place& place, Residual& r) const {
    if constexpr (EPILOGUE == LATHE_GEMM_ADD_F32 && kPiece < kPieces) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        r.v[i] = float4{0, 0, 0, 0};
        if (Inside<kPiece>(place, i)) {
          r.v[i] = *reinterpret_cast<const float4*>(At<const float>(args_.residual) + OffsetOf<kPiece>(place, i));
        }
      }
    }
  }

  template <int kPiece>
  LATHE_DEVICE void StorePieces(const Place& place, const float (&sums)[kSums], const Residual& residual) const {
    if constexpr (kPiece < kPieces) {
      Residual next;
      if constexpr (SPLIT > 1) {
        if (kPiece % SPLIT == tiles_.rank) {
          float all[kSums];
          LoadResidual<kPiece>(place, next);
          Gather<kPiece>(all);
          StorePiece<kPiece>(place, all, next);
        }
      } else {
        LoadResidual<kPiece + 1>(place, next);
        StorePiece<kPiece>(place, sums, residual);
      }
      StorePieces<kPiece + 1>(place, sums, next);
    }
  }
  template <int kPiece>
  LATHE_DEVICE void StorePiece(const Place& place, const float (&sums)[kSums], const Residual& residual) const {
    Turn<kPiece, 0>(sums);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float4 v = LoadSharedFloats(turn_ + (i * 4 + Lane() / 8) * kPitch + Lane() % 8 * 16);
      if (!Inside<kPiece>(place, i)) continue;
      const int64_t at = OffsetOf<kPiece>(place, i);
      if constexpr (EPILOGUE == LATHE_GEMM_ADD_F32) {
        const float4& r = residual.v[i];
        v.x += r.x, v.y += r.y, v.z += r.z, v.w += r.w;
      }
      // As floats whatever they are: the compiler then knows that a residual may lie there.
      char* const to = At<char>(args_.y) + at * (kOut16 ? 2 : 4);
      *reinterpret_cast<float4*>(to) = v;
    }
    __syncwarp();
  }
  LATHE_DEVICE void Store(const Tile& tile, const float (&sums)[kSums]) const {
    const Place place = FindPlace(tile);
    Residual first;
    if constexpr (SPLIT == 1) LoadResidual<0>(place, first);
    StorePieces<0>(place, sums, first);
  }

  // ---- ROPE ----------------------------------------------------------------------------------------------------

  // In place: columns kFrom * 8 … of each head's first half with those 64 further on.
  template <int kFrom>
  LATHE_DEVICE void Rotate(const Tile& tile, float (&sums)[kSums]) const {
    if constexpr (kFrom < kHeadDim / 16) {
      float2 cos[2], sin[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int token = min(tile.token + FirstRow() + h * 8 + Lane() / 4, args_.m - 1);
        const int64_t at = static_cast<int64_t>(token) * (kHeadDim / 2) + kFrom * 8 + Lane() % 4 * 2;
        cos[h] = *reinterpret_cast<const float2*>(At<const float>(rope_.cos) + at);
        sin[h] = *reinterpret_cast<const float2*>(At<const float>(rope_.sin) + at);
      }
      RotateHead<kFrom, 0>(tile, sums, cos, sin);
      Rotate<kFrom + 1>(tile, sums);
    }
  }
  template <int kFrom, int kHead>
  LATHE_DEVICE void RotateHead(const Tile& tile, float (&sums)[kSums], const float2 (&cos)[2],
                               const float2 (&sin)[2]) const {
    if constexpr (kHead < ROWS / kHeadDim) {
      constexpr int kLow = kHead * (kHeadDim / 8) + kFrom, kHigh = kLow + kHeadDim / 16;
      const bool turns = tile.row / kHeadDim + kHead < rope_.n_heads + rope_.n_kv_heads;
      float a[4], b[4];
      Finish<kLow>(sums, a);
      Finish<kHigh>(sums, b);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float c = turns ? (e % 2 ? cos[e / 2].y : cos[e / 2].x) : 1.0f;
        const float s = turns ? (e % 2 ? sin[e / 2].y : sin[e / 2].x) : 0.0f;
        sums[kLow * 4 + e] = a[e] * c - b[e] * s;
        sums[kHigh * 4 + e] = b[e] * c + a[e] * s;
      }
      RotateHead<kFrom, kHead + 1>(tile, sums, cos, sin);
    }
  }
  LATHE_DEVICE void StoreHeads(const Tile& tile, const float (&sums)[kSums]) const {
    int slots[4];  // of this lane's rows; -1: no row, or one without a place
    const int first = Opaque(tile.token + FirstRow() + Lane() / 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = first + i * 4;
      slots[i] = token < args_.m ? At<const lathe::cuda::StepRow>(rope_.rows)[token].kv_slot : -1;
    }
    StoreHalves<0>(tile, sums, first, slots);
  }
  // A piece is half a head.
  template <int kPiece>
  LATHE_DEVICE void StoreHalves(const Tile& tile, const float (&sums)[kSums], int first,
                                const int (&slots)[4]) const {
    if constexpr (kPiece < kPieces) {
      Turn<kPiece, 0>(sums);
      __syncwarp();
      const int head = tile.row / kHeadDim + kPiece / 2, column = kPiece % 2 * 64 + Lane() % 8 * 8;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 v = LoadSharedFloats(turn_ + (i * 4 + Lane() / 8) * kPitch + Lane() % 8 * 16);
        if (head < rope_.n_heads) {
          const int64_t row = static_cast<int64_t>(first + i * 4) * rope_.n_heads + head;
          if (first + i * 4 < args_.m) *reinterpret_cast<float4*>(At<uint16_t>(args_.y) + row * kHeadDim + column) = v;
        } else if (slots[i] >= 0 && head < rope_.n_heads + 2 * rope_.n_kv_heads) {
          StoreKey(v, head - rope_.n_heads, slots[i], column);
        }
      }
      __syncwarp();
      StoreHalves<kPiece + 1>(tile, sums, first, slots);
    }
  }
  // Eight elements of a key, or (head from n_kv_heads on) of a value.
  LATHE_DEVICE void StoreKey(const float4& v, int head, int slot, int column) const {
    using lathe::cuda::kPageSize;
    const int part = head >= rope_.n_kv_heads ? 1 : 0, kv_head = head - part * rope_.n_kv_heads;
    const int64_t block = (static_cast<int64_t>(slot / kPageSize) * rope_.n_kv_heads + kv_head) * 2 + part;
    const int64_t at = (block * kPageSize + slot % kPageSize) * kHeadDim + column;
    if constexpr (EPILOGUE == LATHE_GEMM_ROPE_E4M3) {
      const uint32_t x = __float_as_uint(v.x), y = __float_as_uint(v.y), z = __float_as_uint(v.z),
                     w = __float_as_uint(v.w);
      *reinterpret_cast<uint2*>(At<uint8_t>(rope_.kv) + at) =
          uint2{PackE4m3(Low16(x), High16(x), Low16(y), High16(y)), PackE4m3(Low16(z), High16(z), Low16(w), High16(w))};
    } else {
      *reinterpret_cast<float4*>(At<uint16_t>(rope_.kv) + at) = v;
    }
  }

  // ---- SPLIT -----------------------------------------------------------------------------------------------------

  // Four sums of a thread lie together, those of a warp one after another.
  LATHE_DEVICE uint32_t PartAt(int four) const { return ring_.stages + (four * 128 * kGroups + threadIdx.x) * 16; }
  LATHE_DEVICE void StorePart(const float (&sums)[kSums]) const {
#pragma unroll
    for (int i = 0; i < kSums / 4; ++i) {
      StoreShared16(PartAt(i), uint4{__float_as_uint(sums[4 * i]), __float_as_uint(sums[4 * i + 1]),
                                     __float_as_uint(sums[4 * i + 2]), __float_as_uint(sums[4 * i + 3])});
    }
  }
  // The sums that piece kPiece of y needs, over the cluster's ranks in their order.
  template <int kPiece>
  LATHE_DEVICE void Gather(float (&sums)[kSums]) const {
    constexpr int kBlocks = kPieceColumns / 8 * (kSilu ? 2 : 1), kFrom = kPiece * kBlocks;
#pragma unroll
    for (int i = kFrom; i < kFrom + kBlocks && i < kSums / 4; ++i) {
      float4 sum = {0, 0, 0, 0};
#pragma unroll
      for (int rank = 0; rank < SPLIT; ++rank) {
        const float4 part = LoadClusterFloats(PartAt(i), rank);
        sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
      }
      sums[4 * i] = sum.x, sums[4 * i + 1] = sum.y, sums[4 * i + 2] = sum.z, sums[4 * i + 3] = sum.w;
    }
  }

  static constexpr int kShare = (ROWS + 127) / 128;
  const GemmArgs& args_;
  const GemmRope& rope_;
  const Tiles tiles_;
  const Part part_;
  const Ring ring_;
  const int group_;
  const uint32_t turn_;
  uint32_t beside_ = 0;
  int slot_ = 0;
  uint32_t phase_ = 0;
  float scale_[kShare], x_scale_[2];
};
#endif

#if EPILOGUE == LATHE_GEMM_ROPE_BF16 || EPILOGUE == LATHE_GEMM_ROPE_E4M3
LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, 1)
    LATHE_ENTRY(const __grid_constant__ TensorMap w, const __grid_constant__ TensorMap x,
                const __grid_constant__ GemmArgs args, const __grid_constant__ GemmRope rope) {
#else
LATHE_KERNEL void __launch_bounds__(LATHE_THREADS, 1)
    LATHE_ENTRY(const __grid_constant__ TensorMap w, const __grid_constant__ TensorMap x,
                const __grid_constant__ GemmArgs args) {
  const GemmRope rope = {};
#endif
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) char memory[];
  Ring ring;
  ring.stages = (SharedAddress(memory) + 1023) & ~1023u;
  ring.turn = ring.stages + STAGES * kStageBytes;
  ring.beside = ring.turn + kGroups * 4 * kTurnBytes;
  ring.full = ring.beside + kGroups * 2 * ROWS * 8;
  ring.empty = ring.full + STAGES * 8;
  if (threadIdx.x == 0) {
    TensorPrefetchMap(&w);
    TensorPrefetchMap(&x);
    for (int i = 0; i < STAGES; ++i) {
      BarrierInit(ring.full + i * 8, 1);
      BarrierInit(ring.empty + i * 8, kGroups * CLUSTER);
    }
    BarrierInitFence();
  }
  __syncthreads();
  // Nobody copies to a block, or arrives there, before its barriers are set up, which the fence has made visible.
  if constexpr (CLUSTER > 1) ClusterMeet();
  DependencyLaunch();
  if (threadIdx.x >= 128 * kGroups) {
    if constexpr (kMoveRegisters) RegistersDown<kProducerRegisters>();
    if (threadIdx.x == 128 * kGroups) Producer(args, &w, &x, ring).Run();
    __syncwarp();
    if constexpr (SPLIT > 1) ClusterBarrier();
  } else {
    if constexpr (kMoveRegisters) RegistersUp<kConsumerRegisters>();
    Consumer(args, rope, ring).Run();
  }
  // Nobody leaves while another block may still write to it, arrive at its barriers or read its sums.
  __syncwarp();
  if constexpr (kTeam > 1) ClusterMeet();
#endif
}
