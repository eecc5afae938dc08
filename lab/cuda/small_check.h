// Checks of the small kernels against the reference; small_bench.cc times them.
#pragma once

#include "lab/cuda/layer_check.h"

namespace lathe::cuda {
namespace {  // of the one program that includes this

// A sampling row with what its pointers point at.
struct Asked {
  SampleRow row;
  std::vector<TokenCount> counts;
  std::vector<TokenBias> biases;
  std::vector<uint32_t> mask;
  std::vector<float> logits;
};

// The device's form of the rows: parameters, and a buffer of counts, biases and masks.
struct Packed {
  std::vector<SampleParams> params;
  std::vector<uint8_t> step;
};
template <typename T>
int Append(const std::vector<T>& from, std::vector<uint8_t>* to) {
  const auto at = static_cast<int>(to->size());
  to->resize(to->size() + from.size() * sizeof(T));
  if (!from.empty()) std::memcpy(to->data() + at, from.data(), from.size() * sizeof(T));
  return at;
}
Packed Pack(const std::vector<Asked>& rows) {
  Packed out;
  out.step.resize(64);
  for (const Asked& a : rows) {
    SampleParams p = {};
    p.seed = a.row.seed;
    p.counter = a.row.counter;
    p.temperature = a.row.temperature;
    p.top_k = a.row.top_k;
    p.top_p = a.row.top_p;
    p.min_p = a.row.min_p;
    p.repetition_penalty = a.row.repetition_penalty;
    p.frequency_penalty = a.row.frequency_penalty;
    p.presence_penalty = a.row.presence_penalty;
    p.n_top_logprobs = a.row.n_top_logprobs;
    p.want_logprob = a.row.want_logprob ? 1 : 0;
    p.n_counts = static_cast<int>(a.counts.size());
    p.counts_at = Append(a.counts, &out.step);
    p.n_biases = static_cast<int>(a.biases.size());
    p.biases_at = Append(a.biases, &out.step);
    p.mask_at = a.mask.empty() ? -1 : Append(a.mask, &out.step);
    out.params.push_back(p);
  }
  return out;
}

struct Bench : LayerChecks {
  // ---- sampling
  // --------------------------------------------------------------------------------------------------

  std::vector<Asked> AskRows(int vocab, int n, uint64_t seed) {
    Rng rng(seed);
    std::vector<Asked> rows(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) {
      Asked& a = rows[static_cast<size_t>(i)];
      // Logits: flat, as trained models have them, coarse (many ties), all equal, one strange value.
      const float deviation = i % 3 == 0 ? 0.05F : 2.5F;
      a.logits = Normals(static_cast<size_t>(vocab), deviation, &rng);
      if (i % 3 == 2)
        for (int j = 0; j < 40; ++j) a.logits[rng.Below(static_cast<uint64_t>(vocab))] = 8 + rng.Normal() * 3;
      if (i % 7 == 3)
        for (float& v : a.logits) v = std::round(v);
      if (i % 29 == 11) std::fill(a.logits.begin(), a.logits.end(), i % 2 == 0 ? -0.0F : 1.5F);
      if (i % 29 == 17)
        a.logits[rng.Below(static_cast<uint64_t>(vocab))] =
            i % 2 == 0 ? std::numeric_limits<float>::infinity() : std::nanf("");
      static constexpr float kTemperatures[] = {0, 1, 0.7F, 0.05F, 30, 1, 0, 1.3F};
      a.row.temperature = kTemperatures[i % 8];
      static constexpr int kTopK[] = {0, 50, 0, 1, 5000, 0, 3};
      a.row.top_k = kTopK[i % 7];
      static constexpr float kTopP[] = {1, 0.9F, 1, 0.5F, 0.999F};
      a.row.top_p = kTopP[i % 5];
      static constexpr float kMinP[] = {0, 0, 0.05F, 0, 0.5F, 0, 0, 1.0F, 0, 0, 0};
      a.row.min_p = kMinP[i % 11];
      a.row.seed = rng.Next();
      a.row.counter = rng.Below(1000);
      if (i % 4 == 1) a.row.want_logprob = true;
      if (i % 6 == 2) a.row.n_top_logprobs = 1 + static_cast<int>(rng.Below(20));
      if (i % 5 == 3) {
        a.row.repetition_penalty = 1.2F;
        a.row.frequency_penalty = 0.3F;
        a.row.presence_penalty = i % 2 == 0 ? 0.4F : -0.5F;
        std::vector<int> ids(static_cast<size_t>(vocab));
        std::iota(ids.begin(), ids.end(), 0);
        for (int j = 0; j < 300; ++j) {
          std::swap(ids[static_cast<size_t>(j)],
                    ids[static_cast<size_t>(j) + rng.Below(static_cast<uint64_t>(vocab - j))]);
          a.counts.push_back(
              {ids[static_cast<size_t>(j)], static_cast<int>(rng.Below(3)), static_cast<int>(rng.Below(3))});
        }
      }
      if (i % 9 == 4)
        for (int j = 0; j < 5; ++j)
          a.biases.push_back({j * 7 + i % 5, j == 2 ? -std::numeric_limits<float>::infinity() : 4.0F});
      if (i % 6 == 5) {
        a.mask.assign(static_cast<size_t>((vocab + 31) / 32), 0);
        const int allowed = i % 31 == 5 ? 0 : 1 + static_cast<int>(rng.Below(static_cast<uint64_t>(vocab)));
        for (int j = 0; j < allowed; ++j) {
          const auto id = rng.Below(static_cast<uint64_t>(vocab));
          a.mask[id / 32] |= 1u << (id % 32);
        }
      }
      a.row.counts = a.counts.data();
      a.row.n_counts = static_cast<int>(a.counts.size());
      a.row.biases = a.biases.data();
      a.row.n_biases = static_cast<int>(a.biases.size());
      a.row.mask = a.mask.empty() ? nullptr : a.mask.data();
    }
    return rows;
  }

