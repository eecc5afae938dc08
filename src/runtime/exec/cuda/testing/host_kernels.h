// The CUDA kernels as plain host code behind the fake driver: what src/kernels/cuda/src computes, over the
// same parameter structs, read from where the launch says. A model then runs through the real executor
// without a device, and an address, an offset or an order that is wrong shows in its logits. Sums are in
// double; what is stored is rounded as on the device.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/bf16.h"
#include "base/check.h"
#include "kernels/api/sample.h"
#include "kernels/cuda/kernel_source.h"
#include "kernels/cuda/src/attention_abi.h"
#include "kernels/cuda/src/gemm_abi.h"
#include "kernels/cuda/src/sample_abi.h"
#include "kernels/cuda/src/small_abi.h"
#include "kernels/ref/ref.h"
#include "platform/cuda/testing/fake_driver.h"

namespace lathe::cuda::testing {

inline float E4m3ToFloat(uint8_t v) {
  static const std::vector<float> values = [] {
    std::vector<float> all;
    for (int i = 0; i < 256; ++i) {
      const int exponent = (i >> 3) & 15, mantissa = i & 7;
      const float magnitude = exponent == 0
                                  ? std::ldexp(static_cast<float>(mantissa), -9)
                                  : std::ldexp(1.0F + static_cast<float>(mantissa) / 8.0F, exponent - 7);
      const bool nan = (i & 0x7f) == 0x7f;
      all.push_back(nan ? std::numeric_limits<float>::quiet_NaN() : i >= 128 ? -magnitude : magnitude);
    }
    return all;
  }();
  return values[v];
}
inline uint8_t FloatToE4m3(float v) {
  const uint8_t sign = std::signbit(v) ? 0x80 : 0;
  const float magnitude = std::min(std::fabs(v), 448.0F);
  if (magnitude < 0.015625F) return sign | static_cast<uint8_t>(std::lrint(magnitude * 512.0F));
  int exponent = 0;
  const float fraction = std::frexp(magnitude, &exponent);
  const long mantissa = std::lrint(fraction * 16.0F);
  return static_cast<uint8_t>(sign | static_cast<uint8_t>(((exponent + 6) << 3) + (mantissa - 8)));
}

class HostKernels {
 public:
  // Puts a host function behind each of `sources` that has one (all but those that only measure).
  static void Install(const std::vector<KernelSource>& sources) {
    for (const KernelSource& source : sources)
      FakeDriver::Get().bound_kernels[source.entry] =
          [source, d = Defines(source)](const abi::LaunchConfig& config, void** parameters) {
            LATHE_CHECK_EQ(static_cast<int>(config.block_x), source.threads);
            return Bind(source.file, d, config, parameters);
          };
  }

 private:
  using Macros = std::map<std::string, int>;
  using Grid = abi::LaunchConfig;

  static Macros Defines(const KernelSource& source) {
    Macros out;
    for (const std::string& define : source.defines) {
      const size_t equals = define.find('=');
      out[define.substr(0, equals)] = std::stoi(define.substr(equals + 1));
    }
    return out;
  }
  template <typename T>
  static T Copy(void* parameter) {
    T value;
    std::memcpy(&value, parameter, sizeof(T));
    return value;
  }

