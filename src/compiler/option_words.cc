#include "compiler/option_words.h"

namespace lathe {
namespace {

Expected<NumericClass> ParseNumeric(const std::string& text) {
  for (const NumericClass c : {NumericClass::kBf16Fma, NumericClass::kBf16Dot}) {
    if (text == ToString(c)) return c;
  }
  return Error(StatusCode::kInvalidArgument, "numeric must be bf16-fma or bf16-dot, but is \"%s\"",
               text.c_str());
}

Expected<DType> ParseKvType(const std::string& text) {
  if (text == "fp8") return DType::kF8E4M3;
  if (text == "bf16") return DType::kBf16;
  if (text == "fp16") return DType::kF16;
  return Error(StatusCode::kInvalidArgument, "kv_dtype must be auto, bf16, fp16 or fp8, but is \"%s\"",
               text.c_str());
}

Expected<Fp8Scales> ParseScales(const std::string& text) {
  if (text == "channel") return Fp8Scales::kChannel;
  if (text == "tensor") return Fp8Scales::kTensor;
  return Error(StatusCode::kInvalidArgument, "fp8_scales must be channel or tensor, but is \"%s\"",
               text.c_str());
}

}  // namespace

Expected<std::optional<DType>> ParseEngineType(const std::string& text) {
  if (text == "auto") return std::optional<DType>();
  if (text == "fp8") return std::optional(DType::kF8E4M3);
  if (text == "fp16") return std::optional(DType::kF16);
  if (text == "bf16") return std::optional(DType::kBf16);
  if (text == "f32") return std::optional(DType::kF32);
  return Error(StatusCode::kInvalidArgument, "dtype must be auto, bf16, fp16, f32 or fp8, but is \"%s\"",
               text.c_str());
}

Status SetFromWords(const BuildWords& words, BuildOptions* options) {
  if (words.dtype) {
    LATHE_ASSIGN_OR_RETURN(options->dtype, ParseEngineType(*words.dtype));
  }
  if (words.kv_dtype && *words.kv_dtype != "auto") {
    LATHE_ASSIGN_OR_RETURN(options->kv_dtype, ParseKvType(*words.kv_dtype));
  }
  if (words.fp8_scales) {
    LATHE_ASSIGN_OR_RETURN(options->fp8_scales, ParseScales(*words.fp8_scales));
  }
  if (words.fp8_keep) {
    const auto keep = ParseFp8Keep(*words.fp8_keep);
    if (!keep.ok()) return keep.status().WithContext("fp8_keep");
    if (options->dtype != DType::kF8E4M3)
      return Error(StatusCode::kInvalidArgument,
                   "fp8_keep says what keeps 16 bits beside fp8 weights, so it needs the dtype fp8");
    options->fp8_keep = *keep;
  }
  if (words.numeric) {
    LATHE_ASSIGN_OR_RETURN(options->numeric, ParseNumeric(*words.numeric));
  }
  return Status::Ok();
}

}  // namespace lathe
