// q/k norm, rotary embedding, and writing k and v into their pages.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/reduce.h"

namespace lathe::LATHE_ISA {
namespace {

constexpr int kMaxHeadDim = 256;

// Copies a head, normed when gain is given and with its first rotary_dim elements rotated.
void NormAndRotate(const RopeAppendParams& p, int row, const float* in, const float* gain, float* out) {
  const int dim = p.kv.head_dim, half = p.rotary_dim / 2;
  __builtin_memcpy(out, in, sizeof(float) * static_cast<size_t>(dim));
  if (gain) {
    const F scale = Set1(InverseRms(AddAndSumSquares(out, nullptr, dim), dim, p.norm_eps));
    for (int d = 0; d < dim; d += kLanes) {
      const int n = MinInt(kLanes, dim - d);
      StoreN(out + d, Mul(Mul(LoadN(out + d, n), scale), LoadN(gain + d, n)), n);
    }
  }
  const float* cos = p.cos + static_cast<int64_t>(row) * half;
  const float* sin = p.sin + static_cast<int64_t>(row) * half;
  for (int i = 0; i < half; i += kLanes) {
    const int n = MinInt(kLanes, half - i);
    const F a = LoadN(out + i, n), b = LoadN(out + half + i, n), c = LoadN(cos + i, n), s = LoadN(sin + i, n);
    StoreN(out + i, Sub(Mul(a, c), Mul(b, s)), n);
    StoreN(out + half + i, Fma(b, c, Mul(a, s)), n);
  }
}

template <typename T>
void CopyScaled(const float* in, int n, float scale, T* out) {
  int d = 0;
  for (; d + kLanes <= n; d += kLanes) StoreAs(out + d, Mul(Load(in + d), Set1(scale)));
  if (d < n) StoreAsN(out + d, Mul(LoadN(in + d, n - d), Set1(scale)), n - d);
}

// `out` is the K page of one head, `token` the slot in it.
void WriteKey(const float* in, const KvLayout& kv, int token, char* out) {
  if (kv.type == DType::kF32) {
    float* to = reinterpret_cast<float*>(out) + token;
    for (int d = 0; d < kv.head_dim; ++d) to[static_cast<int64_t>(d) * kv.page_size] = in[d];
    return;
  }
  alignas(64) uint16_t rounded[kMaxHeadDim];
  CopyScaled(in, kv.head_dim, 1.0f, rounded);
  char* to = out + token * 4;
  for (int d = 0; d < kv.head_dim; d += 2, to += kv.page_size * 4) __builtin_memcpy(to, rounded + d, 4);
}

void WriteValue(const float* in, const KvLayout& kv, int token, char* out) {
  const int64_t at = static_cast<int64_t>(token) * kv.head_dim;
  if (kv.type == DType::kF32)
    CopyScaled(in, kv.head_dim, 1.0f, reinterpret_cast<float*>(out) + at);
  else
    CopyScaled(in, kv.head_dim, 1.0f, reinterpret_cast<uint16_t*>(out) + at);
}

void AppendRow(const RopeAppendParams& p, int row, int64_t position, const int32_t* pages) {
  const int dim = p.kv.head_dim, kv_heads = p.kv.n_kv_heads;
  const int64_t head_bytes = p.kv.HeadBytes();
  alignas(64) float head[kMaxHeadDim];
  const float* in = p.qkv + row * p.ld_qkv;
  for (int h = 0; h < p.n_heads; ++h, in += dim) {
    NormAndRotate(p, row, in, p.q_gain, head);
    const int64_t at = (static_cast<int64_t>(row) * p.n_heads + h) * dim;
    if (p.q_type == DType::kBf16)
      CopyScaled(head, dim, p.q_scale, static_cast<uint16_t*>(p.q_out) + at);
    else
      CopyScaled(head, dim, p.q_scale, static_cast<float*>(p.q_out) + at);
  }
  const int token = static_cast<int>(position % p.kv.page_size);
  char* page = static_cast<char*>(p.kv_base) + pages[position / p.kv.page_size] * p.kv.PageBytes();
  for (int h = 0; h < kv_heads; ++h, in += dim, page += head_bytes) {
    NormAndRotate(p, row, in, p.k_gain, head);
    WriteKey(head, p.kv, token, page);
  }
  for (int h = 0; h < kv_heads; ++h, in += dim, page += head_bytes) WriteValue(in, p.kv, token, page);
}

}  // namespace

void RopeAppend(const RopeAppendParams& p, const Worker& worker) {
  const RowTasks tasks(p.n_tokens, worker.count);
  // Tasks come in ascending order, so one walk over the sequences finds them all.
  int seq = 0, before = 0;  // rows in sequences before `seq`
  for (int t; (t = worker.Next(tasks.count)) >= 0;)
    for (int i = tasks.First(t); i < tasks.Last(t); ++i) {
      while (seq < p.n_seqs && i >= before + p.seqs[seq].n_rows) before += p.seqs[seq++].n_rows;
      if (seq == p.n_seqs) return;
      const AttnSeq& s = p.seqs[seq];
      AppendRow(p, s.first_row + (i - before), static_cast<int64_t>(s.first_position) + (i - before),
                s.pages);
    }
}

}  // namespace lathe::LATHE_ISA
