// A language that the generated tokens of one continuation must stay within; implemented over text/grammar by
// runtime/engine, so that sampling knows nothing of grammars.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "lathe/types.h"

namespace lathe {

// The state of one continuation. Not thread-safe.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  // Bit i of words[i / 32] is set where token i may come next, cleared elsewhere; words: (ceil(vocab / 32)).
  virtual void FillMask(std::span<uint32_t> words) = 0;
  // `id` came next. False: it was not allowed, which a caller that uses the mask never sees.
  virtual bool Accept(TokenId id) = 0;
};

// Makes the state at the start of an output; any thread may call it.
using ConstraintFactory = std::function<std::unique_ptr<TokenConstraint>()>;

}  // namespace lathe
