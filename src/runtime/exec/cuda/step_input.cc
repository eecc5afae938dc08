#include "runtime/exec/cuda/step_input.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "runtime/step/logit_slices.h"

namespace lathe::cuda {
namespace {

constexpr int64_t kAlign = 16;
// Room for counts and biases of a step; masks of all rows have theirs beside it.
constexpr int64_t kExtraBytes = int64_t{4} << 20;

static_assert(sizeof(TokenCount) == 12 && sizeof(TokenBias) == 8,
              "as src/kernels/cuda/src/sample.cu reads them");

int64_t AlignUp(int64_t v) { return (v + kAlign - 1) / kAlign * kAlign; }
int64_t MaskBytes(int vocab) { return AlignUp((int64_t{vocab} + 31) / 32 * 4); }
int PagesFor(int tokens) { return (tokens + kPageSize - 1) / kPageSize; }

template <typename T>
T* At(std::byte* buffer, int64_t offset) {
  return reinterpret_cast<T*>(buffer + offset);
}

// Extras a row needs in the tail.
int64_t ExtraBytes(const SampleRow& row, int vocab) {
  return AlignUp(row.n_counts * int64_t{sizeof(TokenCount)}) +
         AlignUp(row.n_biases * int64_t{sizeof(TokenBias)}) + (row.mask != nullptr ? MaskBytes(vocab) : 0);
}

bool IsPlainGreedy(const SampleRow& row) {
  return row.temperature <= 0 && row.n_counts == 0 && row.n_biases == 0 && row.mask == nullptr &&
         !row.want_logprob && row.n_top_logprobs == 0;
}

int MostRounds(const StepCaps& caps) { return caps.widen_pages > 0 ? caps.max_slices : 1; }

}  // namespace

int64_t StepBufferBytes(const StepCaps& caps) {
  const int parts = caps.selects ? 2 : 1;
  const int plans = parts * static_cast<int>(caps.windows.size());
  const DecodeBounds decode = BoundDecode(caps.shape, caps.split, caps.max_slices, caps.max_positions);
  const StepLayout layout =
      LayOutStep({.rows = caps.max_rows,
                  .logit_rows = caps.max_logit_rows,
                  .decode_pieces = decode.pieces,
                  .decode_columns = caps.split.columns,
                  .decode_plans = plans,
                  .prompt_tiles = MaxPromptTiles(caps.shape, caps.prompt, caps.max_rows, caps.max_slices),
                  .prompt_plans = plans * MostRounds(caps)});
  const int64_t pages = AlignUp(int64_t{caps.max_slices} * caps.max_pages() * 4);
  return layout.tail_at + parts * (pages + AlignUp(MostRounds(caps) * 4)) +
         caps.max_logit_rows * MaskBytes(caps.vocab) + kExtraBytes;
}

StepFiller::StepFiller(StepCaps caps) : caps_(std::move(caps)), capacity_(StepBufferBytes(caps_)) {
  Reserve(&rows_);
  if (caps_.selects) Reserve(&logits_);
  logit_slices_.reserve(static_cast<size_t>(caps_.max_logit_rows));
}

void StepFiller::Reserve(Part* part) const {
  const DecodeBounds bounds = BoundDecode(caps_.shape, caps_.split, caps_.max_slices, caps_.max_positions);
  part->decode_plans.resize(caps_.windows.size());
  for (DecodePlan& plan : part->decode_plans) {
    plan.pieces.reserve(static_cast<size_t>(bounds.pieces));
    plan.column_first.reserve(static_cast<size_t>(caps_.split.columns) + 1);
  }
  const auto slices = static_cast<size_t>(caps_.max_slices);
  part->decode_rows.reserve(slices);
  part->prompt_slices.reserve(slices);
  part->slice_of_prompt.reserve(slices);
  part->slice_pages_at.reserve(slices);
}

StepLayout StepFiller::BucketLayout(int bucket) const {
  const DecodeSplit& split = caps_.decode_split(caps_.is_wide(static_cast<size_t>(bucket)));
  return LayOutStep({.rows = bucket,
                     .logit_rows = bucket,
                     .decode_pieces = BoundDecode(caps_.shape, split, bucket, caps_.max_positions).pieces,
                     .decode_columns = split.columns,
                     .decode_plans = static_cast<int>(caps_.windows.size()),
                     .prompt_tiles = 0,
                     .prompt_plans = 0});
}

Status StepFiller::Fill(const Step& step, int bucket, std::byte* buffer, StepInput* input) {
  LATHE_RETURN_IF_ERROR(CheckCaps(step));
  input->sampled_rows = static_cast<int>(step.logit_rows.size());
  input->rows = bucket > 0 ? bucket : step.n_rows();
  input->logit_rows = bucket > 0 ? bucket : input->sampled_rows;
  input->rope_lengths.clear();
  rows_.slices = step.sequences;
  SortSlices(&rows_);
  PlanAttention(bucket, &rows_, &input->attention);
  input->selects = caps_.selects && bucket == 0 && input->logit_rows > 0 && !AllRowsAreLogitRows(step);
  if (input->selects) {
    SliceLogitRows(step, &logit_slices_);
    logits_.slices = logit_slices_;
    SortSlices(&logits_);
    PlanAttention(0, &logits_, &input->logit_attention);
  }
  input->layout = bucket > 0 ? BucketLayout(bucket) : EagerLayout(step, input);
  WriteRows(step, buffer, input);
  if (static_cast<int>(input->rope_lengths.size()) >= caps_.rope_tables)
    return {StatusCode::kInternal, "a step has more dynamic RoPE bases than the executor has tables"};
  WritePlans(buffer, input->layout, rows_, input->attention);
  int64_t extras_at = WritePages(input->layout.tail_at, buffer, rows_, &input->attention);
  if (input->selects) {
    WritePlans(buffer, input->layout, logits_, input->logit_attention);
    extras_at = WritePages(extras_at, buffer, logits_, &input->logit_attention);
  }
  WriteSamples(step, extras_at, buffer, input);
  return Status::Ok();
}

Status StepFiller::CheckCaps(const Step& step) const {
  const auto logits = static_cast<int>(step.logit_rows.size());
  const auto slices = static_cast<int>(step.sequences.size());
  if (step.n_rows() < 1 || step.n_rows() > caps_.max_rows || logits > caps_.max_logit_rows ||
      slices > caps_.max_slices || step.samples.size() != step.logit_rows.size())
    return Error(
        StatusCode::kInternal,
        "a step of %d rows, %d logit rows and %d sequences was given to an executor for %d, %d and %d",
        step.n_rows(), logits, slices, caps_.max_rows, caps_.max_logit_rows, caps_.max_slices);
  for (const SeqSlice& s : step.sequences) {
    if (s.first_position + s.n_rows <= caps_.max_positions &&
        PagesFor(s.first_position + s.n_rows) <= s.n_pages)
      continue;
    return Error(StatusCode::kInternal, "a sequence has %d positions and %d pages, the executor takes %d",
                 s.first_position + s.n_rows, s.n_pages, caps_.max_positions);
  }
  return Status::Ok();
}

// Tells decoding rows and prompt slices apart, and places all page tables: those of prompts first, one after
// another in the order of prompt_slices.
void StepFiller::SortSlices(Part* part) const {
  part->decode_rows.clear();
  part->prompt_slices.clear();
  part->slice_of_prompt.clear();
  part->round_first.assign(1, 0);
  part->slice_pages_at.resize(part->slices.size());
  int at = 0, in_round = 0;
  for (size_t i = 0; i < part->slices.size(); ++i) {
    const SeqSlice& s = part->slices[i];
    if (Decodes(s)) continue;
    const int pages = PagesFor(s.first_position + s.n_rows);
    if (caps_.widen_pages > 0 && in_round > 0 && in_round + pages > caps_.widen_pages) {
      part->round_first.push_back(static_cast<int>(part->prompt_slices.size()));
      in_round = 0;
    }
    // Widened pages stand one after another from the start of their round's room.
    part->prompt_slices.push_back(
        {s.first_row, s.n_rows, s.first_position, caps_.widen_pages > 0 ? in_round : at});
    part->slice_of_prompt.push_back(static_cast<int>(i));
    part->slice_pages_at[i] = at;
    at += pages;
    in_round += pages;
  }
  if (!part->prompt_slices.empty()) part->round_first.push_back(static_cast<int>(part->prompt_slices.size()));
  for (size_t i = 0; i < part->slices.size(); ++i) {
    const SeqSlice& s = part->slices[i];
    if (!Decodes(s)) continue;
    part->slice_pages_at[i] = at;
    part->decode_rows.push_back({s.first_row, at, s.first_position + 1});
    at += PagesFor(s.first_position + 1);
  }
}

void StepFiller::PlanAttention(int bucket, Part* part, StepInput::Attention* out) const {
  const size_t windows = caps_.windows.size();
  out->decodes = bucket > 0 || !part->decode_rows.empty();
  out->wide = caps_.is_wide(bucket > 0 ? static_cast<size_t>(bucket) : part->decode_rows.size());
  for (size_t w = 0; w < windows && out->decodes; ++w)
    PlanDecode(part->decode_rows, caps_.windows[w], caps_.decode_split(out->wide), &part->decode_plans[w]);
  const size_t rounds = part->round_first.size() - 1;
  out->rounds.resize(rounds);
  out->tiles.resize(rounds * windows);
  out->first_decode_plan = out->first_prompt_plan = 0;
  if (part->prompt_plans.size() < rounds * windows) part->prompt_plans.resize(rounds * windows);
  for (size_t r = 0; r < rounds; ++r) {
    const auto slices = std::span(part->prompt_slices)
                            .subspan(static_cast<size_t>(part->round_first[r]),
                                     static_cast<size_t>(part->round_first[r + 1] - part->round_first[r]));
    for (size_t w = 0; w < windows; ++w) {
      PromptPlan& plan = part->prompt_plans[r * windows + w];
      PlanPrompt(caps_.shape, caps_.prompt, slices, caps_.windows[w], &plan);
      out->tiles[r * windows + w] = static_cast<int>(plan.tiles.size());
    }
  }
}

// The plans of the logit rows stand behind those of all rows.
StepLayout StepFiller::EagerLayout(const Step& step, StepInput* input) const {
  size_t pieces = 0;
  int tiles = 0, decode_plans = 0, prompt_plans = 0;
  const auto add = [&](const Part& part, StepInput::Attention* attention) {
    attention->first_decode_plan = decode_plans;
    attention->first_prompt_plan = prompt_plans;
    if (attention->decodes) decode_plans += static_cast<int>(caps_.windows.size());
    prompt_plans += static_cast<int>(attention->tiles.size());
    for (const DecodePlan& plan : part.decode_plans)
      if (attention->decodes) pieces = std::max(pieces, plan.pieces.size());
    for (const int n : attention->tiles) tiles = std::max(tiles, n);
  };
  add(rows_, &input->attention);
  if (input->selects) add(logits_, &input->logit_attention);
  return LayOutStep({.rows = step.n_rows(),
                     .logit_rows = static_cast<int>(step.logit_rows.size()),
                     .decode_pieces = static_cast<int>(pieces),
                     .decode_columns = decode_plans > 0 ? caps_.split.columns : 0,
                     .decode_plans = decode_plans,
                     .prompt_tiles = tiles,
                     .prompt_plans = prompt_plans});
}

int StepFiller::RopeTable(int rope_length, StepInput* input) const {
  if (caps_.dynamic_from <= 0 || rope_length <= caps_.dynamic_from) return 0;
  auto& lengths = input->rope_lengths;
  const auto it = std::find(lengths.begin(), lengths.end(), rope_length);
  if (it != lengths.end()) return static_cast<int>(it - lengths.begin()) + 1;
  lengths.push_back(rope_length);
  return static_cast<int>(lengths.size());
}

void StepFiller::WriteRows(const Step& step, std::byte* buffer, StepInput* input) {
  StepRow* rows = At<StepRow>(buffer, input->layout.rows_at);
  for (const SeqSlice& s : step.sequences) {
    const int rope = RopeTable(s.rope_length, input);
    for (int i = 0; i < s.n_rows; ++i) {
      const int row = s.first_row + i, position = s.first_position + i;
      rows[row] = {step.token_ids[static_cast<size_t>(row)], position,
                   s.pages[position / kPageSize] * kPageSize + position % kPageSize, rope};
    }
  }
  for (int row = step.n_rows(); row < input->rows; ++row) rows[row] = {0, 0, -1, 0};
  int* logit_rows = At<int>(buffer, input->layout.logit_rows_at);
  for (int i = 0; i < input->logit_rows; ++i)
    logit_rows[i] = i < input->sampled_rows ? step.logit_rows[static_cast<size_t>(i)] : 0;
}

void StepFiller::WritePlans(std::byte* buffer, const StepLayout& l, const Part& part,
                            const StepInput::Attention& attention) const {
  for (size_t w = 0; w < part.decode_plans.size() && attention.decodes; ++w) {
    const DecodePlan& plan = part.decode_plans[w];
    const auto index = attention.first_decode_plan + static_cast<int64_t>(w);
    std::memcpy(buffer + l.columns_at + index * l.columns_stride, plan.column_first.data(),
                plan.column_first.size() * sizeof(int));
    if (!plan.pieces.empty())
      std::memcpy(buffer + l.pieces_at + index * l.pieces_stride, plan.pieces.data(),
                  plan.pieces.size() * sizeof(DecodePiece));
  }
  for (size_t i = 0; i < attention.tiles.size(); ++i) {
    const auto& tiles = part.prompt_plans[i].tiles;
    const auto index = attention.first_prompt_plan + static_cast<int64_t>(i);
    At<int>(buffer, l.tile_counts_at)[index] = attention.tiles[i];
    if (!tiles.empty())
      std::memcpy(buffer + l.tiles_at + index * l.tiles_stride, tiles.data(),
                  tiles.size() * sizeof(PromptTile));
  }
}

// Page tables from `at` on, and how many pages each round widens. Returns where what follows may stand.
int64_t StepFiller::WritePages(int64_t at, std::byte* buffer, const Part& part,
                               StepInput::Attention* attention) const {
  attention->pages_at = at;
  int* pages = At<int>(buffer, at);
  int64_t end = 0;
  for (size_t i = 0; i < part.slices.size(); ++i) {
    const SeqSlice& s = part.slices[i];
    const int n = PagesFor(s.first_position + s.n_rows);
    std::memcpy(pages + part.slice_pages_at[i], s.pages, static_cast<size_t>(n) * sizeof(int));
    end = std::max(end, int64_t{part.slice_pages_at[i]} + n);
  }
  const int64_t counts_at = at + AlignUp(end * 4);
  for (size_t r = 0; r < attention->rounds.size(); ++r) {
    const auto slice = [&](int prompt) {
      return static_cast<size_t>(part.slice_of_prompt[static_cast<size_t>(prompt)]);
    };
    const size_t first = slice(part.round_first[r]), last = slice(part.round_first[r + 1] - 1);
    const SeqSlice& tail = part.slices[last];
    const int from = part.slice_pages_at[first];
    const int to = part.slice_pages_at[last] + PagesFor(tail.first_position + tail.n_rows);
    attention->rounds[r] = {counts_at + static_cast<int64_t>(r) * 4, at + int64_t{from} * 4, to - from};
    At<int>(buffer, counts_at)[r] = to - from;
  }
  return counts_at + AlignUp(static_cast<int64_t>(attention->rounds.size()) * 4);
}

void StepFiller::WriteSamples(const Step& step, int64_t at, std::byte* buffer, StepInput* input) {
  input->only_greedy = true;
  input->any_top = false;
  int64_t extras = 0;
  for (const SampleRow& row : step.samples) extras += ExtraBytes(row, caps_.vocab);
  input->spilled = at + extras > capacity_;
  if (input->spilled && static_cast<int64_t>(input->spill.size()) < extras)
    input->spill.resize(static_cast<size_t>(extras));
  std::byte* to = input->spilled ? input->spill.data() : buffer;
  int64_t next = input->spilled ? 0 : at;
  const auto put = [&](const void* from, int64_t bytes) {
    const auto where = static_cast<int>(next);
    if (bytes > 0) std::memcpy(to + next, from, static_cast<size_t>(bytes));
    next += AlignUp(bytes);
    return where;
  };
  auto* params = At<SampleParams>(buffer, input->layout.sample_at);
  for (int i = 0; i < input->logit_rows; ++i) {
    static const SampleRow kPadding;
    const SampleRow& row = i < input->sampled_rows ? step.samples[static_cast<size_t>(i)] : kPadding;
    input->only_greedy = input->only_greedy && IsPlainGreedy(row);
    input->any_top = input->any_top || row.n_top_logprobs > 0;
    SampleParams& p = params[i];
    p.seed = row.seed;
    p.counter = row.counter;
    p.temperature = row.temperature;
    p.top_k = row.top_k;
    p.top_p = row.top_p;
    p.min_p = row.min_p;
    p.repetition_penalty = row.repetition_penalty;
    p.frequency_penalty = row.frequency_penalty;
    p.presence_penalty = row.presence_penalty;
    p.n_top_logprobs = std::min(row.n_top_logprobs, kMaxTopLogprobs);
    p.want_logprob = row.want_logprob ? 1 : 0;
    p.n_counts = row.n_counts;
    p.counts_at = put(row.counts, row.n_counts * int64_t{sizeof(TokenCount)});
    p.n_biases = row.n_biases;
    p.biases_at = put(row.biases, row.n_biases * int64_t{sizeof(TokenBias)});
    p.mask_at = row.mask != nullptr ? put(row.mask, (int64_t{caps_.vocab} + 31) / 32 * 4) : -1;
  }
  input->copy_bytes = input->spilled ? at : next;
}

}  // namespace lathe::cuda
