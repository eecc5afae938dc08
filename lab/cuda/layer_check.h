// Checks of the kernels between the products, and of products that do their work, against the reference.
#pragma once

#include <limits>
#include <numeric>

#include "base/file.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/layer_ops.h"
#include "kernels/cuda/sample.h"
#include "kernels/ref/ref.h"
#include "lab/cuda/lab.h"

namespace lathe::cuda {
namespace {  // of the one program that includes this

constexpr double kReadGbps = 4458, kCopyGbps = 4274;  // measured on the H200

std::vector<uint16_t> Round(const std::vector<float>& from, bool f16) {
  std::vector<uint16_t> out;
  for (const float v : from) out.push_back(Round16(v, f16));
  return out;
}
std::vector<float> Normals(size_t n, float deviation, Rng* rng) {
  std::vector<float> out(n);
  for (float& v : out) v = rng->Normal() * deviation;
  return out;
}

struct LayerChecks {
  Lab lab = Lab::Open();
  Json json = Json::object();
  int failures = 0;

  void Report(const std::string& name, double error, double limit) {
    const bool ok = error < limit;
    if (!ok) ++failures;
    std::printf("check %-60s %.2e %s\n", name.c_str(), error, ok ? "ok" : "WRONG");
    json["checks"].push_back({{"name", name}, {"error", error}, {"ok", ok}});
  }
  // Relative error of rows of `columns`, the worst of them.
  template <typename Got, typename Ref>
  double Worst(size_t rows, size_t columns, const Got& got, const Ref& ref) {
    double worst = 0;
    for (size_t r = 0; r < rows; ++r) {
      Error2 error;
      for (size_t c = 0; c < columns; ++c) error.Add(got(r * columns + c), ref(r * columns + c));
      const double e = error.Relative();
      worst = e <= worst ? worst : e;
    }
    return worst;
  }

  void CheckNorm(int hidden, NormVariant::Delta delta, NormVariant::Out out_type, bool gather, uint64_t seed,
                 bool f16 = false) {
    Rng rng(seed);
    const int rows = 37, out_rows = gather ? 11 : rows, parts = delta == NormVariant::kF32Delta ? 3 : 1;
    const auto n = static_cast<size_t>(rows) * static_cast<size_t>(hidden);
    const std::vector<float> residual = Normals(n, 3, &rng),
                             gain = Normals(static_cast<size_t>(hidden), 1, &rng);
    const std::vector<float> d = Normals(n * static_cast<size_t>(parts), 1, &rng);
    const std::vector<uint16_t> d16 = Round(d, f16);
    std::vector<int> picks;
    for (int i = 0; i < out_rows; ++i) picks.push_back(gather ? static_cast<int>(rng.Below(rows)) : i);
    const NormVariant variant{hidden, delta, out_type, gather, f16};
    const DeviceBuffer r = lab.Put(residual), g = lab.Put(gain),
                       db = delta == NormVariant::k16Delta ? lab.Put(d16) : lab.Put(d), p = lab.Put(picks),
                       scales = lab.Allocate(rows * 4), out = lab.Allocate(static_cast<int64_t>(n) * 4);
    lab.FillBytes(out, 0xff);
    const NormParams params = {Pointer<float>(r),
                               Pointer<void>(db),
                               Pointer<float>(g),
                               Pointer<void>(out),
                               Pointer<float>(scales),
                               Pointer<int>(p),
                               static_cast<long long>(n),
                               parts,
                               1e-5F};
    Lab::Must(LaunchNorm(lab.Get(NormKernel(variant)), variant, params, out_rows, lab.stream(), false));
    std::vector<double> sum(n), ref(static_cast<size_t>(out_rows * hidden));
    for (size_t i = 0; i < n; ++i) {
      sum[i] = residual[i];
      if (delta == NormVariant::k16Delta) sum[i] += Wide16(d16[i], f16);
      if (delta == NormVariant::kF32Delta) sum[i] += static_cast<double>(d[i]) + d[n + i] + d[2 * n + i];
    }
    for (int i = 0; i < out_rows; ++i) {
      const double* row =
          &sum[static_cast<size_t>(picks[static_cast<size_t>(i)]) * static_cast<size_t>(hidden)];
      double squares = 0;
      for (int c = 0; c < hidden; ++c) squares += row[c] * row[c];
      for (int c = 0; c < hidden; ++c)
        ref[static_cast<size_t>(i * hidden + c)] =
            row[c] / std::sqrt(squares / hidden + 1e-5) * gain[static_cast<size_t>(c)];
    }
    const std::string name = StrFormat("norm %d delta %d out %d%s%s", hidden, delta, out_type,
                                       gather ? " gather" : "", f16 ? " f16" : "");
    const auto value = Read(out, ref.size(), out_type, scales, static_cast<size_t>(hidden), f16);
    const double limit = out_type == NormVariant::kE4m3 ? 4e-2
                         : out_type == NormVariant::k16 ? Limit16(f16)
                                                        : 1e-5;
    Report(name,
           Worst(
               static_cast<size_t>(out_rows), static_cast<size_t>(hidden), [&](size_t i) { return value[i]; },
               [&](size_t i) { return ref[i]; }),
           limit);
    const std::vector<float> after = lab.Fetch<float>(r, n);
    Report(name + ": residual",
           Worst(
               1, n, [&](size_t i) { return after[i]; },
               [&](size_t i) { return gather ? residual[i] : sum[i]; }),
           1e-6);
  }
  std::vector<double> Read(const DeviceBuffer& out, size_t n, NormVariant::Out type,
                           const DeviceBuffer& scales, size_t columns, bool f16) {
    std::vector<double> value(n);
    if (type == NormVariant::kF32) {
      const auto got = lab.Fetch<float>(out, n);
      for (size_t i = 0; i < n; ++i) value[i] = got[i];
    } else if (type == NormVariant::k16) {
      const auto got = lab.Fetch<uint16_t>(out, n);
      for (size_t i = 0; i < n; ++i) value[i] = Wide16(got[i], f16);
    } else {
      const auto got = lab.Fetch<uint8_t>(out, n);
      const auto scale = lab.Fetch<float>(scales, n / columns);
      for (size_t i = 0; i < n; ++i) value[i] = static_cast<double>(E4m3ToFloat(got[i])) * scale[i / columns];
    }
    return value;
  }

