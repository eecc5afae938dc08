// Element types as users choose and read them.
#pragma once

#include <optional>
#include <string>

#include "kernels/api/params.h"
#include "tensor/dtype.h"

namespace lathe {

// As flags name it: "bf16", "fp16", "fp8", "f32".
std::string TypeName(DType type);

// The class of a CUDA engine. `dtype`: as BuildOptions has it, bf16, f16, e4m3 or absent; `checkpoint`: the
// type that most of the checkpoint's weights have. An f16 checkpoint stays f16, beside e4m3 weights too,
// unless bf16 is asked for; any other becomes bf16 unless f16 is asked for.
NumericClass CudaClass(std::optional<DType> dtype, DType checkpoint);

}  // namespace lathe