  static std::function<void()> Bind(const std::string& file, const Macros& d, const Grid& g, void** p) {
    if (file == "embed.cu") return [=, a = Copy<EmbedParams>(p[0])] { Embed(d, g, a); };
    if (file == "norm.cu") return [=, a = Copy<NormParams>(p[0])] { Norm(d, g, a); };
    if (file == "select_rows.cu") return [=, a = Copy<SelectParams>(p[0])] { Select(g, a); };
    if (file == "quantize.cu") return [=, a = Copy<QuantizeParams>(p[0])] { Quantize(d, g, a); };
    if (file == "rope_table.cu") return [=, a = Copy<RopeTableParams>(p[0])] { RopeTable(d, a); };
    if (file == "rope_append.cu") return [=, a = Copy<RopeParams>(p[0])] { Rope(d, a); };
    if (file == "widen_pages.cu") return [=, a = Copy<WidenParams>(p[0])] { Widen(d, g, a); };
    if (file == "attention_decode.cu") return [=, a = Copy<DecodeParams>(p[0])] { Decode(d, g, a); };
    if (file == "attention_prompt.cu")
      return [=, a = Copy<PromptParams>(p[0])] { Prompt(d, g, a, static_cast<int>(g.block_x) / 2); };
    if (file == "attention_prompt_sm90.cu") {
      auto a = Copy<PromptParams>(p[1]);
      a.kv = reinterpret_cast<const void*>(Copy<abi::TensorMap>(p[0]).opaque[0]);
      return [=] { Prompt(d, g, a, 128); };
    }
    if (file == "gemm_wgmma.cu" || file == "gemm_prompt.cu") {
      auto a = Copy<GemmArgs>(p[2]);
      a.w = Copy<abi::TensorMap>(p[0]).opaque[0];
      a.x = Copy<abi::TensorMap>(p[1]).opaque[0];
      LATHE_CHECK_EQ(Copy<abi::TensorMap>(p[0]).opaque[2], static_cast<uint64_t>(a.n));
      LATHE_CHECK_LE(static_cast<uint64_t>(a.m), Copy<abi::TensorMap>(p[1]).opaque[2]);
      if (d.at("EPILOGUE") >= LATHE_GEMM_ROPE_BF16)
        return [=, rope = Copy<GemmRope>(p[3])] { MatmulRope(d, a, rope); };
      return [=] { Matmul(d, a); };
    }
    if (file == "gemm_stream.cu" || file == "gemm_mma.cu") {
      const auto a = Copy<GemmArgs>(p[0]);
      if (file == "gemm_stream.cu") LATHE_CHECK_LE(a.m, d.at("TOKENS"));
      return [=] { Matmul(d, a); };
    }
    if (file == "sample.cu") return [=, a = Copy<SampleLaunch>(p[0])] { Sample(d, g, a); };
    LATHE_CHECK(false);
  }

  // ---- elements ----
  // The engine's 16-bit type.
  struct Sixteen {
    bool f16;
    float Get(const void* data, int64_t i) const {
      return f16 ? ToFloat(static_cast<const Half*>(data)[i]) : ToFloat(static_cast<const Bf16*>(data)[i]);
    }
    void Set(void* data, int64_t i, double v) const {
      if (f16)
        static_cast<Half*>(data)[i] = ToHalf(static_cast<float>(v));
      else
        static_cast<Bf16*>(data)[i] = ToBf16(static_cast<float>(v));
    }
  };
  static Sixteen SixteenOf(const Macros& d) { return {d.at("F16") != 0}; }
  static float F8(const void* data, int64_t i) { return E4m3ToFloat(static_cast<const uint8_t*>(data)[i]); }
  // A row in e4m3 with its scale.
  static void SetF8Row(void* data, int64_t at, const std::vector<double>& row, float* scale) {
    double largest = 0;
    for (const double v : row) largest = std::max(largest, std::fabs(v));
    *scale = largest > 0 ? static_cast<float>(largest / 448) : 1;
    for (size_t i = 0; i < row.size(); ++i)
      static_cast<uint8_t*>(data)[at + static_cast<int64_t>(i)] =
          FloatToE4m3(static_cast<float>(row[i] / static_cast<double>(*scale)));
  }

  // ---- the ops ----
  static void Embed(const Macros& d, const Grid& g, const EmbedParams& p) {
    const int hidden = d.at("HIDDEN");
    const Sixteen bits = SixteenOf(d);
    for (int64_t row = 0; row < g.grid_x; ++row) {
      const int token = p.rows[row].token;
      const int64_t id = token < 0 ? std::max(0, p.previous[~token].id) : token;
      for (int i = 0; i < hidden; ++i) p.residual[row * hidden + i] = bits.Get(p.table, id * hidden + i);
    }
  }

