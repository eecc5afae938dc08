// A device for tests: its next token is a plain function of the whole history of a sequence, which it reads
// back through the page table alone. So a page shared, swapped or freed wrongly changes what comes out.
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "base/rng.h"
#include "base/status.h"
#include "lathe/request.h"
#include "runtime/step/step.h"

namespace lathe::testing {

inline uint64_t Mix(uint64_t a, uint64_t b) { return SplitMix64(a ^ SplitMix64(b)); }

// The state of a sequence after one more token at its place, rotated for a length (0: unscaled).
inline uint64_t Extend(uint64_t state, int32_t token, int32_t position, int32_t rope) {
  return Mix(state, Mix(static_cast<uint64_t>(token) << 32 | static_cast<uint32_t>(position),
                        static_cast<uint64_t>(rope)));
}

inline constexpr int kHiddenWidth = 3;
inline void AppendHidden(uint64_t state, std::vector<float>* out) {
  for (int i = 0; i < kHiddenWidth; ++i)
    out->push_back(static_cast<float>(Mix(state, static_cast<uint64_t>(i)) % 1000));
}

// Token counts as one number, whatever their order.
inline uint64_t CountDigest(int32_t id, int32_t in_prompt, int32_t in_output) {
  return Mix(static_cast<uint64_t>(id),
             static_cast<uint64_t>(in_prompt) << 32 | static_cast<uint32_t>(in_output));
}

// The token chosen in a state: the first one from a drawn place on that is not forbidden.
inline int32_t Choose(uint64_t state, bool greedy, uint64_t seed, uint64_t counter, uint64_t counts,
                      int vocab, const std::function<bool(int32_t)>& forbidden) {
  uint64_t draw = Mix(state, counts);
  if (!greedy) draw = Mix(draw, Mix(seed, counter));
  auto id = static_cast<int32_t>(draw % static_cast<uint64_t>(vocab));
  for (int i = 0; i < vocab && forbidden(id); ++i) id = (id + 1) % vocab;
  return id;
}

inline float FakeLogprob(uint64_t state) { return -static_cast<float>(state % 1024) / 64; }

class FakeExecutor : public StepExecutor {
 public:
  explicit FakeExecutor(const ExecutorLimits& limits) : limits_(limits) {
    slots_.resize(static_cast<size_t>(limits.n_pages) * static_cast<size_t>(limits.page_size));
    host_slots_.resize(static_cast<size_t>(limits.n_host_pages) * static_cast<size_t>(limits.page_size));
  }

  const ExecutorLimits& limits() const override { return limits_; }
  bool overlaps() const override { return overlap; }
  bool runs_ahead() const override { return ahead; }
  // A step runs when it is finished: as late as can be.
  Status Begin(const Step& step) override {
    begun_.emplace_back(step);
    n_ahead += begun_.size() > 1;
    return begun_.size() <= (ahead ? 2u : 1u) ? Status::Ok() : Bad("too many steps are begun");
  }
  Status Finish(StepResult* result) override {
    if (begun_.empty()) return Bad("finishes what was not begun");
    const Begun begun = std::move(begun_.front());
    begun_.pop_front();
    const Status status = Run(begun.step, result);
    if (!status.ok()) begun_.clear();
    return status;
  }
  Status Execute(const Step& step, StepResult* result) override {
    return begun_.empty() ? Run(step, result) : Bad("runs a step beside others");
  }
  Status Run(const Step& asked, StepResult* result) {
    ++n_steps;
    Step step = asked;
    for (int32_t& token : step.token_ids) {
      if (token >= 0) continue;
      if (!ahead || static_cast<size_t>(~token) >= last_tokens_.size()) return Bad("no such token before");
      token = last_tokens_[static_cast<size_t>(~token)];
    }
    if (on_execute) LATHE_RETURN_IF_ERROR(on_execute(step));
    LATHE_RETURN_IF_ERROR(CheckShape(step));
    result->tokens.clear();
    result->logits.clear();
    result->hidden.clear();
    moves_.insert(moves_.end(), step.moves.begin(), step.moves.end());
    LATHE_RETURN_IF_ERROR(Move(step.moves_needed - n_moved_));
    for (size_t i = 0; i < step.sequences.size(); ++i) LATHE_RETURN_IF_ERROR(Write(step, i));
    size_t next_logit = 0;
    for (size_t i = 0; i < step.sequences.size(); ++i)
      LATHE_RETURN_IF_ERROR(Read(step, i, &next_logit, result));
    LATHE_RETURN_IF_ERROR(Move(std::min<int64_t>(moves_a_step, std::ssize(moves_))));
    result->moves_done = n_moved_;
    last_tokens_.clear();
    for (const SampledToken& token : result->tokens) last_tokens_.push_back(token.id);
    return next_logit == step.logit_rows.size() ? Status::Ok() : Bad("logit rows are not in order");
  }

