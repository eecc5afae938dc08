// A row of K or V that kLanes lanes hold together, in 16-byte pieces (kFull each lane) and one smaller piece of kTail words:
// straight from a page, past L1, or from shared memory.
#pragma once
#include "common.cuh"

namespace lathe::cuda {

template <int kFull, int kTail, int kLanes, int kCount>
LATHE_DEVICE void LoadRow(const char* row, int lane, uint32_t (&to)[kCount]) {
#pragma unroll
  for (int i = 0; i < kFull; ++i)
    asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[4 * i]), "=r"(to[4 * i + 1]), "=r"(to[4 * i + 2]), "=r"(to[4 * i + 3])
                 : "l"(row + (i * kLanes + lane) * 16));
  if constexpr (kTail == 1)
    asm volatile("ld.global.L1::no_allocate.u32 %0, [%1];"
                 : "=r"(to[4 * kFull])
                 : "l"(row + kFull * kLanes * 16 + lane * 4));
  if constexpr (kTail >= 2)
    asm volatile("ld.global.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(to[4 * kFull]), "=r"(to[4 * kFull + 1])
                 : "l"(row + kFull * kLanes * 16 + lane * 8));
  if constexpr (kTail == 3)
    asm volatile("ld.global.L1::no_allocate.u32 %0, [%1];"
                 : "=r"(to[4 * kFull + 2])
                 : "l"(row + kFull * kLanes * 16 + kLanes * 8 + lane * 4));
}
// The same from shared memory, word by word: of one row of a step.
template <int kFull, int kTail, int kLanes, int kCount>
LATHE_DEVICE void TakeRow(const char* row, int lane, uint32_t (&to)[kCount]) {
  const uint32_t* words = reinterpret_cast<const uint32_t*>(row);
#pragma unroll
  for (int i = 0; i < 4 * kFull; ++i) to[i] = words[(i / 4 * kLanes + lane) * 4 + i % 4];
  constexpr int kPairs = kTail >= 2 ? 2 : kTail;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) to[4 * kFull + i] = words[kFull * kLanes * 4 + lane * kPairs + i];
  if constexpr (kTail == 3) to[4 * kFull + 2] = words[kFull * kLanes * 4 + kLanes * 2 + lane];
}

}  // namespace lathe::cuda