  static void Norm(const Macros& d, const Grid& g, const NormParams& p) {
    const int hidden = d.at("HIDDEN");
    const Sixteen bits = SixteenOf(d);
    for (int64_t row = 0; row < g.grid_x; ++row) {
      const int64_t in = (d.at("GATHER") != 0 ? p.rows[row] : row) * hidden;
      std::vector<double> x(static_cast<size_t>(hidden));
      double squares = 0;
      for (int i = 0; i < hidden; ++i) {
        float v = p.residual[in + i];
        if (d.at("DELTA") == 1) v += bits.Get(p.delta, in + i);
        if (d.at("DELTA") == 2) v += static_cast<const float*>(p.delta)[in + i];
        if (d.at("DELTA") != 0 && d.at("GATHER") == 0) p.residual[in + i] = v;
        x[static_cast<size_t>(i)] = v;
        squares += static_cast<double>(v) * v;
      }
      for (int i = 0; i < hidden; ++i)
        x[static_cast<size_t>(i)] *= p.gain[i] / std::sqrt(squares / hidden + static_cast<double>(p.eps));
      Store(d.at("OUT"), bits, p.out, row, x, p.scales);
    }
  }
  // As NormVariant::Out.
  static void Store(int type, Sixteen bits, void* out, int64_t row, const std::vector<double>& x,
                    float* scales) {
    const auto n = static_cast<int64_t>(x.size());
    if (type == 2) return SetF8Row(out, row * n, x, scales + row);
    for (int64_t i = 0; i < n; ++i) {
      if (type == 1) bits.Set(out, row * n + i, x[static_cast<size_t>(i)]);
      if (type == 3) static_cast<float*>(out)[row * n + i] = static_cast<float>(x[static_cast<size_t>(i)]);
    }
  }

  static void Quantize(const Macros& d, const Grid& g, const QuantizeParams& p) {
    const int n = d.at("COLUMNS");
    const Sixteen bits = SixteenOf(d);
    std::vector<double> x(static_cast<size_t>(n));
    for (int64_t row = 0; row < g.grid_x; ++row) {
      for (int i = 0; i < n; ++i) x[static_cast<size_t>(i)] = bits.Get(p.in, row * n + i);
      SetF8Row(p.out, row * n, x, p.scales + row);
    }
  }

  static void Select(const Grid& g, const SelectParams& p) {
    for (int64_t row = 0; row < g.grid_x; ++row)
      std::memcpy(static_cast<char*>(p.out) + row * p.row_bytes,
                  static_cast<const char*>(p.in) + p.rows[row] * p.row_bytes,
                  static_cast<size_t>(p.row_bytes));
  }

  static void RopeTable(const Macros& d, const RopeTableParams& p) {
    const int half = d.at("ROTARY_DIM") / 2;
    for (int i = 0; i < p.n_rows * half; ++i) {
      const StepRow& row = p.rows[i / half];
      const float angle = static_cast<float>(row.position) * p.inv_freq[row.rope * half + i % half];
      p.cos[i] = std::cos(angle) * p.attention_factor;
      p.sin[i] = std::sin(angle) * p.attention_factor;
    }
  }

