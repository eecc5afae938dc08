// Log probabilities in the two shapes of OpenAI's API, as JSON text that grows with the tokens.
#pragma once

#include <string>
#include <vector>

#include "lathe/engine.h"

namespace lathe::serve {

// How tokens are spelled.
class TokenSpeller {
 public:
  TokenSpeller(const Engine* engine, bool as_ids, bool skip_special)
      : engine_(engine), as_ids_(as_ids), skip_special_(skip_special) {}
  // "token_id:17", or the token's bytes with U+FFFD for what is not UTF-8 alone.
  std::string Name(TokenId id) const;
  // The bytes the token adds to a text; for a control token, its name.
  std::string Bytes(TokenId id) const;
  // Code points that begin with this token in the text: 0 for a control token that is left out of it.
  int64_t CodePoints(TokenId id) const;

 private:
  const Engine* engine_;
  bool as_ids_, skip_special_;
};

// Of chats: [{"token":..,"logprob":..,"bytes":[..],"top_logprobs":[..]},..]. `n_top`: alternatives to tell.
void AppendChatLogprob(const TokenOutput& token, int n_top, const TokenSpeller& speller,
                       std::string* entries);

// Of completions: parallel arrays. Offsets count code points from the start of the choice's text.
class LegacyLogprobs {
 public:
  // `has_logprob`: false for the first token of an echoed prompt.
  void Add(const TokenOutput& token, bool has_logprob, const TokenSpeller& speller);
  // {"tokens":[..],"token_logprobs":[..],"top_logprobs":[..],"text_offset":[..]}
  std::string Text() const;
  bool empty() const { return tokens_.empty(); }
  // Forgets the entries (they were sent), not the offset.
  void Clear();

 private:
  std::string tokens_, logprobs_, top_, offsets_;
  int64_t offset_ = 0;
};

}  // namespace lathe::serve
