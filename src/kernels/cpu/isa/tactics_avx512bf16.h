// Tiles for 32 registers of 16 floats, weights multiplied in pairs.
inline constexpr Isa kThisIsa = Isa::kAvx512Bf16;
inline constexpr int kAnyM = 1 << 30;

const GemmKernel kGemms[] = {
    LATHE_TACTIC(kBf16Dot, "bf16dot", "1x4", 1, 2, 1, 4, kWholeK, false),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "4x4", 1, 8, 4, 4, kWholeK, false),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "6x4_kc512", 1, kAnyM, 6, 4, 512, false),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "8x2_kc512", 1, 64, 8, 2, 512, false),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "12x2_kc512", 1, kAnyM, 12, 2, 512, false),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "16x1_kc512", 1, 64, 16, 1, 512, false),
};
