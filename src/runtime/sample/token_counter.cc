#include "runtime/sample/token_counter.h"

#include <algorithm>

#include "base/rng.h"

namespace lathe {

void TokenCounter::AddPrompt(std::span<const TokenId> ids) {
  for (TokenId id : ids) ++Find(id).in_prompt;
}

void TokenCounter::Grow() {
  const size_t n = std::max<size_t>(16, slots_.size() * 2);
  slots_.assign(n, -1);
  for (size_t i = 0; i < counts_.size(); ++i) {
    size_t slot = SplitMix64(static_cast<uint64_t>(counts_[i].id)) & (n - 1);
    while (slots_[slot] >= 0) slot = (slot + 1) & (n - 1);
    slots_[slot] = static_cast<int32_t>(i);
  }
}

TokenCount& TokenCounter::Find(TokenId id) {
  if ((counts_.size() + 1) * 2 > slots_.size()) Grow();
  const size_t mask = slots_.size() - 1;
  size_t slot = SplitMix64(static_cast<uint64_t>(id)) & mask;
  for (; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    TokenCount& count = counts_[static_cast<size_t>(slots_[slot])];
    if (count.id == id) return count;
  }
  slots_[slot] = static_cast<int32_t>(counts_.size());
  return counts_.emplace_back(TokenCount{.id = id});
}

}  // namespace lathe
