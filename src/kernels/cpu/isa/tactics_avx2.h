// Tiles for 16 registers of 8 floats.
inline constexpr Isa kThisIsa = Isa::kAvx2;
inline constexpr int kAnyM = 1 << 30;

const GemmKernel kGemms[] = {
    LATHE_TACTIC(kF32, "f32", "1x8", 1, 2, 1, 8, kWholeK, false),
    LATHE_TACTIC(kF32, "f32", "6x2_kc256", 1, kAnyM, 6, 2, 256, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "1x8", 1, 2, 1, 8, kWholeK, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "2x4_kc512", 1, 4, 2, 4, 512, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "5x2_kc512", 1, 64, 5, 2, 512, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "6x2_kc128w", 4, kAnyM, 6, 2, 128, true),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "6x2_kc256w", 4, kAnyM, 6, 2, 256, true),
};
