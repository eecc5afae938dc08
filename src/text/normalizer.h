// The normalising steps of a tokenizer, run on text before anything is split.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/chars_map.h"
#include "text/regex.h"
#include "text/tokenizer_spec.h"
#include "text/trie.h"

namespace lathe::text {

// Immutable once created; thread-safe.
class Normalizer {
 public:
  // Compiles the steps of `spec` (copies what it needs). Errors: a bad regular expression or character map.
  static Expected<Normalizer> Create(const TokenizerSpec& spec);

  bool identity() const { return steps_.empty(); }

  // `text` (valid UTF-8) normalised, in `buffer` or the text itself when nothing changes it. `first`: it
  // stands at the start of the input.
  std::string_view Apply(std::string_view text, bool first, std::string* buffer) const;

 private:
  struct Step {
    PipelineOp op;
    std::optional<Regex> regex;
    std::optional<CharsMap> chars_map;
  };
  std::string Run(const Step& step, std::string_view text, bool first) const;
  std::string SentencePiece(const Step& step, std::string_view text, bool first) const;

  std::vector<Step> steps_;
  Trie user_defined_;  // SentencePiece: symbols that normalisation leaves alone
};

}  // namespace lathe::text
