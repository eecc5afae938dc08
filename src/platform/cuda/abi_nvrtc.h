// The part of NVRTC's C interface that lathe calls (own declarations of the published ABI, NVRTC 12 and 13).
#pragma once

#include <cstddef>

namespace lathe::cuda::abi {

using NvrtcResult = int;  // nvrtcResult; 0 is success
using NvrtcProgram = void*;

#define LATHE_CUDA_NVRTC_FUNCTIONS(X)                                               \
  X(version, "nvrtcVersion", (int* major, int* minor))                              \
  X(create_program, "nvrtcCreateProgram",                                           \
    (NvrtcProgram * program, const char* source, const char* name, int n_headers,   \
     const char* const* headers, const char* const* include_names))                 \
  X(compile_program, "nvrtcCompileProgram",                                         \
    (NvrtcProgram program, int n_options, const char* const* options))              \
  X(destroy_program, "nvrtcDestroyProgram", (NvrtcProgram * program))               \
  X(get_cubin_size, "nvrtcGetCUBINSize", (NvrtcProgram program, size_t * bytes))    \
  X(get_cubin, "nvrtcGetCUBIN", (NvrtcProgram program, char* cubin))                \
  X(get_log_size, "nvrtcGetProgramLogSize", (NvrtcProgram program, size_t * bytes)) \
  X(get_log, "nvrtcGetProgramLog", (NvrtcProgram program, char* log))

struct NvrtcTable {
#define LATHE_CUDA_MEMBER_(member, symbol, parameters) NvrtcResult(*member) parameters = nullptr;
  LATHE_CUDA_NVRTC_FUNCTIONS(LATHE_CUDA_MEMBER_)
#undef LATHE_CUDA_MEMBER_
  const char* (*get_error_string)(NvrtcResult) = nullptr;
};

}  // namespace lathe::cuda::abi