  void CheckEmbed(bool f16) {
    Rng rng(5);
    const int hidden = 4096, vocab = 50, rows = 9;
    const std::vector<uint16_t> table = Round(Normals(static_cast<size_t>(vocab * hidden), 1, &rng), f16);
    std::vector<StepRow> step;
    std::vector<SampledRow> previous = {{3, 0, 1, 0}, {49, 0, 1, 0}};
    for (int i = 0; i < rows; ++i) step.push_back({i < 2 ? ~i : static_cast<int>(rng.Below(vocab)), i, i, 0});
    const DeviceBuffer t = lab.Put(table), s = lab.Put(step), p = lab.Put(previous),
                       out = lab.Allocate(rows * hidden * 4);
    lab.FillBytes(out, 0xff);
    Lab::Must(
        LaunchEmbed(lab.Get(EmbedKernel(hidden, f16 ? DType::kF16 : DType::kBf16)),
                    {Pointer<StepRow>(s), Pointer<SampledRow>(p), Pointer<void>(t), Pointer<float>(out)},
                    rows, lab.stream(), false));
    const auto got = lab.Fetch<float>(out, static_cast<size_t>(rows * hidden));
    Report(f16 ? "embed f16" : "embed",
           Worst(
               rows, hidden, [&](size_t i) { return got[i]; },
               [&](size_t i) {
                 const int token = step[i / hidden].token;
                 const int id = token < 0 ? previous[static_cast<size_t>(~token)].id : token;
                 return Wide16(table[static_cast<size_t>(id) * hidden + i % hidden], f16);
               }),
           1e-9);
  }

