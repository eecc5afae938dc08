// Blocks that work on one thing together: a cluster of kBlocks (sm_90 and later), or one block alone.
#pragma once

#include "common.cuh"

template <int kBlocks>
struct Cluster {
  LATHE_DEVICE static int Rank() { return kBlocks == 1 ? 0 : static_cast<int>(blockIdx.x) % kBlocks; }
  // All threads of all blocks; what they wrote to shared memory, their own or another block's, is visible after it. One
  // warp's fence does for its block: a fence of the cluster waits for memory, and takes the longer the more wait.
  LATHE_DEVICE static void Sync() {
    __syncthreads();
    if constexpr (kBlocks > 1) {
#if __CUDA_ARCH__ >= 900
      if (Warp() == 0) asm volatile("fence.acq_rel.cluster;" ::: "memory");
#endif
      Arrive();
      Wait();
    }
  }
  // Only meets: nothing that was written need be visible after it.
  LATHE_DEVICE static void Arrive() {
#if __CUDA_ARCH__ >= 900
    if constexpr (kBlocks > 1) asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
  }
  LATHE_DEVICE static void Wait() {
#if __CUDA_ARCH__ >= 900
    if constexpr (kBlocks > 1) asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
  }
  // The address of `pointer`'s counterpart in block `rank`, in the window that st/ld/atom.shared::cluster take.
  LATHE_DEVICE static uint32_t Map(const void* pointer, int rank) {
    uint32_t out = SharedAddress(pointer);
#if __CUDA_ARCH__ >= 900
    if constexpr (kBlocks > 1)
      asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(out) : "r"(SharedAddress(pointer)), "r"(rank));
#endif
    return out;
  }
  LATHE_DEVICE static void Store(uint64_t* pointer, int rank, uint64_t value) {
    if constexpr (kBlocks == 1) {
      *pointer = value;
    } else {
#if __CUDA_ARCH__ >= 900
      asm volatile("st.shared::cluster.u64 [%0], %1;" ::"r"(Map(pointer, rank)), "l"(value) : "memory");
#endif
    }
  }
  LATHE_DEVICE static uint64_t Load(const uint64_t* pointer, int rank) {
    uint64_t out = 0;
    if constexpr (kBlocks == 1) {
      out = *pointer;
    } else {
#if __CUDA_ARCH__ >= 900
      asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(out) : "r"(Map(pointer, rank)) : "memory");
#endif
    }
    return out;
  }
  LATHE_DEVICE static uint32_t Load(const uint32_t* pointer, int rank) {
    uint32_t out = 0;
    if constexpr (kBlocks == 1) {
      out = *pointer;
    } else {
#if __CUDA_ARCH__ >= 900
      asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(out) : "r"(Map(pointer, rank)) : "memory");
#endif
    }
    return out;
  }
};
