// From the fused QKV rows: heads as rope.cuh makes them; q to its buffer, k and v into their page.
//
// Macros: those of rope.cuh, and KV_FP8. grid.x: enough for rows * all heads groups of kHeadLanes threads.
#include "rope.cuh"

using namespace lathe::cuda;

LATHE_KERNEL void __launch_bounds__(LATHE_THREADS) LATHE_ENTRY(const RopeParams p) {
  DependencyLaunch();
  DependencyWait();
  const int heads = p.n_heads + 2 * p.n_kv_heads;
  const int index = (blockIdx.x * LATHE_THREADS + threadIdx.x) / kHeadLanes, lane = threadIdx.x % kHeadLanes;
  // Threads without work stay: the norm's shuffles are of whole warps.
  const bool active = index < p.n_rows * heads && lane < kHeadThreads;
  const int row = min(index / heads, p.n_rows - 1), head = index % heads;
  HeadPieces pieces;
  pieces.Make(p, row, head, lane, active);
  if (!active) return;
  if (head < p.n_heads) {
    pieces.StoreOf16(static_cast<uint16_t*>(p.q) + (static_cast<int64_t>(row) * p.n_heads + head) * HEAD_DIM);
    return;
  }
  const int slot = p.rows[row].kv_slot;
  if (slot < 0) return;
  const int kv_head = (head - p.n_heads) % p.n_kv_heads, part = head >= p.n_heads + p.n_kv_heads ? 1 : 0;
  const int64_t block = (static_cast<int64_t>(slot / kPageSize) * p.n_kv_heads + kv_head) * 2 + part;
  const int64_t to = (block * kPageSize + slot % kPageSize) * HEAD_DIM;
  pieces.Store(static_cast<char*>(p.kv) + to * (KV_FP8 ? 1 : 2), part == 1 ? p.inverse_v_scale : p.inverse_k_scale);
}