  void CheckSample(const SampleTactic& tactic, int n, uint64_t seed) {
    const std::vector<Asked> rows = AskRows(tactic.vocab, n, seed);
    const Packed packed = Pack(rows);
    const int64_t ld = LogitStride(tactic.vocab);
    std::vector<float> all(static_cast<size_t>(n * ld), std::nanf(""));
    for (int i = 0; i < n; ++i)
      std::copy(rows[static_cast<size_t>(i)].logits.begin(), rows[static_cast<size_t>(i)].logits.end(),
                all.begin() + i * ld);
    const DeviceBuffer logits = lab.Put(all), params = lab.Put(packed.params), step = lab.Put(packed.step),
                       scratch = lab.Allocate(std::max<int64_t>(16, SampleScratchFloats(tactic, n) * 4)),
                       out = lab.Allocate(n * static_cast<int64_t>(sizeof(SampledRow))),
                       top = lab.Allocate(n * static_cast<int64_t>(sizeof(TopLogprob)) * kMaxTopLogprobs);
    lab.FillBytes(out, 0xff);
    lab.FillBytes(top, 0xff);
    const SampleLaunch launch = {Pointer<float>(logits),
                                 Pointer<SampleParams>(params),
                                 Pointer<char>(step),
                                 Pointer<float>(scratch),
                                 Pointer<SampledRow>(out),
                                 Pointer<TopLogprob>(top),
                                 ld};
    Lab::Must(LaunchSample(lab.Get(SampleKernel(tactic)), tactic, launch, n, false, lab.stream(), false));
    const auto got = lab.Fetch<SampledRow>(out, static_cast<size_t>(n));
    const auto tops = lab.Fetch<TopLogprob>(top, static_cast<size_t>(n * kMaxTopLogprobs));
    std::vector<SampleResult> expected(static_cast<size_t>(n));
    std::vector<std::vector<TokenLogprob>> expected_top(static_cast<size_t>(n),
                                                        std::vector<TokenLogprob>(kMaxTopLogprobs));
    Parallel(n, [&](int i) {
      const auto s = static_cast<size_t>(i);
      expected[s] = ref::Sample(rows[s].logits.data(), tactic.vocab, rows[s].row, expected_top[s].data());
    });
    int wrong = 0;
    double logprob_error = 0;
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      const SampleResult& e = expected[i];
      bool ok = (got[i].finite != 0) == e.finite && got[i].id == e.id && got[i].n_top == e.n_top;
      const auto off = [&](float a, float b) {
        logprob_error = std::max(logprob_error, std::fabs(static_cast<double>(a) - b));
      };
      if (ok && e.id >= 0 && (rows[i].row.want_logprob || rows[i].row.n_top_logprobs > 0))
        off(got[i].logprob, e.logprob);
      for (int j = 0; ok && j < e.n_top; ++j) {
        const TopLogprob& t = tops[i * kMaxTopLogprobs + static_cast<size_t>(j)];
        ok = t.id == expected_top[i][static_cast<size_t>(j)].id;
        off(t.logprob, expected_top[i][static_cast<size_t>(j)].logprob);
      }
      if (ok) continue;
      if (++wrong <= 5)
        std::printf(
            "  row %zu: id %d expected %d, finite %d %d, top %d %d; t %g k %d p %g min_p %g counts %zu "
            "biases %zu mask %zu\n",
            i, got[i].id, e.id, got[i].finite, e.finite, got[i].n_top, e.n_top, rows[i].row.temperature,
            rows[i].row.top_k, rows[i].row.top_p, rows[i].row.min_p, rows[i].counts.size(),
            rows[i].biases.size(), rows[i].mask.size());
    }
    Report(
        StrFormat("sample %d tokens, %d blocks a row: %d rows, other tokens", tactic.vocab, tactic.blocks, n),
        wrong, 0.5);
    Report(StrFormat("sample %d tokens, %d blocks a row: logprobs, absolute", tactic.vocab, tactic.blocks),
           logprob_error, 1e-5);
  }