  void CheckRope(const RopeVariant& v, int n_heads, int n_kv_heads, uint64_t seed) {
    Rng rng(seed);
    const int rows = 23, dim = v.head_dim, half = v.rotary_dim / 2, heads = n_heads + 2 * n_kv_heads,
              n_pages = 5;
    std::vector<StepRow> step;
    for (int i = 0; i < rows; ++i)
      step.push_back({0, static_cast<int>(rng.Below(131072)), i == 4 ? -1 : (i * 13) % (n_pages * kPageSize),
                      static_cast<int>(rng.Below(2))});
    std::vector<float> freqs(static_cast<size_t>(2 * half));
    for (size_t i = 0; i < freqs.size(); ++i)
      freqs[i] = static_cast<float>(std::pow(i < static_cast<size_t>(half) ? 5e5 : 1e4,
                                             -static_cast<double>(i % static_cast<size_t>(half)) / half));
    const auto n = static_cast<size_t>(rows * heads * dim);
    const std::vector<float> in = Normals(n, 2, &rng),
                             bias = Normals(static_cast<size_t>(heads * dim), 1, &rng),
                             q_gain = Normals(static_cast<size_t>(dim), 1, &rng),
                             k_gain = Normals(static_cast<size_t>(dim), 1, &rng);
    const std::vector<uint16_t> in16 = Round(in, v.f16);
    const int64_t kv_elements = int64_t{n_pages} * 2 * n_kv_heads * kPageSize * dim;
    const DeviceBuffer s = lab.Put(step), f = lab.Put(freqs), x = v.qkv_f32 ? lab.Put(in) : lab.Put(in16),
                       b = lab.Put(bias), qg = lab.Put(q_gain), kg = lab.Put(k_gain),
                       cos = lab.Allocate(rows * half * 4), sin = lab.Allocate(rows * half * 4),
                       q = lab.Allocate(rows * n_heads * dim * 2), kv = lab.Allocate(kv_elements * 2);
    lab.FillBytes(q, 0xff);
    lab.FillBytes(kv, 0xff);
    Lab::Must(LaunchRopeTable(
        lab.Get(RopeTableKernel(v.rotary_dim)), v.rotary_dim,
        {Pointer<StepRow>(s), Pointer<float>(f), Pointer<float>(cos), Pointer<float>(sin), 1.1F, rows},
        lab.stream(), false));
    const float inverse_k = 2.5F, inverse_v = 0.7F;
    const RopeParams params = {Pointer<StepRow>(s),
                               Pointer<void>(x),
                               Pointer<float>(b),
                               Pointer<float>(qg),
                               Pointer<float>(kg),
                               Pointer<float>(cos),
                               Pointer<float>(sin),
                               Pointer<void>(q),
                               Pointer<void>(kv),
                               1e-6F,
                               inverse_k,
                               inverse_v,
                               rows,
                               n_heads,
                               n_kv_heads};
    Lab::Must(LaunchRope(lab.Get(RopeKernel(v)), v, params, lab.stream(), true));
    const auto got_q = lab.Fetch<uint16_t>(q, static_cast<size_t>(rows * n_heads * dim));
    const auto got_kv = lab.Fetch<uint8_t>(kv, static_cast<size_t>(kv_elements * (v.kv_fp8 ? 1 : 2)));
    Error2 error_q, error_kv;
    size_t written = 0;
    for (int row = 0; row < rows; ++row)
      for (int head = 0; head < heads; ++head) {
        std::vector<double> h(static_cast<size_t>(dim));
        const size_t at = static_cast<size_t>(row * heads + head) * static_cast<size_t>(dim);
        for (int d = 0; d < dim; ++d) {
          const auto i = static_cast<size_t>(d);
          h[i] = v.qkv_f32 ? in[at + i] : Wide16(in16[at + i], v.f16);
          if (v.bias) h[i] += bias[static_cast<size_t>(head * dim) + i];
        }
        const bool is_v = head >= n_heads + n_kv_heads;
        if (v.qk_norm && !is_v) {
          double squares = 0;
          for (const double e : h) squares += e * e;
          for (int d = 0; d < dim; ++d)
            h[static_cast<size_t>(d)] *=
                (head < n_heads ? q_gain : k_gain)[static_cast<size_t>(d)] / std::sqrt(squares / dim + 1e-6);
        }
        const StepRow& where = step[static_cast<size_t>(row)];
        for (int i = 0; i < half && !is_v; ++i) {
          const double angle =
              static_cast<float>(where.position) * freqs[static_cast<size_t>(where.rope * half + i)];
          const double c = std::cos(angle) * 1.1F, s1 = std::sin(angle) * 1.1F;
          const double a = h[static_cast<size_t>(i)], e = h[static_cast<size_t>(i + half)];
          h[static_cast<size_t>(i)] = a * c - e * s1;
          h[static_cast<size_t>(i + half)] = e * c + a * s1;
        }
        for (int d = 0; d < dim; ++d) {
          const double ref = h[static_cast<size_t>(d)];
          if (head < n_heads) {
            error_q.Add(Wide16(got_q[static_cast<size_t>((row * n_heads + head) * dim + d)], v.f16), ref);
            continue;
          }
          if (where.kv_slot < 0) continue;
          const int kv_head = (head - n_heads) % n_kv_heads;
          const int64_t block =
              (int64_t{where.kv_slot / kPageSize} * n_kv_heads + kv_head) * 2 + (is_v ? 1 : 0);
          const auto to = static_cast<size_t>((block * kPageSize + where.kv_slot % kPageSize) * dim + d);
          ++written;
          if (v.kv_fp8)
            error_kv.Add(static_cast<double>(E4m3ToFloat(got_kv[to])) / (is_v ? inverse_v : inverse_k), ref);
          else
            error_kv.Add(Wide16(static_cast<uint16_t>(got_kv[2 * to] | got_kv[2 * to + 1] << 8), v.f16), ref);
        }
      }
    size_t touched = 0;
    const size_t size = v.kv_fp8 ? 1 : 2;
    for (size_t i = 0; i < got_kv.size(); i += size)
      touched += got_kv[i] != 0xff || got_kv[i + size - 1] != 0xff;
    const std::string name = StrFormat("rope d%d r%d %d/%d%s%s%s%s%s", dim, v.rotary_dim, n_heads, n_kv_heads,
                                       v.qkv_f32 ? " f32" : "", v.bias ? " bias" : "",
                                       v.qk_norm ? " norm" : "", v.kv_fp8 ? " fp8" : "", v.f16 ? " f16" : "");
    Report(name + ": q", error_q.Relative(), Limit16(v.f16));
    Report(name + ": kv", error_kv.Relative(), v.kv_fp8 ? 4e-2 : Limit16(v.f16));
    Report(name + ": nothing else is written", touched > written ? 1 : 0, 0.5);
  }

