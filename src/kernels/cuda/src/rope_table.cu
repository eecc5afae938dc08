// cos and sin of position * inv_freq, once a step. The angle is the f32 product, as everywhere; its reduction is in
// double, so positions far beyond 2^17 lose nothing. Macros: ROTARY_DIM. grid: enough for rows * ROTARY_DIM / 2 threads.
#include "common.cuh"
#include "small_abi.h"

using namespace lathe::cuda;

constexpr int kHalf = ROTARY_DIM / 2;

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const RopeTableParams p) {
  DependencyLaunch();
  DependencyWait();
  const int i = blockIdx.x * LATHE_THREADS + threadIdx.x;
  if (i >= p.n_rows * kHalf) return;
  const StepRow row = p.rows[i / kHalf];
  const float angle = static_cast<float>(row.position) * p.inv_freq[row.rope * kHalf + i % kHalf];
  const double turns = static_cast<double>(angle) * 0.15915494309189535;
  float sine, cosine;
  sincospif(static_cast<float>(2.0 * (turns - rint(turns))), &sine, &cosine);
  p.cos[i] = cosine * p.attention_factor;
  p.sin[i] = sine * p.attention_factor;
}
