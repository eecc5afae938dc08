// A model of two layers with random weights as a CUDA engine, made by hand, and its logits in double,
// computed token by token without pages, batches or kernels: what the executor must give.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/bf16.h"
#include "base/rng.h"
#include "formats/engine_file.h"
#include "kernels/cuda/gemm_table.h"
#include "plan/cuda/kernel_blob.h"
#include "plan/cuda/plan_kernels.h"
#include "runtime/exec/cuda/executor.h"
#include "runtime/exec/cuda/testing/host_kernels.h"

namespace lathe::cuda::testing {

struct TinyOptions {
  bool fp8 = false;  // weights of the layers, and their rows
  bool kv_fp8 = false;
  bool f16 = false;  // in the place of bf16
  bool qk_norm = false, bias = false;
  double k_gain = 1;  // of the norm of keys
  int n_heads = 4, n_kv_heads = 2, head_dim = 64;
  int window = 0;  // of the second layer
  int sm = 90;
  std::string qkv_tactic = {};  // of q, k and v from 65 rows on, where given
  bool selects = true;          // the second layer's attention and what follows run over logit rows alone
};

class TinyModel {
 public:
  static constexpr int kHidden = 128, kFfn = 192, kVocab = 100, kLayers = 2;
  static constexpr int kPositions = 1024;

  explicit TinyModel(TinyOptions options) : options_(options) {
    MakeBuffers();
    MakeOps();
    Decode();
  }
  const Plan& plan() const { return plan_; }

  RopeSource Rope() const {
    RopeSource rope;
    for (int i = 0; i < options_.head_dim / 2; ++i)
      rope.inv_freq.push_back(static_cast<float>(std::pow(1e4, -2.0 * i / options_.head_dim)));
    return rope;
  }
  CudaExecutorOptions Options(const Driver* driver) const {
    CudaExecutorOptions o;
    o.driver = driver;
    o.max_step_rows = 300;
    o.max_sequences = 8;
    o.model_positions = kPositions;
    o.kv_bytes = uint64_t{64} * 2 * kLayers *
                 static_cast<uint64_t>(options_.n_kv_heads * kPageSize * options_.head_dim) * 2;
    o.rope = Rope();
    o.load_threads = 1;
    return o;
  }

  std::vector<KernelSource> Sources() const {
    const auto sources = KernelsOf(plan_, TypicalChip(options_.sm));
    EXPECT_TRUE(sources.ok()) << sources.status().message();
    return *sources;
  }
  // Writes the engine; `leave_out`: a kernel it then lacks.
  void Write(const std::string& path, int driver = 13000, const std::string& leave_out = "") const {
    std::vector<CompiledKernel> kernels;
    for (const KernelSource& source : Sources())
      if (source.entry != leave_out) kernels.push_back({source, "cubin", {.entry = source.entry}});
    const std::string target = DeviceInfo::TargetOf(options_.sm);
    auto writer = EngineWriter::Create(path);
    ASSERT_TRUE(writer.ok()) << writer.status().message();
    ASSERT_TRUE(writer->AddBlob(RankBlobName("weights", 0, 0), blob_).ok());
    ASSERT_TRUE(writer->AddBlob("kernels", PackKernels(kernels, target, driver)).ok());
    EngineIdentity identity;
    identity.builder = "test";
    identity.target = "cuda:" + target;
    identity.model_name = "tiny";
    identity.dtype = options_.f16 ? "fp16" : "bf16";
    identity.numeric = std::string(ToString(plan_.numeric));
    const Status status = writer->Finish(identity, Json::object(), Json::object());
    ASSERT_TRUE(status.ok()) << status.message();
  }