  // What half does not hold: NaN of q and k, an infinity elsewhere.
  void CheckOverflow() {
    const RopeVariant v{64, 64, true, false, false, false, true};
    const int heads = 3;  // one each of q, k and v
    std::vector<float> in(static_cast<size_t>(heads * 64), 1.0F);
    for (int head = 0; head < heads; ++head) in[static_cast<size_t>(head * 64)] = -7e4F;
    const DeviceBuffer step = lab.Put(std::vector<StepRow>{{0, 0, 0, 0}}), x = lab.Put(in),
                       cos = lab.Put(std::vector<float>(32, 1.0F)),
                       sin = lab.Put(std::vector<float>(32, 0.0F)), q = lab.Allocate(64 * 2),
                       kv = lab.Allocate(2 * kPageSize * 64 * 2);
    const RopeParams params = {Pointer<StepRow>(step),
                               Pointer<void>(x),
                               nullptr,
                               nullptr,
                               nullptr,
                               Pointer<float>(cos),
                               Pointer<float>(sin),
                               Pointer<void>(q),
                               Pointer<void>(kv),
                               1e-6F,
                               1,
                               1,
                               1,
                               1,
                               1};
    Lab::Must(LaunchRope(lab.Get(RopeKernel(v)), v, params, lab.stream(), true));
    const auto of_q = lab.Fetch<uint16_t>(q, 64), of_kv = lab.Fetch<uint16_t>(kv, 2 * kPageSize * 64);
    const float q0 = HalfToFloat(of_q[0]), k0 = HalfToFloat(of_kv[0]),
                v0 = HalfToFloat(of_kv[kPageSize * 64]);
    const bool right = std::isnan(q0) && std::isnan(k0) && std::isinf(v0) && HalfToFloat(of_q[1]) == 1 &&
                       HalfToFloat(of_kv[1]) == 1 && HalfToFloat(of_kv[kPageSize * 64 + 1]) == 1;
    Report("rope f16: beyond 65504", right ? 0 : 1, 0.5);
  }

