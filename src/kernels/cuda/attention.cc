#include "kernels/cuda/attention.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace lathe::cuda {
namespace {

constexpr int kDecodeThreads = 128;  // of a block that reads one page at once
constexpr int kMinPromptBlocks = 4;  // of 128 keys: below, merging costs more than it saves

int CeilDiv(int a, int b) { return (a + b - 1) / b; }

// First and one past the last page that a row with keys [0, n_keys) sees.
struct PageRange {
  int first_key, first, end;
};
PageRange PagesOf(int n_keys, int window) {
  const int first_key = window > 0 ? std::max(0, n_keys - window) : 0;
  return {first_key, first_key / kPageSize, CeilDiv(n_keys, kPageSize)};
}

bool Wide(const AttentionShape& shape) { return shape.group() > 8; }

// Blocks of the narrow decode kernel that one multiprocessor holds: by registers, which hold a tile of keys
// and one of values beside the output.
int DecodeBlocksPerSm(const AttentionShape& shape) {
  const int floats = shape.head_dim * (Wide(shape) ? 2 : 1);
  if (floats > 128) return 2;
  return shape.kv_fp8 || floats <= 64 ? 4 : 3;
}

// Pages that a block reads at once. A wide one has the warps of as many narrow blocks as an SM holds, but for
// shapes of which that would spill registers.
int PagesAtOnce(const AttentionShape& shape, bool wide) {
  if (!wide) return 1;
  const bool tight = shape.head_dim > 128 || shape.group() == 1 || (shape.kv_fp8 && shape.f16);
  return DecodeBlocksPerSm(shape) - (tight ? 1 : 0);
}

int BlocksPerSm(const AttentionShape& shape, bool wide) {
  return std::max(1, DecodeBlocksPerSm(shape) / PagesAtOnce(shape, wide));
}

int DecodeThreads(const AttentionShape& shape, bool wide) {
  return kDecodeThreads * PagesAtOnce(shape, wide);
}

// With room for a row's heads that are made here, and the new key and value: LaunchDecode takes the same with
// and without rotation.
int DecodeSharedBytes(const AttentionShape& shape, bool wide) {
  const int columns = Wide(shape) ? 2 : 1;
  const int query = shape.head_dim * columns > 128 ? columns * shape.head_dim / 16 * 32 * 8 : 8;
  const int heads = shape.group() * (shape.head_dim * 2 + 16) + 2 * CeilDiv(shape.head_dim, 8) * 16;
  return DecodeThreads(shape, wide) / 32 * shape.group() * (shape.head_dim + 2) * 4 + query + 80 + heads;
}

std::string Suffix(const AttentionShape& shape) {
  return StrFormat("d%d_g%d%s%s", shape.head_dim, shape.group(), shape.kv_fp8 ? "_fp8" : "",
                   shape.f16 ? "_f16" : "");
}

std::vector<std::string> ShapeDefines(const AttentionShape& shape) {
  return {StrFormat("HEAD_DIM=%d", shape.head_dim), StrFormat("GROUP=%d", shape.group()),
          StrFormat("F16=%d", shape.f16 ? 1 : 0)};
}

}  // namespace

Status CheckAttentionShape(const AttentionShape& shape) {
  static constexpr int kDims[] = {64, 80, 96, 128, 256};
  if (std::find(std::begin(kDims), std::end(kDims), shape.head_dim) == std::end(kDims)) {
    return Error(StatusCode::kUnsupported,
                 "heads of 64, 80, 96, 128 or 256 elements run on CUDA; this model's have %d",
                 shape.head_dim);
  }
  const int most = shape.head_dim == 256 ? 8 : 16;
  if (shape.n_kv_heads <= 0 || shape.n_heads % shape.n_kv_heads != 0 || shape.group() > most) {
    return Error(StatusCode::kUnsupported,
                 "on CUDA up to %d query heads of %d elements share a key head; this model has %d query and "
                 "%d key heads",
                 most, shape.head_dim, shape.n_heads, shape.n_kv_heads);
  }
  return Status::Ok();
}

