// Tiles for 16 registers of 4 floats.
inline constexpr Isa kThisIsa = Isa::kPortable;
inline constexpr int kAnyM = 1 << 30;

const GemmKernel kGemms[] = {
    LATHE_TACTIC(kF32, "f32", "1x4", 1, 2, 1, 4, kWholeK, Mode::kStream),
    LATHE_TACTIC(kF32, "f32", "4x2_kc256", 1, kAnyM, 4, 2, 256, Mode::kPacked),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "1x4", 1, 2, 1, 4, kWholeK, Mode::kStream),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "4x2_kc256", 1, 32, 4, 2, 256, Mode::kPacked),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "4x2_kc128w", 4, kAnyM, 4, 2, 128, Mode::kWidened),
};
