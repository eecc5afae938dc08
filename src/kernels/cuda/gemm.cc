#include "kernels/cuda/gemm.h"

#include <algorithm>
#include <cstdio>

#include "base/check.h"
#include "kernels/cuda/layer_ops.h"

namespace lathe::cuda {
namespace {

constexpr int kStreamWarps = 8;
constexpr int kStreamCopiers = 4;
constexpr int kMmaThreads = 256;
constexpr size_t kPromptCandidates = 6;

int CeilDiv(int a, int b) { return (a + b - 1) / b; }

// What the kernels' sums take when a group ends, and the tokens' scales (gemm_stream.cu: Shared::sums,
// scales).
int StreamSumsBytes(const GemmTactic& t) {
  return kStreamWarps * CeilDiv(t.tokens, 8) * 8 * (t.rows + 4) * 4 + 64;
}
int StreamStageBytes(const GemmTactic& t) {
  return (t.rows + (t.x_kb > 0 ? 0 : t.tokens)) * (t.chunk + 64) + 16;
}
int StreamTokensBytes(const GemmTactic& t) { return t.x_kb > 0 ? t.tokens * (t.x_kb * 1024 + 64) : 0; }
int WgmmaStageBytes(const GemmTactic& t) { return (t.rows + t.tokens) * 128 + 16; }
// gemm_prompt.cu: Ring::turn and Ring::beside.
int PromptRoomBytes(const GemmTactic& t) { return t.tokens / 64 * (4 * 2560 + 2 * t.rows * 8); }
int MmaStageBytes(const GemmTactic& t) { return (t.rows + t.tokens) * 128; }

// Most of the shared memory of a multiprocessor that each of `blocks` may take; a kilobyte a block is
// reserved.
int SharedBudget(const GemmChip& chip, int blocks) { return (chip.shared_per_block + 1024) / blocks - 1024; }

// Whether a stream kernel gets by with the registers that two blocks of an SM leave it: 80.
bool TwoBlocksFit(int rows, int tokens, GemmType type) {
  if (type == GemmType::kE4m3) return rows == 16 && tokens <= 8;
  return rows == 16 || tokens <= 8;
}

void AddStream(const GemmProblem& p, const GemmChip& chip, std::vector<GemmTactic>* out) {
  int tokens = 1;
  while (tokens < p.m) tokens *= 2;
  const int x_kb = CeilDiv(p.k * p.element_bytes(), 1024);
  for (const int rows : {16, 32}) {
    if (rows == 32 && p.columns() < 32 * chip.multiprocessors && p.m < 8) continue;
    for (const int resident : {x_kb, 0}) {
      for (const int chunk : {1024, 2048}) {
        // blocks 1 with half of the memory leaves room for the next kernel's block to start early, which it
        // had better not do too early.
        struct Share {
          int blocks, shares, late;
        };
        for (const auto& [blocks, shares, late] : {Share{1, 2, 1}, {1, 2, 0}, {2, 2, 0}, {1, 1, 0}}) {
          if (blocks == 2 && !TwoBlocksFit(rows, tokens, p.type)) continue;
          GemmTactic t{.kind = GemmKind::kStream,
                       .rows = rows,
                       .tokens = tokens,
                       .chunk = chunk,
                       .x_kb = resident,
                       .blocks = blocks,
                       .late = late};
          const int room = SharedBudget(chip, shares) - StreamSumsBytes(t) - StreamTokensBytes(t);
          t.stages = std::min(12, room / StreamStageBytes(t));
          if (t.stages >= 3) out->push_back(t);
        }
      }
    }
  }
}

void AddWgmma(const GemmProblem& p, const GemmChip& chip, std::vector<GemmTactic>* out) {
  const int k_tiles = CeilDiv(p.k * p.element_bytes(), 128);
  for (const int tokens : {8, 16, 32, 64}) {
    // The smallest tile that holds all tokens.
    if (tokens < p.m || (tokens > 8 && tokens / 2 >= p.m)) continue;
    for (const int rows : {64, 128}) {
      if (rows == 64 && IsSilu(p.epilogue)) continue;
      for (const int split : {1, 2, 4, 8}) {
        if (split > 1 && k_tiles < 4 * split) continue;
        for (const int blocks : {1, 2}) {
          GemmTactic t{
              .kind = GemmKind::kWgmma, .rows = rows, .tokens = tokens, .split = split, .blocks = blocks};
          t.stages = std::min(10, (SharedBudget(chip, blocks) - 1024) / WgmmaStageBytes(t));
          const bool sums_fit = tokens * (rows + 4) * 4 <= t.stages * (rows + tokens) * 128;
          if (t.stages >= 3 && sums_fit) out->push_back(t);
        }
      }
    }
  }
}

// Whether a thread's registers hold the sums, and for e4m3 the partial ones too.
bool PromptSumsFit(const GemmTactic& t, GemmType type) {
  const int sums = t.rows / 2, all = sums * (type == GemmType::kE4m3 ? 2 : 1);
  if (t.split > 1) return t.tokens == 128 && sums <= 96 && all <= 128;
  return t.tokens == 192 ? sums <= 96 && all <= 128 : all <= 192;
}

// How many blocks run at once. Clusters of four do not fill every part of the chip that a cluster must lie
// in.
int PromptBlocks(const GemmTactic& t, const GemmChip& chip) {
  return t.split == 4 ? chip.multiprocessors * 10 / 11 : chip.multiprocessors;
}

// About how many cycles a product takes: what a tile's copies out of L2 or its products take, in whole rounds
// of the chip; and no less than reading all of it. Rates of the H200, in bytes a cycle.
double PromptCycles(const GemmTactic& t, const GemmProblem& p, const GemmChip& chip) {
  constexpr double kL2Bytes = 56, kDeviceBytes = 2400;  // a cycle: one multiprocessor's, all's
  constexpr double kTileCycles = 6000, kSplitCycles = 5000;
  const double k_tiles = CeilDiv(CeilDiv(p.k * p.element_bytes(), 128), t.split);
  const double products = t.tokens / 64 * 2 * t.rows * (t.promote > 0 ? 1 + 0.2 / t.promote : 1.0);
  const double copies = (t.tokens + t.rows / t.cluster) * 128 / kL2Bytes;
  const double tile = k_tiles * std::max(products, copies) + kTileCycles + (t.split > 1 ? kSplitCycles : 0.0);
  const int blocks = CeilDiv(p.n, t.rows) * CeilDiv(p.m, t.tokens * t.cluster) * t.cluster * t.split;
  return std::max(tile * CeilDiv(blocks, PromptBlocks(t, chip)), p.bytes() / kDeviceBytes);
}

void AddMma(const GemmProblem& p, const GemmChip& chip, std::vector<GemmTactic>* out) {
  for (const int tokens : {32, 64, 128}) {
    if (tokens / 2 >= p.m && tokens > 32) continue;
    // Where fp8 has no mma.sync of its own, converting it takes the registers that 128 tokens leave.
    if (tokens == 128 && p.type == GemmType::kE4m3) continue;
    for (const int stages : {3, 4}) {
      const GemmTactic t{
          .kind = GemmKind::kMma, .rows = 128, .tokens = tokens, .stages = stages, .blocks = 1};
      if (GemmSharedBytes(t, p.type) <= chip.shared_per_block) out->push_back(t);
    }
  }
}

bool IsRope(GemmEpilogue e) { return e == GemmEpilogue::kRopeBf16 || e == GemmEpilogue::kRopeE4m3; }

bool TakesShape(const GemmProblem& p) {
  const int row_step = IsSilu(p.epilogue) || IsRope(p.epilogue) ? 128 : 16;
  return p.m > 0 && p.n > 0 && p.k > 0 && p.n % row_step == 0 && p.k % 64 == 0;
}

const char* TypeName(GemmType type) {
  return type == GemmType::kBf16 ? "bf16" : type == GemmType::kF16 ? "f16" : "e4m3";
}

// For how many blocks an SM registers must suffice. Where half the memory is enough for a stream block, the
// next product's block starts beside it and loads its first weights, if registers are left.
int RegisterBlocks(const GemmTactic& t, GemmType type) {
  constexpr int kHalf = 114 << 10;
  const bool shares = t.kind == GemmKind::kStream && GemmSharedBytes(t, type) <= kHalf;
  return shares && TwoBlocksFit(t.rows, t.tokens, type) ? std::max(2, t.blocks) : t.blocks;
}

std::string KernelName(const GemmTactic& t, const GemmProblem& p) {
  static const char* const kEpilogues[] = {"f32", "bf16",     "add",  "silu",
                                           "f16", "silu_f16", "rope", "rope_e4m3"};
  static const char* const kPrologues[] = {"", "_quantize", "_norm", "_quantize_f16_"};
  return "gemm_" + ToString(t) + "_" + TypeName(p.type) + "_" + kEpilogues[static_cast<int>(p.epilogue)] +
         kPrologues[static_cast<int>(p.prologue)] +
         (p.prologue == GemmPrologue::kPlain ? "" : std::to_string(p.k));
}

bool HasTensorMaps(const GemmTactic& t) { return t.kind == GemmKind::kWgmma || t.kind == GemmKind::kPrompt; }

TensorMapSpec MapOf(abi::DevicePtr address, int rows, const GemmProblem& p, int box_rows) {
  TensorMapSpec spec;
  spec.type = p.type == GemmType::kE4m3  ? abi::kTensorU8
              : p.type == GemmType::kF16 ? abi::kTensorF16
                                         : abi::kTensorBf16;
  spec.address = address;
  spec.columns = static_cast<uint64_t>(p.k);
  spec.rows = static_cast<uint64_t>(rows);
  spec.row_bytes = static_cast<uint64_t>(p.k) * static_cast<uint64_t>(p.element_bytes());
  spec.box_columns = static_cast<unsigned>(128 / p.element_bytes());
  spec.box_rows = static_cast<unsigned>(box_rows);
  return spec;
}

}  // namespace

bool IsGemmPair(GemmType type, GemmEpilogue epilogue) {
  const bool bf16 = epilogue == GemmEpilogue::kBf16 || epilogue == GemmEpilogue::kSiluBf16;
  const bool f16 = epilogue == GemmEpilogue::kF16 || epilogue == GemmEpilogue::kSiluF16;
  return !(type == GemmType::kBf16 && f16) && !(type == GemmType::kF16 && (bf16 || IsRope(epilogue)));
}

double GemmProblem::bytes() const {
  const double in = (static_cast<double>(n) + m) * k * element_bytes();
  return in + static_cast<double>(m) * columns() * out_bytes() * (epilogue == GemmEpilogue::kAddF32 ? 2 : 1);
}

std::string ToString(const GemmTactic& t) {
  switch (t.kind) {
    case GemmKind::kStream:
      return StrFormat("stream_r%d_t%d_s%d_c%d_x%d_b%d_l%d", t.rows, t.tokens, t.stages, t.chunk, t.x_kb,
                       t.blocks, t.late);
    case GemmKind::kWgmma:
      return StrFormat("wgmma_r%d_t%d_s%d_k%d_b%d", t.rows, t.tokens, t.stages, t.split, t.blocks);
    case GemmKind::kPrompt:
      return StrFormat("prompt_r%d_t%d_s%d_c%d_k%d_p%d", t.rows, t.tokens, t.stages, t.cluster, t.split,
                       t.promote);
    case GemmKind::kMma: return StrFormat("mma_r%d_t%d_s%d_b%d", t.rows, t.tokens, t.stages, t.blocks);
    case GemmKind::kCublasLt: break;
  }
  return StrFormat("cublaslt_%d", t.algorithm);
}

Expected<GemmTactic> ParseGemmTactic(const std::string& text) {
  GemmTactic t;
  GemmTactic stream{.kind = GemmKind::kStream}, wgmma{.kind = GemmKind::kWgmma}, mma{.kind = GemmKind::kMma};
  GemmTactic prompt{.kind = GemmKind::kPrompt, .blocks = 1}, library{.kind = GemmKind::kCublasLt};
  if (std::sscanf(text.c_str(), "stream_r%d_t%d_s%d_c%d_x%d_b%d_l%d", &stream.rows, &stream.tokens,
                  &stream.stages, &stream.chunk, &stream.x_kb, &stream.blocks, &stream.late) == 7) {
    t = stream;
  } else if (std::sscanf(text.c_str(), "wgmma_r%d_t%d_s%d_k%d_b%d", &wgmma.rows, &wgmma.tokens, &wgmma.stages,
                         &wgmma.split, &wgmma.blocks) == 5) {
    t = wgmma;
  } else if (std::sscanf(text.c_str(), "mma_r%d_t%d_s%d_b%d", &mma.rows, &mma.tokens, &mma.stages,
                         &mma.blocks) == 4) {
    t = mma;
  } else if (std::sscanf(text.c_str(), "prompt_r%d_t%d_s%d_c%d_k%d_p%d", &prompt.rows, &prompt.tokens,
                         &prompt.stages, &prompt.cluster, &prompt.split, &prompt.promote) == 6) {
    t = prompt;
  } else if (std::sscanf(text.c_str(), "cublaslt_%d", &library.algorithm) == 1) {
    t = library;
  }
  // Printing it again must give the same text: whatever stood around the numbers is a fault.
  if (ToString(t) == text) return t;
  return Error(StatusCode::kCorrupt, "'%s' is no tactic of a matrix product", text.c_str());
}

GemmChip ChipOf(const DeviceInfo& info) { return {info.sm, info.multiprocessors, info.shared_per_block}; }

GemmChip TypicalChip(int sm) {
  // CUDA C++ programming guide, "compute capabilities": shared memory a block may opt in to.
  const bool large = sm == 90 || sm == 100;
  const int shared = sm == 80 ? 163 << 10 : large ? 227 << 10 : 99 << 10;
  const int multiprocessors = sm == 80    ? 108
                              : sm == 86  ? 84
                              : sm == 89  ? 128
                              : sm == 90  ? 132
                              : sm == 100 ? 148
                                          : 170;
  return {sm, multiprocessors, shared};
}

std::vector<GemmTactic> GemmCandidates(const GemmProblem& problem, const GemmChip& chip) {
  std::vector<GemmTactic> tactics;
  if (!TakesShape(problem)) return tactics;
  if (problem.m <= 16) AddStream(problem, chip, &tactics);
  if (problem.prologue != GemmPrologue::kPlain) {
    std::erase_if(tactics, [&](const GemmTactic& t) { return !TakesPrologue(t, problem); });
    return tactics;
  }
  if (chip.sm == 90) {
    if (problem.m <= 64) {
      AddWgmma(problem, chip, &tactics);
    } else {
      tactics = PromptTactics(problem, chip);
      if (tactics.size() > kPromptCandidates) tactics.resize(kPromptCandidates);
    }
  } else {
    AddMma(problem, chip, &tactics);
  }
  return tactics;
}

std::vector<GemmTactic> PromptTactics(const GemmProblem& p, const GemmChip& chip) {
  const int k_tiles = CeilDiv(p.k * p.element_bytes(), 128);
  std::vector<GemmTactic> all;
  for (const int tokens : {128, 192}) {
    if (tokens == 192 && p.m <= 128) continue;
    for (const int rows : {64, 96, 128, 160, 192, 224, 256}) {
      if (IsSilu(p.epilogue) && rows % 128 != 0) continue;
      for (const auto& [cluster, split] :
           {std::pair(1, 1), std::pair(2, 1), std::pair(1, 2), std::pair(1, 4)}) {
        GemmTactic t{.kind = GemmKind::kPrompt,
                     .rows = rows,
                     .tokens = tokens,
                     .split = split,
                     .blocks = 1,
                     .cluster = cluster,
                     .promote = p.type != GemmType::kE4m3   ? 0
                                : rows * tokens > 160 * 128 ? 2
                                                            : 4};
        if (!PromptSumsFit(t, p.type) || (split > 1 && k_tiles < 4 * split)) continue;
        if (cluster > 1 && p.m <= tokens) continue;
        const int tiles = CeilDiv(p.n, rows) * CeilDiv(p.m, tokens);
        if (split > 1 && tiles * split > PromptBlocks(t, chip)) continue;
        t.stages = std::min(8, (chip.shared_per_block - 1024 - PromptRoomBytes(t)) / WgmmaStageBytes(t));
        const bool parts_fit = split == 1 || rows * tokens * 4 <= t.stages * (rows + tokens) * 128;
        if (t.stages >= 3 && parts_fit) all.push_back(t);
      }
    }
  }
  std::stable_sort(all.begin(), all.end(), [&](const GemmTactic& a, const GemmTactic& b) {
    return PromptCycles(a, p, chip) < PromptCycles(b, p, chip);
  });
  return all;
}

std::optional<GemmTactic> RopeGemmTactic(const GemmTactic& tactic, const GemmProblem& problem,
                                         const GemmChip& chip) {
  const auto can = [](const GemmTactic& t) {
    return t.kind == GemmKind::kPrompt && t.split == 1 && t.rows % kGemmRopeDim == 0;
  };
  if (can(tactic)) return tactic;
  if (tactic.kind != GemmKind::kPrompt || problem.m < 2048) return std::nullopt;
  const std::vector<GemmTactic> all = PromptTactics(problem, chip);
  const auto it = std::find_if(all.begin(), all.end(), can);
  return it != all.end() ? std::optional(*it) : std::nullopt;
}

GemmTactic DefaultGemmTactic(const GemmProblem& problem, const GemmChip& chip) {
  const std::vector<GemmTactic> tactics = GemmCandidates(problem, chip);
  LATHE_CHECK(!tactics.empty());
  if (tactics.front().kind != GemmKind::kWgmma) return tactics.front();
  // As many blocks as fill the chip once, by splitting K; two a multiprocessor where that is offered.
  const GemmTactic* best = nullptr;
  double best_score = -1;
  for (const GemmTactic& t : tactics) {
    const int blocks = CeilDiv(problem.n, t.rows) * CeilDiv(problem.m, t.tokens) * t.split;
    const int slots = chip.multiprocessors * t.blocks;
    const double filled = static_cast<double>(blocks) / (CeilDiv(blocks, slots) * slots);
    const double score = filled * t.rows / 128 * std::min(t.tokens, problem.m) - 0.01 * t.split;
    if (score > best_score) best = &t, best_score = score;
  }
  return *best;
}

int GemmThreads(const GemmTactic& tactic) {
  if (tactic.kind == GemmKind::kStream) return 32 * (kStreamWarps + kStreamCopiers);
  if (tactic.kind == GemmKind::kWgmma) return 2 * tactic.rows + 128;
  if (tactic.kind == GemmKind::kPrompt) return 2 * tactic.tokens + 128;
  return kMmaThreads;
}

int GemmSharedBytes(const GemmTactic& t, GemmType) {
  if (t.kind == GemmKind::kStream)
    return t.stages * StreamStageBytes(t) + StreamTokensBytes(t) + StreamSumsBytes(t);
  // The copy engine's swizzle wants tiles aligned to 1024 bytes.
  if (t.kind == GemmKind::kWgmma) return t.stages * WgmmaStageBytes(t) + 1024;
  if (t.kind == GemmKind::kPrompt) return t.stages * WgmmaStageBytes(t) + PromptRoomBytes(t) + 1024;
  return std::max(t.stages * MmaStageBytes(t), t.tokens * (t.rows + 4) * 4);
}

bool TakesPrologue(const GemmTactic& t, const GemmProblem& p) {
  if (p.prologue == GemmPrologue::kPlain) return true;
  // A longer row is not held in registers by the threads that make it.
  const int most = p.prologue == GemmPrologue::kNorm ? 8192 : 16384;
  return t.kind == GemmKind::kStream && t.x_kb > 0 && p.m <= kMostPrologueTokens && p.k <= most &&
         (p.prologue == GemmPrologue::kNorm || p.type == GemmType::kE4m3);
}

KernelSource GemmKernel(const GemmTactic& t, const GemmProblem& p) {
  LATHE_CHECK(t.kind != GemmKind::kCublasLt);
  LATHE_CHECK(IsGemmPair(p.type, p.epilogue));
  LATHE_CHECK(p.prologue == GemmPrologue::kPlain || (t.kind == GemmKind::kStream && t.x_kb > 0));
  const bool f16 = p.type == GemmType::kF16 || p.epilogue == GemmEpilogue::kF16 ||
                   p.epilogue == GemmEpilogue::kSiluF16 || p.prologue == GemmPrologue::kQuantizeF16;
  static const char* const kFiles[] = {"gemm_stream.cu", "gemm_wgmma.cu", "gemm_mma.cu", "gemm_prompt.cu"};
  KernelSource source;
  source.file = kFiles[static_cast<int>(t.kind)];
  source.entry = KernelName(t, p);
  source.defines = {StrFormat("TYPE=%d", static_cast<int>(p.type)),
                    StrFormat("EPILOGUE=%d", static_cast<int>(p.epilogue)),
                    StrFormat("PROLOGUE=%d", static_cast<int>(p.prologue)),
                    StrFormat("F16=%d", f16),
                    StrFormat("ROWS=%d", t.rows),
                    StrFormat("TOKENS=%d", t.tokens),
                    StrFormat("STAGES=%d", t.stages),
                    StrFormat("CHUNK=%d", t.chunk),
                    StrFormat("WARPS=%d", kStreamWarps),
                    StrFormat("COPIERS=%d", kStreamCopiers),
                    StrFormat("X_KB=%d", t.x_kb),
                    StrFormat("SPLIT=%d", t.split),
                    StrFormat("BLOCKS=%d", RegisterBlocks(t, p.type)),
                    StrFormat("LATE=%d", t.late),
                    StrFormat("CLUSTER=%d", t.cluster),
                    StrFormat("PROMOTE=%d", t.promote)};
  if (p.prologue != GemmPrologue::kPlain) {
    source.defines.push_back(StrFormat("K=%d", p.k));
    source.defines.push_back(StrFormat("ROW_THREADS=%d", RowThreads(p.k)));
  }
  source.threads = GemmThreads(t);
  source.dynamic_shared = GemmSharedBytes(t, p.type);
  return source;
}

LaunchShape GemmLaunchShape(const GemmTactic& t, const GemmProblem& p, const GemmChip& chip) {
  LaunchShape shape;
  shape.block.x = static_cast<unsigned>(GemmThreads(t));
  shape.dynamic_shared = GemmSharedBytes(t, p.type);
  const int row_tiles = CeilDiv(p.n, t.rows);
  if (t.kind == GemmKind::kStream) {
    shape.grid.x = static_cast<unsigned>(std::min(row_tiles, chip.multiprocessors * t.blocks));
    return shape;
  }
  if (t.kind == GemmKind::kPrompt) {
    // With a split, a block for every part; else blocks that take tile after tile.
    const int tiles = row_tiles * CeilDiv(p.m, t.tokens * t.cluster), team = t.cluster * t.split;
    const int teams = t.split > 1 ? tiles : std::min(tiles, chip.multiprocessors / team);
    shape.grid.x = static_cast<unsigned>(teams * team);
    shape.cluster.x = static_cast<unsigned>(team);
    return shape;
  }
  const int split = std::max(1, t.split);
  shape.grid.x = static_cast<unsigned>(row_tiles * CeilDiv(p.m, t.tokens) * split);
  shape.cluster.x = static_cast<unsigned>(split);
  return shape;
}

std::vector<KernelSource> GemmKernels(int sm) {
  const GemmChip chip = TypicalChip(sm);
  std::vector<KernelSource> sources;
  const auto add = [&](const GemmTactic& tactic, const GemmProblem& problem) {
    const KernelSource source = GemmKernel(tactic, problem);
    const auto same = [&](const KernelSource& other) { return other.entry == source.entry; };
    if (std::none_of(sources.begin(), sources.end(), same)) sources.push_back(source);
  };
  for (const GemmType type : {GemmType::kBf16, GemmType::kF16, GemmType::kE4m3}) {
    for (const GemmEpilogue epilogue :
         {GemmEpilogue::kF32, GemmEpilogue::kBf16, GemmEpilogue::kAddF32, GemmEpilogue::kSiluBf16,
          GemmEpilogue::kF16, GemmEpilogue::kSiluF16}) {
      if (!IsGemmPair(type, epilogue)) continue;
      // One epilogue tries all sizes; the others differ by a line.
      const bool all = epilogue == GemmEpilogue::kBf16;
      for (const int m :
           all ? std::vector{1, 2, 4, 8, 16, 32, 64, 256, 512, 4096} : std::vector{4, 64, 4096}) {
        const GemmProblem problem{type, epilogue, m, 4096, 4096};
        add(DefaultGemmTactic(problem, chip), problem);
        if (all) add(GemmCandidates(problem, chip).back(), problem);
      }
    }
    if (sm != 90 || type == GemmType::kF16) continue;
    const GemmProblem qkv{type, GemmEpilogue::kF32, 4096, 6144, 4096};
    const bool fp8 = type == GemmType::kE4m3;
    for (const GemmTactic& tactic : PromptTactics(qkv, chip))
      if (RopeGemmTactic(tactic, {.m = 1}, chip) && tactic.cluster == 2)
        add(tactic, {type, fp8 ? GemmEpilogue::kRopeE4m3 : GemmEpilogue::kRopeBf16, 4096, 6144, 4096});
  }
  // Prologues: rows that are a multiple of what a block's threads hold, and others.
  for (const auto& [type, prologue] :
       {std::pair(GemmType::kE4m3, GemmPrologue::kQuantize),
        std::pair(GemmType::kE4m3, GemmPrologue::kQuantizeF16),
        std::pair(GemmType::kE4m3, GemmPrologue::kNorm), std::pair(GemmType::kBf16, GemmPrologue::kNorm),
        std::pair(GemmType::kF16, GemmPrologue::kNorm)})
    for (const auto& [m, k] : {std::pair(1, 4096), std::pair(4, 4096), std::pair(1, 8192), std::pair(2, 896),
                               std::pair(1, 14336), std::pair(4, 5120)}) {
      const bool f16 = type == GemmType::kF16 || prologue == GemmPrologue::kQuantizeF16;
      if (f16 && k != 4096) continue;
      const GemmProblem problem{type, GemmEpilogue::kF32, m, 4096, k, prologue};
      const std::vector<GemmTactic> tactics = GemmCandidates(problem, chip);
      if (tactics.empty()) continue;  // a token does not fit beside three stages
      add(tactics.front(), problem);
      add(tactics.back(), problem);
    }
  return sources;
}

Expected<Gemm> Gemm::Bind(const Kernel& kernel, const GemmTactic& tactic, const GemmProblem& problem,
                          const GemmArgs& args, const GemmRope& rope) {
  Gemm gemm;
  gemm.kernel_ = kernel;
  gemm.tactic_ = tactic;
  gemm.problem_ = {problem.type, problem.epilogue, args.m, args.n, args.k, problem.prologue};
  gemm.args_ = args;
  gemm.rope_ = rope;
  gemm.chip_ = ChipOf(kernel.device->info());
  LATHE_CHECK(TakesShape(gemm.problem_));
  // Rows of y are stored 16 bytes at a time.
  LATHE_CHECK(tactic.kind != GemmKind::kPrompt || args.y_stride * gemm.problem_.out_bytes() % 16 == 0);
  if (HasTensorMaps(tactic)) {
    const int w_box = tactic.rows / std::max(1, tactic.cluster);
    LATHE_RETURN_IF_ERROR(
        EncodeTensorMap(*kernel.device, MapOf(args.w, args.n, gemm.problem_, w_box), &gemm.w_map_));
    LATHE_RETURN_IF_ERROR(
        EncodeTensorMap(*kernel.device, MapOf(args.x, args.m, gemm.problem_, tactic.tokens), &gemm.x_map_));
  }
  return gemm;
}

Status Gemm::Launch(int m, abi::Stream stream, bool overlap_previous) const {
  LATHE_CHECK_GT(m, 0);
  LATHE_CHECK_LE(m, problem_.m);
  GemmProblem problem = problem_;
  problem.m = m;
  LaunchShape shape = GemmLaunchShape(tactic_, problem, chip_);
  shape.overlap_previous = overlap_previous;
  GemmArgs args = args_;
  args.m = m;
  if (IsRope(problem.epilogue)) return LaunchWith(kernel_, shape, stream, w_map_, x_map_, args, rope_);
  if (HasTensorMaps(tactic_)) return LaunchWith(kernel_, shape, stream, w_map_, x_map_, args);
  return LaunchWith(kernel_, shape, stream, args);
}

}  // namespace lathe::cuda
