// RMSNorm with the residual addition before it, and embedding look-up.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/reduce.h"

namespace lathe::LATHE_ISA {
namespace {

template <typename Y>
void NormRow(const RmsNormParams& p, float* residual, const float* delta, Y* y) {
  const float squares = AddAndSumSquares(residual, delta, p.hidden);
  if (!y) return;
  const F scale = Set1(InverseRms(squares, p.hidden, p.eps));
  int k = 0;
  for (; k + kLanes <= p.hidden; k += kLanes)
    StoreAs(y + k, Mul(Mul(Load(residual + k), scale), Load(p.gain + k)));
  if (k < p.hidden) {
    const int n = p.hidden - k;
    StoreAsN(y + k, Mul(Mul(LoadN(residual + k, n), scale), LoadN(p.gain + k, n)), n);
  }
}

template <typename Y>
void NormRows(const RmsNormParams& p, int first, int last) {
  Y* y = static_cast<Y*>(p.y);
  for (int m = first; m < last; ++m) {
    const int64_t row = p.rows ? p.rows[m] : m, hidden = p.hidden;
    NormRow(p, p.residual + row * hidden, p.delta ? p.delta + m * hidden : nullptr,
            y ? y + m * hidden : nullptr);
  }
}

// Row `token` of a packed table: one element (pair) of every 64-column row of its panel.
void EmbedPackedBf16(const uint16_t* table, int64_t token, int hidden, float* x) {
  const uint16_t* in = table + token / kPanelN * kPanelN * ((hidden + 1) / 2 * 2) + token % kPanelN * 2;
  int k = 0;
  for (; k + 1 < hidden; k += 2, in += 2 * kPanelN) {
    x[k] = ScalarFromBf16(in[0]);
    x[k + 1] = ScalarFromBf16(in[1]);
  }
  if (k < hidden) x[k] = ScalarFromBf16(in[0]);
}

void EmbedPackedF32(const float* table, int64_t token, int hidden, float* x) {
  const float* in = table + token / kPanelN * kPanelN * ((hidden + 1) / 2 * 2) + token % kPanelN;
  for (int k = 0; k < hidden; ++k, in += kPanelN) x[k] = *in;
}

template <typename T>
void EmbedRow(const T* in, int hidden, float* x) {
  int k = 0;
  for (; k + kLanes <= hidden; k += kLanes) Store(x + k, LoadAs(in + k));
  if (k < hidden) StoreN(x + k, LoadAsN(in + k, hidden - k), hidden - k);
}

}  // namespace

void RmsNorm(const RmsNormParams& p, const Worker& worker) {
  const RowTasks tasks(p.n_tokens, worker.count);
  for (int t; (t = worker.Next(tasks.count)) >= 0;) {
    if (p.y_type == DType::kBf16)
      NormRows<uint16_t>(p, tasks.First(t), tasks.Last(t));
    else
      NormRows<float>(p, tasks.First(t), tasks.Last(t));
  }
}

void Embed(const EmbedParams& p, const Worker& worker) {
  const RowTasks tasks(p.n_tokens, worker.count);
  const bool bf16 = p.table_type == DType::kBf16;
  for (int t; (t = worker.Next(tasks.count)) >= 0;)
    for (int m = tasks.First(t); m < tasks.Last(t); ++m) {
      const int64_t token = p.token_ids[m], row = token * p.hidden;
      float* x = p.x + static_cast<int64_t>(m) * p.hidden;
      if (p.packed && bf16)
        EmbedPackedBf16(static_cast<const uint16_t*>(p.table), token, p.hidden, x);
      else if (p.packed)
        EmbedPackedF32(static_cast<const float*>(p.table), token, p.hidden, x);
      else if (bf16)
        EmbedRow(static_cast<const uint16_t*>(p.table) + row, p.hidden, x);
      else
        EmbedRow(static_cast<const float*>(p.table) + row, p.hidden, x);
    }
}

}  // namespace lathe::LATHE_ISA
