// The part of cuBLASLt's C interface that lathe calls (own declarations of the published ABI, cuBLASLt 12 and
// 13).
#pragma once

#include <cstddef>
#include <cstdint>

namespace lathe::cuda::abi {

using LtStatus = int;  // cublasStatus_t; 0 is success
using LtHandle = void*;
using LtDesc = void*;
using LtLayout = void*;
using LtPreference = void*;

enum LtDataType : int { kR32F = 0, kR16F = 2, kR16BF = 14, kR8E4M3 = 28 };  // cudaDataType_t
inline constexpr int kCompute32F = 68;
enum LtDescAttribute : int {
  kLtTransA = 3,
  kLtTransB = 4,
  kLtAScalePointer = 17,
  kLtBScalePointer = 18,
  kLtFastAccum = 25,
  kLtAScaleMode = 31,
  kLtBScaleMode = 32,
};
inline constexpr int kLtOpT = 1;               // CUBLAS_OP_T
inline constexpr int kLtScaleOuterVector = 3;  // one f32 a row of A, a column of B
inline constexpr int kLtMaxWorkspaceBytes = 1;

struct LtAlgo {
  uint64_t data[8];
};
struct LtHeuristic {
  LtAlgo algo;
  size_t workspace_bytes;
  LtStatus state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(LtHeuristic) == 96);

#define LATHE_CUDA_CUBLASLT_FUNCTIONS(X)                                                                    \
  X(create, "cublasLtCreate", (LtHandle * handle))                                                          \
  X(destroy, "cublasLtDestroy", (LtHandle handle))                                                          \
  X(desc_create, "cublasLtMatmulDescCreate", (LtDesc * desc, int compute_type, int scale_type))             \
  X(desc_destroy, "cublasLtMatmulDescDestroy", (LtDesc desc))                                               \
  X(desc_set, "cublasLtMatmulDescSetAttribute",                                                             \
    (LtDesc desc, int attribute, const void* value, size_t bytes))                                          \
  X(layout_create, "cublasLtMatrixLayoutCreate",                                                            \
    (LtLayout * layout, int type, uint64_t rows, uint64_t columns, int64_t leading))                        \
  X(layout_destroy, "cublasLtMatrixLayoutDestroy", (LtLayout layout))                                       \
  X(preference_create, "cublasLtMatmulPreferenceCreate", (LtPreference * preference))                       \
  X(preference_destroy, "cublasLtMatmulPreferenceDestroy", (LtPreference preference))                       \
  X(preference_set, "cublasLtMatmulPreferenceSetAttribute",                                                 \
    (LtPreference preference, int attribute, const void* value, size_t bytes))                              \
  X(get_heuristic, "cublasLtMatmulAlgoGetHeuristic",                                                        \
    (LtHandle handle, LtDesc desc, LtLayout a, LtLayout b, LtLayout c, LtLayout d, LtPreference preference, \
     int wanted, LtHeuristic* results, int* n_results))                                                     \
  X(matmul, "cublasLtMatmul",                                                                               \
    (LtHandle handle, LtDesc desc, const void* alpha, const void* a, LtLayout a_layout, const void* b,      \
     LtLayout b_layout, const void* beta, const void* c, LtLayout c_layout, void* d, LtLayout d_layout,     \
     const LtAlgo* algo, void* workspace, size_t workspace_bytes, void* stream))

struct CublasLtTable {
#define LATHE_CUDA_MEMBER_(member, symbol, parameters) LtStatus(*member) parameters = nullptr;
  LATHE_CUDA_CUBLASLT_FUNCTIONS(LATHE_CUDA_MEMBER_)
#undef LATHE_CUDA_MEMBER_
};

}  // namespace lathe::cuda::abi
