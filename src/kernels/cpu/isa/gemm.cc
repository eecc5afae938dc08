// Matrix multiplication: the blocking around gemm_tile.h, and the tactics this ISA offers.
#include "kernels/cpu/isa/gemm_tile.h"
#include "kernels/cpu/isa/kernels.h"

namespace lathe::LATHE_ISA {
namespace {

constexpr int kMaxRows = 256;             // rows of a task
constexpr size_t kSumBytes = 256u << 10;  // scratch for partial sums; widened weights and packed rows follow
constexpr int kWholeK = 1 << 20;

// The tasks of one call. Units are panels, or gate+up pairs of panels. A task is a run of neighbouring units
// and a block of rows; runs get shorter towards the end, so that threads stream long stretches and still end
// together.
class Grid {
 public:
  // nr: vectors of columns that a tile needs; packed: rows are packed (panels of a task share them).
  Grid(const GemmParams& p, int count, int nr, bool packed) : count_(count) {
    unit_panels_ = p.silu_mul ? 2 : 1;
    n_units_ = CeilDiv(p.silu_mul ? p.N / 2 : p.N, kPanelN);
    int blocks = CeilDiv(p.M, kMaxRows);
    // Few panels: shorter row blocks first (they cost only a second pass over cached weights).
    const int enough = count > 1 ? 4 * count : 1;
    while (blocks * n_units_ < enough && CeilDiv(p.M, blocks + 1) >= 64) ++blocks;
    rows_ = CeilDiv(p.M, blocks);
    n_left_ = n_units_ * CeilDiv(p.M, rows_);
    const int fit = static_cast<int>(kSumBytes / (sizeof(float) * kPanelN)) / (rows_ * unit_panels_);
    max_run_ = MaxInt(1, MinInt(fit, packed ? 8 : 32));
    const int max_parts = kPanelN / (nr * kLanes);
    while (n_left_ * parts_ < 2 * count && parts_ * 2 <= max_parts) parts_ *= 2;
    NextRun();
  }
  int unit_panels() const { return unit_panels_; }
  int parts() const { return parts_; }
  int rows() const { return rows_; }
  int block() const { return block_; }
  int unit() const { return unit_; }
  int units() const { return units_; }
  // Moves to the run of task number `task` (never below the one before); false when there is none.
  bool Seek(int task) {
    for (; run_ < task / parts_; ++run_) {
      n_left_ -= units_;
      unit_ += units_;
      if (unit_ == n_units_) {
        unit_ = 0;
        ++block_;
      }
      NextRun();
    }
    return n_left_ > 0;
  }