void PlanDecode(std::span<const DecodeRow> rows, int window, const DecodeSplit& split, DecodePlan* plan) {
  LATHE_CHECK_GT(split.columns, 0);
  plan->pieces.clear();
  plan->column_first.assign(static_cast<size_t>(split.columns) + 1, 0);
  plan->n_slots = plan->n_counters = 0;
  int64_t total = 0;
  for (const DecodeRow& row : rows) {
    const PageRange pages = PagesOf(row.n_keys, window);
    total += pages.end - pages.first;
  }
  const auto n_rows = static_cast<int64_t>(rows.size());
  const int64_t wanted = total < split.worth_pages * n_rows ? n_rows : total / std::max(1, split.min_pages);
  const auto used = static_cast<int>(std::clamp<int64_t>(wanted, 1, split.columns));
  // Column c gets the pages [total * c / used, total * (c + 1) / used) of all rows, one after another.
  int column = 0;
  int64_t at = 0;
  for (const DecodeRow& row : rows) {
    const PageRange pages = PagesOf(row.n_keys, window);
    const size_t first_piece = plan->pieces.size();
    for (int page = pages.first; page < pages.end;) {
      while (column + 1 < used && at >= total * (column + 1) / used)
        plan->column_first[static_cast<size_t>(++column)] = static_cast<int>(plan->pieces.size());
      int end = pages.end;
      if (split.chunk_pages > 0) {
        end = std::min(end, (page / split.chunk_pages + 1) * split.chunk_pages);
      } else if (column + 1 < used) {
        end = static_cast<int>(std::min<int64_t>(end, page + total * (column + 1) / used - at));
      }
      plan->pieces.push_back({.row = row.row,
                              .pages_at = row.pages_at,
                              .first_page = page,
                              .n_pages = end - page,
                              .first_key = pages.first_key,
                              .n_keys = row.n_keys,
                              .slot = -1,
                              .first_slot = 0,
                              .n_parts = 1,
                              .counter = 0,
                              .unused = {}});
      at += end - page;
      page = end;
    }
    const auto n_parts = static_cast<int>(plan->pieces.size() - first_piece);
    if (n_parts < 2) continue;
    for (size_t i = first_piece; i < plan->pieces.size(); ++i) {
      DecodePiece& piece = plan->pieces[i];
      piece.first_slot = plan->n_slots;
      piece.slot = plan->n_slots + static_cast<int>(i - first_piece);
      piece.n_parts = n_parts;
      piece.counter = plan->n_counters;
    }
    plan->n_slots += n_parts;
    ++plan->n_counters;
  }
  for (int c = column + 1; c <= split.columns; ++c)
    plan->column_first[static_cast<size_t>(c)] = static_cast<int>(plan->pieces.size());
}

KernelSource DecodeKernel(const AttentionShape& shape, bool wide) {
  KernelSource source;
  source.file = "attention_decode.cu";
  source.threads = DecodeThreads(shape, wide);
  source.entry = "attention_decode_" + Suffix(shape) + (wide ? "_wide" : "");
  source.defines = ShapeDefines(shape);
  source.defines.push_back(StrFormat("KV_FP8=%d", shape.kv_fp8 ? 1 : 0));
  source.defines.push_back(StrFormat("BLOCKS_PER_SM=%d", BlocksPerSm(shape, wide)));
  source.defines.emplace_back("ROPE=0");
  source.dynamic_shared = DecodeSharedBytes(shape, wide);
  return source;
}

KernelSource DecodeRopeKernel(const AttentionShape& shape, const RopeVariant& rope) {
  LATHE_CHECK_EQ(rope.head_dim, shape.head_dim);
  LATHE_CHECK_EQ(rope.kv_fp8, shape.kv_fp8);
  LATHE_CHECK_EQ(rope.f16, shape.f16);
  KernelSource source = DecodeKernel(shape, true);
  source.entry += StrFormat("_rope%d%s%s%s", rope.rotary_dim, rope.qkv_f32 ? "_f32" : "",
                            rope.bias ? "_bias" : "", rope.qk_norm ? "_norm" : "");
  source.defines.back() = "ROPE=1";
  source.defines.push_back(StrFormat("ROTARY_DIM=%d", rope.rotary_dim));
  source.defines.push_back(StrFormat("QKV_F32=%d", rope.qkv_f32));
  source.defines.push_back(StrFormat("HAS_BIAS=%d", rope.bias));
  source.defines.push_back(StrFormat("QK_NORM=%d", rope.qk_norm));
  return source;
}

