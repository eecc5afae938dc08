// Added and control tokens: finding their spelling in text before anything else looks at it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/regex.h"
#include "text/tokenizer_spec.h"
#include "text/trie.h"

namespace lathe::text {

// A token found, or (id -1) the text between two of them.
struct TextOrToken {
  ByteRange range;
  int32_t id = -1;
};

// Which of the added tokens a matcher looks for.
enum class AddedKind : uint8_t {
  kRaw,         // in the text as it came: control tokens, and others that are not "normalized"
  kNormalized,  // in normalised text: ordinary tokens with "normalized" (never control tokens)
};

// Immutable once created; thread-safe.
class AddedTokenMatcher {
 public:
  // Looks for `tokens` (contents must be as they appear in the text that will be searched).
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  bool empty() const { return trie_.empty(); }

  // Cuts `text` at the tokens in it: leftmost, longest, with their lstrip, rstrip and single_word rules.
  // A control token counts only where it lies within one range of `control` (ascending, disjoint): elsewhere
  // its spelling is text. As in the reference implementation, such a spelling also hides whatever ordinary
  // added token begins inside it; one that straddles the edge of a control range hides nothing.
  void Cut(std::string_view text, const std::vector<ByteRange>& control, std::vector<TextOrToken>* out) const;

 private:
  struct Candidate {
    int32_t token = -1;  // index into tokens_
    size_t end = 0;
  };
  Candidate Find(std::string_view text, const std::vector<ByteRange>& control, size_t pos,
                 size_t* resume) const;

  std::vector<AddedToken> tokens_;
  Trie trie_;
};

// Splits the added tokens of `spec` by where they are looked for.
std::vector<AddedToken> AddedTokensOf(const TokenizerSpec& spec, AddedKind kind);

}  // namespace lathe::text
