#include "kernels/cpu/registry.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "kernels/cpu/isa/kernels.h"

namespace lathe {
namespace {

// One row per (isa, class) that is compiled. The f32 and bf16-fma kernels of AVX-512 serve avx512bf16 too.
constexpr OpKernels kOps[] = {
    {Isa::kPortable, NumericClass::kF32, portable::Embed, portable::RmsNorm, portable::RopeAppend,
     portable::Attention},
    {Isa::kPortable, NumericClass::kBf16Fma, portable::Embed, portable::RmsNorm, portable::RopeAppend,
     portable::Attention},
#if defined(__x86_64__)
    {Isa::kAvx2, NumericClass::kF32, avx2::Embed, avx2::RmsNorm, avx2::RopeAppend, avx2::Attention},
    {Isa::kAvx2, NumericClass::kBf16Fma, avx2::Embed, avx2::RmsNorm, avx2::RopeAppend, avx2::Attention},
    {Isa::kAvx512, NumericClass::kF32, avx512::Embed, avx512::RmsNorm, avx512::RopeAppend, avx512::Attention},
    {Isa::kAvx512, NumericClass::kBf16Fma, avx512::Embed, avx512::RmsNorm, avx512::RopeAppend,
     avx512::Attention},
    {Isa::kAvx512Bf16, NumericClass::kBf16Dot, avx512bf16::Embed, avx512bf16::RmsNorm, avx512bf16::RopeAppend,
     avx512bf16::Attention},
#endif
};

constexpr NumericClass kBothClasses[] = {NumericClass::kF32, NumericClass::kBf16Fma};
constexpr NumericClass kAllClasses[] = {NumericClass::kF32, NumericClass::kBf16Fma, NumericClass::kBf16Dot};

// The ISA whose object code serves (isa, class).
Isa Serving(Isa isa, NumericClass numeric) {
  return isa == Isa::kAvx512Bf16 && numeric != NumericClass::kBf16Dot ? Isa::kAvx512 : isa;
}

const std::vector<GemmKernel>& AllGemms() {
  static const std::vector<GemmKernel> all = [] {
    std::vector<GemmKernel> out(portable::kGemms, portable::kGemms + portable::kNumGemms);
#if defined(__x86_64__)
    out.insert(out.end(), avx2::kGemms, avx2::kGemms + avx2::kNumGemms);
    out.insert(out.end(), avx512::kGemms, avx512::kGemms + avx512::kNumGemms);
    out.insert(out.end(), avx512bf16::kGemms, avx512bf16::kGemms + avx512bf16::kNumGemms);
#endif
    return out;
  }();
  return all;
}

constexpr Isa kCompiledIsas[] = {
    Isa::kPortable,
#if defined(__x86_64__)
    Isa::kAvx2,
    Isa::kAvx512,
    Isa::kAvx512Bf16,
#endif
};

bool Runs(Isa isa, const CpuFeatures& f) {
  switch (isa) {
    case Isa::kPortable: return true;
    case Isa::kAvx2: return f.avx2 && f.fma && f.f16c;
    case Isa::kAvx512: return f.avx512 && f.avx2 && f.fma && f.f16c;
    case Isa::kAvx512Bf16: return f.avx512_bf16 && f.avx2 && f.fma && f.f16c;
  }
  return false;
}

std::string Names(std::span<const Isa> isas) {
  std::string out;
  for (Isa isa : isas) out += (out.empty() ? "" : ", ") + std::string(ToString(isa));
  return out;
}

}  // namespace

std::span<const Isa> UsableIsas() {
  static const std::vector<Isa> usable = [] {
    std::vector<Isa> out;
    for (Isa isa : kCompiledIsas)
      if (Runs(isa, GetCpuInfo().features)) out.push_back(isa);
    return out;
  }();
  return usable;
}

Expected<Isa> SelectIsa(std::string_view name) {
  const std::span<const Isa> usable = UsableIsas();
  if (name.empty() || name == "native") return usable.back();
  for (Isa isa : usable)
    if (ToString(isa) == name) return isa;
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16})
    if (ToString(isa) == name)
      return Error(
          StatusCode::kUnsupported,
          "the instruction set %s is not usable on this processor (%s); it runs %s: choose one of these",
          std::string(name).c_str(), GetCpuInfo().model.c_str(), Names(usable).c_str());
  return Error(StatusCode::kInvalidArgument,
               "'%s' is not an instruction set of lathe; this processor runs %s", std::string(name).c_str(),
               Names(usable).c_str());
}

Expected<Isa> SelectIsa() {
  const char* name = std::getenv("LATHE_ISA");
  auto isa = SelectIsa(name ? name : "");
  if (!isa.ok()) return isa.status().WithContext("environment variable LATHE_ISA");
  return isa;
}

std::span<const NumericClass> ClassesOf(Isa isa) {
  if (isa == Isa::kAvx512Bf16) return kAllClasses;
  return kBothClasses;
}

std::span<const GemmKernel> GemmKernels() { return AllGemms(); }

const GemmKernel* FindGemm(std::string_view name) {
  for (const GemmKernel& kernel : AllGemms())
    if (kernel.name == name) return &kernel;
  return nullptr;
}

std::vector<const GemmKernel*> GemmTactics(Isa isa, NumericClass numeric, int M) {
  std::vector<const GemmKernel*> out;
  for (const GemmKernel& kernel : AllGemms())
    if (kernel.isa == Serving(isa, numeric) && kernel.numeric == numeric && kernel.min_m <= M &&
        M <= kernel.max_m)
      out.push_back(&kernel);
  return out;
}

const OpKernels* FindOps(Isa isa, NumericClass numeric) {
  for (const OpKernels& ops : kOps)
    if (ops.isa == Serving(isa, numeric) && ops.numeric == numeric) return &ops;
  return nullptr;
}

}  // namespace lathe