  // The kernels in f16.
  void CheckHalf() {
    json["checks"] = Json::array();
    uint64_t seed = 1000;
    CheckEmbed(true);
    for (const int hidden : {64, 4096}) {
      CheckNorm(hidden, NormVariant::k16Delta, NormVariant::k16, false, ++seed, true);
      CheckNorm(hidden, NormVariant::k16Delta, NormVariant::kE4m3, false, ++seed, true);
      CheckNorm(hidden, NormVariant::kF32Delta, NormVariant::k16, true, ++seed, true);
    }
    CheckRope({128, 128, true, false, true, false, true}, 32, 8, ++seed);
    CheckRope({80, 32, false, true, false, true, true}, 5, 5, ++seed);
    CheckOverflow();
    CheckActivation({14336, false, false, true});
    CheckActivation({14336, false, true, true});
    CheckQuantize(true);
  }

  void Check() {
    CheckHalf();
    CheckEmbed(false);
    uint64_t seed = 100;
    for (const int hidden : {64, 2880, 4096, 8192}) {
      CheckNorm(hidden, NormVariant::kNone, NormVariant::k16, false, ++seed);
      CheckNorm(hidden, NormVariant::k16Delta, NormVariant::kE4m3, false, ++seed);
      CheckNorm(hidden, NormVariant::kF32Delta, NormVariant::kF32, true, ++seed);
      CheckNorm(hidden, NormVariant::kF32Delta, NormVariant::k16, false, ++seed);
    }
    CheckRope({128, 128, false, false, false, false}, 32, 8, ++seed);
    CheckRope({128, 128, false, false, true, true}, 32, 8, ++seed);
    CheckRope({64, 64, false, true, false, false}, 14, 2, ++seed);
    CheckRope({80, 80, true, true, true, false}, 5, 5, ++seed);
    CheckRope({80, 32, false, false, false, true}, 5, 5, ++seed);
    CheckRope({96, 96, true, false, true, true}, 6, 2, ++seed);
    CheckRope({256, 256, false, false, true, false}, 4, 1, ++seed);
    for (const bool fp8 : {false, true}) {
      if (lab.sm() != 90) break;
      const GemmChip chip = ChipOf(lab.device().info());
      for (const GemmTactic& tactic : PromptTactics(
               {fp8 ? GemmType::kE4m3 : GemmType::kBf16, GemmEpilogue::kF32, 4096, 6144, 4096}, chip))
        if (RopeGemmTactic(tactic, {.m = 1}, chip) && tactic.cluster == 2) CheckRopeGemm(tactic, fp8, ++seed);
    }
    for (const int ffn : {192, 14336}) {
      CheckActivation({ffn, false, false});
      CheckActivation({ffn, true, false});
      CheckActivation({ffn, false, true});
    }
    CheckQuantize(false);
    for (const int vocab : {1000, 32001, 128256}) {
      const SampleTactic tactic = SampleTacticOf(vocab, lab.sm());
      CheckSample(tactic, 400, ++seed);
      if (tactic.blocks > 1) CheckSample({vocab, 1}, 200, ++seed);
      if (tactic.blocks == 2) CheckSample({vocab, 8}, 200, ++seed);
    }
  }
};

}  // namespace
}  // namespace lathe::cuda
