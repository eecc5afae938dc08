// The CPU kernels of this binary, by instruction set and numeric class.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/api/kernel.h"
#include "platform/cpu_info.h"

namespace lathe {

// Instruction sets that are compiled in and that this processor runs, weakest first.
std::span<const Isa> UsableIsas();

// The ISA to use: the strongest usable one, or the one named by the environment variable LATHE_ISA.
// kInvalidArgument for an unknown name, kUnsupported for one that this processor or build lacks.
Expected<Isa> SelectIsa();
// The same decision for a name given by hand ("" and "native": the strongest).
Expected<Isa> SelectIsa(std::string_view name);

// Numeric classes an ISA offers (kBf16Dot only where the instruction exists).
std::span<const NumericClass> ClassesOf(Isa isa);

// Every GEMM tactic compiled into this binary, whether or not this processor runs it.
std::span<const GemmKernel> GemmKernels();
// By name; nullptr when there is none.
const GemmKernel* FindGemm(std::string_view name);
// Tactics of (isa, class) that accept M tokens; the first is the untuned default. Never empty for an
// (isa, class) that is offered.
std::vector<const GemmKernel*> GemmTactics(Isa isa, NumericClass numeric, int M);

// The other ops; nullptr when (isa, class) is not offered.
const OpKernels* FindOps(Isa isa, NumericClass numeric);

}  // namespace lathe
