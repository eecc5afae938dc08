// Stop strings over streamed text.
#pragma once

#include <string>
#include <string_view>

#include "lathe/request.h"

namespace lathe {

// Lets text through except what could still become a stop string. The match taken is the one that is
// complete first (of several that end together, the longest), as if text came byte by byte: the way the text
// is cut into pieces never changes the result. Not thread-safe.
class StopChecker {
 public:
  // Reads `stop` and `include_stop` of `params`, which must outlive it.
  explicit StopChecker(const SamplingParams* params) : params_(params) {}

  // Appends to `out` what may be shown after `text` came. True: a stop string is complete; what stands
  // before it (include_stop: with it) was appended, the rest is dropped, and nothing may follow.
  // A stop string that ends in a piece with take == false (before min_tokens) is ordinary text.
  bool Feed(std::string_view text, bool take, std::string* out);

  // The sequence ended otherwise: appends what was held back.
  void Flush(std::string* out);

 private:
  size_t HoldBack(std::string_view text) const;

  const SamplingParams* params_;
  std::string held_;  // a proper prefix of a stop string
};

}  // namespace lathe