 private:
  void NextRun() { units_ = MaxInt(1, MinInt(MinInt(max_run_, n_units_ - unit_), n_left_ / (2 * count_))); }
  int count_, unit_panels_ = 1, n_units_ = 0, rows_ = 0, max_run_ = 1;
  int parts_ = 1;  // column parts every unit is cut into where there are fewer units than threads could use
  // The current run: units_ from unit_ on, in row block block_; n_left_ units from there to the end.
  int run_ = 0, block_ = 0, unit_ = 0, units_ = 1, n_left_ = 0;
};

// Columns c0 .. c1-1 of a run of bf16 panel rows as f32, in strips of `width` columns: out[strip][k][width].
[[maybe_unused]] void WidenRun(const uint16_t* w, int k, int c0, int c1, int width, float* out) {
  for (int c = c0; c < c1; c += width) {
    const uint16_t* in = w + 2 * c;
    for (int i = 0; i < k; i += 2, in += 2 * kPanelN, out += 2 * width)
      for (int j = 0; j < width; j += kLanes) {
        const I raw = LoadPairs(in + 2 * j);
        Store(out + j, Even(raw));
        Store(out + width + j, Odd(raw));
      }
  }
}

template <typename Y>
void FinishRows(const GemmParams& p, int panel, int rows, int row0, int c0, int c1, const float* sums, Y* y) {
  const int n0 = panel * kPanelN, n_end = MinInt(p.N, n0 + c1);
  for (int r = 0; r < rows; ++r) {
    const float* c = sums + r * kPanelN - n0;
    Y* out = y + (row0 + r) * p.ldy;
    for (int n = n0 + c0; n < n_end; n += kLanes) {
      const int left = MinInt(kLanes, n_end - n);
      F v = Load(c + n);
      if (p.bias) v = Add(v, left == kLanes ? Load(p.bias + n) : LoadN(p.bias + n, left));
      if (left == kLanes)
        StoreAs(out + n, v);
      else
        StoreAsN(out + n, v, left);
    }
  }
}

// silu(gate) * up of one pair of panels.
template <typename Y>
void FinishSiluRows(const GemmParams& p, int unit, int rows, int row0, int c0, int c1, const float* gate,
                    const float* up, Y* y) {
  const int n0 = unit * kPanelN, n_end = MinInt(p.N / 2, n0 + c1);
  const float* bias = p.bias ? p.bias + 2 * n0 : nullptr;
  for (int r = 0; r < rows; ++r) {
    Y* out = y + (row0 + r) * p.ldy + n0;
    for (int c = c0; n0 + c < n_end; c += kLanes) {
      F g = Load(gate + r * kPanelN + c), u = Load(up + r * kPanelN + c);
      if (bias) {
        g = Add(g, Load(bias + c));
        u = Add(u, Load(bias + kPanelN + c));
      }
      const F v = Mul(Silu(g), u);
      if (n0 + c + kLanes <= n_end)
        StoreAs(out + c, v);
      else
        StoreAsN(out + c, v, n_end - n0 - c);
    }
  }
}

template <typename Y>
void Finish(const GemmParams& p, int unit, int rows, int row0, int c0, int c1, const float* sums) {
  Y* y = static_cast<Y*>(p.y);
  if (p.silu_mul)
    FinishSiluRows(p, unit, rows, row0, c0, c1, sums, sums + rows * kPanelN, y);
  else
    FinishRows(p, unit, rows, row0, c0, c1, sums, y);
}

// How the operands of a task are brought to the tiles.
enum class Mode {
  kStream,   // weights and rows as they lie, all of K at once: a few rows, weights from memory
  kPacked,   // rows copied next to each other, K in runs: rows K apart would share too few cache sets
  kWidened,  // the same, and bf16 weights widened to f32 in scratch once for all rows
};

// How a tactic walks the matrix. A task is a group of weight panels times a block of rows; its partial sums
// live in scratch, [panel][row][64]. For every run of kKc k's, for every panel, for every kNr vectors of
// columns: all rows, in tiles of at most kMr. While a panel is multiplied, the next one is prefetched.
template <NumericClass kNumeric, int kMr, int kNr, int kKc, Mode kMode>
struct Tactic {
  static constexpr Source kSource = kNumeric == NumericClass::kBf16Dot ? Source::kDot
                                    : kNumeric == NumericClass::kF32 || kMode == Mode::kWidened
                                        ? Source::kFloat
                                        : Source::kPairs;
  static constexpr bool kPack = kMode != Mode::kStream;
  static constexpr TileTable<kSource, kMr, kNr, kPack ? kKc : 0,
                             kMode == Mode::kWidened ? kNr * kLanes : kPanelN>
      kTiles{};
  using X = typename SourceTypes<kSource>::X;
  using W = typename SourceTypes<kSource>::W;
  static constexpr int kWeightBytes = kNumeric == NumericClass::kF32 ? 4 : 2;
  static_assert(kKc % kPrefetchRun == 0 && (kPanelN / kLanes) % kNr == 0);
  static_assert(!kPack ||
                kSumBytes + sizeof(X) * kKc * kMaxRows + sizeof(float) * kKc * kPanelN <= kScratchBytes);

  // A task and where it works.
  struct Task {
    int panel0, panels, row0, rows, c0, c1;
    float* sums;
    X* packed;
    float* widened;
  };

  // Prefetch of one run of one panel, spread over the tiles that multiply another.
  struct Ahead {
    const char* at;
    int lines;  // per kPrefetchRun k's, for one tile
  };

  static const char* Weights(const GemmParams& p, int panel, int k0) {
    const int64_t first = (static_cast<int64_t>(panel) * ((p.K + 1) / 2 * 2) + k0) * kPanelN;
    return static_cast<const char*>(p.w) + first * kWeightBytes;
  }

  // Rows in tiles of nearly equal height, so that no tile is left with a single row.
  static void RunRows(TileArgs a, int rows, Ahead& ahead) {
    const X* x = static_cast<const X*>(a.x);
    float* c = a.c;
    a.prefetch_lines = ahead.lines;
    for (int n = CeilDiv(rows, kMr), r = 0; n > 0; --n) {
      const int height = CeilDiv(rows - r, n);
      a.x = x + r * a.ldx;
      a.c = c + r * kPanelN;
      a.prefetch = ahead.at;
      kTiles.of_rows[height](a);
      ahead.at += int64_t{64} * ahead.lines * CeilDiv(a.k, kPrefetchRun);
      r += height;
    }
  }

