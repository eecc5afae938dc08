// Rows of the embedding table become the residual stream. Macros: HIDDEN (multiple of 8), F16. grid: rows.
#include "rows.cuh"
#include "small_abi.h"

using namespace lathe::cuda;

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const EmbedParams p) {
  DependencyLaunch();
  DependencyWait();
  const int row = blockIdx.x;
  int token = p.rows[row].token;
  if (token < 0) token = max(0, p.previous[~token].id);
  const uint16_t* from = static_cast<const uint16_t*>(p.table) + static_cast<int64_t>(token) * HIDDEN;
  float* to = p.residual + static_cast<int64_t>(row) * HIDDEN;
  for (int i = threadIdx.x * 8; i < HIDDEN; i += LATHE_THREADS * 8) Store8F32(to + i, Load8Of16(from + i));
}
