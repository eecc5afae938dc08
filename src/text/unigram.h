// Unigram language model: the segmentation of a text with the highest sum of scores (Viterbi).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer_spec.h"
#include "text/trie.h"
#include "text/vocab.h"

namespace lathe::text {

// Refers to the spec and vocab it was made from, which must outlive it. Thread-safe once created.
class Unigram {
 public:
  // kUnsupported when a piece is so long that encoding would be quadratic.
  static Expected<Unigram> Create(const TokenizerSpec& spec, const Vocab& vocab);

  // Appends the ids of `text`, valid UTF-8. Unknown characters cost min(score) - 10 each, as in
  // SentencePiece.
  void Encode(std::string_view text, std::vector<int32_t>* ids) const;

 private:
  void Output(std::string_view text, const std::vector<size_t>& starts, const std::vector<int32_t>& best,
              std::vector<int32_t>* ids) const;

  const TokenizerSpec* spec_ = nullptr;
  const Vocab* vocab_ = nullptr;
  Trie trie_;
  double unknown_score_ = 0;
  double max_score_ = 0;
  // Path scores are kept in single precision, as SentencePiece keeps them: it decides between equals.
  bool single_precision_ = false;
};

}  // namespace lathe::text
