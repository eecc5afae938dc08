#include "compiler/types.h"

namespace lathe {

std::string TypeName(DType type) {
  if (type == DType::kF8E4M3) return "fp8";
  if (type == DType::kF16) return "fp16";
  return std::string(ToString(type));
}

NumericClass CudaClass(std::optional<DType> dtype, DType checkpoint) {
  if (dtype == DType::kF8E4M3)
    return checkpoint == DType::kF16 ? NumericClass::kFp8F16Tensor : NumericClass::kFp8Tensor;
  return dtype.value_or(checkpoint) == DType::kF16 ? NumericClass::kF16Tensor : NumericClass::kBf16Tensor;
}

}  // namespace lathe
