// How many rows of prompts a step may take so that sequences which decode, and requests that wait for their
// first token, do not wait too long for it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>

namespace lathe {

// Rows of prompts that a step may take; of these, rows of long prompts (sched/policy.h).
struct PromptRowLimits {
  int rows = 0, long_rows = 0;
  friend bool operator==(const PromptRowLimits&, const PromptRowLimits&) = default;
};

// Learns what steps cost, from those that were run: a decode step by its number of sequences (in powers of
// two), and on top a row of a prompt and a row of a long one, which looks back on much more. One thread.
class StepPace {
 public:
  // max_growth: a step with prompts may last this many times one without; <= 1: no bound. A step of up to
  // `unnoticed` seconds is never cut: where steps are short, a strict bound would only let prompts wait, and
  // with them the batch (tales-16m, 1,000 streams: 2,931 tokens/s instead of 4,196). For a long prompt the
  // bound is strict all the same: others would notice thousands of such steps in a row.
  StepPace(double max_growth, double unnoticed) : max_growth_(max_growth), unnoticed_(unnoticed) {}
  bool bounds() const { return max_growth_ > 1; }

  // What a step took that had n_rows of prompts and n_long of long ones.
  void Record(int n_decodes, int n_rows, int n_long, double seconds) {
    const double alone = n_decodes > 0 ? DecodeSeconds(n_decodes) : 0;
    if (n_rows + n_long == 0) {
      if (n_decodes > 0) Blend(&decode_seconds_[Bucket(n_decodes)], seconds);
    } else if (n_decodes > 0 && alone <= 0) {
      return;  // what the prompts added is not known
    } else if (n_long == 0) {
      Blend(&row_seconds_, std::max(seconds - alone, 0.0) / n_rows);
    } else {
      Blend(&long_row_seconds_, std::max(seconds - alone - n_rows * row_seconds_, 0.0) / n_long);
    }
  }

  // For a step with n_decodes sequences that decode. Without a measurement yet: `most`.
  PromptRowLimits Limits(int n_decodes, int most) const {
    if (!bounds()) return {most, most};
    if (n_decodes == 0) return {most, Rows(kLongestSeconds, long_row_seconds_, most)};
    const double alone = DecodeSeconds(n_decodes);
    if (alone <= 0) return {most, most};
    const double strict = (max_growth_ - 1) * alone;
    return {Rows(std::max(strict, unnoticed_ - alone), row_seconds_, most),
            Rows(strict, long_row_seconds_, most)};
  }

 private:
  // A step of a long prompt alone: who arrives meanwhile waits for its end.
  static constexpr double kLongestSeconds = 0.5;

  static int Rows(double seconds, double row_seconds, int most) {
    if (row_seconds <= 0) return most;
    const double rows = seconds / row_seconds;
    return rows >= most ? most : std::max(1, static_cast<int>(rows));
  }
  static size_t Bucket(int n) {
    return std::min<size_t>(static_cast<size_t>(std::bit_width(static_cast<unsigned>(n))) - 1, kBuckets - 1);
  }
  // The last few dozen steps count; the first stands for itself.
  static void Blend(double* average, double value) {
    *average += (value - *average) * (*average > 0 ? 0.1 : 1);
  }
  // Of this many sequences, else of the nearest smaller number that was seen (a lower bound), else 0.
  double DecodeSeconds(int n) const {
    for (size_t i = Bucket(n) + 1; i-- > 0;)
      if (decode_seconds_[i] > 0) return decode_seconds_[i];
    return 0;
  }

  static constexpr size_t kBuckets = 12;
  double max_growth_, unnoticed_;
  std::array<double, kBuckets> decode_seconds_{};
  double row_seconds_ = 0, long_row_seconds_ = 0;
};

}  // namespace lathe
