// Compares the weights of an engine, unpacked, with the checkpoint they came from. Written from the plan's
// meaning, not from the emitter's recipes.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "base/bf16.h"
#include "base/check.h"
#include "compiler/compile.h"
#include "compiler/pack_weights.h"
#include "compiler/quantize.h"
#include "formats/engine_file.h"
#include "kernels/pack/pack.h"
#include "model/shard.h"
#include "model/tensors.h"
#include "model/weight_source.h"
#include "plan/plan.h"

namespace lathe::testing_util {

// Builds, and opens what was built.
inline EngineReader Build(const std::string& dir, const BuildOptions& options) {
  const auto report = BuildEngine(dir, options);
  EXPECT_TRUE(report.ok()) << report.status().message();
  auto reader = EngineReader::Open(options.output);
  LATHE_CHECK(reader.ok());
  return *std::move(reader);
}

inline Plan ReadPlan(const EngineReader& engine, int tp_rank, int pp_rank) {
  const auto text = engine.TextBlob(RankBlobName("plan", tp_rank, pp_rank));
  EXPECT_TRUE(text.ok()) << text.status().message();
  const auto json = ParseJson(*text, "plan");
  EXPECT_TRUE(json.ok()) << json.status().message();
  auto plan = PlanFromJson(*json, "plan");
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return *std::move(plan);
}

class EngineWeights {
 public:
  EngineWeights(const EngineReader& engine, const WeightSource& source,
                Fp8Scales fp8_scales = Fp8Scales::kChannel)
      : engine_(engine), source_(source), fp8_scales_(fp8_scales) {}

  // Every element of every weight of every rank, and that the ranks together hold the whole model.
  void CompareAll() {
    for (const TensorDef& def : source_.tensors()) {
      defs_.emplace(WeightName(def.role, def.layer), def);
      covered_[WeightName(def.role, def.layer)].assign(static_cast<size_t>(*def.shape.NumElements()), false);
    }
    const EngineIdentity& id = engine_.identity();
    for (int pp = 0; pp < id.pp; ++pp)
      for (int tp = 0; tp < id.tp; ++tp) CompareRank(ReadPlan(engine_, tp, pp));
    for (const auto& [name, elements] : covered_)
      EXPECT_EQ(std::count(elements.begin(), elements.end(), false), 0)
          << "elements of " << name << " on no rank";
  }

 private:
  // The parts of a fused weight, by lathe's names of the source.
  static std::vector<std::string> PartsOf(const std::string& name) {
    static const std::map<std::string, std::vector<std::string>> kFused = {
        {"qkv", {"q", "k", "v"}},
        {"gate_up", {"gate", "up"}},
        {"q_bias_k_bias_v_bias", {"q_bias", "k_bias", "v_bias"}},
        {"gate_bias_up_bias", {"gate_bias", "up_bias"}}};
    const size_t dot = name.rfind('.');
    const auto it = kFused.find(dot == std::string::npos ? name : name.substr(dot + 1));
    if (it == kFused.end()) return {name};
    std::vector<std::string> out;
    for (const std::string& part : it->second) out.push_back(name.substr(0, dot + 1) + part);
    return out;
  }

  // What this rank holds of a weight. The lookup table and the logits of one tied weight differ in that.
  Cut CutOfPart(const Plan& plan, const WeightDef& def, const TensorDef& tensor) const {
    Cut whole = {{0, tensor.shape[0]}, {0, tensor.shape.rank > 1 ? tensor.shape[1] : 1}};
    const bool logits = tensor.role == Role::kLmHead || tensor.role == Role::kEmbed;
    if (!logits) return CutOf(source_.spec(), tensor, plan.tp, plan.tp_rank);
    if (def.layout == WeightLayout::kPanels && plan.vocab % plan.tp == 0) {
      const int64_t share = plan.vocab / plan.tp;
      whole.rows = {share * plan.tp_rank, share * (plan.tp_rank + 1)};
    }
    return whole;
  }

