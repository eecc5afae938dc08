// Attention on CUDA: which kernels there are, the plan of a step's launches (computed on the host once a
// step, the same for every layer of a kind), and launching them. Policy here is arithmetic, without a GPU.
#pragma once

#include <span>
#include <vector>

#include "kernels/api/kernel.h"
#include "kernels/cuda/kernel_source.h"
#include "kernels/cuda/layer_ops.h"
#include "kernels/cuda/src/attention_abi.h"
#include "platform/cuda/launch.h"

namespace lathe::cuda {

// The attention of a model on one rank.
struct AttentionShape {
  int head_dim = 0;  // 64, 80, 96, 128, 256
  int n_heads = 0, n_kv_heads = 0;
  bool kv_fp8 = false;
  bool f16 = false;  // the 16-bit type: of q, of the output, and of keys and values unless fp8; else bf16

  int group() const { return n_heads / n_kv_heads; }
  int64_t page_elements() const { return int64_t{2} * n_kv_heads * kPageSize * head_dim; }
  int64_t page_bytes() const { return page_elements() * (kv_fp8 ? 1 : 2); }
};
// kUnsupported for a shape that no kernel here takes: head_dim not of the list, or more than 16 heads that
// share keys (8 where head_dim is 256).
Status CheckAttentionShape(const AttentionShape& shape);

// ---- one new token a sequence
// ----------------------------------------------------------------------------------

// A decoding row.
struct DecodeRow {
  int row = 0;       // of q and of the output
  int pages_at = 0;  // first entry of its page table
  int n_keys = 0;    // position + 1
};

// How rows are cut into pieces. Each column of the grid (one block a kv head) works its pieces off one after
// another.
struct DecodeSplit {
  int columns = 0;      // of the grid, fixed for an engine
  int min_pages = 2;    // a column gets no less, as far as there are more rows than that
  int worth_pages = 6;  // rows of fewer pages, on average, stay whole: merging takes as long as some pages do
  bool wide = false;    // which kernel: DecodeKernel
  // 0: pages are spread evenly, so that where a row is cut depends on the batch. Else rows are cut every so
  // many pages, whatever stands beside them (deterministic mode).
  int chunk_pages = 0;
};
struct DecodePlan {
  std::vector<DecodePiece> pieces;
  std::vector<int> column_first;  // (columns + 1)
  int n_slots = 0;                // partial results
  int n_counters = 0;             // rows in several pieces
};
// `window`: 0, or the last so many keys. Reuses the memory of *plan.
void PlanDecode(std::span<const DecodeRow> rows, int window, const DecodeSplit& split, DecodePlan* plan);

// Blocks of four warps, several on a multiprocessor, each reading page after page; or `wide`: one block with
// as many warps, which reads as many pages at once. That is the way for few rows, of which a page takes its
// time whatever else is read: fewer rounds for a short row, fewer parts to merge of a long one.
KernelSource DecodeKernel(const AttentionShape& shape, bool wide);
// The wide one with rotation and append (DecodeParams::rope) in it: `rope` of the same heads and KV type.
KernelSource DecodeRopeKernel(const AttentionShape& shape, const RopeVariant& rope);
// Up to how many rows go the wide way, which is a column a row at least. Rotation and append are faster in
// it, too: every row's heads are made by each block that has a piece of it, and a block that works off
// several pieces would make them in turn.
int MostWideRows(const AttentionShape& shape, int multiprocessors);
// Evenly over the chip.
DecodeSplit DecodeSplitOf(const AttentionShape& shape, int multiprocessors, bool wide);

// Upper bounds of a plan over `max_rows` rows of at most `max_keys` keys, from which buffers are allocated.
struct DecodeBounds {
  int pieces = 0, slots = 0, counters = 0;
  int64_t partial_out_floats = 0, partial_state_floats = 0, counter_words = 0;
};
DecodeBounds BoundDecode(const AttentionShape& shape, const DecodeSplit& split, int max_rows, int max_keys);

// `params` point at a plan in device memory, made with the same `split`; `kernel` is as wide as that.
Status LaunchDecode(const Kernel& kernel, const AttentionShape& shape, const DecodeSplit& split,
                    const DecodeParams& params, abi::Stream stream, bool overlap_previous);

// ---- several rows of a sequence
// --------------------------------------------------------------------------------

struct PromptSlice {
  int first_row = 0, n_rows = 0;
  int first_position = 0;  // the keys before it are in the cache
  int pages_at = 0;
};
// How prompts are computed on a chip: with wgmma and the copy engine where both there are, else with mma.
struct PromptTactic {
  bool wgmma = false;
  int tile_rows = 128;
  // Blocks that run at once. Where tiles are so few that most would idle, tiles are cut by keys; 0: never
  // (mma, which does not take parts, and deterministic mode, where blocks of keys start at fixed places).
  int blocks = 0;
};
PromptTactic PromptTacticOf(const AttentionShape& shape, int sm, int multiprocessors);

struct PromptPlan {
  std::vector<PromptTile> tiles;  // the longest first
  int n_slots = 0, n_counters = 0;
};
void PlanPrompt(const AttentionShape& shape, const PromptTactic& tactic, std::span<const PromptSlice> slices,
                int window, PromptPlan* plan);
// Upper bounds of any plan.
struct PromptBounds {
  int64_t partial_out_floats = 0, partial_state_floats = 0, counter_words = 0;
};
PromptBounds BoundPrompt(const AttentionShape& shape, const PromptTactic& tactic);
// Most tiles that `rows` rows in `slices` slices give.
int MaxPromptTiles(const AttentionShape& shape, const PromptTactic& tactic, int rows, int slices);

KernelSource PromptKernel(const AttentionShape& shape, const PromptTactic& tactic);
// The pool of 16-bit pages as the wgmma kernel's copies see it: one row a token of a head's keys or values.
TensorMapSpec PromptMap(const AttentionShape& shape, abi::DevicePtr pool, int64_t n_pages);
// `map`: of EncodeTensorMap(PromptMap); not read without wgmma. `tiles`: at most so many (params.n_tiles
// tells how many).
Status LaunchPrompt(const Kernel& kernel, const AttentionShape& shape, const PromptTactic& tactic,
                    const abi::TensorMap& map, const PromptParams& params, int tiles, abi::Stream stream,
                    bool overlap_previous);

// fp8 pages to 16-bit ones, which prompt attention reads.
KernelSource WidenKernel(const AttentionShape& shape);

// Scores are scaled by this in base 2.
float AttentionScale(int head_dim, float k_scale);

// The bytes and operations that attention of one layer cannot avoid: keys and values once a slice and kv
// head, q and output; two products of the visible (row, key) pairs.
Cost DecodeCost(const AttentionShape& shape, std::span<const DecodeRow> rows, int window);
Cost PromptCost(const AttentionShape& shape, std::span<const PromptSlice> slices, int window);

// A sample for the compile tests.
std::vector<KernelSource> AttentionKernels(int sm);

}  // namespace lathe::cuda
