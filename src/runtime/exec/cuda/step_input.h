// A step as the kernels read it: fills the one buffer that is copied to the device for it. Host arithmetic
// alone, so it is tested without a device.
#pragma once

#include <cstddef>
#include <functional>
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
  DecodeSplit split;
  PromptTactic prompt;
  std::vector<int> windows = {};  // distinct ones of the model, ascending
  bool prompt_only = false;       // slices of one row are computed as prompts, too (deterministic mode)
  int widen_pages = 0;            // fp8 KV: pages that prompt attention of one round can have; else 0
  int vocab = 0;
  int rope_tables = 1;   // 1 + those for dynamic bases
  int dynamic_from = 0;  // as RopeSource

  int max_pages() const { return (max_positions + kPageSize - 1) / kPageSize; }
};

// What launches need to know of a filled step; offsets are from the start of the buffer.
struct StepInput {
  StepLayout layout;
  int rows = 0, logit_rows = 0;  // launched: with the padding of a bucket
  int sampled_rows = 0;          // logit rows without padding
  bool decodes = false;          // some slice goes the way of decoding rows
  bool only_greedy = true, any_top = false;
  int64_t pages_at = 0;  // page tables
  // Prompt slices go in rounds, of which there are several only where fp8 pages of all do not fit the room
  // for widened ones.
  struct Round {
    int64_t count_at = 0;  // int: pages to widen
    int64_t pages_at = 0;  // their ids
    int n_pages = 0;
  };
  std::vector<Round> rounds;
  std::vector<int> tiles;  // of prompt plan round * windows + window
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
  // rows and logit rows (at most as many) are padded to `bucket`. kInternal for a step beyond the caps.
  Status Fill(const Step& step, int bucket, std::byte* buffer, StepInput* input);

 private:
  Status CheckCaps(const Step& step) const;
  bool Decodes(const SeqSlice& slice) const { return slice.n_rows == 1 && !caps_.prompt_only; }
  void SortSlices(const Step& step);
  void PlanAttention(int bucket, StepInput* input);
  StepLayout EagerLayout(const Step& step, const StepInput& input) const;
  void WriteRows(const Step& step, std::byte* buffer, StepInput* input);
  void WritePlans(std::byte* buffer, const StepInput& input) const;
  int64_t WritePages(const Step& step, std::byte* buffer, StepInput* input) const;
  void WriteSamples(const Step& step, int64_t at, std::byte* buffer, StepInput* input);
  int RopeTable(int rope_length, StepInput* input) const;

  const StepCaps caps_;
  const int64_t capacity_;
  std::vector<DecodeRow> decode_rows_;
  std::vector<DecodePlan> decode_plans_;  // a window
  std::vector<PromptSlice> prompt_slices_;
  std::vector<int> slice_of_prompt_;      // index in the step
  std::vector<int> round_first_;          // of prompt_slices_; one more than rounds
  std::vector<PromptPlan> prompt_plans_;  // round * windows + window
  std::vector<int> slice_pages_at_;       // of each slice of the step
};

}  // namespace lathe::cuda
