// What CUDA's own headers would give, as inline PTX: NVRTC compiles these sources without any toolkit.
#pragma once

using uint8_t = unsigned char;
using int8_t = signed char;
using uint16_t = unsigned short;
using int16_t = short;
using uint32_t = unsigned int;
using int32_t = int;
using uint64_t = unsigned long long;
using int64_t = long long;

#define LATHE_DEVICE __device__ __forceinline__
#define LATHE_KERNEL extern "C" __global__

// ---- numbers ---------------------------------------------------------------------------------------------------

// bfloat16, half and fp8 e4m3 are raw bits here, as everywhere in lathe.
//
// F16: whether the engine's 16-bit type is half instead of bfloat16. It is what matmuls and attention read, and what
// keys and values are kept in. From f32, nearest even; what is too large for half becomes an infinity, never its largest
// number: a sum over it is not finite, nor are the logits in the end, and that is found.
#ifndef F16
#define F16 0
#endif
#if F16
#define LATHE_NAME16 "f16"
#else
#define LATHE_NAME16 "bf16"
#endif

LATHE_DEVICE float FromHalf(uint16_t v) {
  float out;
  asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(v));
  return out;
}
LATHE_DEVICE float HalfLow(uint32_t pair) { return FromHalf(static_cast<uint16_t>(pair)); }
LATHE_DEVICE float HalfHigh(uint32_t pair) { return FromHalf(static_cast<uint16_t>(pair >> 16)); }
// Two floats, `low` in the low half.
LATHE_DEVICE uint32_t PackHalf(float low, float high) {
  uint32_t out;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}

LATHE_DEVICE float Low16(uint32_t pair) { return F16 ? HalfLow(pair) : __uint_as_float(pair << 16); }
LATHE_DEVICE float High16(uint32_t pair) { return F16 ? HalfHigh(pair) : __uint_as_float(pair & 0xffff0000u); }
LATHE_DEVICE uint32_t Pack16(float low, float high) {
  uint32_t out;
  asm("cvt.rn." LATHE_NAME16 "x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}
LATHE_DEVICE uint16_t To16(float v) {
  uint16_t out;
  asm("cvt.rn." LATHE_NAME16 ".f32 %0, %1;" : "=h"(out) : "f"(v));
  return out;
}

#if __CUDA_ARCH__ >= 890
// Four e4m3 to two pairs of half (exact), and four floats to e4m3 (nearest even, saturating at 448).
LATHE_DEVICE void E4m3ToHalf2(uint32_t four, uint32_t* low, uint32_t* high) {
  asm("{\n.reg .b16 a, b;\nmov.b32 {a, b}, %2;\ncvt.rn.f16x2.e4m3x2 %0, a;\ncvt.rn.f16x2.e4m3x2 %1, b;\n}"
      : "=r"(*low), "=r"(*high)
      : "r"(four));
}
LATHE_DEVICE uint32_t PackE4m3(float a, float b, float c, float d) {
  uint32_t out;
  asm("{\n.reg .b16 lo, hi;\ncvt.rn.satfinite.e4m3x2.f32 lo, %2, %1;\ncvt.rn.satfinite.e4m3x2.f32 hi, %4, %3;\n"
      "mov.b32 %0, {lo, hi};\n}"
      : "=r"(out)
      : "f"(a), "f"(b), "f"(c), "f"(d));
  return out;
}
#else
// Chips without fp8: the same values by integer arithmetic. A byte s eeee mmm is the half s 0eeee mmm 0000000
// times 2^8, subnormals included, since half's exponent is wider.
LATHE_DEVICE void E4m3ToHalf2(uint32_t four, uint32_t* low, uint32_t* high) {
  const uint32_t kScale = 0x5c005c00u;  // 256, twice
  const uint32_t a = __byte_perm(four, 0, 0x1404), b = __byte_perm(four, 0, 0x3424);
  const uint32_t x = (a & 0x80008000u) | ((a & 0x7f007f00u) >> 1);
  const uint32_t y = (b & 0x80008000u) | ((b & 0x7f007f00u) >> 1);
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(*low) : "r"(x), "r"(kScale));
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(*high) : "r"(y), "r"(kScale));
}
LATHE_DEVICE uint32_t ToE4m3(float v) {
  const uint32_t sign = (__float_as_uint(v) >> 24) & 0x80u;
  const float magnitude = fminf(fabsf(v), 448.0f);
  if (v != v) return sign | 0x7fu;
  if (magnitude < 0.015625f) return sign | static_cast<uint32_t>(__float2int_rn(magnitude * 512.0f));
  const uint32_t bits = __float_as_uint(magnitude);
  return sign | (((bits + 0x7ffffu + ((bits >> 20) & 1u)) >> 20) - (120u << 3));
}
LATHE_DEVICE uint32_t PackE4m3(float a, float b, float c, float d) {
  return ToE4m3(a) | ToE4m3(b) << 8 | ToE4m3(c) << 16 | ToE4m3(d) << 24;
}
#endif

