// Parameters of the attention kernels: host and device. q and what is written have the engine's 16-bit type,
// bf16 or f16 (macro F16).
#pragma once

#include "small_abi.h"

namespace lathe::cuda {

struct DecodeParams {
  const void* q;   // (rows, n_heads, head_dim), not scaled; ROPE: not read
  void* out;       // (rows, n_heads, head_dim)
  const void* kv;  // this layer's pool
  const DecodePiece* pieces;
  const int*
      column_first;    // (grid.x + 1): column c of the grid has pieces [column_first[c], column_first[c + 1])
  const int* pages;    // page tables
  float* partial_out;  // (slots, n_kv_heads, group, head_dim), not normalised
  float* partial_state;  // (slots, n_kv_heads, group, 2): maximum (base 2) and sum
  unsigned* counters;    // (rows that are split, n_kv_heads), zero between launches
  float scale;           // of scores, times log2 e: log2 e / sqrt(head_dim) * k_scale
  float v_scale;
  int n_kv_heads;
  RopeParams rope;  // ROPE: what rope_append would be given; q, rows and n_rows of it are not read
};

struct PromptParams {
  const void* q;            // (rows, n_heads, head_dim), not scaled
  void* out;                // (rows, n_heads, head_dim)
  const void* kv;           // this layer's pool, 16 bits (unused where a tensor map is given)
  const PromptTile* tiles;  // the longest first
  const int* n_tiles;       // how many of them; the grid may be larger
  const int* pages;
  float* partial_out;  // (slots, n_kv_heads, 128, head_dim), not normalised; only where tiles are cut (wgmma)
  float* partial_state;  // (slots, n_kv_heads, 128, 2): maximum (base 2) and sum
  unsigned* counters;    // (tiles that are cut, n_kv_heads), zero between launches
  float scale;           // of scores, times log2 e: log2 e / sqrt(head_dim) * k_scale
  float v_scale;
  int n_kv_heads;
  int window;  // 0: all; else keys > position - window
};

}  // namespace lathe::cuda
