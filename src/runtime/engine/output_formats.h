// Output formats of one model: from what a request asks to the states that mask its tokens.
#pragma once

#include <memory>
#include <span>

#include "base/status.h"
#include "lathe/request.h"
#include "runtime/sample/token_constraint.h"

namespace lathe {

class Tokenizer;

// Thread-safe. Compiles each format once, as long as the cache holds it; the vocabulary's tables are made
// when the first format comes.
class OutputFormats {
 public:
  // tokenizer must outlive this. eos_ids: allowed where the output may end.
  OutputFormats(const Tokenizer& tokenizer, std::span<const TokenId> eos_ids);
  ~OutputFormats();
  Expected<ConstraintFactory> Compile(const OutputFormat& format) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe
