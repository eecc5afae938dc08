// What the host uploads for one step, as plain data that host and device code share (no includes but our own:
// NVRTC compiles this file too). One buffer, one copy: arrays of fixed capacity first (so that a captured
// graph knows their addresses), then what varies in length: page tables, and counts, biases and masks of
// sampling. src/kernels/cuda/step_buffer.h lays it out.
#pragma once

namespace lathe::cuda {

inline constexpr int kPageSize = 64;        // tokens a KV page
inline constexpr int kMaxTopLogprobs = 32;  // of one row

// A row that stands only for padding of a batch bucket has kv_slot -1.
struct StepRow {
  int token;  // id; negative: token ~token of the step before (index of its logit row)
  int position;
  int kv_slot;  // page * kPageSize + place in the page
  int rope;     // which inverse frequencies: 0, or another table for a dynamic base
};

// Part of one sequence's keys for one decoding row; the same for every kv head.
struct DecodePiece {
  int row;         // of q and of the output
  int pages_at;    // first entry of the sequence's page table
  int first_page;  // of this piece, counted in the sequence
  int n_pages;
  int first_key;  // keys [first_key, n_keys) of the sequence are visible
  int n_keys;
  int slot;        // where the partial result goes; -1: this piece is all there is
  int first_slot;  // of the row's parts
  int n_parts;
  int counter;  // of the row's parts
  int unused[2];
};

// Up to 128 rows of prompt attention: rows are (token, query head of one kv head), head fastest. A tile with
// many keys may be cut into parts of them, as a DecodePiece.
struct PromptTile {
  int first_row;       // of the sequence's slice in q
  int n_rows;          // tokens in the slice
  int first_position;  // of the slice's first token
  int pages_at;
  int packed_row;            // first (token, head) row of this tile within the slice
  int first_page, end_page;  // of this part
  int slot;                  // -1: all there is
  int first_slot, n_parts, counter;
  int unused;
};

// SampleRow of kernels/api/sample.h; *_at are byte offsets from the start of the step's buffer.
struct SampleParams {
  unsigned long long seed, counter;
  float temperature;
  int top_k;
  float top_p, min_p;
  float repetition_penalty, frequency_penalty, presence_penalty;
  int n_top_logprobs;
  int want_logprob;
  int n_counts, counts_at;  // TokenCount (id, in_prompt, in_output)
  int n_biases, biases_at;  // TokenBias (id, bias)
  int mask_at;              // words of 32 tokens; -1: every token is allowed
};

// What sampling one row gives; `top` stands in an array of its own.
struct SampledRow {
  int id;
  float logprob;
  int finite;
  int n_top;
};
struct TopLogprob {
  int id;
  float logprob;
};

}  // namespace lathe::cuda
