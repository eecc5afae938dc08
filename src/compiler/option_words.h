// Options of a build as people write them, on a command line or in Python.
#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "compiler/compile.h"

namespace lathe {

// Absent: as BuildOptions has it.
struct BuildWords {
  std::optional<std::string> dtype;       // "auto", "bf16", "fp16", "f32", "fp8"
  std::optional<std::string> kv_dtype;    // "auto", "bf16", "fp16", "fp8"
  std::optional<std::string> fp8_scales;  // "channel", "tensor"
  std::optional<std::string> fp8_keep;    // see ParseFp8Keep
  std::optional<std::string> numeric;     // "bf16-fma", "bf16-dot"
};

// "bf16", "fp16", "f32", "fp8": the type of an engine's weights; "auto" is none: BuildOptions::dtype says
// what that comes to. kInvalidArgument otherwise.
Expected<std::optional<DType>> ParseEngineType(const std::string& text);

// Sets what is given. Errors: kInvalidArgument, beginning with the field's name.
Status SetFromWords(const BuildWords& words, BuildOptions* options);

}  // namespace lathe