  void CheckActivation(const ActivationVariant& v) {
    Rng rng(11);
    const int rows = 13;
    const auto n = static_cast<size_t>(rows * v.ffn);
    const std::vector<uint16_t> in = Round(Normals(2 * n, 2, &rng), v.f16);
    const DeviceBuffer x = lab.Put(in), out = lab.Allocate(static_cast<int64_t>(n) * 2),
                       scales = lab.Allocate(rows * 4);
    lab.FillBytes(out, 0xff);
    Lab::Must(LaunchActivation(lab.Get(ActivationKernel(v)), v,
                               {Pointer<void>(x), Pointer<void>(out), Pointer<float>(scales)}, rows,
                               lab.stream(), false));
    const auto value = Read(out, n, v.out_fp8 ? NormVariant::kE4m3 : NormVariant::k16, scales,
                            static_cast<size_t>(v.ffn), v.f16);
    Report(
        StrFormat("%s %d%s%s", v.gelu ? "gelu" : "silu", v.ffn, v.out_fp8 ? " fp8" : "", v.f16 ? " f16" : ""),
        Worst(
            rows, static_cast<size_t>(v.ffn), [&](size_t i) { return value[i]; },
            [&](size_t i) {
              const size_t c = i % static_cast<size_t>(v.ffn);
              const size_t at =
                  i / static_cast<size_t>(v.ffn) * 2 * static_cast<size_t>(v.ffn) + c / 64 * 128 + c % 64;
              const double g = Wide16(in[at], v.f16), up = Wide16(in[at + 64], v.f16);
              const double a =
                  v.gelu ? 0.5 * g * (1 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)))
                         : g / (1 + std::exp(-g));
              return a * up;
            }),
        v.out_fp8 ? 4e-2 : Limit16(v.f16));
  }
  void CheckQuantize(bool f16) {
    Rng rng(12);
    const int rows = 7, columns = 4096;
    std::vector<uint16_t> in = Round(Normals(static_cast<size_t>(rows * columns), 1, &rng), f16);
    std::fill(in.begin() + columns, in.begin() + 2 * columns, uint16_t{0});
    const DeviceBuffer x = lab.Put(in), out = lab.Allocate(rows * columns), scales = lab.Allocate(rows * 4);
    Lab::Must(LaunchQuantize(lab.Get(QuantizeKernel(columns, f16)), columns,
                             {Pointer<void>(x), Pointer<void>(out), Pointer<float>(scales)}, rows,
                             lab.stream(), false));
    const auto value = Read(out, in.size(), NormVariant::kE4m3, scales, columns, f16);
    Report(
        f16 ? "quantize f16" : "quantize",
        Worst(
            rows, columns, [&](size_t i) { return value[i]; }, [&](size_t i) { return Wide16(in[i], f16); }),
        4e-2);
  }

