// Byte-pair encoding of one piece of text, O(n log n) in its length.
//
// One algorithm, two ways to ask what a pair of neighbours is worth: a table of id pairs (tokenizer.json,
// merges.txt) or the rank of the joined string (SentencePiece, tiktoken). The cheapest pair merges first, the
// leftmost of equals. Short pieces, which are nearly all, are merged by scanning an array; long ones with a
// heap over a linked list, so that one word of a megabyte is not quadratic.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer_spec.h"
#include "text/trie.h"
#include "text/vocab.h"

namespace lathe::text {

struct BpeSymbol {
  uint32_t begin = 0;
  uint32_t length = 0;  // 0: merged away
  int32_t id = -1;      // -1: not a token (kMergeStrings only)
  int32_t prev = -1;
  int32_t next = -1;
  bool frozen = false;  // user-defined symbol: never merged
};

struct BpeCandidate {
  uint32_t rank;
  int32_t left;
  int32_t right;
  uint32_t left_length;
  uint32_t right_length;
  int32_t result;
};

// Buffers reused from piece to piece; one per Encode call of the tokenizer.
struct BpeScratch {
  std::vector<BpeSymbol> symbols;
  std::vector<BpeCandidate> heap;
  // Unused SentencePiece tokens passed through: length of the left part of id's last merge, or 0.
  std::vector<uint32_t> unused_left;
  std::vector<std::string_view> pending;
};

// Refers to the spec and vocab it was made from, which must outlive it. Thread-safe once created.
class Bpe {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  struct Merge {
    uint32_t rank = kNoRank;
    int32_t result = -1;
  };

  // kCorrupt when a byte-level vocabulary by strings lacks a byte.
  static Expected<Bpe> Create(const TokenizerSpec& spec, const Vocab& vocab);

  // Appends the ids of `piece`: raw bytes (VocabForm::kBytes) or valid UTF-8.
  void Encode(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const;

  // The same by merging only, without the whole-token shortcut. At most 2^30 bytes.
  void EncodeByMerging(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const;

  Merge PairMerge(int32_t left, int32_t right) const;
  Merge StringMerge(std::string_view joined) const;

 private:
  struct PairSlot {
    int32_t left = -1;
    int32_t right = -1;
    uint32_t rank = 0;
    int32_t result = -1;
  };

  void BuildPairTable();
  void BuildRanks();
  void DetectWordBoundaries();
  void EncodeWord(std::string_view word, BpeScratch* scratch, std::vector<int32_t>* ids) const;
  void InitBytes(std::string_view piece, std::vector<BpeSymbol>* symbols) const;
  void InitChars(std::string_view piece, std::vector<BpeSymbol>* symbols) const;
  void InitPieces(std::string_view piece, std::vector<BpeSymbol>* symbols) const;
  int32_t CharId(std::string_view c, bool first, bool last) const;
  void Output(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* ids) const;
  void OutputUnknown(std::string_view text, bool after_unknown, std::vector<int32_t>* ids) const;
  void OutputResegmented(std::string_view text, BpeScratch* scratch, std::vector<int32_t>* ids) const;

  const TokenizerSpec* spec_ = nullptr;
  const Vocab* vocab_ = nullptr;
  std::vector<PairSlot> pairs_;      // open addressing, a power of two
  std::vector<uint32_t> ranks_;      // kMergeStrings: rank of each id, equal scores equal
  std::array<int32_t, 256> unit_{};  // id of each byte (kBytes) or ASCII character (kText)
  Trie user_defined_;
  bool splits_at_space_mark_ = false;  // no token has U+2581 after something else: words are independent
  bool has_unused_ = false;
};

}  // namespace lathe::text
