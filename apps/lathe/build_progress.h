// A BuildProgress callback for people.
#pragma once

#include "compiler/compile.h"
#include "terminal/progress.h"

namespace lathe::cli {

// Draws on stderr while it lives.
class BuildBar {
 public:
  BuildBar();
  // To be given to BuildOptions; *this must outlive the build.
  std::function<void(const BuildProgress&)> Callback();
  void Clear() { progress_.Clear(); }

 private:
  Progress progress_;
};

// Of a checkpoint: "bf16", "fp16" or "f32"; errors name --dtype.
Expected<DType> ParseWeightType(const std::string& text);

}  // namespace lathe::cli
