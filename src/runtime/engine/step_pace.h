// How many rows of prompts a step may take so that sequences which decode do not wait too long for it.
#pragma once

#include <algorithm>
#include <array>
#include <bit>

namespace lathe {

// Learns what steps cost, from those that were run: a decode step by its number of sequences (in powers of
// two), and a row of a prompt on top. One thread.
class StepPace {
 public:
  // max_growth: a step with prompts may last this many times one without; <= 1: no bound. A step of up to
  // `unnoticed` seconds is never cut: where steps are short, a strict bound would only let prompts wait, and
  // with them the batch (tales-16m, 1,000 streams: 2,931 tokens/s instead of 4,196).
  StepPace(double max_growth, double unnoticed) : max_growth_(max_growth), unnoticed_(unnoticed) {}
  bool bounds() const { return max_growth_ > 1; }

  void Record(int n_decodes, int n_prompt_rows, double seconds) {
    if (n_decodes == 0) {
      Blend(&row_seconds_, seconds / std::max(n_prompt_rows, 1));
    } else if (n_prompt_rows == 0) {
      Blend(&decode_seconds_[Bucket(n_decodes)], seconds);
    } else if (const double alone = DecodeSeconds(n_decodes); alone > 0) {
      Blend(&row_seconds_, std::max(seconds - alone, 0.0) / n_prompt_rows);
    }
  }

  // For a step with n_decodes sequences that decode. Without a measurement yet: `most`.
  int PromptRows(int n_decodes, int most) const {
    const double alone = DecodeSeconds(n_decodes);
    if (!bounds() || alone <= 0 || row_seconds_ <= 0) return most;
    const double rows = std::max((max_growth_ - 1) * alone, unnoticed_ - alone) / row_seconds_;
    return rows >= most ? most : std::max(1, static_cast<int>(rows));
  }

 private:
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
  double row_seconds_ = 0;
};

}  // namespace lathe
