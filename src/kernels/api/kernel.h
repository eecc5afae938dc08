// What a kernel is to the compiler and the executor: a name, an ISA, the op and numeric class it serves, the
// function, and (through Cost) the bytes and flops its roof is computed from.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/api/params.h"

namespace lathe {

enum class OpKind : uint8_t { kEmbed, kRmsNorm, kGemm, kRopeAppend, kAttention, kSample };

// Instruction sets, weakest first. kPortable compiles everywhere.
enum class Isa : uint8_t { kPortable, kAvx2, kAvx512, kAvx512Bf16 };

std::string_view ToString(OpKind kind);
std::string_view ToString(Isa isa);         // "portable", "avx2", "avx512", "avx512bf16"
std::string_view ToString(NumericClass c);  // "f32", "bf16-fma", "bf16-dot"

// One of `count` threads that run the same op with the same params at the same time. Tasks are handed out
// through `next_task` (starts at 0), so a thread that lost its core for a while does not hold the others;
// which thread takes a task never changes a result. `scratch` belongs to this thread alone.
struct Worker {
  int index = 0;
  int count = 1;
  std::atomic<int>* next_task = nullptr;
  std::span<std::byte> scratch;  // at least kScratchBytes, 64-byte aligned

  // Next task below n_tasks, or -1 when none is left.
  int Next(int n_tasks) const {
    const int task = next_task->fetch_add(1, std::memory_order_relaxed);
    return task < n_tasks ? task : -1;
  }
};

inline constexpr size_t kScratchBytes = size_t{1} << 20;

// Bytes that must move and flops that must happen, from which % of roof is computed.
struct Cost {
  double bytes = 0;
  double flops = 0;
};
Cost CostOf(const GemmParams& p, NumericClass c);
Cost CostOf(const AttentionParams& p, NumericClass c);

// All kernels of an op share one signature.
using GemmFn = void (*)(const GemmParams&, const Worker&);
using EmbedFn = void (*)(const EmbedParams&, const Worker&);
using RmsNormFn = void (*)(const RmsNormParams&, const Worker&);
using RopeAppendFn = void (*)(const RopeAppendParams&, const Worker&);
using AttentionFn = void (*)(const AttentionParams&, const Worker&);

// A GEMM tactic: valid for token counts min_m..max_m. All tactics of one (isa, class) give the same bits.
struct GemmKernel {
  std::string_view name;  // "avx512_bf16fma_6x4_kc256"
  Isa isa = Isa::kPortable;
  NumericClass numeric = NumericClass::kF32;
  int min_m = 1, max_m = 1 << 30;
  GemmFn fn = nullptr;
};

// The other ops: one kernel per (isa, class).
struct OpKernels {
  Isa isa = Isa::kPortable;
  NumericClass numeric = NumericClass::kF32;
  EmbedFn embed = nullptr;
  RmsNormFn rmsnorm = nullptr;
  RopeAppendFn rope_append = nullptr;
  AttentionFn attention = nullptr;
};

}  // namespace lathe
