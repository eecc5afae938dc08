#include "kernels/cuda/layer_ops.h"

#include <algorithm>

#include "base/check.h"

namespace lathe::cuda {
namespace {

constexpr int kWidenThreads = 512;
constexpr unsigned kWidenSlices = 4;  // blocks a page

unsigned CeilDiv(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }

KernelSource Source(const char* file, std::string entry, std::vector<std::string> defines, int threads) {
  KernelSource source;
  source.file = file;
  source.entry = std::move(entry);
  source.defines = std::move(defines);
  source.threads = threads;
  return source;
}

Status LaunchGrid(const Kernel& kernel, unsigned x, unsigned y, int threads, abi::Stream stream,
                  bool overlap_previous, const auto& params) {
  if (x == 0) return Status::Ok();
  const LaunchShape shape = {.grid = {x, y, 1},
                             .block = {static_cast<unsigned>(threads), 1, 1},
                             .dynamic_shared = 0,
                             .cluster = {},
                             .overlap_previous = overlap_previous};
  return LaunchWith(kernel, shape, stream, params);
}

// Lanes of rope_append.cu that share a head.
int RopeLanes(int head_dim) {
  int lanes = 1;
  while (lanes < head_dim / 16) lanes *= 2;
  return lanes;
}

constexpr int kEmbedThreads = 256;
constexpr int kRopeThreads = 256;
constexpr int kActivationThreads = 256;
constexpr int kSelectThreads = 256;

}  // namespace

// 8 elements a thread and piece: few enough pieces to keep in registers, no more warps than there is work
// for.
int RowThreads(int elements) { return std::clamp((elements / 8 + 31) / 32 * 32, 32, 1024); }

KernelSource EmbedKernel(int hidden, DType table) {
  LATHE_CHECK(table == DType::kBf16 || table == DType::kF16);
  LATHE_CHECK_EQ(hidden % 8, 0);
  const bool half = table == DType::kF16;
  return Source("embed.cu", StrFormat("embed_%d%s", hidden, half ? "_f16" : ""),
                {StrFormat("HIDDEN=%d", hidden), StrFormat("F16=%d", half)}, kEmbedThreads);
}
Status LaunchEmbed(const Kernel& kernel, const EmbedParams& params, int rows, abi::Stream stream,
                   bool overlap_previous) {
  return LaunchGrid(kernel, static_cast<unsigned>(rows), 1, kEmbedThreads, stream, overlap_previous, params);
}

KernelSource NormKernel(const NormVariant& v) {
  LATHE_CHECK_EQ(v.hidden % 8, 0);
  const bool f16 = v.f16 && (v.delta == NormVariant::k16Delta || v.out == NormVariant::k16);
  return Source("norm.cu",
                StrFormat("norm_%d_delta%d_out%d%s%s", v.hidden, v.delta, v.out, v.gather ? "_gather" : "",
                          f16 ? "_f16" : ""),
                {StrFormat("HIDDEN=%d", v.hidden), StrFormat("DELTA=%d", v.delta), StrFormat("OUT=%d", v.out),
                 StrFormat("GATHER=%d", v.gather), StrFormat("F16=%d", f16)},
                RowThreads(v.hidden));
}
Status LaunchNorm(const Kernel& kernel, const NormVariant& variant, const NormParams& params, int rows,
                  abi::Stream stream, bool overlap_previous) {
  return LaunchGrid(kernel, static_cast<unsigned>(rows), 1, RowThreads(variant.hidden), stream,
                    overlap_previous, params);
}

KernelSource RopeTableKernel(int rotary_dim) {
  return Source("rope_table.cu", StrFormat("rope_table_%d", rotary_dim),
                {StrFormat("ROTARY_DIM=%d", rotary_dim)}, kRopeThreads);
}
Status LaunchRopeTable(const Kernel& kernel, int rotary_dim, const RopeTableParams& params,
                       abi::Stream stream, bool overlap_previous) {
  const unsigned blocks = CeilDiv(int64_t{params.n_rows} * (rotary_dim / 2), kRopeThreads);
  return LaunchGrid(kernel, blocks, 1, kRopeThreads, stream, overlap_previous, params);
}

KernelSource RopeKernel(const RopeVariant& v) {
  LATHE_CHECK(v.head_dim % 16 == 0 && v.rotary_dim % 16 == 0 && v.rotary_dim <= v.head_dim &&
              v.head_dim <= 256);
  return Source(
      "rope_append.cu",
      StrFormat("rope_append_d%d_r%d%s%s%s%s%s", v.head_dim, v.rotary_dim, v.qkv_f32 ? "_f32" : "",
                v.bias ? "_bias" : "", v.qk_norm ? "_norm" : "", v.kv_fp8 ? "_fp8" : "", v.f16 ? "_f16" : ""),
      {StrFormat("HEAD_DIM=%d", v.head_dim), StrFormat("ROTARY_DIM=%d", v.rotary_dim),
       StrFormat("QKV_F32=%d", v.qkv_f32), StrFormat("HAS_BIAS=%d", v.bias),
       StrFormat("QK_NORM=%d", v.qk_norm), StrFormat("KV_FP8=%d", v.kv_fp8), StrFormat("F16=%d", v.f16)},
      kRopeThreads);
}
Status LaunchRope(const Kernel& kernel, const RopeVariant& variant, const RopeParams& params,
                  abi::Stream stream, bool overlap_previous) {
  const int64_t heads = int64_t{params.n_rows} * (params.n_heads + 2 * params.n_kv_heads);
  return LaunchGrid(kernel, CeilDiv(heads * RopeLanes(variant.head_dim), kRopeThreads), 1, kRopeThreads,
                    stream, overlap_previous, params);
}

KernelSource ActivationKernel(const ActivationVariant& v) {
  LATHE_CHECK_EQ(v.ffn % 64, 0);
  return Source("activation.cu",
                StrFormat("%s_mul_%d%s%s", v.gelu ? "gelu" : "silu", v.ffn, v.out_fp8 ? "_fp8" : "",
                          v.f16 ? "_f16" : ""),
                {StrFormat("FFN=%d", v.ffn), StrFormat("GELU=%d", v.gelu), StrFormat("OUT_FP8=%d", v.out_fp8),
                 StrFormat("F16=%d", v.f16)},
                v.out_fp8 ? RowThreads(v.ffn) : kActivationThreads);
}
Status LaunchActivation(const Kernel& kernel, const ActivationVariant& v, const ActivationParams& params,
                        int rows, abi::Stream stream, bool overlap_previous) {
  if (v.out_fp8)
    return LaunchGrid(kernel, static_cast<unsigned>(rows), 1, RowThreads(v.ffn), stream, overlap_previous,
                      params);
  return LaunchGrid(kernel, static_cast<unsigned>(rows), CeilDiv(v.ffn, kActivationThreads * 8),
                    kActivationThreads, stream, overlap_previous, params);
}

KernelSource QuantizeKernel(int columns, bool f16) {
  LATHE_CHECK_EQ(columns % 8, 0);
  return Source("quantize.cu", StrFormat("quantize_%d%s", columns, f16 ? "_f16" : ""),
                {StrFormat("COLUMNS=%d", columns), StrFormat("F16=%d", f16)}, RowThreads(columns));
}
Status LaunchQuantize(const Kernel& kernel, int columns, const QuantizeParams& params, int rows,
                      abi::Stream stream, bool overlap_previous) {
  return LaunchGrid(kernel, static_cast<unsigned>(rows), 1, RowThreads(columns), stream, overlap_previous,
                    params);
}

KernelSource SelectKernel() { return Source("select_rows.cu", "select_rows", {}, kSelectThreads); }
Status LaunchSelect(const Kernel& kernel, const SelectParams& params, int rows, abi::Stream stream,
                    bool overlap_previous) {
  return LaunchGrid(kernel, static_cast<unsigned>(rows), 1, kSelectThreads, stream, overlap_previous, params);
}

Status LaunchWiden(const Kernel& kernel, const WidenParams& params, int pages, abi::Stream stream,
                   bool overlap_previous) {
  return LaunchGrid(kernel, static_cast<unsigned>(pages), kWidenSlices, kWidenThreads, stream,
                    overlap_previous, params);
}

std::vector<KernelSource> LayerKernels() {
  std::vector<KernelSource> sources;
  for (const int hidden : {64, 2048, 4096, 8192}) {
    sources.push_back(EmbedKernel(hidden, DType::kBf16));
    for (const auto delta : {NormVariant::kNone, NormVariant::k16Delta, NormVariant::kF32Delta}) {
      for (const auto out : {NormVariant::k16, NormVariant::kE4m3, NormVariant::kF32})
        sources.push_back(NormKernel({hidden, delta, out, out == NormVariant::kF32}));
    }
    sources.push_back(QuantizeKernel(hidden, false));
  }
  sources.push_back(EmbedKernel(4096, DType::kF16));
  sources.push_back(NormKernel({4096, NormVariant::k16Delta, NormVariant::k16, false, true}));
  sources.push_back(NormKernel({4096, NormVariant::kF32Delta, NormVariant::k16, true, true}));
  sources.push_back(NormKernel({4096, NormVariant::k16Delta, NormVariant::kE4m3, false, true}));
  sources.push_back(QuantizeKernel(4096, true));
  sources.push_back(ActivationKernel({14336, false, false, true}));
  sources.push_back(ActivationKernel({14336, false, true, true}));
  sources.push_back(SelectKernel());
  for (const int head_dim : {64, 80, 96, 128, 256}) {
    sources.push_back(RopeTableKernel(head_dim));
    for (const bool fp8 : {false, true}) {
      sources.push_back(RopeKernel({head_dim, head_dim, false, head_dim == 64, head_dim == 128, fp8}));
      sources.push_back(RopeKernel({head_dim, 32, true, false, head_dim == 80, fp8}));
      if (head_dim == 128 || head_dim == 80)
        sources.push_back(RopeKernel({head_dim, 32, true, false, head_dim == 80, fp8, true}));
    }
  }
  for (const int ffn : {192, 14336, 28672}) {
    sources.push_back(ActivationKernel({ffn, false, false}));
    sources.push_back(ActivationKernel({ffn, false, true}));
    sources.push_back(ActivationKernel({ffn, true, false}));
  }
  return sources;
}

}  // namespace lathe::cuda
