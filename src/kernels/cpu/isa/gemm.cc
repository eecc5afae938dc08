// Matrix multiplication: the blocking around gemm_tile.h, and the tactics this ISA offers.
#include "kernels/cpu/isa/gemm_tile.h"
#include "kernels/cpu/isa/kernels.h"

namespace lathe::LATHE_ISA {
namespace {

constexpr int kMaxRows = 512;             // rows of a task
constexpr size_t kSumBytes = 512u << 10;  // scratch for partial sums; widened weights follow
constexpr int kWholeK = 1 << 20;
constexpr int64_t kStreamAhead = 4096;  // prefetch distance, bytes, while weights stream from memory

// The tasks of one call. Units are panels, or gate+up pairs of panels.
struct Grid {
  int unit_panels = 1, n_units = 0;
  int group = 1, n_groups = 0;  // units of a task
  int parts = 1;                // column parts a unit is cut into (group is 1 then)
  int rows = 0, n_row_blocks = 0;
  int n_tasks = 0;
};

Grid MakeGrid(const GemmParams& p, int count, int nr) {
  Grid g;
  g.unit_panels = p.silu_mul ? 2 : 1;
  g.n_units = CeilDiv(p.silu_mul ? p.N / 2 : p.N, kPanelN);
  const int enough = count > 1 ? 4 * count : 1;
  g.n_row_blocks = CeilDiv(p.M, kMaxRows);
  // Few panels: shorter row blocks first (they cost only a second pass over cached weights).
  while (g.n_row_blocks * g.n_units < enough && CeilDiv(p.M, g.n_row_blocks + 1) >= 64) ++g.n_row_blocks;
  g.rows = CeilDiv(p.M, g.n_row_blocks);
  g.n_row_blocks = CeilDiv(p.M, g.rows);
  const int fit =
      static_cast<int>(kSumBytes / (sizeof(float) * kPanelN) / static_cast<size_t>(g.rows * g.unit_panels));
  g.group = MaxInt(1, MinInt(MinInt(fit, 8), g.n_units * g.n_row_blocks / enough));
  g.n_groups = CeilDiv(g.n_units, g.group);
  const int max_parts = kPanelN / (nr * kLanes);
  while (g.group == 1 && g.n_groups * g.n_row_blocks * g.parts < 2 * count && g.parts * 2 <= max_parts)
    g.parts *= 2;
  g.n_tasks = g.n_groups * g.n_row_blocks * g.parts;
  return g;
}

// Columns c0 .. c1-1 of a run of bf16 panel rows, as f32 rows of kPanelN.
void WidenRun(const uint16_t* w, int k, int c0, int c1, float* out) {
  for (int i = 0; i < k; i += 2, w += 2 * kPanelN, out += 2 * kPanelN)
    for (int c = c0; c < c1; c += kLanes) {
      const I raw = LoadPairs(w + 2 * c);
      Store(out + c, Even(raw));
      Store(out + kPanelN + c, Odd(raw));
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

// How a tactic walks the matrix. A task is a group of weight panels times a block of rows; its partial sums
// live in scratch, [panel][row][64]. For every run of kKc k's, for every panel (its run widened to f32 first
// if kWiden), for every kNr vectors of columns: all rows, in tiles of at most kMr.
template <NumericClass kNumeric, int kMr, int kNr, int kKc, bool kWiden>
struct Tactic {
  static constexpr Source kSource = kNumeric == NumericClass::kBf16Dot         ? Source::kDot
                                    : kNumeric == NumericClass::kF32 || kWiden ? Source::kFloat
                                                                               : Source::kPairs;
  static constexpr TileTable<kSource, kMr, kNr> kTiles{};
  using X = typename SourceTypes<kSource>::X;
  static_assert(kKc % 2 == 0 && (kPanelN / kLanes) % kNr == 0);
  static_assert(!kWiden || kSumBytes + sizeof(float) * kKc * kPanelN <= kScratchBytes);

  // Rows in tiles of nearly equal height, so that no tile is left with a single row.
  static void RunRows(TileArgs a, int rows) {
    const X* x = static_cast<const X*>(a.x);
    float* c = a.c;
    for (int n = CeilDiv(rows, kMr), r = 0; n > 0; --n) {
      const int height = CeilDiv(rows - r, n);
      a.x = x + r * a.ldx;
      a.c = c + r * kPanelN;
      kTiles.of_rows[height](a);
      a.prefetch = 0;  // the first tile has asked for all of it
      r += height;
    }
  }

  // One run of k over columns c0 .. c1-1 of one panel.
  static void RunPanel(const GemmParams& p, int panel, int k0, int row0, int rows, int c0, int c1,
                       float* sums, float* widened) {
    const int k = MinInt(p.K - k0, kKc);
    const int64_t first = (static_cast<int64_t>(panel) * ((p.K + 1) / 2 * 2) + k0) * kPanelN;
    constexpr int kPairWidth = kSource == Source::kFloat ? 1 : 2;  // elements a column takes in a row of w
    TileArgs a;
    a.x = static_cast<const X*>(p.x) + row0 * p.ldx + k0;
    a.ldx = p.ldx;
    a.k = k;
    a.first = k0 == 0;
    if constexpr (kNumeric == NumericClass::kF32) {
      a.w = static_cast<const float*>(p.w) + first;
    } else if constexpr (kWiden) {
      WidenRun(static_cast<const uint16_t*>(p.w) + first, k, c0, c1, widened);
      a.w = widened;
    } else {
      a.w = static_cast<const uint16_t*>(p.w) + first;
      a.prefetch = kKc == kWholeK ? kStreamAhead : int64_t{kKc} * kPanelN * 2;
    }
    for (int c = c0; c < c1; c += kNr * kLanes) {
      TileArgs b = a;
      b.w = static_cast<const typename SourceTypes<kSource>::W*>(a.w) + kPairWidth * c;
      b.c = sums + c;
      RunRows(b, rows);
    }
  }

  static void Run(const GemmParams& p, const Worker& worker) {
    const Grid g = MakeGrid(p, worker.count, kNr);
    float* sums = reinterpret_cast<float*>(worker.scratch.data());
    float* widened = sums + kSumBytes / sizeof(float);
    for (int task; (task = worker.Next(g.n_tasks)) >= 0;) {
      const int part = task % g.parts, group = task / g.parts % g.n_groups,
                block = task / g.parts / g.n_groups;
      const int unit0 = group * g.group, units = MinInt(g.group, g.n_units - unit0);
      const int row0 = block * g.rows, rows = MinInt(g.rows, p.M - row0);
      const int width = kPanelN / g.parts, c0 = part * width, c1 = c0 + width;
      const int panel0 = unit0 * g.unit_panels, panels = units * g.unit_panels;
      for (int k0 = 0; k0 < p.K; k0 += MinInt(kKc, p.K))
        for (int i = 0; i < panels; ++i)
          RunPanel(p, panel0 + i, k0, row0, rows, c0, c1, sums + i * rows * kPanelN, widened);
      for (int u = 0; u < units; ++u) {
        const float* unit_sums = sums + u * g.unit_panels * rows * kPanelN;
        if (p.y_type == DType::kBf16)
          Finish<uint16_t>(p, unit0 + u, rows, row0, c0, c1, unit_sums);
        else
          Finish<float>(p, unit0 + u, rows, row0, c0, c1, unit_sums);
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