LATHE_DEVICE float Exp2(float x) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}
LATHE_DEVICE float Reciprocal(float x) {
  float out;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
  return out;
}
LATHE_DEVICE float Silu(float x) { return x * Reciprocal(1.0f + Exp2(-1.4426950408889634f * x)); }

// ---- threads ---------------------------------------------------------------------------------------------------

LATHE_DEVICE int Lane() { return threadIdx.x & 31; }
LATHE_DEVICE int Warp() { return threadIdx.x >> 5; }
// v, of which the compiler knows nothing: what is computed from it is computed here, and not long before.
LATHE_DEVICE int Opaque(int v) {
  asm volatile("" : "+r"(v));
  return v;
}
LATHE_DEVICE float ShuffleXor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
LATHE_DEVICE float WarpSum(float v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask >>= 1) v += ShuffleXor(v, mask);
  return v;
}
LATHE_DEVICE float WarpMax(float v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask >>= 1) v = fmaxf(v, ShuffleXor(v, mask));
  return v;
}
// The whole block's, on every thread; `scratch` holds one float a warp in shared memory. Ends in a barrier.
LATHE_DEVICE float BlockSum(float v, float* scratch, int n_warps) {
  v = WarpSum(v);
  if (Lane() == 0) scratch[Warp()] = v;
  __syncthreads();
  v = Lane() < n_warps ? scratch[Lane()] : 0.0f;
  v = WarpSum(v);
  __syncthreads();
  return v;
}
LATHE_DEVICE float BlockMax(float v, float* scratch, int n_warps) {
  v = WarpMax(v);
  if (Lane() == 0) scratch[Warp()] = v;
  __syncthreads();
  v = Lane() < n_warps ? scratch[Lane()] : -3.4e38f;
  v = WarpMax(v);
  __syncthreads();
  return v;
}
LATHE_DEVICE void NamedBarrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// True on one lane of a converged warp.
LATHE_DEVICE bool ElectOne() {
#if __CUDA_ARCH__ >= 900
  uint32_t elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(elected));
  return elected != 0;
#else
  return Lane() == 0;
#endif
}

// Programmatic dependent launch. DependencyWait: everything that earlier kernels on the stream wrote is visible
// after it. DependencyLaunch: the next kernel may start (and run up to its own wait). Kernels call it first of all:
// weights are then on their way to shared memory while two or three small kernels before the matmul still run. The
// next kernel's wait is over when this one has ended, and this one does not end before its own wait is over, so what
// stands further back has ended too.
LATHE_DEVICE void DependencyWait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
LATHE_DEVICE void DependencyLaunch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// ---- loads and copies --------------------------------------------------------------------------------------------

LATHE_DEVICE uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}
// 16 bytes that are read once: past L1.
LATHE_DEVICE uint4 LoadStream(const void* pointer) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(pointer));
  return v;
}
LATHE_DEVICE uint4 LoadShared16(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address));
  return v;
}
LATHE_DEVICE void StoreShared16(uint32_t address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}
LATHE_DEVICE float4 LoadSharedFloats(uint32_t address) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address));
  return v;
}
LATHE_DEVICE float2 LoadSharedPair(uint32_t address) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address));
  return v;
}
LATHE_DEVICE void StoreSharedFloat(uint32_t address, float v) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(v) : "memory");
}
LATHE_DEVICE void StoreSharedPair(uint32_t address, float a, float b) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(a), "f"(b) : "memory");
}
// 16 bytes global to shared without registers; zeros when !valid (the address must still be readable).
LATHE_DEVICE void CopyAsync16(uint32_t to, const void* from, bool valid = true) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
LATHE_DEVICE void CopyAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
LATHE_DEVICE void CopyAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// ---- mbarriers and bulk copies -------------------------------------------------------------------------------------

LATHE_DEVICE void BarrierInit(uint32_t barrier, uint32_t count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
LATHE_DEVICE void BarrierArrive(uint32_t barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(barrier) : "memory");
}
#if __CUDA_ARCH__ >= 900
// Arrivals that one warp's copies into a stage cause: one with the bytes to expect, or one a lane.
constexpr int kCopyArrivals = 1;
// Makes BarrierInit visible to the copy engine (and to the other blocks of a cluster).
LATHE_DEVICE void BarrierInitFence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
LATHE_DEVICE void BarrierExpect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
LATHE_DEVICE void BarrierWait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred p;\nLATHE_WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra LATHE_DONE;\n"
      "bra LATHE_WAIT;\nLATHE_DONE:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
#else
constexpr int kCopyArrivals = 32;
LATHE_DEVICE void BarrierInitFence() {}
LATHE_DEVICE void BarrierWait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred p;\nLATHE_WAIT:\nmbarrier.test_wait.parity.shared.b64 p, [%0], %1;\n@p bra LATHE_DONE;\n"
      "bra LATHE_WAIT;\nLATHE_DONE:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// This lane arrives when its cp.async so far have landed.
