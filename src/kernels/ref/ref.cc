#include "kernels/ref/ref.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/bf16.h"
#include "base/check.h"

namespace lathe::ref {
namespace {

template <typename T>
T Load(const void* base, int64_t byte_offset) {
  T value;
  std::memcpy(&value, static_cast<const char*>(base) + byte_offset, sizeof(T));
  return value;
}

template <typename T>
void Store(void* base, int64_t byte_offset, T value) {
  std::memcpy(static_cast<char*>(base) + byte_offset, &value, sizeof(T));
}

double Silu(double v) { return v / (1.0 + std::exp(-v)); }

// Inner product of row m of x with packed column n.
double Dot(const GemmParams& p, NumericClass numeric, int m, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < p.K; ++k)
    sum += static_cast<double>(Element(p.x, ActivationType(numeric), m * p.ldx + k)) *
           PackedWeight(p.w, WeightType(numeric), p.K, n, k);
  return p.bias ? sum + p.bias[n] : sum;
}

// One head of q or k: optional norm, then rotation of the pairs (i, i + rotary_dim / 2).
void NormAndRotate(const RopeAppendParams& p, int token, const float* in, const float* gain,
                   std::vector<double>* out) {
  const int dim = p.kv.head_dim, half = p.rotary_dim / 2;
  out->assign(in, in + dim);
  if (gain) {
    double squares = 0;
    for (double v : *out) squares += v * v;
    const double scale = 1.0 / std::sqrt(squares / dim + p.norm_eps);
    for (int d = 0; d < dim; ++d) (*out)[static_cast<size_t>(d)] *= scale * gain[d];
  }
  for (int i = 0; i < half; ++i) {
    double& a = (*out)[static_cast<size_t>(i)];
    double& b = (*out)[static_cast<size_t>(i + half)];
    const double c = p.cos[int64_t{token} * half + i], s = p.sin[int64_t{token} * half + i];
    const double rotated = a * c - b * s;
    b = b * c + a * s;
    a = rotated;
  }
}

int64_t PageStart(const KvLayout& kv, const int32_t* pages, int64_t position) {
  return pages[position / kv.page_size] * kv.PageBytes();
}

}  // namespace

float PackedWeight(const void* w, DType type, int64_t K, int64_t n, int64_t k) {
  const int64_t k_padded = (K + 1) / 2 * 2;
  const int64_t panel = n / kPanelN * kPanelN * k_padded, c = n % kPanelN;
  const int64_t index =
      type == DType::kBf16 ? panel + k / 2 * (2 * kPanelN) + 2 * c + k % 2 : panel + k * kPanelN + c;
  return Element(w, type, index);
}

float Element(const void* data, DType type, int64_t index) {
  return type == DType::kBf16 ? ToFloat(Load<Bf16>(data, index * 2)) : Load<float>(data, index * 4);
}

void SetElement(void* data, DType type, int64_t index, double value) {
  const float rounded = static_cast<float>(value);
  if (type == DType::kBf16)
    Store(data, index * 2, ToBf16(rounded));
  else
    Store(data, index * 4, rounded);
}

int64_t KeyOffset(const KvLayout& kv, const int32_t* pages, int head, int64_t position, int d) {
  const int64_t token = position % kv.page_size;
  const int64_t index = kv.type == DType::kBf16 ? (d / 2) * kv.page_size * int64_t{2} + token * 2 + d % 2
                                                : int64_t{d} * kv.page_size + token;
  return PageStart(kv, pages, position) + head * kv.HeadBytes() + index * SizeOf(kv.type);
}

int64_t ValueOffset(const KvLayout& kv, const int32_t* pages, int head, int64_t position, int d) {
  const int64_t index = position % kv.page_size * kv.head_dim + d;
  return PageStart(kv, pages, position) + (kv.n_kv_heads + head) * kv.HeadBytes() + index * SizeOf(kv.type);
}

void Gemm(const GemmParams& p, NumericClass numeric) {
  for (int m = 0; m < p.M; ++m) {
    if (!p.silu_mul) {
      for (int64_t n = 0; n < p.N; ++n) SetElement(p.y, p.y_type, m * p.ldy + n, Dot(p, numeric, m, n));
      continue;
    }
    for (int64_t n = 0; n < p.N / 2; ++n) {
      const int64_t gate = n / kPanelN * (2 * kPanelN) + n % kPanelN;
      const double value = Silu(Dot(p, numeric, m, gate)) * Dot(p, numeric, m, gate + kPanelN);
      SetElement(p.y, p.y_type, m * p.ldy + n, value);
    }
  }
}