int MostWideRows(const AttentionShape& shape, int multiprocessors) {
  return multiprocessors / shape.n_kv_heads;
}

DecodeSplit DecodeSplitOf(const AttentionShape& shape, int multiprocessors, bool wide) {
  DecodeSplit split;
  split.wide = wide;
  split.columns = std::max(1, multiprocessors * BlocksPerSm(shape, wide) / shape.n_kv_heads);
  split.min_pages *= PagesAtOnce(shape, wide);
  split.worth_pages *= PagesAtOnce(shape, wide);
  return split;
}

DecodeBounds BoundDecode(const AttentionShape& shape, const DecodeSplit& split, int max_rows, int max_keys) {
  DecodeBounds bounds;
  // Evenly: every cut between two columns ends one piece and starts another.
  bounds.pieces = max_rows + split.columns;
  bounds.slots = 2 * split.columns;
  bounds.counters = std::min(max_rows, split.columns);
  if (split.chunk_pages > 0) {
    bounds.pieces = max_rows * CeilDiv(CeilDiv(max_keys, kPageSize), split.chunk_pages);
    bounds.slots = bounds.pieces;
    bounds.counters = max_rows;
  }
  const int64_t rows = int64_t{bounds.slots} * shape.n_heads;
  bounds.partial_out_floats = rows * shape.head_dim;
  bounds.partial_state_floats = rows * 2;
  bounds.counter_words = int64_t{bounds.counters} * shape.n_kv_heads;
  return bounds;
}

Status LaunchDecode(const Kernel& kernel, const AttentionShape& shape, const DecodeSplit& split,
                    const DecodeParams& params, abi::Stream stream, bool overlap_previous) {
  const LaunchShape launch = {
      .grid = {static_cast<unsigned>(split.columns), static_cast<unsigned>(shape.n_kv_heads), 1},
      .block = {static_cast<unsigned>(DecodeThreads(shape, split.wide)), 1, 1},
      .dynamic_shared = DecodeSharedBytes(shape, split.wide),
      .cluster = {},
      .overlap_previous = overlap_previous};
  return LaunchWith(kernel, launch, stream, params);
}

void PlanPrompt(const AttentionShape& shape, const PromptTactic& tactic, std::span<const PromptSlice> slices,
                int window, PromptPlan* plan) {
  const int group = shape.group();
  // wgmma takes keys 128 at a time, from the first page on. In deterministic mode these blocks are the same
  // for every tile; what a row does not see adds an exact zero.
  const int page_step = tactic.wgmma && tactic.blocks == 0 ? 2 : 1;
  std::vector<PromptTile> tiles;
  for (const PromptSlice& slice : slices) {
    for (int64_t row = 0; row < int64_t{slice.n_rows} * group; row += tactic.tile_rows) {
      const int64_t last = std::min(row + tactic.tile_rows, int64_t{slice.n_rows} * group) - 1;
      const auto first_position = slice.first_position + static_cast<int>(row / group);
      const auto last_position = slice.first_position + static_cast<int>(last / group);
      tiles.push_back(
          {.first_row = slice.first_row,
           .n_rows = slice.n_rows,
           .first_position = slice.first_position,
           .pages_at = slice.pages_at,
           .packed_row = static_cast<int>(row),
           .first_page =
               window > 0 ? std::max(0, first_position - window + 1) / kPageSize / page_step * page_step : 0,
           .end_page = last_position / kPageSize + 1,
           .slot = -1,
           .first_slot = 0,
           .n_parts = 1,
           .counter = 0,
           .unused = 0});
    }
  }
  plan->tiles.clear();
  plan->n_slots = plan->n_counters = 0;
  const int64_t units = static_cast<int64_t>(tiles.size()) * shape.n_kv_heads;
  const int most = units > 0 ? static_cast<int>(tactic.blocks / units) : 1;
  for (PromptTile tile : tiles) {
    // Parts of whole blocks of 128 keys.
    const int blocks = CeilDiv(tile.end_page - tile.first_page, 2);
    const int parts = std::clamp(blocks / kMinPromptBlocks, 1, std::max(1, most));
    if (parts == 1) {
      plan->tiles.push_back(tile);
      continue;
    }
    const int first = tile.first_page, end = tile.end_page;
    tile.n_parts = parts;
    tile.first_slot = plan->n_slots;
    tile.counter = plan->n_counters++;
    for (int part = 0; part < parts; ++part) {
      tile.first_page = first + 2 * (blocks * part / parts);
      tile.end_page = std::min(end, first + 2 * (blocks * (part + 1) / parts));
      tile.slot = plan->n_slots++;
      plan->tiles.push_back(tile);
    }
  }
  std::stable_sort(plan->tiles.begin(), plan->tiles.end(), [](const PromptTile& a, const PromptTile& b) {
    return a.end_page - a.first_page > b.end_page - b.first_page;
  });
}

