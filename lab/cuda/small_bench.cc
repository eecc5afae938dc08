// The kernels between the matmuls, and sampling, on one GPU: checked against double (sampling: against
// kernels/ref, token for token), then timed.
//
//   small_bench OUT.json [check] [time] [sampling]      (all when none is named; sampling: times of that
//   alone)
#include "lab/cuda/small_check.h"

namespace lathe::cuda {
namespace {

struct Times : Bench {
  // ---- times
  // -----------------------------------------------------------------------------------------------------

  void Row(const char* name, int rows, double us, double bytes) {
    const double gbps = bytes / us / 1e3;
    std::printf("%-34s %6d rows %9.2f us %7.0f GB/s\n", name, rows, us, gbps);
    json["times"].push_back({{"name", name}, {"rows", rows}, {"us", us}, {"gbps", gbps}});
  }

  void TimeLayerOps() {
    const int hidden = 4096, ffn = 14336;
    const DeviceBuffer pool = lab.Allocate(int64_t{6} << 30), kv = lab.Allocate(int64_t{1} << 30);
    lab.FillNormal(pool, 1);
    lab.FillBytes(kv, 0);
    const DeviceBuffer table = lab.Put(Normals(64 * 8192, 1, std::make_unique<Rng>(1).get()));
    for (const int rows : {1, 16, 64, 256, 2048, 8192}) {
      std::vector<StepRow> step;
      for (int i = 0; i < rows; ++i) step.push_back({i % 1000, i, i, 0});
      const DeviceBuffer s = lab.Put(step);
      // Launch i works in its own part of the pool, while there is room.
      const auto part = [&](int i, int64_t bytes, int64_t at = 0) {
        const int64_t copies = std::max<int64_t>(1, (pool.bytes() / 2 - at) / bytes);
        return Pointer<char>(pool,
                             pool.bytes() / 2 * (at > 0 ? 1 : 0) + i % std::min<int64_t>(copies, 64) * bytes);
      };
      const int64_t row_f32 = int64_t{rows} * hidden * 4;
      for (const auto out : {NormVariant::k16, NormVariant::kE4m3}) {
        const NormVariant v{hidden, NormVariant::k16Delta, out, false};
        const Kernel& kernel = lab.Get(NormKernel(v));
        const double us = lab.Time([&](int i, bool overlap) {
          const NormParams p = {reinterpret_cast<float*>(part(i, row_f32)),
                                part(i, row_f32 / 2, 1),
                                Pointer<float>(table),
                                Pointer<void>(kv, i % 8 * row_f32 / 2),
                                Pointer<float>(table),
                                nullptr,
                                0,
                                1,
                                1e-5F};
          return LaunchNorm(kernel, v, p, rows, lab.stream(), overlap);
        });
        Row(out == NormVariant::k16 ? "residual add + norm, bf16" : "residual add + norm, fp8", rows, us,
            static_cast<double>(rows) * hidden * (4 + 4 + 2 + (out == NormVariant::k16 ? 2 : 1)));
      }
      const NormVariant alone{hidden, NormVariant::kNone, NormVariant::k16, false};
      double us = lab.Time([&](int i, bool overlap) {
        const NormParams p = {reinterpret_cast<float*>(part(i, row_f32)),
                              nullptr,
                              Pointer<float>(table),
                              Pointer<void>(kv, i % 8 * row_f32 / 2),
                              nullptr,
                              nullptr,
                              0,
                              1,
                              1e-5F};
        return LaunchNorm(lab.Get(NormKernel(alone)), alone, p, rows, lab.stream(), overlap);
      });
      Row("norm alone, bf16", rows, us, static_cast<double>(rows) * hidden * 6);
      const RopeVariant rv{128, 128, false, false, false, false};
      const Kernel& rope = lab.Get(RopeKernel(rv));
      const int64_t qkv = int64_t{rows} * 6144 * 2;
      us = lab.Time([&](int i, bool overlap) {
        const RopeParams p = {Pointer<StepRow>(s),
                              part(i, qkv),
                              nullptr,
                              nullptr,
                              nullptr,
                              Pointer<float>(table),
                              Pointer<float>(table),
                              part(i, qkv, 1),
                              Pointer<void>(kv),
                              1e-6F,
                              1,
                              1,
                              rows,
                              32,
                              8};
        return LaunchRope(rope, rv, p, lab.stream(), overlap);
      });
      Row("rope + append, 32/8 heads of 128", rows, us, static_cast<double>(rows) * 6144 * 4);
      for (const bool fp8 : {false, true}) {
        const ActivationVariant v{ffn, false, fp8};
        const Kernel& kernel = lab.Get(ActivationKernel(v));
        const int64_t bytes = int64_t{rows} * ffn * 4;
        us = lab.Time([&](int i, bool overlap) {
          return LaunchActivation(kernel, v, {part(i, bytes), part(i, bytes / 2, 1), Pointer<float>(table)},
                                  rows, lab.stream(), overlap);
        });
        Row(fp8 ? "silu * mul, fp8" : "silu * mul, bf16", rows, us,
            static_cast<double>(rows) * ffn * (4 + (fp8 ? 1 : 2)));
      }
      us = lab.Time([&](int i, bool overlap) {
        return LaunchEmbed(
            lab.Get(EmbedKernel(hidden, DType::kBf16)),
            {Pointer<StepRow>(s), nullptr, part(i, 1 << 26, 1), reinterpret_cast<float*>(part(i, row_f32))},
            rows, lab.stream(), overlap);
      });
      Row("embed", rows, us, static_cast<double>(rows) * hidden * 6);
    }
    for (const int pages : {16, 512}) {
      const Kernel& kernel = lab.Get({.file = "widen_pages.cu",
                                      .entry = "widen_pages_131072",
                                      .defines = {"PAGE_ELEMENTS=131072"},
                                      .threads = 512});
      std::vector<int> ids(static_cast<size_t>(pages));
      std::iota(ids.begin(), ids.end(), 0);
      const DeviceBuffer id = lab.Put(ids), count = lab.Put(std::vector<int>{pages});
      const double us = lab.Time([&](int i, bool overlap) {
        return LaunchWiden(kernel,
                           {Pointer<void>(pool, i % 16 * pages * 131072LL),
                            Pointer<void>(pool, (int64_t{3} << 30) + i % 8 * pages * 262144LL),
                            Pointer<int>(id), Pointer<int>(count)},
                           pages, lab.stream(), overlap);
      });
      Row("fp8 pages to bf16 (64 tokens each)", pages, us, pages * 131072.0 * 3);
    }
  }