  // A history with this token has logits that are not finite; -1: none.
  int32_t poison = -1;
  std::function<Status(const Step&)> on_execute;  // runs first
  uint64_t n_steps = 0;
  uint64_t n_ahead = 0;  // steps that were begun behind another
  bool overlap = false, ahead = false;
  // Moves that are performed after a step's rows, beside those that the step needs, before them: as late as
  // can be.
  int64_t moves_a_step = 2;

 private:
  // A step, and copies of all that it points to.
  struct Begun {
    explicit Begun(const Step& from) : step(from) {
      for (SeqSlice& s : step.sequences) s.pages = Keep(&pages, s.pages, s.n_pages);
      for (SampleRow& row : step.samples) {
        row.biases = Keep(&biases, row.biases, row.n_biases);
        row.counts = Keep(&counts, row.counts, row.n_counts);
      }
    }
    template <typename T>
    static const T* Keep(std::deque<std::vector<T>>* in, const T* from, int32_t n) {
      if (n == 0) return nullptr;
      in->emplace_back(from, from + n);
      return in->back().data();
    }
    Step step;
    std::deque<std::vector<int32_t>> pages;
    std::deque<std::vector<TokenBias>> biases;
    std::deque<std::vector<TokenCount>> counts;
  };
  struct Slot {
    int32_t token = -1, position = -1, rope = 0;
    uint64_t step = 0;  // that wrote it
    size_t slice = 0;
  };

  static Status Bad(const char* what) {
    return {StatusCode::kInternal, std::string("fake executor: ") + what};
  }
  // Performs the next n moves.
  Status Move(int64_t n) {
    if (n > std::ssize(moves_)) return Bad("needs moves that are not there");
    for (; n > 0; --n, ++n_moved_) {
      const PageMove move = moves_.front();
      moves_.pop_front();
      if (move.device_page < 0 || move.device_page >= limits_.n_pages) return Bad("moves no device page");
      if (move.host_page < 0 || move.host_page >= limits_.n_host_pages) return Bad("moves no host page");
      const auto device = slots_.begin() + ptrdiff_t{move.device_page} * limits_.page_size;
      const auto host = host_slots_.begin() + ptrdiff_t{move.host_page} * limits_.page_size;
      if (move.to_host)
        std::copy_n(device, limits_.page_size, host);
      else
        std::copy_n(host, limits_.page_size, device);
    }
    return Status::Ok();
  }

  int32_t Rope(int32_t length) const {
    return limits_.dynamic_rope && length > limits_.dynamic_rope_from ? length : 0;
  }

  Status CheckShape(const Step& step) const {
    if (step.n_rows() == 0 || step.n_rows() > limits_.max_step_rows) return Bad("wrong number of rows");
    if (static_cast<int>(step.logit_rows.size()) > limits_.max_logit_rows) return Bad("too many logit rows");
    if (step.samples.size() != step.logit_rows.size()) return Bad("samples do not match logit rows");
    int row = 0;
    for (const SeqSlice& s : step.sequences) {
      if (s.first_row != row || s.n_rows <= 0) return Bad("slices do not cover the rows");
      row += s.n_rows;
      const int last = s.first_position + s.n_rows;
      if (last > limits_.max_positions) return Bad("position beyond the model");
      if (s.n_pages != (last + limits_.page_size - 1) / limits_.page_size)
        return Bad("wrong number of pages");
      for (int i = 0; i < s.n_pages; ++i) {
        if (s.pages[i] < 0 || s.pages[i] >= limits_.n_pages) return Bad("page outside the pool");
      }
    }
    return row == step.n_rows() ? Status::Ok() : Bad("slices do not cover the rows");
  }

  Slot& At(const SeqSlice& s, int position) {
    return slots_[static_cast<size_t>(s.pages[position / limits_.page_size]) *
                      static_cast<size_t>(limits_.page_size) +
                  static_cast<size_t>(position % limits_.page_size)];
  }

  Status Write(const Step& step, size_t slice) {
    const SeqSlice& s = step.sequences[slice];
    for (int i = 0; i < s.n_rows; ++i) {
      Slot& slot = At(s, s.first_position + i);
      if (slot.step == n_steps) return Bad("two sequences write one slot");
      slot = {step.token_ids[static_cast<size_t>(s.first_row + i)], s.first_position + i, Rope(s.rope_length),
              n_steps, slice};
    }
    return Status::Ok();
  }

  Status Read(const Step& step, size_t slice, size_t* next_logit, StepResult* result) {
    const SeqSlice& s = step.sequences[slice];
    uint64_t state = 0;
    bool poisoned = false;
    for (int p = 0; p < s.first_position + s.n_rows; ++p) {
      const Slot& slot = At(s, p);
      if (slot.position != p) return Bad("a slot holds another position");
      if (slot.step == n_steps && slot.slice != slice) return Bad("reads what another sequence writes");
      state = Extend(state, slot.token, p, slot.rope);
      poisoned |= slot.token == poison;
      const int row = s.first_row + p - s.first_position;
      for (; p >= s.first_position && *next_logit < step.logit_rows.size() &&
             step.logit_rows[*next_logit] == row;
           ++*next_logit) {
        result->tokens.push_back(Sample(step.samples[*next_logit], state, poisoned));
        if (step.want_logits) AppendLogits(state, result);
        if (step.want_hidden) AppendHidden(state, &result->hidden);
      }
    }
    return Status::Ok();
  }