  // The weight as the plan has it, row-major: padding included.
  std::vector<float> Unpack(const Plan& plan, const WeightDef& def, bool interleave) const {
    const auto blob = engine_.Blob(RankBlobName("weights", plan.tp_rank, plan.pp_rank));
    EXPECT_TRUE(blob.ok());
    const std::byte* data = blob->data() + def.offset;
    std::vector<float> out(static_cast<size_t>(def.N * def.K));
    if (def.layout == WeightLayout::kRows) CheckRowPadding(def, data);
    if (def.layout != WeightLayout::kPanels) {
      for (int64_t row = 0; row < def.N; ++row) {
        // Rows of gate and up alternate in blocks: here one stands behind the other.
        const int64_t side = row % (2 * kPanelN) / kPanelN;
        const bool apart = interleave && def.layout == WeightLayout::kRows;
        const int64_t to = apart ? side * def.N / 2 + row / (2 * kPanelN) * kPanelN + row % kPanelN : row;
        for (int64_t k = 0; k < def.K; ++k)
          out[static_cast<size_t>(to * def.K + k)] = ElementAt(def.type, data, row * def.K + k);
      }
      return out;
    }
    PackedMatrix m{.data = const_cast<std::byte*>(data), .N = def.N, .K = def.K, .type = def.type};
    if (!interleave) {
      UnpackRows(m, 0, def.N, out.data(), def.K);
      return out;
    }
    m.N = def.N / 2;
    m.panel_step = 2;
    UnpackRows(m, 0, m.N, out.data(), def.K);
    m.panel_first = 1;
    UnpackRows(m, 0, m.N, out.data() + m.N * def.K, def.K);
    return out;
  }

  static float ElementAt(DType type, const std::byte* data, int64_t i) {
    if (type == DType::kF32) return reinterpret_cast<const float*>(data)[i];
    if (type == DType::kF8E4M3) return E4m3ToFloat(reinterpret_cast<const uint8_t*>(data)[i]);
    if (type == DType::kF16) return ToFloat(reinterpret_cast<const Half*>(data)[i]);
    return ToFloat(reinterpret_cast<const Bf16*>(data)[i]);
  }

  static void CheckRowPadding(const WeightDef& def, const std::byte* data) {
    const auto used = static_cast<size_t>(def.N * def.K * SizeOf(def.type));
    EXPECT_EQ(def.bytes % (16 * static_cast<uint64_t>(def.K * SizeOf(def.type))), 0u);
    EXPECT_LT(def.bytes - used, 16 * static_cast<uint64_t>(def.K * SizeOf(def.type)));
    EXPECT_EQ(std::count(data + used, data + def.bytes, std::byte{0}),
              static_cast<std::ptrdiff_t>(def.bytes - used));
  }

  void CompareRank(const Plan& plan) {
    const auto blob = engine_.Blob(RankBlobName("weights", plan.tp_rank, plan.pp_rank));
    ASSERT_TRUE(blob.ok());
    const Status valid = VerifyPlan(plan, blob->size());
    ASSERT_TRUE(valid.ok()) << valid.message();
    std::vector<bool> is_scale(plan.weights.size(), false);
    for (const WeightDef& def : plan.weights)
      if (def.scale >= 0) is_scale[static_cast<size_t>(def.scale)] = true;
    for (size_t i = 0; i < plan.weights.size(); ++i)
      if (!is_scale[i]) CompareWeight(plan, plan.weights[i]);
  }

  void CompareWeight(const Plan& plan, const WeightDef& def) {
    SCOPED_TRACE(StrFormat("%s on rank tp%d pp%d", def.name.c_str(), plan.tp_rank, plan.pp_rank));
    const std::vector<std::string> parts = PartsOf(def.name);
    const bool gate_up = def.name.find("gate_up") != std::string::npos;
    const bool gate_up_bias = def.name.find("gate_bias_up_bias") != std::string::npos;
    const std::vector<float> all = Unpack(plan, def, gate_up);
    // In the order of the rows in the file.
    const std::vector<float> scales = def.scale >= 0
                                          ? Unpack(plan, plan.weights[static_cast<size_t>(def.scale)], false)
                                          : std::vector<float>();
    int64_t row = 0;
    for (size_t p = 0; p < parts.size(); ++p) {
      ASSERT_TRUE(defs_.contains(parts[p])) << parts[p];
      const TensorDef& tensor = defs_.at(parts[p]);
      const Cut cut = CutOfPart(plan, def, tensor);
      const int64_t rows = cut.rows.size();
      // Where element (r, c) of the part lies in `all`. A bias of gate and up alternates in panels of 64.
      const auto at = [&](int64_t r) {
        if (gate_up) return static_cast<int64_t>(p) * def.N / 2 + r;
        if (gate_up_bias) return (r / kPanelN * 2 + static_cast<int64_t>(p)) * kPanelN + r % kPanelN;
        return row + r;
      };
      const auto scale_at = [&](int64_t r) {
        const int64_t n =
            gate_up ? (r / kPanelN * 2 + static_cast<int64_t>(p)) * kPanelN + r % kPanelN : row + r;
        return scales[static_cast<size_t>(n)];
      };
      if (def.type == DType::kF8E4M3) {
        CompareFp8Rows(tensor, cut, all, def, at, scale_at);
      } else {
        CompareRows(tensor, cut, all, def, at);
      }
      row += rows;
    }
    if (!gate_up && !gate_up_bias) {
      EXPECT_EQ(row, def.N);
    }
    CheckPadding(all, def);
  }