void Embed(const EmbedParams& p) {
  for (int64_t m = 0; m < p.n_tokens; ++m) {
    const int64_t token = p.token_ids[m];
    LATHE_CHECK(token >= 0 && token < p.vocab);
    for (int64_t k = 0; k < p.hidden; ++k)
      p.x[m * p.hidden + k] = p.packed ? PackedWeight(p.table, p.table_type, p.hidden, token, k)
                                       : Element(p.table, p.table_type, token * p.hidden + k);
  }
}

void RmsNorm(const RmsNormParams& p) {
  for (int64_t m = 0; m < p.n_tokens; ++m) {
    float* row = p.residual + (p.rows ? p.rows[m] : m) * p.hidden;
    double squares = 0;
    for (int64_t k = 0; k < p.hidden; ++k) {
      if (p.delta) row[k] += p.delta[m * p.hidden + k];
      squares += static_cast<double>(row[k]) * row[k];
    }
    if (!p.y) continue;
    const double scale = 1.0 / std::sqrt(squares / p.hidden + p.eps);
    for (int64_t k = 0; k < p.hidden; ++k)
      SetElement(p.y, p.y_type, m * p.hidden + k, row[k] * scale * p.gain[k]);
  }
}

void RopeAppend(const RopeAppendParams& p) {
  const int dim = p.kv.head_dim;
  std::vector<double> head;
  for (int s = 0; s < p.n_seqs; ++s) {
    const AttnSeq& seq = p.seqs[s];
    for (int r = 0; r < seq.n_rows; ++r) {
      const int row = seq.first_row + r;
      const int64_t position = int64_t{seq.first_position} + r;
      const float* in = p.qkv + row * p.ld_qkv;
      for (int h = 0; h < p.n_heads; ++h, in += dim) {
        NormAndRotate(p, row, in, p.q_gain, &head);
        for (int d = 0; d < dim; ++d)
          SetElement(p.q_out, p.q_type, (int64_t{row} * p.n_heads + h) * dim + d,
                     head[static_cast<size_t>(d)] * p.q_scale);
      }
      for (int h = 0; h < p.kv.n_kv_heads; ++h, in += dim) {
        NormAndRotate(p, row, in, p.k_gain, &head);
        for (int d = 0; d < dim; ++d)
          SetElement(static_cast<char*>(p.kv_base) + KeyOffset(p.kv, seq.pages, h, position, d), p.kv.type, 0,
                     head[static_cast<size_t>(d)]);
      }
      for (int h = 0; h < p.kv.n_kv_heads; ++h, in += dim)
        for (int d = 0; d < dim; ++d)
          SetElement(static_cast<char*>(p.kv_base) + ValueOffset(p.kv, seq.pages, h, position, d), p.kv.type,
                     0, in[d]);
    }
  }
}

void Attention(const AttentionParams& p) {
  const int dim = p.kv.head_dim, group = p.n_heads / p.kv.n_kv_heads;
  const auto kv_value = [&](int64_t offset) {
    return Element(static_cast<const char*>(p.kv_base) + offset, p.kv.type, 0);
  };
  std::vector<double> scores, out(static_cast<size_t>(dim));
  for (int s = 0; s < p.n_seqs; ++s) {
    const AttnSeq& seq = p.seqs[s];
    for (int r = 0; r < seq.n_rows; ++r) {
      const int64_t position = int64_t{seq.first_position} + r;
      const int64_t first = p.window > 0 ? std::max<int64_t>(0, position + 1 - p.window) : 0;
      for (int h = 0; h < p.n_heads; ++h) {
        const int64_t q = (int64_t{seq.first_row + r} * p.n_heads + h) * dim;
        double largest = -std::numeric_limits<double>::infinity();
        scores.clear();
        for (int64_t key = first; key <= position; ++key) {
          double score = 0;
          for (int d = 0; d < dim; ++d)
            score += static_cast<double>(Element(p.q, p.q_type, q + d)) *
                     kv_value(KeyOffset(p.kv, seq.pages, h / group, key, d));
          scores.push_back(score);
          largest = std::max(largest, score);
        }
        double sum = 0;
        std::fill(out.begin(), out.end(), 0.0);
        for (int64_t key = first; key <= position; ++key) {
          const double weight = std::exp(scores[static_cast<size_t>(key - first)] - largest);
          sum += weight;
          for (int d = 0; d < dim; ++d)
            out[static_cast<size_t>(d)] += weight * kv_value(ValueOffset(p.kv, seq.pages, h / group, key, d));
        }
        for (int d = 0; d < dim; ++d) SetElement(p.y, p.y_type, q + d, out[static_cast<size_t>(d)] / sum);
      }
    }
  }
}

}  // namespace lathe::ref