  static void Rope(const Macros& d, const RopeParams& p) {
    for (int64_t row = 0; row < p.n_rows; ++row)
      for (int head = 0; head < p.n_heads + 2 * p.n_kv_heads; ++head)
        StoreHead(d, p, row, head, p.rows[row].kv_slot, p.q, MakeHead(d, p, row, head));
  }
  static std::vector<double> MakeHead(const Macros& d, const RopeParams& p, int64_t row, int head) {
    const int dim = d.at("HEAD_DIM"), half = d.at("ROTARY_DIM") / 2;
    const int64_t from = (row * (p.n_heads + 2 * p.n_kv_heads) + head) * dim;
    std::vector<double> h;
    for (int i = 0; i < dim; ++i)
      h.push_back(d.at("QKV_F32") != 0 ? static_cast<const float*>(p.qkv)[from + i]
                                       : SixteenOf(d).Get(p.qkv, from + i));
    const bool is_q = head < p.n_heads, is_v = head >= p.n_heads + p.n_kv_heads;
    if (d.at("QK_NORM") != 0 && !is_v) {
      double squares = 0;
      for (const double v : h) squares += v * v;
      for (int i = 0; i < dim; ++i)
        h[static_cast<size_t>(i)] *=
            (is_q ? p.q_gain : p.k_gain)[i] / std::sqrt(squares / dim + static_cast<double>(p.eps));
    }
    for (int i = 0; i < half && !is_v; ++i) {
      double &a = h[static_cast<size_t>(i)], &b = h[static_cast<size_t>(i + half)];
      const double c = p.cos[row * half + i], s = p.sin[row * half + i], x = a;
      a = x * c - b * s;
      b = b * c + x * s;
    }
    return h;
  }
  // slot: where k and v go; negative: nowhere.
  static void StoreHead(const Macros& d, const RopeParams& p, int64_t row, int head, int slot, void* q,
                        const std::vector<double>& h) {
    const auto dim = static_cast<int64_t>(h.size());
    const Sixteen bits = SixteenOf(d);
    // What half does not hold of q and k is NaN.
    const auto marked = [&](int64_t i) {
      const double v = h[static_cast<size_t>(i)];
      const bool lost = bits.f16 && !IsFinite(ToHalf(static_cast<float>(v)));
      return lost ? std::numeric_limits<double>::quiet_NaN() : v;
    };
    if (head < p.n_heads) {
      for (int64_t i = 0; i < dim; ++i) bits.Set(q, (row * p.n_heads + head) * dim + i, marked(i));
      return;
    }
    if (slot < 0) return;
    const int part = head >= p.n_heads + p.n_kv_heads ? 1 : 0;
    const int64_t block =
        (int64_t{slot / kPageSize} * p.n_kv_heads + (head - p.n_heads) % p.n_kv_heads) * 2 + part;
    const int64_t to = (block * kPageSize + slot % kPageSize) * dim;
    for (int64_t i = 0; i < dim; ++i) {
      const double v = part == 1 ? h[static_cast<size_t>(i)] : marked(i);
      if (d.at("KV_FP8") != 0)
        static_cast<uint8_t*>(p.kv)[to + i] =
            FloatToE4m3(static_cast<float>(v) * (part == 1 ? p.inverse_v_scale : p.inverse_k_scale));
      else
        bits.Set(p.kv, to + i, v);
    }
  }

  static void Widen(const Macros& d, const Grid& g, const WidenParams& p) {
    const int64_t n = d.at("PAGE_ELEMENTS");
    const Sixteen bits = SixteenOf(d);
    for (int64_t i = 0; i < std::min<int64_t>(g.grid_x, *p.n_pages); ++i)
      for (int64_t e = 0; e < n; ++e) bits.Set(p.out, i * n + e, F8(p.kv, p.pages[i] * n + e));
  }

  // One query over keys [begin, end): not normalised output, maximum (base 2) and sum.
  struct Part {
    std::vector<double> out;
    double max = -1e30, sum = 0;
  };
  struct Keys {
    const void* kv;
    bool fp8;
    Sixteen bits;
    const int* pages;
    int n_kv_heads, dim;
    // The elements of one key (part 0) or value.
    void Row(int part, int head, int key, std::vector<float>* out) const {
      const int64_t block = (int64_t{pages[key / kPageSize]} * n_kv_heads + head) * 2 + part;
      const int64_t at = (block * kPageSize + key % kPageSize) * dim;
      out->resize(static_cast<size_t>(dim));
      for (int i = 0; i < dim; ++i)
        (*out)[static_cast<size_t>(i)] = fp8 ? F8(kv, at + i) : bits.Get(kv, at + i);
    }
  };
  static Part Attend(const Keys& keys, const void* q, int64_t q_at, int head, int begin, int end,
                     double scale) {
    Part part{std::vector<double>(static_cast<size_t>(keys.dim), 0.0)};
    std::vector<double> scores;
    std::vector<float> row;
    for (int key = begin; key < end; ++key) {
      keys.Row(0, head, key, &row);
      double s = 0;
      for (int i = 0; i < keys.dim; ++i)
        s += static_cast<double>(keys.bits.Get(q, q_at + i)) *
             static_cast<double>(row[static_cast<size_t>(i)]);
      scores.push_back(s * scale);
      part.max = std::max(part.max, s * scale);
    }
    for (int key = begin; key < end; ++key) {
      keys.Row(1, head, key, &row);
      const double w = std::exp2(scores[static_cast<size_t>(key - begin)] - part.max);
      part.sum += w;
      for (size_t i = 0; i < row.size(); ++i) part.out[i] += w * static_cast<double>(row[i]);
    }
    return part;
  }
  // Row `at` of the partial results.
  static void StorePart(const Part& part, float* out, float* state, int64_t at) {
    const auto dim = static_cast<int64_t>(part.out.size());
    for (int64_t i = 0; i < dim; ++i)
      out[at * dim + i] = static_cast<float>(part.out[static_cast<size_t>(i)]);
    state[at * 2] = static_cast<float>(part.max);
    state[at * 2 + 1] = static_cast<float>(part.sum);
  }
  static Part MergeParts(const float* out, const float* state, int64_t at, int64_t step, int n, int dim) {
    Part all{std::vector<double>(static_cast<size_t>(dim), 0.0)};
    for (int i = 0; i < n; ++i) all.max = std::max(all.max, static_cast<double>(state[(at + i * step) * 2]));
    for (int i = 0; i < n; ++i) {
      const int64_t row = at + i * step;
      const double w = std::exp2(static_cast<double>(state[row * 2]) - all.max);
      all.sum += w * static_cast<double>(state[row * 2 + 1]);
      for (int e = 0; e < dim; ++e)
        all.out[static_cast<size_t>(e)] += w * static_cast<double>(out[row * dim + e]);
    }
    return all;
  }
  static void StoreOut(const Part& part, Sixteen bits, float v_scale, void* out, int64_t at) {
    for (size_t i = 0; i < part.out.size(); ++i)
      bits.Set(out, at + static_cast<int64_t>(i), part.out[i] / part.sum * static_cast<double>(v_scale));
  }

  // What rope_append would do for the rows of all pieces, into *q; the piece with a row's last page appends.
  static const void* MakeQueries(const Macros& d, const Grid& g, const DecodeParams& p,
                                 std::vector<uint16_t>* q) {
    const int dim = d.at("HEAD_DIM"), heads = p.rope.n_heads;
    LATHE_CHECK_EQ(p.rope.n_kv_heads, p.n_kv_heads);
    LATHE_CHECK_EQ(p.rope.kv, p.kv);
    for (int i = p.column_first[0]; i < p.column_first[g.grid_x]; ++i) {
      const DecodePiece& piece = p.pieces[i];
      q->resize(std::max(q->size(), static_cast<size_t>((piece.row + 1) * heads * dim)));
      const int place = piece.n_keys - 1, page = place / kPageSize;
      const bool last = page < piece.first_page + piece.n_pages;
      const int slot = last ? p.pages[piece.pages_at + page] * kPageSize + place % kPageSize : -1;
      for (int head = 0; head < heads + 2 * p.n_kv_heads; ++head)
        StoreHead(d, p.rope, piece.row, head, slot, q->data(), MakeHead(d, p.rope, piece.row, head));
    }
    return q->data();
  }