LATHE_DEVICE void CopyAsyncArrive(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}
#endif

#if __CUDA_ARCH__ >= 900
// Shared memory written by ordinary stores becomes visible to the copy engine and to wgmma.
LATHE_DEVICE void ProxyFence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Contiguous bytes, a multiple of 16, completing on `barrier`. The hint: evict first (weights are read once).
constexpr uint64_t kEvictFirst = 0x12f0000000000000ull;
constexpr uint64_t kEvictNormal = 0x1000000000000000ull;
constexpr uint64_t kEvictLast = 0x14f0000000000000ull;
LATHE_DEVICE void BulkLoad(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier, uint64_t hint) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier), "l"(hint)
      : "memory");
}
// Contiguous bytes, a multiple of 16, from memory to L2.
LATHE_DEVICE void BulkFetch(const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
// The box of `map` at (column, row).
LATHE_DEVICE void TensorLoad(uint32_t to, const void* map, int column, int row, uint32_t barrier, uint64_t hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %3}], "
      "[%4], %5;" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "l"(hint)
      : "memory");
}
// The same into every of the cluster's kBlocks blocks, at the same address and barrier of each.
template <int kBlocks>
LATHE_DEVICE void TensorLoadToAll(uint32_t to, const void* map, int column, int row, uint32_t barrier, uint64_t hint) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint [%0], "
      "[%1, {%2, %3}], [%4], %5, %6;" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "h"(static_cast<uint16_t>((1 << kBlocks) - 1)), "l"(hint)
      : "memory");
}
// At the barrier that block `rank` of the cluster has at this address.
LATHE_DEVICE void BarrierArriveAt(uint32_t barrier, int rank) {
  asm volatile(
      "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\nmbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(
          barrier),
      "r"(rank)
      : "memory");
}
// Four 8 × 8 matrices of 16-bit words from the fragments that mma gives; lane l has the address of row l % 8 of matrix
// l / 8.
LATHE_DEVICE void StoreMatrix4(uint32_t address, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a), "r"(b), "r"(c),
               "r"(d)
               : "memory");
}
// Of the block `rank` of this cluster, at the address that the floats have in this block.
LATHE_DEVICE float4 LoadClusterFloats(uint32_t address, int rank) {
  float4 v;
  asm volatile(
      "{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\n}"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "r"(address), "r"(rank));
  return v;
}
// All threads of the cluster; what was written before is seen after.
LATHE_DEVICE void ClusterBarrier() {
  asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
// The same, but nothing that was written need be visible after it: no waiting for memory.
LATHE_DEVICE void ClusterMeet() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
LATHE_DEVICE void TensorPrefetchMap(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
#endif

// ---- tensor cores: one warp --------------------------------------------------------------------------------------

LATHE_DEVICE void LoadMatrix4(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
LATHE_DEVICE void LoadMatrix2(uint32_t (&r)[2], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(address));
}
LATHE_DEVICE void LoadMatrix4Transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
// d += a (16 x 16, rows) · b (16 x 8, columns), of the engine's 16-bit type.
LATHE_DEVICE void Mma16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32." LATHE_NAME16 "." LATHE_NAME16
      ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The same in half, whatever the engine's type (fp8 weights on chips without fp8 tensor cores, fp8 keys and values).
LATHE_DEVICE void MmaHalf(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// d += a (16 x 32) · b (32 x 8), fp8 e4m3.
LATHE_DEVICE void MmaE4m3(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 890
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  // In a fragment of 32 e4m3 along K, word i holds K = 4c..4c+3 (+16 for the upper words) of thread column c. As the
  // sum over K has no order, the first halves of all words make one product of 16 and the second halves another.
  uint32_t a_low[4], a_high[4], b_low[2], b_high[2];
#pragma unroll
  for (int i = 0; i < 4; ++i) E4m3ToHalf2(a[i], &a_low[i], &a_high[i]);
  E4m3ToHalf2(b0, &b_low[0], &b_high[0]);
  E4m3ToHalf2(b1, &b_low[1], &b_high[1]);
  MmaHalf(d, a_low, b_low[0], b_low[1]);
  MmaHalf(d, a_high, b_high[0], b_high[1]);
#endif
}

// ---- tensor cores: a warpgroup (sm_90a) --------------------------------------------------------------------------

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
LATHE_DEVICE void WgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
LATHE_DEVICE void WgmmaCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
LATHE_DEVICE void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
template <int kRegisters>
LATHE_DEVICE void RegistersUp() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
LATHE_DEVICE void RegistersDown() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
// Descriptor of a tile whose rows are 128 bytes of K, in the 128-byte swizzle that the copy engine writes: groups of
// 8 rows are 1024 bytes apart. `address` is that of the tile (1024-byte aligned) plus the offset along K.
LATHE_DEVICE uint64_t WgmmaDescriptor(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3ffff) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}
#endif