  // A matmul that rotates and appends against one that does not and rope_append behind it.
  void CheckRopeGemm(const GemmTactic& tactic, bool fp8, uint64_t seed) {
    Rng rng(seed);
    const int m = 301, k = 512, n_heads = 6, n_kv_heads = 2, heads = n_heads + 2 * n_kv_heads, n_pages = 6;
    const int n = heads * kGemmRopeDim;
    const GemmType type = fp8 ? GemmType::kE4m3 : GemmType::kBf16;
    const GemmEpilogue epilogue = fp8 ? GemmEpilogue::kRopeE4m3 : GemmEpilogue::kRopeBf16;
    const GemmProblem problem{type, epilogue, m, n, k}, plain_problem{type, GemmEpilogue::kF32, m, n, k};
    lab.Prepare({GemmKernel(tactic, problem), GemmKernel(tactic, plain_problem)});
    const auto operand = [&](int rows) {
      const std::vector<float> values = Normals(static_cast<size_t>(rows) * k, 1, &rng);
      if (!fp8) return lab.Put(Round(values, false));
      std::vector<uint8_t> bytes;
      for (const float v : values) bytes.push_back(FloatToE4m3(v));
      return lab.Put(bytes);
    };
    std::vector<StepRow> step;
    for (int i = 0; i < m; ++i) step.push_back({0, i, i == 4 ? -1 : (i * 13) % (n_pages * kPageSize), 0});
    std::vector<float> angles = Normals(static_cast<size_t>(m) * 64, 1, &rng), sines = angles;
    for (float& v : sines) v = std::sin(v);
    for (float& v : angles) v = std::cos(v);
    const int64_t kv_bytes = int64_t{n_pages} * 2 * n_kv_heads * kPageSize * kGemmRopeDim * (fp8 ? 1 : 2);
    const size_t q_count = static_cast<size_t>(m) * n_heads * kGemmRopeDim;
    const DeviceBuffer x = operand(m), w = operand(n), s = lab.Put(step), cos = lab.Put(angles),
                       sin = lab.Put(sines), bias = lab.Put(Normals(static_cast<size_t>(n), 3, &rng)),
                       w_scale = lab.Put(Normals(static_cast<size_t>(n), 0.3F, &rng)),
                       x_scale = lab.Put(Normals(m, 0.3F, &rng)), qkv = lab.Allocate(int64_t{m} * n * 4);
    DeviceBuffer q[2], kv[2];
    for (int i = 0; i < 2; ++i) {
      q[i] = lab.Allocate(static_cast<int64_t>(q_count) * 2);
      kv[i] = lab.Allocate(kv_bytes);
      lab.FillBytes(q[i], 0xff);
      lab.FillBytes(kv[i], 0xff);
    }
    GemmArgs args = {};
    args.w = w.address(), args.x = x.address(), args.y = qkv.address(), args.bias = bias.address();
    args.w_scale = w_scale.address(), args.x_scale = x_scale.address(), args.w_scale_step = 1;
    args.m = m, args.n = n, args.k = k, args.y_stride = n;
    const Gemm plain =
        Lab::Must(Gemm::Bind(lab.Get(GemmKernel(tactic, plain_problem)), tactic, plain_problem, args));
    Lab::Must(plain.Launch(m, lab.stream(), false));
    const RopeVariant v{kGemmRopeDim, kGemmRopeDim, true, false, false, fp8};
    const RopeParams params = {Pointer<StepRow>(s),
                               Pointer<void>(qkv),
                               nullptr,
                               nullptr,
                               nullptr,
                               Pointer<float>(cos),
                               Pointer<float>(sin),
                               Pointer<void>(q[0]),
                               Pointer<void>(kv[0]),
                               1e-6F,
                               1,
                               1,
                               m,
                               n_heads,
                               n_kv_heads};
    Lab::Must(LaunchRope(lab.Get(RopeKernel(v)), v, params, lab.stream(), true));
    args.y = q[1].address(), args.y_stride = n_heads * kGemmRopeDim;
    const Gemm fused = Lab::Must(
        Gemm::Bind(lab.Get(GemmKernel(tactic, problem)), tactic, problem, args,
                   {s.address(), cos.address(), sin.address(), kv[1].address(), n_heads, n_kv_heads}));
    Lab::Must(fused.Launch(m, lab.stream(), true));
    // Rounding aside, the same values at the same places, and nothing anywhere else.
    Error2 error;
    size_t misplaced = 0;
    const auto want_q = lab.Fetch<Bf16>(q[0], q_count), got_q = lab.Fetch<Bf16>(q[1], q_count);
    for (size_t i = 0; i < q_count; ++i) error.Add(ToFloat(got_q[i]), ToFloat(want_q[i]));
    const auto bytes = static_cast<size_t>(kv_bytes);
    const auto want_kv = lab.Fetch<uint8_t>(kv[0], bytes), got_kv = lab.Fetch<uint8_t>(kv[1], bytes);
    const auto value = [&](const std::vector<uint8_t>& from, size_t i) {
      if (fp8) return E4m3ToFloat(from[i]);
      Bf16 v16;
      std::memcpy(&v16, from.data() + 2 * i, 2);
      return ToFloat(v16);
    };
    for (size_t i = 0; i < bytes / (fp8 ? 1 : 2); ++i) {
      const float want = value(want_kv, i), got = value(got_kv, i);
      misplaced += std::isnan(want) != std::isnan(got) ? 1 : 0;
      if (!std::isnan(want)) error.Add(got, want);
    }
    const std::string name = ToString(tactic) + (fp8 ? " e4m3" : " bf16") + " with rope";
    // e4m3: by way of bf16, which moves 3 % of the values by a step.
    Report(name, error.Relative(), fp8 ? 3e-2 : 2e-3);
    Report(name + ": places", static_cast<double>(misplaced), 0.5);
  }
};

}  // namespace
}  // namespace lathe::cuda