  static void Decode(const Macros& d, const Grid& g, const DecodeParams& p) {
    const int dim = d.at("HEAD_DIM"), group = d.at("GROUP"), heads = group * p.n_kv_heads;
    LATHE_CHECK_EQ(static_cast<int>(g.grid_y), p.n_kv_heads);
    std::vector<uint16_t> made;  // q that is made here
    const void* queries = p.q;
    if (d.at("ROPE") != 0) queries = MakeQueries(d, g, p, &made);
    for (int i = p.column_first[0]; i < p.column_first[g.grid_x]; ++i) {
      const DecodePiece& piece = p.pieces[i];
      const Keys keys{p.kv, d.at("KV_FP8") != 0, SixteenOf(d), p.pages + piece.pages_at, p.n_kv_heads, dim};
      const int begin = std::max(piece.first_key, piece.first_page * kPageSize);
      const int end = std::min(piece.n_keys, (piece.first_page + piece.n_pages) * kPageSize);
      for (int kv_head = 0; kv_head < p.n_kv_heads; ++kv_head) {
        const auto q_at = [&](int h) { return (int64_t{piece.row} * heads + kv_head * group + h) * dim; };
        for (int h = 0; h < group; ++h) {
          const Part part = Attend(keys, queries, q_at(h), kv_head, begin, end, static_cast<double>(p.scale));
          if (piece.slot < 0)
            StoreOut(part, keys.bits, p.v_scale, p.out, q_at(h));
          else
            StorePart(part, p.partial_out, p.partial_state,
                      (int64_t{piece.slot} * p.n_kv_heads + kv_head) * group + h);
        }
        if (piece.slot < 0) continue;
        unsigned& counter = p.counters[piece.counter * p.n_kv_heads + kv_head];
        if (++counter < static_cast<unsigned>(piece.n_parts)) continue;
        counter = 0;
        for (int h = 0; h < group; ++h)
          StoreOut(MergeParts(p.partial_out, p.partial_state,
                              (int64_t{piece.first_slot} * p.n_kv_heads + kv_head) * group + h,
                              int64_t{p.n_kv_heads} * group, piece.n_parts, dim),
                   keys.bits, p.v_scale, p.out, q_at(h));
      }
    }
  }

  static void Prompt(const Macros& d, const Grid&, const PromptParams& p, int tile_rows) {
    const int dim = d.at("HEAD_DIM"), group = d.at("GROUP"), heads = group * p.n_kv_heads;
    for (int t = 0; t < *p.n_tiles; ++t) {
      const PromptTile& tile = p.tiles[t];
      const Keys keys{p.kv, false, SixteenOf(d), p.pages + tile.pages_at, p.n_kv_heads, dim};
      const int rows = std::min(tile_rows, tile.n_rows * group - tile.packed_row);
      for (int kv_head = 0; kv_head < p.n_kv_heads; ++kv_head) {
        const auto q_at = [&](int r) {
          const int packed = tile.packed_row + r;
          return (int64_t{tile.first_row + packed / group} * heads + kv_head * group + packed % group) * dim;
        };
        for (int r = 0; r < rows; ++r) {
          const int position = tile.first_position + (tile.packed_row + r) / group;
          const int begin = std::max(tile.first_page * kPageSize, p.window > 0 ? position - p.window + 1 : 0);
          const int end = std::max(begin, std::min(tile.end_page * kPageSize, position + 1));
          const Part part = Attend(keys, p.q, q_at(r), kv_head, begin, end, static_cast<double>(p.scale));
          if (tile.slot < 0)
            StoreOut(part, keys.bits, p.v_scale, p.out, q_at(r));
          else
            StorePart(part, p.partial_out, p.partial_state,
                      (int64_t{tile.slot} * p.n_kv_heads + kv_head) * 128 + r);
        }
        if (tile.slot < 0) continue;
        unsigned& counter = p.counters[tile.counter * p.n_kv_heads + kv_head];
        if (++counter < static_cast<unsigned>(tile.n_parts)) continue;
        counter = 0;
        for (int r = 0; r < rows; ++r)
          StoreOut(MergeParts(p.partial_out, p.partial_state,
                              (int64_t{tile.first_slot} * p.n_kv_heads + kv_head) * 128 + r,
                              int64_t{p.n_kv_heads} * 128, tile.n_parts, dim),
                   keys.bits, p.v_scale, p.out, q_at(r));
      }
    }
  }