  // One run of k over one panel. `next` is the weights wanted after it.
  static void RunPanel(const GemmParams& p, const Task& t, int i, int k0, const char* next) {
    constexpr int kPairWidth = kSource == Source::kFloat ? 1 : 2;  // elements a column takes in a row of w
    TileArgs a;
    a.k = MinInt(p.K - k0, kKc);
    a.first = k0 == 0;
    a.x = kPack ? t.packed : static_cast<const X*>(p.x) + t.row0 * p.ldx + k0;
    a.ldx = kPack ? kKc : p.ldx;
    constexpr int kWidth = kNr * kLanes;
    const char* weights = Weights(p, t.panel0 + i, k0);
    if constexpr (kMode == Mode::kWidened) {
      WidenRun(reinterpret_cast<const uint16_t*>(weights), a.k, t.c0, t.c1, kWidth, t.widened);
    }
    const int tiles = CeilDiv(t.rows, kMr) * ((t.c1 - t.c0) / kWidth);
    constexpr int kRunLines = kPrefetchRun * kPanelN * kWeightBytes / 64;
    Ahead ahead = {next, kPack ? MaxInt(1, kRunLines / tiles) : 0};
    for (int c = t.c0; c < t.c1; c += kWidth) {
      if constexpr (kMode == Mode::kWidened)
        a.w = t.widened + (c - t.c0) * ((a.k + 1) / 2 * 2);
      else
        a.w = reinterpret_cast<const W*>(weights) + kPairWidth * c;
      a.c = t.sums + i * t.rows * kPanelN + c;
      RunRows(a, t.rows, ahead);
    }
  }

  static void PackRows(const GemmParams& p, const Task& t, int k0) {
    const int k = MinInt(p.K - k0, kKc);
    for (int r = 0; r < t.rows; ++r)
      __builtin_memcpy(t.packed + static_cast<int64_t>(r) * kKc,
                       static_cast<const X*>(p.x) + (t.row0 + r) * p.ldx + k0,
                       sizeof(X) * static_cast<size_t>(k));
  }

  static void RunTask(const GemmParams& p, const Task& t) {
    for (int k0 = 0; k0 < p.K; k0 += MinInt(kKc, p.K)) {
      if constexpr (kPack) PackRows(p, t, k0);
      for (int i = 0; i < t.panels; ++i) {
        const bool last = i + 1 == t.panels;
        const char* next =
            last ? Weights(p, t.panel0, MinInt(k0 + kKc, p.K)) : Weights(p, t.panel0 + i + 1, k0);
        RunPanel(p, t, i, k0, next);
      }
    }
  }

  static void Run(const GemmParams& p, const Worker& worker) {
    Grid grid(p, worker.count, kNr, kPack);
    char* scratch = reinterpret_cast<char*>(worker.scratch.data());
    Task t;
    t.sums = reinterpret_cast<float*>(scratch);
    t.widened = reinterpret_cast<float*>(scratch + kSumBytes);
    t.packed = reinterpret_cast<X*>(scratch + kSumBytes + (kPack ? sizeof(float) * kKc * kPanelN : 0));
    for (int task; grid.Seek(task = worker.Next(INT32_MAX));) {
      t.row0 = grid.block() * grid.rows();
      t.rows = MinInt(grid.rows(), p.M - t.row0);
      t.c0 = task % grid.parts() * (kPanelN / grid.parts());
      t.c1 = t.c0 + kPanelN / grid.parts();
      t.panel0 = grid.unit() * grid.unit_panels();
      t.panels = grid.units() * grid.unit_panels();
      RunTask(p, t);
      for (int u = 0; u < grid.units(); ++u) {
        const float* sums = t.sums + u * grid.unit_panels() * t.rows * kPanelN;
        if (p.y_type == DType::kBf16)
          Finish<uint16_t>(p, grid.unit() + u, t.rows, t.row0, t.c0, t.c1, sums);
        else
          Finish<float>(p, grid.unit() + u, t.rows, t.row0, t.c0, t.c1, sums);
      }
    }
  }
};

}  // namespace

// ISA name and class as they appear in tactic names.
#define LATHE_TACTIC(numeric, label, tile, min_m, max_m, ...)          \
  {                                                                    \
    LATHE_ISA_TEXT(LATHE_ISA)                                          \
    "_" label "_" tile, kThisIsa, NumericClass::numeric, min_m, max_m, \
        &Tactic<NumericClass::numeric, __VA_ARGS__>::Run               \
  }

#include LATHE_TACTICS_HEADER(LATHE_ISA)

const int kNumGemms = sizeof(kGemms) / sizeof(kGemms[0]);

}  // namespace lathe::LATHE_ISA
