// How often each token occurred in a sequence, for penalties.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/api/sample.h"
#include "lathe/types.h"

namespace lathe {

// One compact entry per token that occurred, in order of first occurrence; adding is O(1). Not thread-safe.
class TokenCounter {
 public:
  void AddPrompt(std::span<const TokenId> ids);
  void AddOutput(TokenId id) { ++Find(id).in_output; }
  std::span<const TokenCount> counts() const { return counts_; }

 private:
  TokenCount& Find(TokenId id);
  void Grow();

  std::vector<TokenCount> counts_;
  std::vector<int32_t> slots_;  // open addressing: index into counts_ or -1; a power of two
};

}  // namespace lathe