PromptBounds BoundPrompt(const AttentionShape& shape, const PromptTactic& tactic) {
  // A plan with parts has no more units than there are blocks.
  const int64_t rows = int64_t{tactic.blocks} * tactic.tile_rows;
  return {.partial_out_floats = rows * shape.head_dim,
          .partial_state_floats = rows * 2,
          .counter_words = tactic.blocks};
}

int MaxPromptTiles(const AttentionShape& shape, const PromptTactic& tactic, int rows, int slices) {
  return CeilDiv(rows * shape.group(), tactic.tile_rows) + slices + tactic.blocks;
}

PromptTactic PromptTacticOf(const AttentionShape& shape, int sm, int multiprocessors) {
  PromptTactic tactic;
  tactic.wgmma = sm == 90 && (shape.head_dim == 64 || shape.head_dim == 128);
  if (tactic.wgmma) tactic.blocks = multiprocessors;
  if (!tactic.wgmma && shape.head_dim > 128) tactic.tile_rows = 64;
  return tactic;
}

namespace {

int PromptThreads(const PromptTactic& tactic) { return tactic.wgmma ? 384 : tactic.tile_rows * 2; }

int PromptSharedBytes(const AttentionShape& shape, const PromptTactic& tactic) {
  // q, two stages of 128 keys and of their values, barriers, and what aligning takes.
  if (tactic.wgmma) return 5 * 128 * shape.head_dim * 2 + 128 + 1024;
  const int stride = shape.head_dim * 2 + 16;
  const int tiles = 2 * kPageSize * stride;
  return shape.head_dim <= 128 ? std::max(tiles, tactic.tile_rows * stride)
                               : tiles + tactic.tile_rows * stride;
}

}  // namespace

KernelSource PromptKernel(const AttentionShape& shape, const PromptTactic& tactic) {
  KernelSource source;
  source.file = tactic.wgmma ? "attention_prompt_sm90.cu" : "attention_prompt.cu";
  source.entry = StrFormat("attention_prompt_%sd%d_g%d%s", tactic.wgmma ? "wgmma_" : "", shape.head_dim,
                           shape.group(), shape.f16 ? "_f16" : "");
  source.defines = ShapeDefines(shape);
  if (tactic.wgmma) source.defines.push_back("TAKE_TURNS=1");
  source.threads = PromptThreads(tactic);
  source.dynamic_shared = PromptSharedBytes(shape, tactic);
  return source;
}

TensorMapSpec PromptMap(const AttentionShape& shape, abi::DevicePtr pool, int64_t n_pages) {
  TensorMapSpec spec;
  spec.type = shape.f16 ? abi::kTensorF16 : abi::kTensorBf16;
  spec.address = pool;
  spec.columns = static_cast<uint64_t>(shape.head_dim);
  spec.rows = static_cast<uint64_t>(n_pages) * 2 * static_cast<uint64_t>(shape.n_kv_heads) * kPageSize;
  spec.row_bytes = spec.columns * 2;
  spec.box_columns = 64;
  spec.box_rows = kPageSize;
  spec.swizzle = abi::kSwizzle128;
  return spec;
}

Status LaunchPrompt(const Kernel& kernel, const AttentionShape& shape, const PromptTactic& tactic,
                    const abi::TensorMap& map, const PromptParams& params, int tiles, abi::Stream stream,
                    bool overlap_previous) {
  LaunchShape launch;
  launch.block.x = static_cast<unsigned>(PromptThreads(tactic));
  launch.dynamic_shared = PromptSharedBytes(shape, tactic);
  launch.overlap_previous = overlap_previous;
  if (!tactic.wgmma) {
    launch.grid = {static_cast<unsigned>(tiles), static_cast<unsigned>(shape.n_kv_heads), 1};
    return LaunchWith(kernel, launch, stream, params);
  }
  launch.grid.x = static_cast<unsigned>(
      std::min<int64_t>(int64_t{tiles} * shape.n_kv_heads, kernel.device->info().multiprocessors));
  return LaunchWith(kernel, launch, stream, map, params);
}