  void TimeSample() {
    const int vocab = 128256, max_rows = 256, copies = 4;
    const int64_t ld = LogitStride(vocab);
    const SampleTactic tactic = SampleTacticOf(vocab, lab.sm());
    Rng rng(77);
    const DeviceBuffer out = lab.Allocate(max_rows * 16), top = lab.Allocate(max_rows * 8 * kMaxTopLogprobs),
                       step = lab.Allocate(64);
    struct Mode {
      const char* name;
      SampleRow row;
    };
    std::vector<Mode> modes(7);
    modes[0] = {"greedy", {}};
    modes[1] = {"greedy, logprob", {}};
    modes[1].row.want_logprob = true;
    modes[2] = {"greedy, top 5 logprobs", {}};
    modes[2].row.n_top_logprobs = 5;
    modes[3] = {"temperature 1", {}};
    modes[4] = {"temperature 1, top-p 0.9", {}};
    modes[4].row.top_p = 0.9F;
    modes[5] = {"temperature 1, top-k 50", {}};
    modes[5].row.top_k = 50;
    modes[6] = {"top-k 50, top-p 0.9, min-p 0.05", {}};
    modes[6].row.top_k = 50, modes[6].row.top_p = 0.9F, modes[6].row.min_p = 0.05F;
    for (size_t i = 3; i < modes.size(); ++i) modes[i].row.temperature = 1;
    const DeviceBuffer logits = lab.Allocate(copies * max_rows * ld * 4);
    for (const float deviation : {2.5F, 0.05F}) {
      std::vector<float> some = Normals(static_cast<size_t>(16 * ld), deviation, &rng);
      for (int64_t at = 0; at < copies * max_rows; at += 16) lab.Upload(logits, some, at * ld * 4);
      for (const Mode& mode : modes)
        for (const int rows : {1, 16, 64, 256}) {
          std::vector<Asked> asked(static_cast<size_t>(rows));
          for (int i = 0; i < rows; ++i) {
            asked[static_cast<size_t>(i)].row = mode.row;
            asked[static_cast<size_t>(i)].row.seed = static_cast<uint64_t>(i);
          }
          const DeviceBuffer params = lab.Put(Pack(asked).params);
          const Kernel& kernel = lab.Get(SampleKernel(tactic));
          const bool ranked = mode.row.want_logprob || mode.row.n_top_logprobs > 0;
          const double us = lab.Time([&](int i, bool overlap) {
            const SampleLaunch launch = {Pointer<float>(logits, i % copies * max_rows * ld * 4),
                                         Pointer<SampleParams>(params),
                                         Pointer<char>(step),
                                         nullptr,
                                         Pointer<SampledRow>(out),
                                         Pointer<TopLogprob>(top),
                                         ld};
            return LaunchSample(kernel, tactic, launch, rows, mode.row.temperature == 0 && !ranked,
                                lab.stream(), overlap);
          });
          Row(StrFormat("%s, %s", mode.name, deviation > 1 ? "spread" : "flat").c_str(), rows, us,
              static_cast<double>(rows) * vocab * 4);
        }
    }
  }
};

int Run(int argc, char** argv) {
  Times bench;
  const auto wanted = [&](const char* name) {
    return argc == 2 ||
           std::any_of(argv + 2, argv + argc, [&](const char* a) { return std::strcmp(a, name) == 0; });
  };
  if (wanted("check")) bench.Check();
  if (argc > 2 && wanted("half")) bench.CheckHalf();
  bench.json["times"] = Json::array();
  if (wanted("time")) bench.TimeLayerOps();
  if (wanted("time") || wanted("sampling")) bench.TimeSample();
  Lab::Must(WriteFileAtomic(argv[1], DumpJson(bench.json, 1)));
  std::printf("%d wrong\n", bench.failures);
  return bench.failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace lathe::cuda

int main(int argc, char** argv) {
  return lathe::cuda::LabMain(argc, argv, "small_bench OUT.json [check] [half] [time] [sampling]",
                              lathe::cuda::Run);
}
