// Tiles for 16 registers of 8 floats.
inline constexpr Isa kThisIsa = Isa::kAvx2;
inline constexpr int kAnyM = 1 << 30;

const GemmKernel kGemms[] = {
    LATHE_TACTIC(kF32, "f32", "1x8", 1, 2, 1, 8, kWholeK, Mode::kStream),
    LATHE_TACTIC(kF32, "f32", "6x2_kc256", 1, kAnyM, 6, 2, 256, Mode::kPacked),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "1x8", 1, 2, 1, 8, kWholeK, Mode::kStream),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "2x4", 1, 8, 2, 4, kWholeK, Mode::kStream),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "5x2_kc256", 2, 64, 5, 2, 256, Mode::kPacked),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "6x2_kc256w", 16, kAnyM, 6, 2, 256, Mode::kWidened),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "6x2_kc128w", 16, kAnyM, 6, 2, 128, Mode::kWidened),
};