  template <typename At>
  void CompareRows(const TensorDef& tensor, const Cut& cut, const std::vector<float>& all,
                   const WeightDef& def, const At& at) {
    const auto view = source_.Get(tensor.role, tensor.layer);
    ASSERT_TRUE(view.ok());
    const int64_t rows = cut.rows.size(), cols = cut.cols.size();
    std::vector<float> want(static_cast<size_t>(rows * cols));
    ASSERT_TRUE(ReadSlice(*view, cut, std::span<float>(want)).ok());
    const int64_t whole_cols = tensor.shape.rank > 1 ? tensor.shape[1] : 1;
    std::vector<bool>& covered = covered_[WeightName(tensor.role, tensor.layer)];
    int64_t wrong = 0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const float value = want[static_cast<size_t>(r * cols + c)];
        const float rounded = def.type == DType::kBf16  ? ToFloat(ToBf16(value))
                              : def.type == DType::kF16 ? ToFloat(ToHalf(value))
                                                        : value;
        wrong += all[static_cast<size_t>(at(r) * def.K + c)] != rounded;
        covered[static_cast<size_t>((cut.rows.begin + r) * whole_cols + cut.cols.begin + c)] = true;
      }
    EXPECT_EQ(wrong, 0) << "elements of " << WeightName(tensor.role, tensor.layer);
    // Columns beyond the source's are zero.
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = cols; c < def.K; ++c) ASSERT_EQ(all[static_cast<size_t>(at(r) * def.K + c)], 0.0f);
  }

  // Codes and scales against the definition.
  template <typename At, typename ScaleAt>
  void CompareFp8Rows(const TensorDef& tensor, const Cut& cut, const std::vector<float>& all,
                      const WeightDef& def, const At& at, const ScaleAt& scale_at) {
    const auto view = source_.Get(tensor.role, tensor.layer);
    ASSERT_TRUE(view.ok());
    const int64_t rows = cut.rows.size(), cols = cut.cols.size();
    std::vector<float> want(static_cast<size_t>(rows * cols));
    ASSERT_TRUE(ReadSlice(*view, cut, std::span<float>(want)).ok());
    std::vector<bool>& covered = covered_[WeightName(tensor.role, tensor.layer)];
    int64_t wrong = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const std::span<const float> row(want.data() + r * cols, static_cast<size_t>(cols));
      const float scale = scale_at(r);
      EXPECT_EQ(scale, fp8_scales_ == Fp8Scales::kTensor ? LargestMagnitude(want) / 448.0f
                                                         : LeastErrorE4m3Scale(row))
          << tensor.name << " row " << r;
      for (int64_t c = 0; c < def.K; ++c) {
        const float value = c < cols ? row[static_cast<size_t>(c)] : 0.0f;
        wrong += all[static_cast<size_t>(at(r) * def.K + c)] != E4m3ToFloat(ToE4m3(value / scale));
        if (c < cols) covered[static_cast<size_t>(r * cols + c)] = true;
      }
    }
    EXPECT_EQ(wrong, 0) << "elements of " << WeightName(tensor.role, tensor.layer);
  }

  // A packed blob holds nothing but values: whatever is not a weight is zero.
  void CheckPadding(const std::vector<float>& all, const WeightDef& def) const {
    for (float value : all) ASSERT_TRUE(std::isfinite(value)) << def.name;
  }

  const EngineReader& engine_;
  const WeightSource& source_;
  const Fp8Scales fp8_scales_;
  std::map<std::string, TensorDef> defs_;
  std::map<std::string, std::vector<bool>> covered_;
};

}  // namespace lathe::testing_util
