#include "tensor/dtype.h"

#include <array>
#include <utility>

namespace lathe {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 15> kNames = {{{DType::kF32, "f32"},
                                                                        {DType::kBf16, "bf16"},
                                                                        {DType::kF16, "f16"},
                                                                        {DType::kF64, "f64"},
                                                                        {DType::kI8, "i8"},
                                                                        {DType::kU8, "u8"},
                                                                        {DType::kI16, "i16"},
                                                                        {DType::kU16, "u16"},
                                                                        {DType::kI32, "i32"},
                                                                        {DType::kU32, "u32"},
                                                                        {DType::kI64, "i64"},
                                                                        {DType::kU64, "u64"},
                                                                        {DType::kBool, "bool"},
                                                                        {DType::kF8E4M3, "f8e4m3"},
                                                                        {DType::kF8E5M2, "f8e5m2"}}};

}  // namespace

std::string_view ToString(DType type) {
  for (const auto& [value, name] : kNames)
    if (value == type) return name;
  return "?";
}

std::optional<DType> DTypeFromString(std::string_view name) {
  for (const auto& [value, known] : kNames)
    if (known == name) return value;
  return std::nullopt;
}

}  // namespace lathe
