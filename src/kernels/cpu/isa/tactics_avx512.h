// Tiles for 32 registers of 16 floats. One core of an Emerald Rapids (f32 peak 200-215 GFLOP/s, read 14-17
// GB/s), N = K = 2048, GFLOP/s where the tile is at its best; docs/lab-notes.md has the losers.
inline constexpr Isa kThisIsa = Isa::kAvx512;
inline constexpr int kAnyM = 1 << 30;

const GemmKernel kGemms[] = {
    // Weights at the speed of memory for 1 to 4 rows: 17.5 GB/s.
    LATHE_TACTIC(kF32, "f32", "4x4", 1, 8, 4, 4, kWholeK, Mode::kStream),
    LATHE_TACTIC(kF32, "f32", "6x4_kc128", 4, kAnyM, 6, 4, 128, Mode::kPacked),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "4x4", 1, 8, 4, 4, kWholeK, Mode::kStream),
    // Few rows, where memory and multiply-adds take equally long: 16 rows 149-157 (8x2: 147-154).
    LATHE_TACTIC(kBf16Fma, "bf16fma", "16x1_kc128", 4, 24, 16, 1, 128, Mode::kPacked),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "8x2", 4, 16, 8, 2, kWholeK, Mode::kStream),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "8x2_kc128", 4, 64, 8, 2, 128, Mode::kPacked),
    // Many rows: 64 rows 160, 512 rows 157-161, 512 rows widened 161 (6x4_kc128w), 172 (12x2_kc256w).
    LATHE_TACTIC(kBf16Fma, "bf16fma", "14x2_kc256", 8, kAnyM, 14, 2, 256, Mode::kPacked),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "6x4_kc128w", 32, kAnyM, 6, 4, 128, Mode::kWidened),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "6x4_kc256w", 32, kAnyM, 6, 4, 256, Mode::kWidened),
    LATHE_TACTIC(kBf16Fma, "bf16fma", "12x2_kc256w", 32, kAnyM, 12, 2, 256, Mode::kWidened),
};
