// The byte strings of a vocabulary as a prefix tree, for finding all tokens that a grammar allows at once.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "lathe/types.h"
#include "text/tokenizer.h"

namespace lathe {

// Immutable; any number of threads may read it. About 20 bytes a node of the tree, made once for each engine.
class GrammarVocab {
 public:
  // Control tokens and all other added tokens are reached by name only (%token); ordinary tokens by the bytes
  // that they add in the middle of a text. eos_ids: allowed where the text may end, and nowhere else.
  static GrammarVocab FromTokenizer(const Tokenizer& tokenizer, std::span<const TokenId> eos_ids);
  // bytes[id]: what the token writes, empty for one that text never uses. named: tokens for %token.
  static GrammarVocab FromStrings(std::span<const std::string> bytes, std::span<const TokenId> eos_ids,
                                  const std::unordered_map<std::string, TokenId>& named = {});

  int size() const { return size_; }
  std::span<const TokenId> eos_ids() const { return eos_ids_; }
  // What the token writes; empty for one that text never uses.
  std::string_view Bytes(TokenId id) const {
    const auto i = static_cast<size_t>(id);
    return std::string_view(bytes_).substr(bytes_begin_[i], bytes_begin_[i + 1] - bytes_begin_[i]);
  }
  TokenId Named(std::string_view name) const;  // -1: none
  // Bytes that are a token of their own. Grammars are held to these, so that no text in progress gets stuck.
  const std::array<bool, 256>& single_bytes() const { return single_bytes_; }
  size_t longest() const { return longest_; }  // bytes of the longest token

  // The tree in preorder; node 0 is the root. Its children are 1, end of 1, and so on up to its own end.
  struct Node {
    uint32_t end = 0;     // behind the last node below it
    uint32_t tokens = 0;  // begin in tokens(), which goes on to that of the next node
    uint16_t depth = 0;   // bytes from the root
    uint8_t byte = 0;     // that leads here
  };
  struct Tree {
    std::vector<Node> nodes;  // one more than there are, for the end of its tokens
    std::vector<TokenId> tokens;
    std::vector<uint32_t> origin;  // [node] of kAll; empty for kAll itself
  };
  // Plain tokens are whole characters but controls, line separators, '"' and '\\'. Inside most strings they
  // need no walk: how many characters they have says whether they fit.
  enum Part { kAll, kWithoutShortPlain, kWithoutPlain };
  const Tree& tree(Part part) const { return trees_[part]; }
  // A bit for each plain token of at most n characters; kPlainLengths: of any number. Short: fewer than that.
  static constexpr uint32_t kPlainLengths = 16;
  std::span<const uint32_t> plain(uint32_t n) const { return plain_[n]; }

 private:
  GrammarVocab() = default;
  void Build(std::span<const std::string> bytes);

  int size_ = 0;
  size_t longest_ = 0;
  std::string bytes_;  // of all tokens
  std::vector<uint32_t> bytes_begin_;
  std::vector<TokenId> eos_ids_;
  std::unordered_map<std::string, TokenId> named_;
  std::array<bool, 256> single_bytes_{};
  std::array<Tree, 3> trees_;
  std::vector<std::vector<uint32_t>> plain_;  // (kPlainLengths + 1, words)
};

}  // namespace lathe