  // Logits after the last of `tokens`.
  std::vector<double> Logits(const std::vector<int32_t>& tokens) const {
    const auto n = static_cast<int>(tokens.size());
    std::vector<std::vector<double>> x;
    for (const int32_t token : tokens) {
      x.emplace_back();
      for (int i = 0; i < kHidden; ++i)
        x.back().push_back(Values(embed_)[static_cast<size_t>(token * kHidden + i)]);
    }
    for (int layer = 0; layer < kLayers; ++layer) {
      const Layer& l = layers_[static_cast<size_t>(layer)];
      std::vector<std::vector<double>> qkv;
      for (int t = 0; t < n; ++t) {
        qkv.push_back(Multiply(l.qkv, Norm(x[static_cast<size_t>(t)], l.norm1), l.bias));
        RotateHeads(l, t, &qkv.back());
      }
      for (int t = 0; t < n; ++t) {
        auto& row = x[static_cast<size_t>(t)];
        Add(&row, Multiply(l.o, Attend(qkv, t, layer == 1 ? options_.window : 0), -1));
        const std::vector<double> gu = Multiply(l.gate_up, Norm(row, l.norm2), -1);
        std::vector<double> f;
        for (int i = 0; i < kFfn; ++i) {
          const auto gate = static_cast<size_t>(i / 64 * 128 + i % 64);
          f.push_back(gu[gate] / (1 + std::exp(-gu[gate])) * gu[gate + 64]);
        }
        Add(&row, Multiply(l.down, f, -1));
      }
    }
    std::vector<double> out = Multiply(embed_, Norm(x.back(), final_norm_), -1);
    out.resize(kVocab);
    return out;
  }

 private:
  struct Layer {
    int norm1, qkv, bias = -1, q_gain = -1, k_gain = -1, o, norm2, gate_up, down;
  };

