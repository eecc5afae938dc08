// wgmma of one K step of 32 bytes: d (64 rows of A × N columns of B) = or += a · b, both from shared memory, K-major in
// the 128-byte swizzle (WgmmaDescriptor in common.cuh). One specialisation for each N that a kernel may ask for.
//
// Needs TYPE (gemm_abi.h). Inline PTX names every register, so the lists of them are built from pieces of 16.
#pragma once

#include "common.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#if TYPE == LATHE_GEMM_BF16
#define LATHE_WGMMA_TYPES "k16.f32.bf16.bf16"
#define LATHE_WGMMA_TAIL ", 0, 0"
#elif TYPE == LATHE_GEMM_F16
#define LATHE_WGMMA_TYPES "k16.f32.f16.f16"
#define LATHE_WGMMA_TAIL ", 0, 0"
#else
#define LATHE_WGMMA_TYPES "k32.f32.e4m3.e4m3"
#define LATHE_WGMMA_TAIL ""
#endif

// The first so many operands, as text of the instruction (N) ...
#define LATHE_WGMMA_N4 "%0, %1, %2, %3"
#define LATHE_WGMMA_N8 LATHE_WGMMA_N4 ", %4, %5, %6, %7"
#define LATHE_WGMMA_N16 LATHE_WGMMA_N8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define LATHE_WGMMA_N32 LATHE_WGMMA_N16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LATHE_WGMMA_N48 LATHE_WGMMA_N32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define LATHE_WGMMA_N64 LATHE_WGMMA_N48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LATHE_WGMMA_N80 LATHE_WGMMA_N64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define LATHE_WGMMA_N96 LATHE_WGMMA_N80 ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define LATHE_WGMMA_N112 LATHE_WGMMA_N96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define LATHE_WGMMA_N128 LATHE_WGMMA_N112 ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
// ... and as its operands (D).
#define LATHE_WGMMA_D4AT(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LATHE_WGMMA_D16AT(i) \
  LATHE_WGMMA_D4AT(i), LATHE_WGMMA_D4AT(i + 4), LATHE_WGMMA_D4AT(i + 8), LATHE_WGMMA_D4AT(i + 12)
#define LATHE_WGMMA_D4 LATHE_WGMMA_D4AT(0)
#define LATHE_WGMMA_D8 LATHE_WGMMA_D4, LATHE_WGMMA_D4AT(4)
#define LATHE_WGMMA_D16 LATHE_WGMMA_D16AT(0)
#define LATHE_WGMMA_D32 LATHE_WGMMA_D16, LATHE_WGMMA_D16AT(16)
#define LATHE_WGMMA_D48 LATHE_WGMMA_D32, LATHE_WGMMA_D16AT(32)
#define LATHE_WGMMA_D64 LATHE_WGMMA_D48, LATHE_WGMMA_D16AT(48)
#define LATHE_WGMMA_D80 LATHE_WGMMA_D64, LATHE_WGMMA_D16AT(64)
#define LATHE_WGMMA_D96 LATHE_WGMMA_D80, LATHE_WGMMA_D16AT(80)
#define LATHE_WGMMA_D112 LATHE_WGMMA_D96, LATHE_WGMMA_D16AT(96)
#define LATHE_WGMMA_D128 LATHE_WGMMA_D112, LATHE_WGMMA_D16AT(112)

template <int kN>
struct Wgmma;

// `registers` is columns / 2; a, b and the predicate are the operands after them.
#define LATHE_WGMMA(columns, registers, a_at, b_at, p_at)                                                      \
  template <>                                                                                                  \
  struct Wgmma<columns> {                                                                                      \
    static LATHE_DEVICE void Run(float (&d)[registers], uint64_t a, uint64_t b, int accumulate) {              \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #p_at                                                  \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #columns LATHE_WGMMA_TYPES                        \
                   " {" LATHE_WGMMA_N##registers "}, %" #a_at ", %" #b_at ", p, 1, 1" LATHE_WGMMA_TAIL ";\n}"  \
                   : LATHE_WGMMA_D##registers                                                                  \
                   : "l"(a), "l"(b), "r"(accumulate));                                                         \
    }                                                                                                          \
  };
LATHE_WGMMA(8, 4, 4, 5, 6)
LATHE_WGMMA(16, 8, 8, 9, 10)
LATHE_WGMMA(32, 16, 16, 17, 18)
LATHE_WGMMA(64, 32, 32, 33, 34)
LATHE_WGMMA(96, 48, 48, 49, 50)
LATHE_WGMMA(128, 64, 64, 65, 66)
LATHE_WGMMA(160, 80, 80, 81, 82)
LATHE_WGMMA(192, 96, 96, 97, 98)
LATHE_WGMMA(224, 112, 112, 113, 114)
LATHE_WGMMA(256, 128, 128, 129, 130)
#undef LATHE_WGMMA

// The products of 128 bytes of K into `d`, from zero or added.
template <int kN>
LATHE_DEVICE void MultiplyStage(float (&d)[kN / 2], uint32_t a, uint32_t b, bool accumulate) {
  WgmmaFence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    Wgmma<kN>::Run(d, WgmmaDescriptor(a + step * 32), WgmmaDescriptor(b + step * 32), step > 0 || accumulate);
  }
  WgmmaCommit();
}

// The compiler may not move what reads or writes these registers across this point.
template <int kCount>
LATHE_DEVICE void Pin(float (&d)[kCount]) {
#pragma unroll
  for (int e = 0; e < kCount; ++e) asm volatile("" : "+f"(d[e])::"memory");
}

template <int kCount>
LATHE_DEVICE void Add(float (&sums)[kCount], const float (&part)[kCount]) {
#pragma unroll
  for (int e = 0; e < kCount; ++e) sums[e] += part[e];
}
#endif

struct alignas(64) TensorMap {
  uint64_t opaque[16];
};
