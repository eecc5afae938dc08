// The sampling flags that run and chat share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flags.h"
#include "lathe/request.h"

namespace lathe::cli {

// What was given on the command line, over the model's own defaults.
class SamplingOptions {
 public:
  explicit SamplingOptions(int default_max_tokens) { given_.max_tokens = default_max_tokens; }

  // Declares the flags; *this must outlive the parse.
  void Declare(Command& command);

  // Ranges that need no model, told by the flags' names: called before a model is loaded or built.
  Status Check() const;

  // `defaults` (Engine::DefaultSampling) with the given values over them.
  SamplingParams Over(SamplingParams defaults) const;

 private:
  SamplingParams given_;  // fields without an optional below are taken as they are
  std::optional<double> temperature_, top_p_, min_p_;
  std::optional<double> repetition_penalty_, presence_penalty_, frequency_penalty_;
  std::optional<int> top_k_;
  std::optional<uint64_t> seed_;
};

// The same Status with its field named as the flag ("top_p must be ..." -> "--top-p must be ...").
Status WithFlagNames(const Status& status);

}  // namespace lathe::cli
