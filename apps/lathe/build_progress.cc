#include "build_progress.h"

#include <unistd.h>

namespace lathe::cli {

BuildBar::BuildBar() : progress_(STDERR_FILENO) {}

std::function<void(const BuildProgress&)> BuildBar::Callback() {
  return [this](const BuildProgress& now) {
    progress_.Update(now.stage, now.done, now.total, now.counted ? Unit::kItems : Unit::kBytes);
  };
}

Expected<DType> ParseWeightType(const std::string& text) {
  if (text == "bf16") return DType::kBf16;
  if (text == "fp16") return DType::kF16;
  if (text == "f32") return DType::kF32;
  return Error(StatusCode::kInvalidArgument, "--dtype must be bf16, fp16 or f32, but is \"%s\"",
               text.c_str());
}

}  // namespace lathe::cli
