// Matrix products y (m, n) = x (m, k) · Wᵀ on CUDA: which kernels there are ("tactics"), what each needs, and
// launching one. Policy here is arithmetic on the host, without a GPU; gemm_measure.h measures.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/kernel_source.h"
#include "kernels/cuda/src/gemm_abi.h"
#include "platform/cuda/launch.h"

namespace lathe::cuda {

enum class GemmType : int { kBf16 = LATHE_GEMM_BF16, kF16 = LATHE_GEMM_F16, kE4m3 = LATHE_GEMM_E4M3 };
enum class GemmEpilogue : int {
  kF32 = LATHE_GEMM_F32,
  kBf16 = LATHE_GEMM_BF16_OUT,
  kAddF32 = LATHE_GEMM_ADD_F32,      // y f32 = residual + …
  kSiluBf16 = LATHE_GEMM_SILU_BF16,  // W's rows interleaved [gate 64 | up 64]; y has n / 2 columns
  kF16 = LATHE_GEMM_F16_OUT,
  kSiluF16 = LATHE_GEMM_SILU_F16,
  kRopeBf16 = LATHE_GEMM_ROPE_BF16,  // W's rows are heads: q to y, k and v to their pages (GemmRope)
  kRopeE4m3 = LATHE_GEMM_ROPE_E4M3,
};
inline constexpr int kGemmRopeDim = 128;  // of its heads, all of which is rotated
constexpr bool IsSilu(GemmEpilogue e) { return e == GemmEpilogue::kSiluBf16 || e == GemmEpilogue::kSiluF16; }
// Whether a kernel computes it: 16-bit operands leave f32, or 16 bits of their own type.
bool IsGemmPair(GemmType type, GemmEpilogue epilogue);
// What else the product does to its tokens: the work of a kernel before it, for few tokens. Only kStream
// does, where tokens stay in shared memory.
enum class GemmPrologue : int {
  kPlain = LATHE_GEMM_PLAIN,
  kQuantize = LATHE_GEMM_QUANTIZE,         // x bf16, the product e4m3
  kNorm = LATHE_GEMM_NORM,                 // x f32: rows of the residual
  kQuantizeF16 = LATHE_GEMM_QUANTIZE_F16,  // x f16, the product e4m3
};
// Every block makes all tokens: above so many, a kernel for it alone is faster.
inline constexpr int kMostPrologueTokens = 4;

struct GemmProblem {
  GemmType type = GemmType::kBf16;
  GemmEpilogue epilogue = GemmEpilogue::kBf16;
  int m = 0, n = 0, k = 0;
  GemmPrologue prologue = GemmPrologue::kPlain;

  int element_bytes() const { return type == GemmType::kE4m3 ? 1 : 2; }
  int columns() const { return IsSilu(epilogue) ? n / 2 : n; }
  int out_bytes() const {
    return epilogue == GemmEpilogue::kF32 || epilogue == GemmEpilogue::kAddF32 ? 4 : 2;
  }
  // The fewest bytes of device memory that it can move, and its floating-point operations.
  double bytes() const;
  double flops() const { return 2.0 * m * n * k; }
};

enum class GemmKind : int {
  kStream,    // gemm_stream.cu: m <= 16, any chip
  kWgmma,     // gemm_wgmma.cu: m <= 64, sm_90
  kMma,       // gemm_mma.cu: any m, any chip
  kPrompt,    // gemm_prompt.cu: m > 64, sm_90
  kCublasLt,  // the library
};

// One way to compute a product. What a kind does not use is 0.
struct GemmTactic {
  GemmKind kind = GemmKind::kStream;
  int rows = 0;    // of W a block and step
  int tokens = 0;  // tile of tokens; kStream: at most so many
  int stages = 0;
  int chunk = 0;   // kStream: bytes of a row a stage
  int x_kb = 0;    // kStream: room for a token that stays in shared memory; 0: tokens come with every stage
  int split = 0;   // kWgmma, kPrompt: blocks that share K
  int blocks = 0;  // an SM; kPrompt: always 1
  int algorithm = 0;  // kCublasLt: index among the library's proposals
  int cluster = 0;    // kPrompt: blocks that share the copies of a tile of W
  int late = 0;       // kStream: when the next kernel may start, LATE of gemm_stream.cu
  int promote = 0;    // kPrompt, e4m3: stages of 128 whose products are summed before they are added in f32

