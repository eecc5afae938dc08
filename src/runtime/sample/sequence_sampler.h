// From what a request asks (SamplingParams) to what the device is told for one row (SampleRow).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/api/sample.h"
#include "lathe/request.h"
#include "runtime/sample/token_constraint.h"
#include "runtime/sample/token_counter.h"

namespace lathe {

// What all continuations of a request share. Immutable after construction, so any thread may read it.
class SamplingPolicy {
 public:
  // `params` has passed Validate(). eos_ids: of the model. bad_sequences: the bad words as token ids, none
  // empty; a word of one token is always forbidden, of a longer one its last token where the tokens before
  // it were just generated.
  // constraint: empty, or what the output must stay within; masks are over `vocab` tokens.
  SamplingPolicy(SamplingParams params, std::span<const TokenId> eos_ids,
                 std::vector<std::vector<TokenId>> bad_sequences, ConstraintFactory constraint = {},
                 int vocab = 0);

  const SamplingParams& params() const { return params_; }
  // Whether generated token number `index` (from 0) ends the sequence by being `id`.
  bool Ends(TokenId id, int index) const;
  bool uses_counts() const { return uses_counts_; }
  // How a token is chosen depends on how many were generated, but not on which.
  bool foreseeable() const { return !uses_counts_ && bad_sequences_.empty() && !new_constraint_; }

 private:
  friend class SequenceSampler;
  SamplingParams params_;
  std::vector<TokenId> end_ids_;                     // sorted: stop ids, and eos unless ignored
  std::vector<TokenBias> biases_;                    // sorted by id, unique
  std::vector<TokenBias> biases_before_min_;         // the same, and end ids forbidden
  std::vector<std::vector<TokenId>> bad_sequences_;  // of two tokens and more
  ConstraintFactory new_constraint_;
  size_t n_mask_words_ = 0;
  bool uses_counts_ = false;
};

// A row that takes `target` whatever the logits are, for its logprob under the raw distribution. `target`
// must outlive the row; its bias is set here.
SampleRow ForcedRow(TokenId id, TokenBias* target);

// The sampling state of one continuation. Not thread-safe.
class SequenceSampler {
 public:
  SequenceSampler(std::shared_ptr<const SamplingPolicy> policy, uint64_t seed,
                  std::span<const TokenId> prompt);

  // How the token after `generated` (all tokens of this continuation so far) is chosen. The row's pointers
  // stay valid until the next call of a non-const member.
  SampleRow Row(std::span<const TokenId> generated);
  // The same after n_generated tokens that need not be known. The policy is foreseeable(), which keeps the
  // row's pointers valid as long as it lives.
  SampleRow RowAhead(size_t n_generated) const;
  // `id` was generated. False: the constraint does not allow it.
  bool Add(TokenId id) {
    if (policy_->uses_counts()) counter_.AddOutput(id);
    mask_is_current_ = false;
    return constraint_ == nullptr || constraint_->Accept(id);
  }
  const SamplingPolicy& policy() const { return *policy_; }

 private:
  // Biases after n_generated tokens, whichever they are.
  const std::vector<TokenBias>& BaseBiases(size_t n_generated) const;
  std::span<const TokenBias> Biases(std::span<const TokenId> generated);

  std::shared_ptr<const SamplingPolicy> policy_;
  uint64_t seed_;
  TokenCounter counter_;
  std::vector<TokenBias> row_biases_;  // when bad words forbid something just now
  std::unique_ptr<TokenConstraint> constraint_;
  std::vector<uint32_t> mask_;  // of constraint_, when mask_is_current_
  bool mask_is_current_ = false;
};

}  // namespace lathe