  // (rows, k) of 16 bits or e4m3.
  static std::vector<float> Matrix(bool fp8, Sixteen bits, unsigned long long address, int64_t rows,
                                   int64_t k) {
    const auto* data = reinterpret_cast<const void*>(address);
    std::vector<float> out(static_cast<size_t>(rows * k));
    for (int64_t i = 0; i < rows * k; ++i)
      out[static_cast<size_t>(i)] = fp8 ? F8(data, i) : bits.Get(data, i);
    return out;
  }
  // What is multiplied, after the prologue.
  static std::vector<float> Tokens(const Macros& d, const GemmArgs& a, std::vector<float>* scales) {
    const auto found = d.find("PROLOGUE");
    const int prologue = found == d.end() ? LATHE_GEMM_PLAIN : found->second;
    const bool fp8 = d.at("TYPE") == LATHE_GEMM_E4M3;
    const Sixteen bits = SixteenOf(d);
    const int f16 = bits.f16 ? 1 : 0;
    scales->resize(static_cast<size_t>(a.m));
    if (prologue == LATHE_GEMM_PLAIN) {
      if (fp8) std::memcpy(scales->data(), reinterpret_cast<const void*>(a.x_scale), scales->size() * 4);
      return Matrix(fp8, bits, a.x, a.m, a.k);
    }
    LATHE_CHECK_EQ(d.at("K"), a.k);
    std::vector<uint16_t> rows(static_cast<size_t>(a.m) * static_cast<size_t>(a.k));  // room for either type
    Grid grid = {};
    grid.grid_x = static_cast<unsigned>(a.m);
    if (prologue != LATHE_GEMM_NORM) {
      Quantize({{"COLUMNS", a.k}, {"F16", f16}}, grid,
               {reinterpret_cast<const void*>(a.x), rows.data(), scales->data()});
    } else {
      NormParams norm = {};
      norm.residual = reinterpret_cast<float*>(a.x);
      norm.gain = reinterpret_cast<const float*>(a.gain);
      norm.out = rows.data();
      norm.scales = scales->data();
      norm.eps = a.eps;
      Norm({{"HIDDEN", a.k}, {"DELTA", 0}, {"OUT", fp8 ? 2 : 1}, {"GATHER", 0}, {"F16", f16}}, grid, norm);
    }
    return Matrix(fp8, bits, reinterpret_cast<unsigned long long>(rows.data()), a.m, a.k);
  }
  static void Matmul(const Macros& d, const GemmArgs& a) {
    const int epilogue = d.at("EPILOGUE");
    const bool fp8 = d.at("TYPE") == LATHE_GEMM_E4M3;
    const bool silu = epilogue == LATHE_GEMM_SILU_BF16 || epilogue == LATHE_GEMM_SILU_F16;
    const Sixteen bits = SixteenOf(d);
    std::vector<float> scales;  // of x
    const std::vector<float> x = Tokens(d, a, &scales), w = Matrix(fp8, bits, a.w, a.n, a.k);
    const auto product = [&](int64_t t, int64_t n) {
      const float *from = x.data() + t * a.k, *row = w.data() + n * a.k;
      double sum = 0;
      for (int64_t k = 0; k < a.k; ++k) sum += static_cast<double>(from[k]) * static_cast<double>(row[k]);
      if (fp8)
        sum *= static_cast<double>(scales[static_cast<size_t>(t)]) *
               static_cast<double>(reinterpret_cast<const float*>(a.w_scale)[n * a.w_scale_step]);
      return sum + (a.bias != 0 ? static_cast<double>(reinterpret_cast<const float*>(a.bias)[n]) : 0);
    };
    for (int64_t t = 0; t < a.m; ++t)
      for (int64_t c = 0; c < (silu ? a.n / 2 : a.n); ++c) {
        const int64_t at = t * a.y_stride + c, n = silu ? c / 64 * 128 + c % 64 : c;
        const double v = product(t, n);
        if (epilogue == LATHE_GEMM_F32) reinterpret_cast<float*>(a.y)[at] = static_cast<float>(v);
        if (epilogue == LATHE_GEMM_ADD_F32)
          reinterpret_cast<float*>(a.y)[at] =
              static_cast<float>(v) + reinterpret_cast<const float*>(a.residual)[at];
        if (epilogue == LATHE_GEMM_BF16_OUT || epilogue == LATHE_GEMM_F16_OUT)
          bits.Set(reinterpret_cast<void*>(a.y), at, v);
        if (silu) bits.Set(reinterpret_cast<void*>(a.y), at, v / (1 + std::exp(-v)) * product(t, n + 64));
      }
  }

