// Cutting text into the pieces that the model encodes one by one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/regex.h"
#include "text/tokenizer_spec.h"

namespace lathe::text {

// The pieces of one text; buffers are reused from call to call.
struct PreTokens {
  std::string_view text;          // what the ranges refer to: the input, or `owned`
  std::vector<ByteRange> ranges;  // not empty, ascending
  std::string owned;
  std::vector<ByteRange> scratch_ranges, matches;
};

// Immutable once created; thread-safe.
class PreTokenizer {
 public:
  // Compiles the steps of `spec`. Errors: a bad regular expression.
  static Expected<PreTokenizer> Create(const TokenizerSpec& spec);

  // Cuts `text` (valid UTF-8; must outlive `out`). `first`: it stands at the start of the input. After a
  // byte-level step the ranges are of raw bytes.
  void Run(std::string_view text, bool first, PreTokens* out) const;

 private:
  struct Step {
    PipelineOp op;
    std::optional<Regex> regex;
  };
  void Split(const Step& step, PreTokens* out) const;

  std::vector<Step> steps_;
};

}  // namespace lathe::text
