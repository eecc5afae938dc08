// Tiles for 32 registers of 16 floats, weights multiplied in pairs. On Emerald Rapids vdpbf16ps starts every
// other cycle (peak 92-113 GFLOP/s a core): every tile below reaches it from the cache. Zen 5 starts two a
// cycle.
inline constexpr Isa kThisIsa = Isa::kAvx512Bf16;
inline constexpr int kAnyM = 1 << 30;

const GemmKernel kGemms[] = {
    LATHE_TACTIC(kBf16Dot, "bf16dot", "4x4", 1, 8, 4, 4, kWholeK, Mode::kStream),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "6x4_kc256", 1, kAnyM, 6, 4, 256, Mode::kPacked),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "8x2", 4, 16, 8, 2, kWholeK, Mode::kStream),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "6x4_kc512", 8, kAnyM, 6, 4, 512, Mode::kPacked),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "12x2_kc256", 4, kAnyM, 12, 2, 256, Mode::kPacked),
    LATHE_TACTIC(kBf16Dot, "bf16dot", "16x1_kc256", 8, 24, 16, 1, 256, Mode::kPacked),
};