KernelSource WidenKernel(const AttentionShape& shape) {
  KernelSource source;
  source.file = "widen_pages.cu";
  source.entry =
      StrFormat("widen_pages_%lld%s", static_cast<long long>(shape.page_elements()), shape.f16 ? "_f16" : "");
  source.defines = {StrFormat("PAGE_ELEMENTS=%lld", static_cast<long long>(shape.page_elements())),
                    StrFormat("F16=%d", shape.f16 ? 1 : 0)};
  source.threads = 512;
  return source;
}

float AttentionScale(int head_dim, float k_scale) {
  return static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(head_dim))) * k_scale;
}

Cost DecodeCost(const AttentionShape& shape, std::span<const DecodeRow> rows, int window) {
  Cost cost;
  const double per_key = 2.0 * shape.n_kv_heads * shape.head_dim * (shape.kv_fp8 ? 1 : 2);
  for (const DecodeRow& row : rows) {
    const int keys = window > 0 ? std::min(window, row.n_keys) : row.n_keys;
    cost.bytes += keys * per_key + 4.0 * shape.n_heads * shape.head_dim;
    cost.flops += 4.0 * keys * shape.n_heads * shape.head_dim;
  }
  return cost;
}

Cost PromptCost(const AttentionShape& shape, std::span<const PromptSlice> slices, int window) {
  Cost cost;
  for (const PromptSlice& slice : slices) {
    double pairs = 0;
    for (int i = 0; i < slice.n_rows; ++i) {
      const int keys = slice.first_position + i + 1;
      pairs += window > 0 ? std::min(window, keys) : keys;
    }
    cost.flops += 4.0 * pairs * shape.n_heads * shape.head_dim;
    cost.bytes += (slice.first_position + slice.n_rows) * 4.0 * shape.n_kv_heads * shape.head_dim +
                  4.0 * slice.n_rows * shape.n_heads * shape.head_dim;
  }
  return cost;
}

std::vector<KernelSource> AttentionKernels(int sm) {
  std::vector<KernelSource> sources;
  const auto add = [&](KernelSource source) {
    const auto same = [&](const KernelSource& other) { return other.entry == source.entry; };
    if (std::none_of(sources.begin(), sources.end(), same)) sources.push_back(std::move(source));
  };
  struct Heads {
    int head_dim, n_heads, n_kv_heads;
  };
  for (const Heads& h : {Heads{128, 32, 8},
                         {128, 32, 32},
                         {128, 64, 8},
                         {128, 32, 2},
                         {64, 32, 8},
                         {80, 32, 32},
                         {96, 32, 32},
                         {256, 16, 4}}) {
    // What f16 changes is a letter of an instruction: every size in bf16, some in both types.
    const bool both = h.n_kv_heads == 8 || h.head_dim == 80 || h.head_dim == 256;
    for (const bool f16 : {false, true}) {
      if (f16 && !both) continue;
      for (const bool fp8 : {false, true}) {
        const AttentionShape shape{h.head_dim, h.n_heads, h.n_kv_heads, fp8, f16};
        add(DecodeKernel(shape, false));
        add(DecodeKernel(shape, true));
        add(DecodeRopeKernel(shape, {.head_dim = h.head_dim,
                                     .rotary_dim = h.head_dim == 80 ? 32 : h.head_dim,
                                     .qkv_f32 = h.head_dim != 64,
                                     .qk_norm = h.head_dim == 128 && h.n_kv_heads != 8,
                                     .kv_fp8 = fp8,
                                     .f16 = f16}));
        add(PromptKernel(shape, PromptTacticOf(shape, sm, 1)));
        if (fp8) add(WidenKernel(shape));
      }
    }
  }
  // The way without wgmma compiles where there is wgmma, too.
  if (sm == 90)
    for (const bool f16 : {false, true})
      add(PromptKernel({128, 32, 8, false, f16}, {.wgmma = false, .tile_rows = 128, .blocks = 0}));
  return sources;
}

}  // namespace lathe::cuda