  static bool Masked(const SampleRow& row, int32_t id) {
    return row.mask != nullptr && (row.mask[id / 32] >> (id % 32) & 1) == 0;
  }

  SampledToken Sample(const SampleRow& row, uint64_t state, bool poisoned) const {
    uint64_t counts = 0;
    for (int i = 0; i < row.n_counts; ++i) {
      counts += CountDigest(row.counts[i].id, row.counts[i].in_prompt, row.counts[i].in_output);
    }
    const auto bias = [&](int32_t id) {
      for (int i = 0; i < row.n_biases; ++i) {
        if (row.biases[i].id == id) return row.biases[i].bias;
      }
      return 0.0f;
    };
    SampledToken out;
    out.id = Choose(state, row.temperature == 0, row.seed, row.counter, counts, limits_.vocab,
                    [&](int32_t id) { return std::isinf(bias(id)) || Masked(row, id); });
    for (int i = 0; i < row.n_biases; ++i) {
      if (row.biases[i].bias > 1000) out.id = row.biases[i].id;
    }
    out.finite = !poisoned;
    if (row.want_logprob) out.logprob = FakeLogprob(Mix(state, static_cast<uint64_t>(out.id)));
    for (int i = 0; i < row.n_top_logprobs; ++i)
      out.top.push_back({i, FakeLogprob(state) - static_cast<float>(i)});
    return out;
  }

  void AppendLogits(uint64_t state, StepResult* result) const {
    for (int i = 0; i < limits_.vocab; ++i) {
      result->logits.push_back(FakeLogprob(Mix(state, static_cast<uint64_t>(i))));
    }
  }

  const ExecutorLimits limits_;
  std::vector<Slot> slots_, host_slots_;
  std::deque<PageMove> moves_;
  int64_t n_moved_ = 0;
  std::deque<Begun> begun_;
  std::vector<int32_t> last_tokens_;
};

// The same model for one sequence alone, straight from its definition.
struct Alone {
  std::vector<TokenId> tokens;  // generated
  FinishReason finish = FinishReason::kNone;
};

// bad: bad words as ids. max_length: of prompt and output. Stop strings are not its business.
inline Alone RunAlone(const ExecutorLimits& limits, const std::vector<TokenId>& prompt,
                      const SamplingParams& p, uint64_t seed, const std::vector<TokenId>& eos,
                      const std::vector<std::vector<TokenId>>& bad, int max_length) {
  Alone out;
  std::vector<TokenId> history = prompt;
  std::map<int32_t, std::pair<int, int>> counts;
  const bool counted = p.repetition_penalty != 1 || p.frequency_penalty != 0 || p.presence_penalty != 0;
  if (p.repetition_penalty != 1) {
    for (TokenId id : prompt) ++counts[id].first;
  }
  const auto rope = [&](size_t length) {
    return limits.dynamic_rope && static_cast<int>(length) > limits.dynamic_rope_from
               ? static_cast<int32_t>(length)
               : 0;
  };
  uint64_t state = 0;
  for (size_t i = 0; i < prompt.size(); ++i) {
    state = Extend(state, prompt[i], static_cast<int32_t>(i), rope(prompt.size()));
  }
  const auto is_end = [&](TokenId id) {
    return std::ranges::count(p.stop_ids, id) > 0 || (!p.ignore_eos && std::ranges::count(eos, id) > 0);
  };
  for (;;) {
    const auto& made = out.tokens;
    const bool before_min = static_cast<int>(made.size()) < p.min_tokens;
    const auto forbidden = [&](int32_t id) {
      if (before_min && is_end(id)) return true;
      return std::ranges::any_of(bad, [&](const std::vector<TokenId>& word) {
        return word.back() == id && made.size() + 1 >= word.size() &&
               std::equal(word.begin(), word.end() - 1, made.end() - static_cast<ptrdiff_t>(word.size() - 1));
      });
    };
    uint64_t digest = 0;
    for (const auto& [id, count] : counts) digest += CountDigest(id, count.first, count.second);
    const int32_t id = Choose(state, p.temperature == 0, seed, made.size(), digest, limits.vocab, forbidden);
    out.tokens.push_back(id);
    history.push_back(id);
    if (counted) ++counts[id].second;
    if (!before_min && is_end(id)) {
      out.finish = FinishReason::kStop;
    } else if (static_cast<int>(history.size()) >= max_length ||
               static_cast<int>(out.tokens.size()) == p.max_tokens) {
      out.finish = FinishReason::kLength;
    }
    if (out.finish != FinishReason::kNone) return out;
    state = Extend(state, id, static_cast<int32_t>(history.size()) - 1, rope(history.size()));
  }
}

}  // namespace lathe::testing