  // ---- making ----
  DType Sixteen() const { return options_.f16 ? DType::kF16 : DType::kBf16; }
  int Vector(const std::string& name, int64_t n, double mean, double deviation) {
    std::vector<float> values;
    for (int64_t i = 0; i < n; ++i)
      values.push_back(static_cast<float>(mean + deviation * static_cast<double>(rng_.Normal())));
    return AddWeight({.name = name, .layout = WeightLayout::kVector, .type = DType::kF32, .N = n, .K = 1},
                     values);
  }
  int Matrix(const std::string& name, int64_t n, int64_t k, bool fp8) {
    const int64_t padded = (n + kRowsN - 1) / kRowsN * kRowsN;
    WeightDef def = {.name = name,
                     .layout = WeightLayout::kRows,
                     .type = fp8 ? DType::kF8E4M3 : Sixteen(),
                     .N = n,
                     .K = k};
    const auto count = static_cast<size_t>(padded * k);
    const auto value = [&](size_t i) {
      const double v = static_cast<double>(rng_.Normal()) / std::sqrt(static_cast<double>(k));
      return i < static_cast<size_t>(n * k) ? static_cast<float>(v) : 0.0F;
    };
    if (!fp8 && options_.f16) {
      std::vector<Half> values(count);
      for (size_t i = 0; i < count; ++i) values[i] = ToHalf(value(i));
      return AddWeight(def, values);
    }
    if (!fp8) {
      std::vector<Bf16> values(count);
      for (size_t i = 0; i < count; ++i) values[i] = ToBf16(value(i));
      return AddWeight(def, values);
    }
    std::vector<uint8_t> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = FloatToE4m3(value(i) * 448 / 0.5F);
    def.scale = Vector(name + ".scale", n, 0.5 / 448, 0.00001);
    return AddWeight(def, values);
  }
  template <typename T>
  int AddWeight(WeightDef def, const std::vector<T>& values) {
    blob_.resize((blob_.size() + 63) / 64 * 64);
    def.offset = blob_.size();
    def.bytes = values.size() * sizeof(T);
    blob_.append(reinterpret_cast<const char*>(values.data()), def.bytes);
    plan_.weights.push_back(std::move(def));
    return static_cast<int>(plan_.weights.size()) - 1;
  }
  int AddBuffer(const std::string& name, int64_t bytes, bool logit_rows) {
    plan_.buffers.push_back({name, (bytes + 63) / 64 * 64, logit_rows});
    return static_cast<int>(plan_.buffers.size()) - 1;
  }
  void MakeBuffers() {
    const int q = options_.n_heads * options_.head_dim, kv = options_.n_kv_heads * options_.head_dim;
    plan_.sm = options_.sm;
    plan_.numeric = options_.f16   ? options_.fp8 ? NumericClass::kFp8F16Tensor : NumericClass::kF16Tensor
                    : options_.fp8 ? NumericClass::kFp8Tensor
                                   : NumericClass::kBf16Tensor;
    plan_.n_layers = kLayers;
    plan_.hidden = kHidden;
    plan_.n_heads = options_.n_heads;
    plan_.n_kv_heads = options_.n_kv_heads;
    plan_.head_dim = plan_.rotary_dim = options_.head_dim;
    plan_.vocab = kVocab;
    plan_.norm_eps = 1e-5F;
    plan_.q_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(options_.head_dim)));
    plan_.page_size = kPageSize;
    plan_.kv_type = options_.kv_fp8 ? DType::kF8E4M3 : Sixteen();
    x_ = AddBuffer("x", kHidden * 4, false);
    h_ = AddBuffer("h", kHidden * 2, false);
    qkv_ = AddBuffer("qkv", (q + 2 * kv) * 4, false);
    q_ = AddBuffer("q", q * 2, false);
    a_ = AddBuffer("a", q * 2, false);
    f_ = AddBuffer("f", kFfn * 2, false);
    d_ = AddBuffer("d", kHidden * 4, false);
    e_ = AddBuffer("e", std::max(q, kFfn) + 4, false);
    hl_ = AddBuffer("hl", kHidden * 2, true);
    xl_ = AddBuffer("xl", kHidden * 4, true);
    // q is no longer read when the feed-forward's rows are written.
    ql_ = AddBuffer("ql_fl", std::max(q, kFfn) * 2, true);
    al_ = AddBuffer("al", q * 2, true);
    dl_ = AddBuffer("dl", kHidden * 4, true);
    el_ = AddBuffer("el", std::max(q, kFfn) + 4, true);
    plan_.logits_buffer = AddBuffer("logits", (kVocab + 15) / 16 * 16 * 4, true);
  }
  int Tactic(const PlanOp& op) {
    const WeightDef& w = plan_.weights[static_cast<size_t>(op.weight)];
    lathe::GemmTactic tactic;
    tactic.N = w.N;
    tactic.K = w.K;
    tactic.silu_mul = op.silu_mul;
    tactic.x_type = w.type;
    for (const int m : kGemmTokenBuckets)
      tactic.buckets.push_back(
          {m, m > 64 && op.out == qkv_ && !options_.qkv_tactic.empty()
                  ? options_.qkv_tactic
                  : ToString(DefaultGemmTactic(GemmProblemOf(plan_, op, m), TypicalChip(plan_.sm)))});
    plan_.tactics.push_back(std::move(tactic));
    return static_cast<int>(plan_.tactics.size()) - 1;
  }
  void AddGemm(PlanOp op, int in) {
    op.kind = PlanOpKind::kGemm;
    if (options_.fp8 && op.weight != embed_ && in != h_ && in != hl_) {  // norms write e4m3 themselves
      const int out = op.logit_rows ? el_ : e_;
      plan_.ops.push_back({.kind = PlanOpKind::kQuantize,
                           .in = in,
                           .out = out,
                           .weight = op.weight,
                           .logit_rows = op.logit_rows,
                           .out_type = DType::kF8E4M3});
      in = out;
    }
    op.in = in;
    op.tactic = Tactic(op);
    plan_.ops.push_back(op);
  }
  void AddNorm(int gain, int in2, bool logit_rows) {
    const bool fp8 = options_.fp8 && gain != final_norm_;
    plan_.ops.push_back({.kind = PlanOpKind::kRmsNorm,
                         .in = logit_rows && options_.selects ? xl_ : x_,
                         .in2 = in2,
                         .out = logit_rows ? hl_ : h_,
                         .gain = gain,
                         .logit_rows = logit_rows,
                         .out_type = fp8 ? DType::kF8E4M3 : Sixteen()});
  }
  int AddSelect(int in, int out, int columns, DType type) {
    plan_.ops.push_back({.kind = PlanOpKind::kSelect,
                         .in = in,
                         .out = out,
                         .columns = columns,
                         .logit_rows = true,
                         .out_type = type});
    return out;
  }
  // The first layer's products add to the residual themselves, the second's leave it to the norm behind.
  void MakeOps() {
    embed_ = Matrix("embed", kVocab, kHidden, false);
    plan_.ops.push_back({.kind = PlanOpKind::kEmbed, .out = x_, .weight = embed_});
    const int q = options_.n_heads * options_.head_dim, kv = options_.n_kv_heads * options_.head_dim;
    for (int i = 0; i < kLayers; ++i) {
      const std::string name = "layers." + std::to_string(i) + ".";
      Layer l;
      l.norm1 = Vector(name + "norm1", kHidden, 1, 0.1);
      l.qkv = Matrix(name + "qkv", q + 2 * kv, kHidden, options_.fp8);
      if (options_.bias) l.bias = Vector(name + "bias", q + 2 * kv, 0, 0.3);
      if (options_.qk_norm) l.q_gain = Vector(name + "q_gain", options_.head_dim, 1, 0.2);
      if (options_.qk_norm) l.k_gain = Vector(name + "k_gain", options_.head_dim, options_.k_gain, 0.2);
      l.o = Matrix(name + "o", kHidden, q, options_.fp8);
      l.norm2 = Vector(name + "norm2", kHidden, 1, 0.1);
      l.gate_up = Matrix(name + "gate_up", 2 * kFfn, kHidden, options_.fp8);
      l.down = Matrix(name + "down", kHidden, kFfn, options_.fp8);
      layers_.push_back(l);
      const bool adds = i == 0;
      AddNorm(l.norm1, -1, false);
      AddGemm({.out = qkv_, .weight = l.qkv, .bias = l.bias, .out_type = i == 0 ? DType::kF32 : Sixteen()},
              h_);
      plan_.ops.push_back({.kind = PlanOpKind::kRopeAppend,
                           .layer = i,
                           .in = qkv_,
                           .out = q_,
                           .gain = l.q_gain,
                           .gain2 = l.k_gain,
                           .out_type = Sixteen()});
      const bool cut = i == 1 && options_.selects;
      const int x = cut ? AddSelect(x_, xl_, kHidden, DType::kF32) : x_;
      const int a = cut ? al_ : a_, d = cut ? dl_ : d_, f = cut ? ql_ : f_;
      plan_.ops.push_back({.kind = PlanOpKind::kAttention,
                           .layer = i,
                           .in = cut ? AddSelect(q_, ql_, q, Sixteen()) : q_,
                           .out = a,
                           .window = i == 1 ? options_.window : 0,
                           .logit_rows = cut,
                           .out_type = Sixteen()});
      AddGemm({.in2 = adds ? x : -1, .out = adds ? x : d, .weight = l.o, .logit_rows = cut}, a);
      AddNorm(l.norm2, adds ? -1 : d, cut);
      AddGemm({.out = f, .weight = l.gate_up, .silu_mul = true, .logit_rows = cut, .out_type = Sixteen()},
              cut ? hl_ : h_);
      AddGemm({.in2 = x, .out = x, .weight = l.down, .logit_rows = cut}, f);
    }
    final_norm_ = Vector("final_norm", kHidden, 1, 0.1);
    AddNorm(final_norm_, -1, true);
    AddGemm({.out = plan_.logits_buffer, .weight = embed_, .logit_rows = true}, hl_);
    blob_.resize((blob_.size() + 63) / 64 * 64);
  }

  // ---- the reference ----
  // Every weight as (N, K) numbers.
  void Decode() {
    for (const WeightDef& w : plan_.weights) {
      values_.emplace_back();
      for (int64_t i = 0; i < w.N * w.K; ++i) {
        const char* at = blob_.data() + w.offset + i * SizeOf(w.type);
        float f = 0;
        Bf16 b;
        Half h;
        if (w.type == DType::kF32) std::memcpy(&f, at, 4);
        if (w.type == DType::kBf16) std::memcpy(&b, at, 2), f = ToFloat(b);
        if (w.type == DType::kF16) std::memcpy(&h, at, 2), f = ToFloat(h);
        if (w.type == DType::kF8E4M3) f = E4m3ToFloat(static_cast<uint8_t>(*at));
        // A scale stands before its weight.
        const double scale =
            w.scale >= 0 ? values_[static_cast<size_t>(w.scale)][static_cast<size_t>(i / w.K)] : 1;
        values_.back().push_back(static_cast<double>(f) * scale);
      }
    }
  }
  const std::vector<double>& Values(int weight) const { return values_[static_cast<size_t>(weight)]; }
  std::vector<double> Multiply(int weight, const std::vector<double>& x, int bias) const {
    const double* row = Values(weight).data();
    std::vector<double> out;
    for (int64_t n = 0; n < plan_.weights[static_cast<size_t>(weight)].N; ++n) {
      double sum = bias >= 0 ? Values(bias)[static_cast<size_t>(n)] : 0;
      for (const double v : x) sum += v * *row++;
      out.push_back(sum);
    }
    return out;
  }
  std::vector<double> Norm(const std::vector<double>& x, int gain) const {
    double squares = 0;
    for (const double v : x) squares += v * v;
    std::vector<double> out;
    for (size_t i = 0; i < x.size(); ++i)
      out.push_back(x[i] / std::sqrt(squares / static_cast<double>(x.size()) + 1e-5) * Values(gain)[i]);
    return out;
  }
  static void Add(std::vector<double>* x, const std::vector<double>& y) {
    for (size_t i = 0; i < x->size(); ++i) (*x)[i] += y[i];
  }
  void RotateHeads(const Layer& l, int position, std::vector<double>* qkv) const {
    const RopeSource rope = Rope();
    const int dim = options_.head_dim;
    for (int head = 0; head < options_.n_heads + options_.n_kv_heads; ++head) {
      double* h = qkv->data() + head * dim;
      if (options_.qk_norm) {
        const std::vector<double> normed = Norm({h, h + dim}, head < options_.n_heads ? l.q_gain : l.k_gain);
        std::copy(normed.begin(), normed.end(), h);
      }
      for (int i = 0; i < dim / 2; ++i) {
        const double angle = position * static_cast<double>(rope.inv_freq[static_cast<size_t>(i)]);
        const double a = h[i], b = h[i + dim / 2];
        h[i] = a * std::cos(angle) - b * std::sin(angle);
        h[i + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
  }
  std::vector<double> Attend(const std::vector<std::vector<double>>& qkv, int t, int window) const {
    const int dim = options_.head_dim, group = options_.n_heads / options_.n_kv_heads;
    std::vector<double> out(static_cast<size_t>(options_.n_heads * dim), 0.0);
    for (int head = 0; head < options_.n_heads; ++head) {
      const int k_at = (options_.n_heads + head / group) * dim, v_at = k_at + options_.n_kv_heads * dim;
      const int begin = window > 0 ? std::max(0, t - window + 1) : 0;
      std::vector<double> weight;
      double sum = 0;
      for (int key = begin; key <= t; ++key) {
        double s = 0;
        for (int i = 0; i < dim; ++i)
          s += qkv[static_cast<size_t>(t)][static_cast<size_t>(head * dim + i)] *
               qkv[static_cast<size_t>(key)][static_cast<size_t>(k_at + i)];
        weight.push_back(std::exp(s / std::sqrt(static_cast<double>(dim))));
        sum += weight.back();
      }
      for (int key = begin; key <= t; ++key)
        for (int i = 0; i < dim; ++i)
          out[static_cast<size_t>(head * dim + i)] +=
              weight[static_cast<size_t>(key - begin)] / sum *
              qkv[static_cast<size_t>(key)][static_cast<size_t>(v_at + i)];
    }
    return out;
  }

  const TinyOptions options_;
  Rng rng_{42};
  Plan plan_;
  std::string blob_;
  std::vector<std::vector<double>> values_;
  std::vector<Layer> layers_;
  int embed_ = -1, final_norm_ = -1;
  int x_, h_, qkv_, q_, a_, f_, d_, e_, hl_;
  int xl_, ql_, al_, dl_, el_;  // of logit rows
};

}  // namespace lathe::cuda::testing
