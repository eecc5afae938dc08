// Tiles for 32 registers of 16 floats.
inline constexpr Isa kThisIsa = Isa::kAvx512;
inline constexpr int kAnyM = 1 << 30;

const GemmKernel kGemms[] = {
    LATHE_TACTIC(kF32, "f32", "1x4", 1, 2, 1, 4, kWholeK, false),
    LATHE_TACTIC(kF32, "f32", "6x4_kc128", 1, kAnyM, 6, 4, 128, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "1x4", 1, 2, 1, 4, kWholeK, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "4x4", 1, 8, 4, 4, kWholeK, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "4x4_kc256", 1, 16, 4, 4, 256, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "8x2_kc256", 4, 64, 8, 2, 256, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "12x2_kc256", 4, 64, 12, 2, 256, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "16x1_kc256", 8, 64, 16, 1, 256, false),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "6x4_kc128w", 8, kAnyM, 6, 4, 128, true),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "6x4_kc256w", 8, kAnyM, 6, 4, 256, true),
};
