// The plans of attention and the choice of its kernels: host arithmetic, no GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/rng.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/sample.h"
#include "kernels/cuda/src/step_abi.h"
#include "kernels/cuda/step_buffer.h"

namespace lathe::cuda {
namespace {

constexpr AttentionShape kLlama8B{128, 32, 8, false};

struct DecodeCase {
  int n_rows, max_keys, window, columns, chunk_pages;
};

std::vector<DecodeRow> RandomRows(const DecodeCase& c, Rng* rng) {
  std::vector<DecodeRow> rows;
  int pages_at = 0;
  for (int i = 0; i < c.n_rows; ++i) {
    const int keys = 1 + static_cast<int>(rng->Below(static_cast<uint64_t>(c.max_keys)));
    rows.push_back({i * 3, pages_at, keys});
    pages_at += (keys + kPageSize - 1) / kPageSize;
  }
  return rows;
}

class Decode : public testing::TestWithParam<DecodeCase> {};

TEST_P(Decode, EveryVisiblePageOnceWithinBounds) {
  const DecodeCase c = GetParam();
  Rng rng(static_cast<uint64_t>(c.n_rows * 1000 + c.max_keys));
  const DecodeSplit split{.columns = c.columns, .min_pages = 2, .chunk_pages = c.chunk_pages};
  DecodePlan plan;
  for (int round = 0; round < 20; ++round) {
    const std::vector<DecodeRow> rows = RandomRows(c, &rng);
    PlanDecode(rows, c.window, split, &plan);
    const DecodeBounds bounds = BoundDecode(kLlama8B, split, c.n_rows, c.max_keys);
    EXPECT_LE(static_cast<int>(plan.pieces.size()), bounds.pieces);
    EXPECT_LE(plan.n_slots, bounds.slots);
    EXPECT_LE(plan.n_counters, bounds.counters);
    ASSERT_EQ(plan.column_first.size(), static_cast<size_t>(c.columns) + 1);
    EXPECT_EQ(plan.column_first.front(), 0);
    EXPECT_EQ(plan.column_first.back(), static_cast<int>(plan.pieces.size()));
    EXPECT_TRUE(std::is_sorted(plan.column_first.begin(), plan.column_first.end()));

    std::map<int, std::vector<DecodePiece>> by_row;
    std::set<int> slots, counters;
    for (const DecodePiece& piece : plan.pieces) {
      by_row[piece.row].push_back(piece);
      if (piece.slot >= 0) {
        EXPECT_TRUE(slots.insert(piece.slot).second);
        EXPECT_LT(piece.slot, plan.n_slots);
      }
    }
    for (const DecodeRow& row : rows) {
      const std::vector<DecodePiece>& pieces = by_row[row.row];
      const int first_key = c.window > 0 ? std::max(0, row.n_keys - c.window) : 0;
      int page = first_key / kPageSize;
      for (size_t i = 0; i < pieces.size(); ++i) {
        EXPECT_EQ(pieces[i].first_page, page);
        EXPECT_GT(pieces[i].n_pages, 0);
        page += pieces[i].n_pages;
        EXPECT_EQ(pieces[i].first_key, first_key);
        EXPECT_EQ(pieces[i].n_keys, row.n_keys);
        EXPECT_EQ(pieces[i].n_parts, static_cast<int>(pieces.size()));
        EXPECT_EQ(pieces[i].slot, pieces.size() == 1 ? -1 : pieces[0].first_slot + static_cast<int>(i));
      }
      EXPECT_EQ(page, (row.n_keys + kPageSize - 1) / kPageSize);
      if (pieces.size() > 1) {
        EXPECT_TRUE(counters.insert(pieces[0].counter).second);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Decode,
                         testing::Values(DecodeCase{1, 1, 0, 49, 0}, DecodeCase{1, 40000, 0, 49, 0},
                                         DecodeCase{300, 500, 0, 49, 0}, DecodeCase{7, 3000, 128, 49, 0},
                                         DecodeCase{7, 3000, 1000, 3, 0}, DecodeCase{16, 5000, 0, 1, 0},
                                         DecodeCase{20, 5000, 0, 49, 16}, DecodeCase{20, 5000, 300, 12, 4}));

TEST(DecodePlan, PagesAreSpreadEvenly) {
  DecodePlan plan;
  PlanDecode(std::vector<DecodeRow>{{0, 0, 64 * 1000}, {1, 1000, 64 * 3}, {2, 1003, 64 * 477}}, 0,
             {.columns = 37}, &plan);
  int least = 1 << 30, most = 0;
  for (size_t c = 0; c < 37; ++c) {
    int pages = 0;
    for (int i = plan.column_first[c]; i < plan.column_first[c + 1]; ++i)
      pages += plan.pieces[static_cast<size_t>(i)].n_pages;
    least = std::min(least, pages);
    most = std::max(most, pages);
  }
  EXPECT_LE(most - least, 1);
}

TEST(DecodePlan, InDeterministicModeCutsDoNotDependOnTheBatch) {
  const DecodeSplit split{.columns = 49, .min_pages = 2, .chunk_pages = 16};
  const DecodeRow row{5, 0, 9999};
  DecodePlan alone, together;
  PlanDecode(std::vector<DecodeRow>{row}, 0, split, &alone);
  PlanDecode(std::vector<DecodeRow>{{0, 200, 777}, row, {7, 300, 12345}}, 0, split, &together);
  std::vector<std::pair<int, int>> a, b;
  for (const DecodePiece& piece : alone.pieces) a.push_back({piece.first_page, piece.n_pages});
  for (const DecodePiece& piece : together.pieces)
    if (piece.row == 5) b.push_back({piece.first_page, piece.n_pages});
  EXPECT_EQ(a, b);
}

// Few rows go in columns of one block a multiprocessor and kv head; cut where four rounds of pages cost less
// than merging.
TEST(DecodePlan, FewRowsAreReadWide) {
  constexpr int kMultiprocessors = 132;
  ASSERT_EQ(MostWideRows(kLlama8B, kMultiprocessors), 16);
  for (const bool fp8 : {false, true}) {
    AttentionShape shape = kLlama8B;
    shape.kv_fp8 = fp8;
    const int at_once = fp8 ? 4 : 3;  // as many pages as registers hold
    const DecodeSplit wide = DecodeSplitOf(shape, kMultiprocessors, true),
                      narrow = DecodeSplitOf(shape, kMultiprocessors, false);
    EXPECT_EQ(wide.columns, 16);
    EXPECT_EQ(narrow.columns, kMultiprocessors * at_once / 8);
    EXPECT_EQ(DecodeKernel(shape, true).threads, at_once * DecodeKernel(shape, false).threads);
    DecodePlan plan;
    const auto parts = [&](int n_pages) {
      PlanDecode(std::vector<DecodeRow>{{0, 0, n_pages * kPageSize}}, 0, wide, &plan);
      return plan.pieces.size();
    };
    EXPECT_EQ(parts(6 * at_once - 1), 1u);
    EXPECT_EQ(parts(6 * at_once), 3u);
    EXPECT_EQ(parts(128), 16u);
    // Buffers that take a narrow plan take a wide one.
    for (const int rows : {1, 3, 16}) {
      const DecodeBounds a = BoundDecode(shape, wide, rows, 8192), b = BoundDecode(shape, narrow, rows, 8192);
      EXPECT_LE(a.pieces, b.pieces);
      EXPECT_LE(a.slots, b.slots);
      EXPECT_LE(a.counters, b.counters);
    }
  }
}

TEST(DecodePlan, NoRowsNoPieces) {
  DecodePlan plan;
  PlanDecode({}, 0, {.columns = 5}, &plan);
  EXPECT_TRUE(plan.pieces.empty());
  EXPECT_EQ(plan.column_first, std::vector<int>(6, 0));
}

// Every (row, page) once: by tile, the pages of its parts follow each other.
void ExpectCovers(const AttentionShape& shape, const PromptTactic& tactic,
                  const std::vector<PromptSlice>& slices, const PromptPlan& plan, int window) {
  std::map<std::pair<int, int>, std::vector<PromptTile>> tiles;  // by slice and first row
  int last_pages = 1 << 30;
  for (const PromptTile& tile : plan.tiles) {
    EXPECT_LE(tile.end_page - tile.first_page, last_pages);
    last_pages = tile.end_page - tile.first_page;
    EXPECT_GT(last_pages, 0);
    tiles[{tile.first_row, tile.packed_row}].push_back(tile);
  }
  std::set<int> slots;
  size_t expected = 0;
  for (const PromptSlice& slice : slices) {
    const int packed = slice.n_rows * shape.group();
    for (int row = 0; row < packed; row += tactic.tile_rows, ++expected) {
      std::vector<PromptTile>& parts = tiles[{slice.first_row, row}];
      ASSERT_FALSE(parts.empty());
      std::sort(parts.begin(), parts.end(),
                [](const auto& a, const auto& b) { return a.first_page < b.first_page; });
      const int first = slice.first_position + row / shape.group();
      const int last = slice.first_position + (std::min(row + tactic.tile_rows, packed) - 1) / shape.group();
      int page = window > 0 ? std::max(0, first - window + 1) / kPageSize : 0;
      for (size_t i = 0; i < parts.size(); ++i) {
        EXPECT_EQ(parts[i].first_page, page);
        page = parts[i].end_page;
        EXPECT_EQ(parts[i].n_parts, static_cast<int>(parts.size()));
        EXPECT_EQ(parts[i].slot, parts.size() == 1 ? -1 : parts[0].first_slot + static_cast<int>(i));
        if (parts[i].slot >= 0) {
          EXPECT_TRUE(slots.insert(parts[i].slot).second);
        }
      }
      EXPECT_EQ(page, last / kPageSize + 1);
    }
  }
  EXPECT_EQ(tiles.size(), expected);
  EXPECT_EQ(static_cast<int>(slots.size()), plan.n_slots);
  EXPECT_LE(plan.n_slots * shape.n_kv_heads, tactic.blocks);
  EXPECT_LE(plan.n_counters * shape.n_kv_heads, tactic.blocks);
  int rows = 0;
  for (const PromptSlice& slice : slices) rows += slice.n_rows;
  EXPECT_LE(static_cast<int>(plan.tiles.size()),
            MaxPromptTiles(shape, tactic, rows, static_cast<int>(slices.size())));
}

TEST(PromptPlan, TilesCoverEveryRowLongestFirst) {
  const std::vector<PromptSlice> slices = {{0, 1, 0, 0}, {1, 300, 77, 1}, {301, 45, 1000, 9}};
  PromptPlan plan;
  for (const int heads : {8, 24, 32, 56})
    for (const int window : {0, 100})
      for (const bool wgmma : {false, true}) {
        const AttentionShape shape{128, heads, 8, false};
        const PromptTactic tactic = PromptTacticOf(shape, wgmma ? 90 : 80, 132);
        PlanPrompt(shape, tactic, slices, window, &plan);
        ExpectCovers(shape, tactic, slices, plan, window);
      }
}

TEST(PromptPlan, FewLongTilesAreCutToFillTheChip) {
  const PromptTactic tactic = PromptTacticOf(kLlama8B, 90, 132);
  const std::vector<PromptSlice> slices = {{0, 16, 8192, 0}};
  PromptPlan plan;
  PlanPrompt(kLlama8B, tactic, slices, 0, &plan);
  EXPECT_EQ(plan.n_slots, 16);
  EXPECT_EQ(plan.n_counters, 1);
  ExpectCovers(kLlama8B, tactic, slices, plan, 0);
  PlanPrompt(kLlama8B, tactic, std::vector<PromptSlice>{{0, 2048, 0, 0}}, 0, &plan);
  EXPECT_EQ(plan.n_slots, 0);
}

TEST(Attention, ShapesThatNoKernelTakesAreNamed) {
  EXPECT_TRUE(CheckAttentionShape(kLlama8B).ok());
  EXPECT_TRUE(CheckAttentionShape({256, 16, 2, true}).ok());
  EXPECT_NE(CheckAttentionShape({72, 8, 8, false}).message().find("72"), std::string::npos);
  EXPECT_NE(CheckAttentionShape({128, 68, 4, false}).message().find("68 query and 4 key"), std::string::npos);
  EXPECT_FALSE(CheckAttentionShape({256, 16, 1, false}).ok());
}

TEST(Attention, CostCountsVisiblePairs) {
  // 3 rows from position 2 on see 3 + 4 + 5 keys, with a window of 4 3 + 4 + 4.
  const std::vector<PromptSlice> slices = {{0, 3, 2, 0}};
  EXPECT_EQ(PromptCost(kLlama8B, slices, 0).flops, 4.0 * 12 * 32 * 128);
  EXPECT_EQ(PromptCost(kLlama8B, slices, 4).flops, 4.0 * 11 * 32 * 128);
  EXPECT_EQ(DecodeCost(kLlama8B, std::vector<DecodeRow>{{0, 0, 100}}, 0).bytes, 100 * 4096.0 + 4 * 4096);
}

TEST(StepBuffer, PartsFollowEachOtherAligned) {
  const StepBounds b{.rows = 3,
                     .logit_rows = 5,
                     .decode_pieces = 7,
                     .decode_columns = 49,
                     .decode_plans = 2,
                     .prompt_tiles = 9,
                     .prompt_plans = 1};
  const StepLayout l = LayOutStep(b);
  const int64_t ends[] = {l.rows_at + 3 * static_cast<int64_t>(sizeof(StepRow)),
                          l.logit_rows_at + 5 * 4,
                          l.sample_at + 5 * static_cast<int64_t>(sizeof(SampleParams)),
                          l.columns_at + l.columns_stride + 50 * 4,
                          l.pieces_at + l.pieces_stride + 7 * static_cast<int64_t>(sizeof(DecodePiece)),
                          l.tile_counts_at + 4,
                          l.tiles_at + 9 * static_cast<int64_t>(sizeof(PromptTile))};
  const int64_t starts[] = {l.rows_at,   l.logit_rows_at,  l.sample_at, l.columns_at,
                            l.pieces_at, l.tile_counts_at, l.tiles_at,  l.tail_at};
  for (size_t i = 0; i < std::size(ends); ++i) {
    EXPECT_EQ(starts[i] % 16, 0);
    EXPECT_LE(ends[i], starts[i + 1]);
    EXPECT_LT(starts[i + 1] - ends[i], 16);
  }
}

// What a block asks for exists on the chip.
TEST(Kernels, SharedMemoryFitsTheChip) {
  const std::map<int, int> limits = {{80, 163 << 10}, {86, 99 << 10},   {89, 99 << 10},
                                     {90, 227 << 10}, {100, 227 << 10}, {120, 99 << 10}};
  for (const auto& [sm, limit] : limits) {
    for (const std::vector<KernelSource>& sources : {AttentionKernels(sm), SampleKernels(sm)})
      for (const KernelSource& source : sources)
        EXPECT_LE(source.dynamic_shared, limit) << source.entry << " sm " << sm;
  }
}

}  // namespace
}  // namespace lathe::cuda
