// A step as the kernels read it: fills the one buffer that is copied to the device for it. Host arithmetic
// alone, so it is tested without a device.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/step_buffer.h"
#include "runtime/step/step.h"

namespace lathe::cuda {

// Fixed when an executor opens.
struct StepCaps {
  int max_rows = 0, max_logit_rows = 0;
  int max_slices = 0;     // sequences of a step
  int max_positions = 0;  // of a sequence
  AttentionShape shape;
  // How decoding rows are cut. What bounds `split` bounds wide_split, too: it has no more columns.
  DecodeSplit split, wide_split;
  int wide_rows = 0;  // up to so many decoding rows in a step, padding counted, go by wide_split
  PromptTactic prompt;
  std::vector<int> windows = {};  // distinct ones of the model, ascending
  bool prompt_only = false;       // slices of one row are computed as prompts, too (deterministic mode)
  bool selects = false;           // the plan has ops, attention among them, over the logit rows alone
  int widen_pages = 0;            // fp8 KV: pages that prompt attention of one round can have; else 0
  int vocab = 0;
  int rope_tables = 1;   // 1 + those for dynamic bases
  int dynamic_from = 0;  // as RopeSource

  bool is_wide(size_t decode_rows) const { return decode_rows <= static_cast<size_t>(wide_rows); }
  const DecodeSplit& decode_split(bool wide) const { return wide ? wide_split : split; }
  int max_pages() const { return (max_positions + kPageSize - 1) / kPageSize; }
};

// What launches need to know of a filled step; offsets are from the start of the buffer.
struct StepInput {
  StepLayout layout;
  int rows = 0, logit_rows = 0;  // launched: with the padding of a bucket
  int sampled_rows = 0;          // logit rows without padding
  bool only_greedy = true, any_top = false;
  // Prompt slices go in rounds, of which there are several only where fp8 pages of all do not fit the room
  // for widened ones.
  struct Round {
    int64_t count_at = 0;  // int: pages to widen
    int64_t pages_at = 0;  // their ids
    int n_pages = 0;
  };
  struct Attention {
    bool decodes = false;       // some slice goes the way of decoding rows
    bool wide = false;          // StepCaps::is_wide
    int64_t pages_at = 0;       // page tables
    int first_decode_plan = 0;  // of the layout's
    int first_prompt_plan = 0;
    std::vector<Round> rounds;
    std::vector<int> tiles;  // of prompt plan first_prompt_plan + round * windows + window
  };
  Attention attention;
  // Logit rows are not all rows, in their order: they are picked out, and have an attention of their own.
  bool selects = false;
  Attention logit_attention;
  int64_t copy_bytes = 0;
  // Counts, biases and masks that had no room: in a buffer of their own, to which offsets then refer.
  bool spilled = false;
  std::vector<std::byte> spill;
  // Dynamic bases in this step: table i + 1 is for sequences of length rope_lengths[i].
  std::vector<int> rope_lengths;
};

// Bytes of a buffer that takes every step within `caps`, but for what spills.
int64_t StepBufferBytes(const StepCaps& caps);

// Keeps its memory from step to step: filling a decode step allocates nothing once the longest was seen.
class StepFiller {
 public:
  explicit StepFiller(StepCaps caps);

  // Where a step of decoding rows that is padded to `bucket` rows has its parts: the same for all of them.
  StepLayout BucketLayout(int bucket) const;

  // `buffer`: StepBufferBytes. bucket 0: laid out for this step alone; else every slice has one row, and
  // rows and logit rows (at most as many; all of them where caps.selects) are padded to `bucket`. kInternal
  // for a step beyond the caps.
  Status Fill(const Step& step, int bucket, std::byte* buffer, StepInput* input);

 private:
  // What attention runs over: slices, told apart and planned.
  struct Part {
    std::span<const SeqSlice> slices;
    std::vector<DecodeRow> decode_rows;
    std::vector<DecodePlan> decode_plans;  // a window
    std::vector<PromptSlice> prompt_slices;
    std::vector<int> slice_of_prompt;      // index in slices
    std::vector<int> round_first;          // of prompt_slices; one more than rounds
    std::vector<PromptPlan> prompt_plans;  // round * windows + window
    std::vector<int> slice_pages_at;       // of each slice
  };

  Status CheckCaps(const Step& step) const;
  bool Decodes(const SeqSlice& slice) const { return slice.n_rows == 1 && !caps_.prompt_only; }
  void Reserve(Part* part) const;
  void SortSlices(Part* part) const;
  void PlanAttention(int bucket, Part* part, StepInput::Attention* out) const;
  StepLayout EagerLayout(const Step& step, StepInput* input) const;
  void WriteRows(const Step& step, std::byte* buffer, StepInput* input);
  void WritePlans(std::byte* buffer, const StepLayout& layout, const Part& part,
                  const StepInput::Attention& attention) const;
  int64_t WritePages(int64_t at, std::byte* buffer, const Part& part, StepInput::Attention* attention) const;
  void WriteSamples(const Step& step, int64_t at, std::byte* buffer, StepInput* input);
  int RopeTable(int rope_length, StepInput* input) const;

  const StepCaps caps_;
  const int64_t capacity_;
  Part rows_, logits_;
  std::vector<SeqSlice> logit_slices_;
};

}  // namespace lathe::cuda
