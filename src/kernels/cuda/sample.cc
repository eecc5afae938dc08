#include "kernels/cuda/sample.h"

namespace lathe::cuda {
namespace {

constexpr int kThreads = 256;

// struct Shared of src/sample.cu: what every row needs, and all of it.
int GreedySharedBytes(const SampleTactic& t) { return 80 + 2 * t.blocks * 4 * 8 + 32 * 8 + 64; }
int SharedBytes(const SampleTactic& t) {
  const int owned = 2048 / t.blocks;
  const int high = t.blocks == 1 ? 8 : 4;
  const int fixed = GreedySharedBytes(t) + 2048 * 8 + owned * (8 + 4) + 2048 * (high + 8);
  const int slice = ((t.vocab + t.blocks - 1) / t.blocks + 3) / 4 * 4;
  return fixed + 64 + (t.blocks > 1 ? slice * 4 : 0);
}

}  // namespace

SampleTactic SampleTacticOf(int vocab, int sm) {
  const SampleTactic alone{vocab, 1};
  if (sm < 90) return alone;
  // The fewest blocks of which two fit a multiprocessor's shared memory, else as many as a cluster may have.
  const int limit = sm == 120 ? 99 << 10 : 227 << 10;
  for (SampleTactic tactic{vocab, 2};; tactic.blocks *= 2) {
    if (SharedBytes(tactic) <= limit / 2) return tactic;
    if (tactic.blocks == 8) return SharedBytes(tactic) <= limit ? tactic : alone;
  }
}

KernelSource SampleKernel(const SampleTactic& tactic) {
  KernelSource source;
  source.file = "sample.cu";
  source.entry = StrFormat("sample_%d_b%d", tactic.vocab, tactic.blocks);
  source.defines = {StrFormat("VOCAB=%d", tactic.vocab), StrFormat("BLOCKS=%d", tactic.blocks)};
  source.threads = kThreads;
  source.dynamic_shared = SharedBytes(tactic);
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
  shape.dynamic_shared = only_greedy ? GreedySharedBytes(tactic) : SharedBytes(tactic);
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
