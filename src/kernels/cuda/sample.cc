#include "kernels/cuda/sample.h"

namespace lathe::cuda {
namespace {

constexpr int kThreads = 512;

// src/sample_team.cuh: Common (what a greedy launch has), and all of Shared.
int GreedySharedBytes(const SampleTactic& t) { return 80 + 32 * t.blocks + 16 * (kThreads / 32) + 64; }
int SharedBytes(const SampleTactic& t) {
  const int high = t.blocks == 1 ? 8 : 4;
  const int lists = 2 * 512 * 8 + 1024 * (8 + 4), sections = 64 * (8 + 8 + 4 + 4);
  return GreedySharedBytes(t) + lists + sections + 2048 * (high + 8);
}
// A block's part of a row.
int SliceBytes(const SampleTactic& t) {
  return t.blocks == 1 ? 0 : ((t.vocab + t.blocks - 1) / t.blocks + 3) / 4 * 16;
}

}  // namespace

SampleTactic SampleTacticOf(int vocab, int sm) {
  const SampleTactic alone{vocab, 1};
  if (sm < 90) return alone;
  // The fewest blocks of which two fit a multiprocessor's shared memory, else as many as a cluster may have.
  const int limit = sm == 120 ? 99 << 10 : 227 << 10;
  for (SampleTactic tactic{vocab, 2};; tactic.blocks *= 2) {
    const int bytes = SharedBytes(tactic) + SliceBytes(tactic);
    if (bytes <= limit / 2) return tactic;
    if (tactic.blocks == 8) return bytes <= limit ? tactic : alone;
  }
}

KernelSource SampleKernel(const SampleTactic& tactic) {
  KernelSource source;
  source.file = "sample.cu";
  source.entry = StrFormat("sample_%d_b%d", tactic.vocab, tactic.blocks);
  source.defines = {StrFormat("VOCAB=%d", tactic.vocab), StrFormat("BLOCKS=%d", tactic.blocks),
                    StrFormat("ROOM=%d", SharedBytes(tactic)),
                    StrFormat("GREEDY_ROOM=%d", GreedySharedBytes(tactic))};
  source.threads = kThreads;
  source.dynamic_shared = SharedBytes(tactic) + SliceBytes(tactic);
  return source;
}

int64_t LogitStride(int vocab) { return (int64_t{vocab} + 3) / 4 * 4; }

int64_t SampleScratchFloats(const SampleTactic& tactic, int max_rows) {
  return tactic.blocks > 1 ? 0 : max_rows * LogitStride(tactic.vocab);
}

Status LaunchSample(const Kernel& kernel, const SampleTactic& tactic, const SampleLaunch& launch, int rows,
                    bool only_greedy, abi::Stream stream, bool overlap_previous) {
  if (rows == 0) return Status::Ok();
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(rows * tactic.blocks);
  shape.block.x = kThreads;
  shape.cluster.x = static_cast<unsigned>(tactic.blocks);
  shape.dynamic_shared = only_greedy ? GreedySharedBytes(tactic) : SharedBytes(tactic) + SliceBytes(tactic);
  shape.overlap_previous = overlap_previous;
  return LaunchWith(kernel, shape, stream, launch);
}

std::vector<KernelSource> SampleKernels(int sm) {
  std::vector<KernelSource> sources;
  for (const int vocab : {1000, 32000, 128256, 151936}) {
    const SampleTactic tactic = SampleTacticOf(vocab, sm);
    sources.push_back(SampleKernel(tactic));
    if (tactic.blocks > 1) sources.push_back(SampleKernel({vocab, 1}));
  }
  return sources;
}

}  // namespace lathe::cuda
