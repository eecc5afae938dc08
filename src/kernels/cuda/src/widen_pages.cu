// fp8 KV pages to 16-bit ones, exactly (scales are the attention kernel's affair), so that prompt attention has one kind
// of input. Macros: PAGE_ELEMENTS (of a page of one layer: 2 * n_kv_heads * 64 * head_dim), F16.
// grid: (pages, slices of a page).
#include "rows.cuh"
#include "small_abi.h"

using namespace lathe::cuda;

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const WidenParams p) {
  DependencyLaunch();
  DependencyWait();
  if (static_cast<int>(blockIdx.x) >= *p.n_pages) return;
  const uint8_t* from = static_cast<const uint8_t*>(p.kv) + static_cast<int64_t>(p.pages[blockIdx.x]) * PAGE_ELEMENTS;
  uint16_t* to = static_cast<uint16_t*>(p.out) + static_cast<int64_t>(blockIdx.x) * PAGE_ELEMENTS;
#pragma unroll 4
  for (int i = (blockIdx.y * LATHE_THREADS + threadIdx.x) * 16; i < PAGE_ELEMENTS; i += gridDim.y * LATHE_THREADS * 16) {
    const uint4 in = LoadStream(from + i);
    const uint32_t words[4] = {in.x, in.y, in.z, in.w};
    Eight out[2];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint32_t low, high;
      E4m3ToHalf2(words[j], &low, &high);
      float* v = &out[j / 2].v[j % 2 * 4];
      v[0] = HalfLow(low), v[1] = HalfHigh(low), v[2] = HalfLow(high), v[3] = HalfHigh(high);
    }
    Store8Of16(to + i, out[0]);
    Store8Of16(to + i + 8, out[1]);
  }
}
