// Element types and their sizes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace lathe {

enum class DType : uint8_t {
  kF32,
  kBf16,
  kF16,
  kF64,
  kI8,
  kU8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  kBool,
  kF8E4M3,
  kF8E5M2
};

// Bytes of one element.
constexpr int SizeOf(DType type) {
  switch (type) {
    case DType::kF64:
    case DType::kI64:
    case DType::kU64: return 8;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32: return 4;
    case DType::kBf16:
    case DType::kF16:
    case DType::kI16:
    case DType::kU16: return 2;
    default: return 1;
  }
}

// "f32", "bf16", ... : lathe's own names, in flags, IR and manifests.
std::string_view ToString(DType type);
// Inverse of ToString.
std::optional<DType> DTypeFromString(std::string_view name);

}  // namespace lathe