  friend bool operator==(const GemmTactic&, const GemmTactic&) = default;
};

// "stream_r16_t1_s5_c1024_x8_b1_l0", "wgmma_r128_t64_s4_k2_b2", "prompt_r256_t128_s4_c2_k1_p0", "cublaslt_0";
// and back, kCorrupt if it is none.
std::string ToString(const GemmTactic& tactic);
Expected<GemmTactic> ParseGemmTactic(const std::string& text);

// What of a chip matters to the choice.
struct GemmChip {
  int sm = 0;  // 90
  int multiprocessors = 0;
  int shared_per_block = 0;  // opt-in bytes
};
GemmChip ChipOf(const DeviceInfo& info);
// A chip of that compute capability as it is sold, for building without a device.
GemmChip TypicalChip(int sm);

// The own kernels worth measuring for a problem. Never empty for k a multiple of 64 and n of 16 (SiLU: 128);
// empty for other shapes, which no kernel here takes, and for a prologue that no kernel does for it.
std::vector<GemmTactic> GemmCandidates(const GemmProblem& problem, const GemmChip& chip);
// All of kPrompt that a problem (m > 64) and the chip (sm_90) allow, the most promising by a model of tiles,
// copies and rounds first; the candidates are the first of these.
std::vector<GemmTactic> PromptTactics(const GemmProblem& problem, const GemmChip& chip);
// That of an epilogue of rope in place of `tactic`, which another epilogue has at max_m tokens: `tactic`
// where it can, from 2,048 tokens on else the first of PromptTactics that can; nothing where there is none.
std::optional<GemmTactic> RopeGemmTactic(const GemmTactic& tactic, const GemmProblem& problem,
                                         const GemmChip& chip);
// The choice without a measurement (engines built without a device): a fixed rule over the candidates.
GemmTactic DefaultGemmTactic(const GemmProblem& problem, const GemmChip& chip);

// Whether the tactic does the problem's prologue.
bool TakesPrologue(const GemmTactic& tactic, const GemmProblem& problem);

// The kernel of an own tactic, named uniquely by tactic, type, epilogue (which are an IsGemmPair) and
// prologue (with k); n and m do not matter.
KernelSource GemmKernel(const GemmTactic& tactic, const GemmProblem& problem);
int GemmThreads(const GemmTactic& tactic);
int GemmSharedBytes(const GemmTactic& tactic, GemmType type);
LaunchShape GemmLaunchShape(const GemmTactic& tactic, const GemmProblem& problem, const GemmChip& chip);

// A sample of the kernels for the compile tests: every kind, type and epilogue.
std::vector<KernelSource> GemmKernels(int sm);

// One product bound to its weights and input buffer, ready to launch many times. Not thread-safe.
class Gemm {
 public:
  // `kernel` of GemmKernel(tactic, problem), kept alive by its module. `args`: addresses and sizes, which
  // count and not the problem's; args.m is the most tokens that the x buffer holds. `rope`: of epilogues of
  // rope.
  static Expected<Gemm> Bind(const Kernel& kernel, const GemmTactic& tactic, const GemmProblem& problem,
                             const GemmArgs& args, const GemmRope& rope = {});
  // The first m tokens. overlap_previous: as LaunchShape has it; W must not be written by the previous
  // kernel.
  Status Launch(int m, abi::Stream stream, bool overlap_previous) const;

 private:
  Kernel kernel_;
  GemmTactic tactic_;
  GemmProblem problem_;
  GemmArgs args_ = {};
  GemmRope rope_ = {};
  GemmChip chip_;
  abi::TensorMap w_map_ = {}, x_map_ = {};
};

}  // namespace lathe::cuda
