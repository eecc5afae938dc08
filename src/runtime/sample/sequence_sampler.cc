#include "runtime/sample/sequence_sampler.h"

#include <algorithm>
#include <limits>

namespace lathe {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
constexpr float kForced = 1e30f;  // stronger than any logit

// Forbids `id` in biases sorted by id.
void Forbid(TokenId id, std::vector<TokenBias>* biases) {
  const auto it = std::ranges::lower_bound(*biases, id, {}, &TokenBias::id);
  if (it != biases->end() && it->id == id) {
    it->bias = kForbidden;
  } else {
    biases->insert(it, TokenBias{id, kForbidden});
  }
}

// logit_bias sorted by id; of several values for one token the last one counts.
std::vector<TokenBias> SortedBiases(const SamplingParams& params) {
  std::vector<TokenBias> sorted;
  sorted.reserve(params.logit_bias.size());
  for (const auto& [id, bias] : params.logit_bias) sorted.push_back({id, static_cast<float>(bias)});
  std::ranges::stable_sort(sorted, {}, &TokenBias::id);
  std::vector<TokenBias> unique;
  for (const TokenBias& b : sorted) {
    if (!unique.empty() && unique.back().id == b.id) {
      unique.back() = b;
    } else {
      unique.push_back(b);
    }
  }
  return unique;
}

}  // namespace

SamplingPolicy::SamplingPolicy(SamplingParams params, std::span<const TokenId> eos_ids,
                               std::vector<std::vector<TokenId>> bad_sequences, ConstraintFactory constraint,
                               int vocab)
    : params_(std::move(params)),
      new_constraint_(std::move(constraint)),
      n_mask_words_((static_cast<size_t>(vocab) + 31) / 32) {
  end_ids_ = params_.stop_ids;
  if (!params_.ignore_eos) end_ids_.insert(end_ids_.end(), eos_ids.begin(), eos_ids.end());
  std::ranges::sort(end_ids_);
  const auto repeated = std::ranges::unique(end_ids_);
  end_ids_.erase(repeated.begin(), repeated.end());

  biases_ = SortedBiases(params_);
  for (auto& sequence : bad_sequences) {
    if (sequence.size() == 1) {
      Forbid(sequence[0], &biases_);
    } else {
      bad_sequences_.push_back(std::move(sequence));
    }
  }
  if (params_.min_tokens > 0) {
    biases_before_min_ = biases_;
    for (TokenId id : end_ids_) Forbid(id, &biases_before_min_);
  }
  uses_counts_ =
      params_.repetition_penalty != 1 || params_.frequency_penalty != 0 || params_.presence_penalty != 0;
}

bool SamplingPolicy::Ends(TokenId id, int index) const {
  return index >= params_.min_tokens && std::ranges::binary_search(end_ids_, id);
}

SequenceSampler::SequenceSampler(std::shared_ptr<const SamplingPolicy> policy, uint64_t seed,
                                 std::span<const TokenId> prompt)
    : policy_(std::move(policy)), seed_(seed) {
  // Only the repetition penalty looks at the prompt.
  if (policy_->params().repetition_penalty != 1) counter_.AddPrompt(prompt);
  if (policy_->new_constraint_) {
    constraint_ = policy_->new_constraint_();
    mask_.resize(policy_->n_mask_words_);
  }
}

const std::vector<TokenBias>& SequenceSampler::BaseBiases(size_t n_generated) const {
  const bool before_min = n_generated < static_cast<size_t>(policy_->params().min_tokens);
  return before_min ? policy_->biases_before_min_ : policy_->biases_;
}

std::span<const TokenBias> SequenceSampler::Biases(std::span<const TokenId> generated) {
  const std::vector<TokenBias>& base = BaseBiases(generated.size());
  bool copied = false;
  for (const std::vector<TokenId>& bad : policy_->bad_sequences_) {
    const size_t n = bad.size() - 1;
    if (generated.size() < n ||
        !std::equal(bad.begin(), bad.end() - 1, generated.end() - static_cast<ptrdiff_t>(n))) {
      continue;
    }
    if (!copied) row_biases_.assign(base.begin(), base.end());
    copied = true;
    Forbid(bad.back(), &row_biases_);
  }
  return copied ? row_biases_ : base;
}

SampleRow SequenceSampler::RowAhead(size_t n_generated) const {
  const SamplingParams& p = policy_->params();
  SampleRow row;
  row.temperature = static_cast<float>(p.temperature);
  row.top_k = p.top_k;
  row.top_p = static_cast<float>(p.top_p);
  row.min_p = static_cast<float>(p.min_p);
  row.repetition_penalty = static_cast<float>(p.repetition_penalty);
  row.frequency_penalty = static_cast<float>(p.frequency_penalty);
  row.presence_penalty = static_cast<float>(p.presence_penalty);
  row.seed = seed_;
  row.counter = n_generated;
  row.want_logprob = p.logprobs >= 0;
  row.n_top_logprobs = std::max(p.logprobs, 0);
  const auto& biases = BaseBiases(n_generated);
  row.biases = biases.data();
  row.n_biases = static_cast<int32_t>(biases.size());
  return row;
}

SampleRow SequenceSampler::Row(std::span<const TokenId> generated) {
  SampleRow row = RowAhead(generated.size());
  const auto counts = counter_.counts();
  row.counts = counts.data();
  row.n_counts = static_cast<int32_t>(counts.size());
  const auto biases = Biases(generated);
  row.biases = biases.data();
  row.n_biases = static_cast<int32_t>(biases.size());
  if (constraint_ != nullptr) {
    if (!mask_is_current_) constraint_->FillMask(mask_);
    mask_is_current_ = true;
    row.mask = mask_.data();
  }
  return row;
}

SampleRow ForcedRow(TokenId id, TokenBias* target) {
  *target = {id, kForced};
  SampleRow row;
  row.want_logprob = true;
  row.biases = target;
  row.n_biases = 1;
  return row;
}

}  // namespace lathe
