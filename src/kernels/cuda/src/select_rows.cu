// Some rows of a matrix one after another. grid: the rows of the result.
#include "common.cuh"
#include "small_abi.h"

using namespace lathe::cuda;

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const SelectParams p) {
  DependencyLaunch();
  DependencyWait();
  const char* from = static_cast<const char*>(p.in) + p.row_bytes * p.rows[blockIdx.x];
  char* to = static_cast<char*>(p.out) + p.row_bytes * static_cast<int64_t>(blockIdx.x);
  for (int64_t i = threadIdx.x * 16; i < p.row_bytes; i += LATHE_THREADS * 16) {
    *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(from + i);
  }
}
