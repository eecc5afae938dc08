#include "kernels/api/kernel.h"

#include <algorithm>

namespace lathe {
namespace {

constexpr int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Keys that rows first..first+n-1 see, summed over the rows: sum of min(position + 1, window).
double VisibleKeys(int64_t first, int64_t n, int64_t window) {
  const auto triangle = [](double a, double b) { return (a + b) / 2 * (b - a + 1); };  // a + ... + b
  if (n <= 0) return 0;
  const int64_t last = first + n;  // visible to the last row when there is no window
  if (window <= 0 || last <= window)
    return triangle(static_cast<double>(first + 1), static_cast<double>(last));
  if (first >= window) return static_cast<double>(n) * static_cast<double>(window);
  return triangle(static_cast<double>(first + 1), static_cast<double>(window)) +
         static_cast<double>(last - window) * static_cast<double>(window);
}

}  // namespace

std::string_view ToString(OpKind kind) {
  switch (kind) {
    case OpKind::kEmbed: return "embed";
    case OpKind::kRmsNorm: return "rmsnorm";
    case OpKind::kGemm: return "gemm";
    case OpKind::kRopeAppend: return "rope_append";
    case OpKind::kAttention: return "attention";
    case OpKind::kSample: return "sample";
  }
  return "unknown";
}

std::string_view ToString(Isa isa) {
  switch (isa) {
    case Isa::kPortable: return "portable";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Bf16: return "avx512bf16";
  }
  return "unknown";
}

std::string_view ToString(NumericClass c) {
  switch (c) {
    case NumericClass::kF32: return "f32";
    case NumericClass::kBf16Fma: return "bf16-fma";
    case NumericClass::kBf16Dot: return "bf16-dot";
    case NumericClass::kBf16Tensor: return "bf16-tensor";
    case NumericClass::kFp8Tensor: return "fp8-tensor";
    case NumericClass::kF16Tensor: return "f16-tensor";
    case NumericClass::kFp8F16Tensor: return "fp8-f16-tensor";
  }
  return "unknown";
}

Cost CostOf(const GemmParams& p, NumericClass c) {
  const int64_t weights = RoundUp(p.N, kPanelN) * RoundUp(p.K, 2) * SizeOf(WeightType(c));
  const int64_t inputs = int64_t{p.M} * p.K * SizeOf(ActivationType(c));
  const int64_t outputs = int64_t{p.M} * (p.silu_mul ? p.N / 2 : p.N) * SizeOf(p.y_type);
  return {.bytes = static_cast<double>(weights + inputs + outputs), .flops = 2.0 * p.M * p.N * p.K};
}

Cost CostOf(const AttentionParams& p, NumericClass c) {
  const double row_bytes =
      static_cast<double>(p.n_heads) * p.kv.head_dim * (SizeOf(p.q_type) + SizeOf(p.y_type));
  const double key_bytes = 2.0 * p.kv.n_kv_heads * p.kv.head_dim * SizeOf(KvType(c));
  Cost cost;
  for (int s = 0; s < p.n_seqs; ++s) {
    const AttnSeq& seq = p.seqs[s];
    const int64_t last = int64_t{seq.first_position} + seq.n_rows;
    const int64_t first = p.window > 0 ? std::max<int64_t>(0, int64_t{seq.first_position} + 1 - p.window) : 0;
    cost.bytes += static_cast<double>(last - first) * key_bytes + seq.n_rows * row_bytes;
    cost.flops += VisibleKeys(seq.first_position, seq.n_rows, p.window) * p.n_heads * p.kv.head_dim * 4.0;
  }
  return cost;
}

int64_t AttentionWorkspaceBytes(int count, int n_heads, int head_dim, int max_positions) {
  constexpr int64_t kMost = int64_t{32} << 20;
  if (count <= 1) return 0;
  const int64_t blocks = (int64_t{max_positions} + kAttnBlock - 1) / kAttnBlock;
  return std::min(kMost, kAttnCounterBytes + blocks * n_heads * RoundUp(head_dim + 2, 16) * 4);
}

}  // namespace lathe
