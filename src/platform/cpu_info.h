// What the processor is and which instruction sets may be used on it (CPUID, and the state that the operating
// system saves). Read once; all functions are thread-safe.
#pragma once

#include <cstdint>
#include <string>

namespace lathe {

// Usable features: the processor has them and the operating system preserves their registers.
struct CpuFeatures {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512 = false;  // F, BW, VL and DQ together
  bool avx512_bf16 = false;
  bool avx512_vnni = false;
  bool avx512_fp16 = false;
  bool amx_bf16 = false;
};

struct CpuInfo {
  std::string model;  // "AMD EPYC 9655", "Intel(R) Xeon(R) Processor"; "unknown" where it cannot be read
  CpuFeatures features;
  int64_t l1d_bytes = 0;  // per core; 0 when unknown
  int64_t l2_bytes = 0;   // per core
  int64_t l3_bytes = 0;   // per package, as reported (a virtual machine may show the whole host's)
};

const CpuInfo& GetCpuInfo();

// "avx2 fma f16c avx512 avx512_bf16": the features that are set, in order of declaration.
std::string ToString(const CpuFeatures& features);

}  // namespace lathe