  // The matmul to f32, and rope_append of that.
  static void MatmulRope(const Macros& d, const GemmArgs& a, const GemmRope& rope) {
    LATHE_CHECK_EQ(a.n, (rope.n_heads + 2 * rope.n_kv_heads) * 128);
    LATHE_CHECK_EQ(d.at("ROWS") % 128, 0);
    std::vector<float> qkv(static_cast<size_t>(a.m) * static_cast<size_t>(a.n));
    GemmArgs product = a;
    product.y = reinterpret_cast<unsigned long long>(qkv.data());
    product.y_stride = a.n;
    Macros plain = d;
    plain["EPILOGUE"] = LATHE_GEMM_F32;
    Matmul(plain, product);
    Rope({{"HEAD_DIM", 128},
          {"ROTARY_DIM", 128},
          {"QKV_F32", 1},
          {"QK_NORM", 0},
          {"F16", 0},
          {"KV_FP8", d.at("EPILOGUE") == LATHE_GEMM_ROPE_E4M3}},
         {.rows = reinterpret_cast<const StepRow*>(rope.rows),
          .qkv = qkv.data(),
          .bias = nullptr,
          .q_gain = nullptr,
          .k_gain = nullptr,
          .cos = reinterpret_cast<const float*>(rope.cos),
          .sin = reinterpret_cast<const float*>(rope.sin),
          .q = reinterpret_cast<void*>(a.y),
          .kv = reinterpret_cast<void*>(rope.kv),
          .eps = 0,
          .inverse_k_scale = 1,
          .inverse_v_scale = 1,
          .n_rows = a.m,
          .n_heads = rope.n_heads,
          .n_kv_heads = rope.n_kv_heads});
  }

  static void Sample(const Macros& d, const Grid& g, const SampleLaunch& launch) {
    const int vocab = d.at("VOCAB");
    for (int row = 0; row < static_cast<int>(g.grid_x) / d.at("BLOCKS"); ++row) {
      const SampleParams& p = launch.params[row];
      SampleRow ask;
      ask.temperature = p.temperature;
      ask.top_k = p.top_k;
      ask.top_p = p.top_p;
      ask.min_p = p.min_p;
      ask.repetition_penalty = p.repetition_penalty;
      ask.frequency_penalty = p.frequency_penalty;
      ask.presence_penalty = p.presence_penalty;
      ask.seed = p.seed;
      ask.counter = p.counter;
      ask.n_top_logprobs = p.n_top_logprobs;
      ask.want_logprob = p.want_logprob != 0;
      ask.counts = reinterpret_cast<const TokenCount*>(launch.step + p.counts_at);
      ask.n_counts = p.n_counts;
      ask.biases = reinterpret_cast<const TokenBias*>(launch.step + p.biases_at);
      ask.n_biases = p.n_biases;
      if (p.mask_at >= 0) ask.mask = reinterpret_cast<const uint32_t*>(launch.step + p.mask_at);
      std::vector<TokenLogprob> top(static_cast<size_t>(kMaxTopLogprobs));
      const SampleResult result = ref::Sample(launch.logits + row * launch.ld, vocab, ask, top.data());
      launch.out[row] = {result.id, result.logprob, result.finite ? 1 : 0, result.n_top};
      for (int i = 0; i < result.n_top; ++i)
        launch.top[row * kMaxTopLogprobs + i] = {top[static_cast<size_t>(i)].id,
                                                 top[static_cast<size_t>(i)].logprob};
    }
  }
};

}  // namespace lathe::cuda::testing
