#include "platform/cpu_info.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lathe {
namespace {

#if defined(__x86_64__)
struct Leaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf Cpuid(uint32_t leaf, uint32_t subleaf) {
  Leaf r;
  if (leaf <= __get_cpuid_max(leaf & 0x80000000u, nullptr))
    __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

constexpr bool Bit(uint32_t word, int bit) { return (word >> bit) & 1u; }

// Which register files the operating system saves (XCR0); reading it needs OSXSAVE.
uint64_t SavedState() {
  if (!Bit(Cpuid(1, 0).ecx, 27)) return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

CpuFeatures DetectFeatures() {
  const Leaf l1 = Cpuid(1, 0), l7 = Cpuid(7, 0), l7_1 = Cpuid(7, 1);
  const uint64_t saved = SavedState();
  const bool ymm = (saved & 0x6) == 0x6;
  const bool zmm = ymm && (saved & 0xe0) == 0xe0;
  const bool tile = (saved & 0x60000) == 0x60000;
  CpuFeatures f;
  f.avx2 = ymm && Bit(l1.ecx, 28) && Bit(l7.ebx, 5);
  f.fma = ymm && Bit(l1.ecx, 12);
  f.f16c = ymm && Bit(l1.ecx, 29);
  f.avx512 = zmm && Bit(l7.ebx, 16) && Bit(l7.ebx, 17) && Bit(l7.ebx, 30) && Bit(l7.ebx, 31);
  f.avx512_bf16 = f.avx512 && Bit(l7_1.eax, 5);
  f.avx512_vnni = f.avx512 && Bit(l7.ecx, 11);
  f.avx512_fp16 = f.avx512 && Bit(l7.edx, 23);
  f.amx_bf16 = tile && Bit(l7.edx, 22);
  return f;
}
#else
CpuFeatures DetectFeatures() { return {}; }
#endif

std::string ReadModel() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with("model name") && !line.starts_with("Model")) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    if (start != std::string::npos) return line.substr(start, line.find_last_not_of(" \t") + 1 - start);
  }
  return "unknown";
}

int64_t CacheSize([[maybe_unused]] int name) {
  const long size = sysconf(name);
  return size > 0 ? size : 0;
}

CpuInfo Detect() {
  CpuInfo info;
  info.model = ReadModel();
  info.features = DetectFeatures();
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  info.l1d_bytes = CacheSize(_SC_LEVEL1_DCACHE_SIZE);
  info.l2_bytes = CacheSize(_SC_LEVEL2_CACHE_SIZE);
  info.l3_bytes = CacheSize(_SC_LEVEL3_CACHE_SIZE);
#endif
  return info;
}

}  // namespace

const CpuInfo& GetCpuInfo() {
  static const CpuInfo info = Detect();
  return info;
}

std::string ToString(const CpuFeatures& f) {
  std::string out;
  const auto add = [&out](bool set, const char* name) {
    if (!set) return;
    if (!out.empty()) out += ' ';
    out += name;
  };
  add(f.avx2, "avx2");
  add(f.fma, "fma");
  add(f.f16c, "f16c");
  add(f.avx512, "avx512");
  add(f.avx512_bf16, "avx512_bf16");
  add(f.avx512_vnni, "avx512_vnni");
  add(f.avx512_fp16, "avx512_fp16");
  add(f.amx_bf16, "amx_bf16");
  return out;
}

}  // namespace lathe
