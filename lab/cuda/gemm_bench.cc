// Matrix products on one GPU: checked against double, then timed over the shapes of Llama-3.1-8B, own kernels
// and cuBLASLt beside the roof, and a whole decode step's products in one graph.
//
//   gemm_bench OUT.json [check|sweep|step|prompt|prompt_all ...]      (all but prompt_all when none is named)
//
// prompt: products of 128 tokens and more, the fused SiLU·mul beside the library's product alone. prompt_all:
// the same with every tile that fits instead of the candidates.
//
// Method: random inputs; y poisoned before each check; times are medians of five replays of a graph of
// launches back to back, each with other weights out of 512 MB or more, with programmatic dependent launch
// between own kernels.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "kernels/cuda/gemm_measure.h"
#include "lab/cuda/lab.h"

namespace lathe::cuda {
namespace {

struct Shape {
  const char* name;
  int n, k;
  GemmEpilogue step_epilogue;
};
constexpr Shape kShapes[] = {{"qkv", 6144, 4096, GemmEpilogue::kBf16},
                             {"o", 4096, 4096, GemmEpilogue::kAddF32},
                             {"gate_up", 28672, 4096, GemmEpilogue::kSiluBf16},
                             {"down", 4096, 14336, GemmEpilogue::kAddF32},
                             {"head", 128256, 4096, GemmEpilogue::kF32}};
constexpr int kTokens[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 8192};
constexpr int kPromptTokens[] = {64, 128, 256, 512, 1024, 2048, 4096, 8192};
constexpr int kLayers = 32;

const char* Name(GemmType type) {
  return type == GemmType::kBf16 ? "bf16" : type == GemmType::kF16 ? "f16" : "e4m3";
}
const char* Name(GemmEpilogue epilogue) {
  static const char* const kNames[] = {"f32", "bf16", "add", "silu", "f16", "silu_f16"};
  return kNames[static_cast<int>(epilogue)];
}

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Bench {
  const Device& device;
  const Nvrtc& nvrtc;
  GemmMeasurer& measurer;
  GemmChip chip;
  Json json = Json::object();
  int failures = 0;
  double read_gbps = 0;

  // Relative error of a sample of outputs; NaN anywhere in y makes it NaN.
  Expected<double> ErrorOf(const GemmProblem& p, const GemmTactic& tactic, int samples) {
    LATHE_RETURN_IF_ERROR(measurer.RunOnce(p, tactic));
    std::vector<float> y;
    LATHE_RETURN_IF_ERROR(measurer.ReadOutput(p, &y));
    for (const float v : y) {
      if (!std::isfinite(v)) return std::nan("");
    }
    Rng rng(static_cast<uint64_t>(p.m * 31 + p.n));
    double difference = 0, norm = 0;
    for (int i = 0; i < samples; ++i) {
      // The corners, then anywhere.
      const int t = i == 0 ? 0 : i == 1 ? p.m - 1 : static_cast<int>(rng.Below(static_cast<uint64_t>(p.m)));
      const int c = i == 0   ? 0
                    : i == 1 ? p.columns() - 1
                             : static_cast<int>(rng.Below(static_cast<uint64_t>(p.columns())));
      double expected;
      if (IsSilu(p.epilogue)) {
        const int row = c / 64 * 128 + c % 64;
        const double gate = measurer.Expected64(p, t, row);
        expected = gate / (1 + std::exp(-gate)) * measurer.Expected64(p, t, row + 64);
      } else {
        expected = measurer.Expected64(p, t, c);
      }
      const double got =
          y[static_cast<size_t>(t) * static_cast<size_t>(p.columns()) + static_cast<size_t>(c)];
      difference += (got - expected) * (got - expected);
      norm += expected * expected;
    }
    return std::sqrt(difference / norm);
  }

  static double Tolerance(const GemmProblem& p) {
    if (p.epilogue == GemmEpilogue::kF16 || p.epilogue == GemmEpilogue::kSiluF16)
      return p.type == GemmType::kE4m3 ? 2e-3 : 5e-4;  // f16 keeps 11 bits
    if (p.out_bytes() == 2) return 4e-3;               // bf16 keeps 8
    return p.type == GemmType::kE4m3 ? 2e-3 : 2e-5;
  }

  Status CheckOne(const GemmProblem& p, const GemmTactic& tactic, int samples,
                  std::map<std::string, double>* worst) {
    const Expected<double> measured = ErrorOf(p, tactic, samples);
    if (!measured.ok()) {
      return measured.status().WithContext(StrFormat("%s %s %s m %d n %d k %d", ToString(tactic).c_str(),
                                                     Name(p.type), Name(p.epilogue), p.m, p.n, p.k));
    }
    const double error = *measured;
    const std::string kind = ToString(tactic).substr(0, ToString(tactic).find('_'));
    double& slot = (*worst)[kind + " " + Name(p.type) + " " + Name(p.epilogue)];
    slot = std::isnan(error) ? error : std::max(slot, error);
    if (!(error <= Tolerance(p))) {
      ++failures;
      std::printf("WRONG %s %s %s m %d n %d k %d: error %g\n", ToString(tactic).c_str(), Name(p.type),
                  Name(p.epilogue), p.m, p.n, p.k, error);
    }
    return Status::Ok();
  }

  // `half`: what has f16 in it alone.
  Status Check(bool half) {
    struct Case {
      GemmProblem problem;
      GemmTactic tactic;
    };
    std::vector<Case> cases;
    std::set<std::string> known;
    std::vector<KernelSource> sources;
    const auto add = [&](const GemmProblem& p, const GemmTactic& t) { cases.push_back({p, t}); };
    for (const GemmType type : {GemmType::kBf16, GemmType::kE4m3, GemmType::kF16}) {
      for (const GemmEpilogue epilogue :
           {GemmEpilogue::kBf16, GemmEpilogue::kF32, GemmEpilogue::kAddF32, GemmEpilogue::kSiluBf16,
            GemmEpilogue::kF16, GemmEpilogue::kSiluF16}) {
        if (!IsGemmPair(type, epilogue)) continue;
        const bool f16 =
            type == GemmType::kF16 || epilogue == GemmEpilogue::kF16 || epilogue == GemmEpilogue::kSiluF16;
        if (half && !f16) continue;
        for (const int m : {1, 2, 3, 8, 13, 16, 29, 64, 130, 300}) {
          const GemmProblem p{type, epilogue, m, IsSilu(epilogue) ? 1152 : 1168, 2880};
          const std::vector<GemmTactic> tactics = GemmCandidates(p, chip);
          if (epilogue == GemmEpilogue::kBf16) {
            for (const GemmTactic& t : tactics) add(p, t);
          } else {
            add(p, DefaultGemmTactic(p, chip));
            add(p, tactics.back());
          }
          // The kernel of the other chips runs here too.
          if (m == 3 || m == 300) {
            add(p,
                {.kind = GemmKind::kMma, .rows = 128, .tokens = m == 3 ? 32 : 128, .stages = 3, .blocks = 1});
          }
        }
      }
    }
    for (const Case& c : cases) {
      KernelSource source = GemmKernel(c.tactic, c.problem);
      if (known.insert(source.entry).second) sources.push_back(std::move(source));
    }
    const double begin = Seconds();
    LATHE_RETURN_IF_ERROR(measurer.PrepareKernels(sources));
    std::printf("check: %zu kernels compiled in %.1f s\n", sources.size(), Seconds() - begin);
    std::map<std::string, double> worst;
    for (const Case& c : cases) LATHE_RETURN_IF_ERROR(CheckOne(c.problem, c.tactic, 96, &worst));
    std::printf("check: %zu cases, %d wrong, %.1f s\n", cases.size(), failures, Seconds() - begin);
    for (const auto& [name, error] : worst) std::printf("  %-18s largest error %.2e\n", name.c_str(), error);
    json["check"] = worst;
    json["check_cases"] = cases.size();
    json["check_wrong"] = failures;
    return Status::Ok();
  }

  // The same tactics in both 16-bit types, one after the other.
  Status TimeHalf() {
    Json rows = Json::array();
    std::printf("%-8s %5s %9s %9s  us, by the default tactic\n", "shape", "M", "bf16", "f16");
    for (const Shape& shape : kShapes) {
      for (const int m : {1, 16, 64, 2048}) {
        double us[2] = {};
        for (const bool f16 : {false, true}) {
          const bool silu = IsSilu(shape.step_epilogue);
          const GemmProblem p{
              f16 ? GemmType::kF16 : GemmType::kBf16,
              silu ? f16 ? GemmEpilogue::kSiluF16 : GemmEpilogue::kSiluBf16 : GemmEpilogue::kF32, m, shape.n,
              shape.k};
          LATHE_ASSIGN_OR_RETURN(us[f16], measurer.Time(p, DefaultGemmTactic(p, chip)));
        }
        std::printf("%-8s %5d %9.2f %9.2f\n", shape.name, m, us[0], us[1]);
        rows.push_back({{"shape", shape.name}, {"m", m}, {"bf16_us", us[0]}, {"f16_us", us[1]}});
      }
    }
    json["half"] = std::move(rows);
    return Status::Ok();
  }

  Status Sweep() {
    Json rows = Json::array();
    for (const GemmType type : {GemmType::kBf16, GemmType::kE4m3}) {
      std::vector<GemmProblem> problems;
      for (const Shape& shape : kShapes) {
        for (const int m : kTokens) problems.push_back({type, GemmEpilogue::kBf16, m, shape.n, shape.k});
      }
      const double begin = Seconds();
      LATHE_RETURN_IF_ERROR(measurer.Prepare(problems));
      std::printf("sweep %s: kernels compiled in %.1f s\n", Name(type), Seconds() - begin);
      std::printf("%-8s %5s | %9s %7s %6s %-30s | %9s | %6s\n", "shape", "M", "own us", "GB/s", "TFLOP",
                  "tactic", "lib us", "x lib");
      for (const GemmProblem& p : problems) LATHE_RETURN_IF_ERROR(SweepOne(p, &rows));
      std::printf("sweep %s: %.1f s\n", Name(type), Seconds() - begin);
    }
    json["sweep"] = std::move(rows);
    return Status::Ok();
  }

  Status SweepOne(const GemmProblem& p, Json* rows) {
    LATHE_ASSIGN_OR_RETURN(const GemmMeasurement measurement, measurer.Measure(p));
    const GemmTiming* own = nullptr;
    const GemmTiming* library = nullptr;
    Json all = Json::object();
    for (const GemmTiming& timing : measurement.timings) {
      const GemmTiming*& best = timing.tactic.kind == GemmKind::kCublasLt ? library : own;
      if (best == nullptr) best = &timing;
      all[ToString(timing.tactic)] = std::round(timing.us * 100) / 100;
    }
    std::map<std::string, double> worst;
    if (own != nullptr && p.m <= 512) LATHE_RETURN_IF_ERROR(CheckOne(p, own->tactic, 32, &worst));
    const double own_us = own != nullptr ? own->us : 0, library_us = library != nullptr ? library->us : 0;
    const std::string tactic = own != nullptr ? ToString(own->tactic) : "none";
    const char* shape = "";
    for (const Shape& s : kShapes) {
      if (s.n == p.n && s.k == p.k) shape = s.name;
    }
    const double best_us = own_us > 0 && (own_us < library_us || library_us == 0) ? own_us : library_us;
    // In percent: of the measured reading speed for the bytes that must move.
    std::printf("%-8s %5d | %9.2f %7.0f %6.0f %-30s | %9.2f | %6.2f\n", shape, p.m, own_us,
                p.bytes() / own_us / 1e3, p.flops() / own_us / 1e6, tactic.c_str(), library_us,
                library_us / own_us);
    rows->push_back({{"shape", shape},
                     {"type", Name(p.type)},
                     {"m", p.m},
                     {"n", p.n},
                     {"k", p.k},
                     {"own_us", own_us},
                     {"own_tactic", tactic},
                     {"library_us", library_us},
                     {"best_gbps", p.bytes() / best_us / 1e3},
                     {"best_tflops", p.flops() / best_us / 1e6},
                     {"of_read_roof", p.bytes() / best_us / 1e3 / read_gbps},
                     {"all_us", all}});
    return Status::Ok();
  }

  // Own tactics for a prompt's product: the candidates, or all that fit, e4m3 with several lengths of partial
  // sums.
  std::vector<GemmTactic> PromptTacticsOf(const GemmProblem& p, bool all) const {
    std::vector<GemmTactic> tactics = GemmCandidates(p, chip);
    if (!all || p.m <= 64) return tactics;
    tactics.clear();
    for (GemmTactic t : PromptTactics(p, chip)) {
      tactics.push_back(t);
      if (p.type != GemmType::kE4m3 || t.rows * t.tokens < 128 * 128) continue;
      const int chosen = t.promote;
      for (const int promote : {1, 2, 4}) {
        t.promote = promote;
        if (promote != chosen) tactics.push_back(t);
      }
    }
    return tactics;
  }

  Status Prompt(bool all) {
    std::vector<GemmProblem> problems;
    std::map<std::string, KernelSource> sources;
    for (const GemmType type : {GemmType::kBf16, GemmType::kE4m3}) {
      for (const Shape& shape : kShapes) {
        const bool head = std::strcmp(shape.name, "head") == 0;
        for (const int m : kPromptTokens) {
          if (head && (m > 1024 || type == GemmType::kE4m3)) continue;
          problems.push_back({type, GemmEpilogue::kBf16, m, shape.n, shape.k});
          if (shape.step_epilogue == GemmEpilogue::kSiluBf16)
            problems.push_back({type, shape.step_epilogue, m, shape.n, shape.k});
        }
      }
    }
    for (const GemmProblem& p : problems) {
      for (const GemmTactic& t : PromptTacticsOf(p, all)) {
        KernelSource source = GemmKernel(t, p);
        sources.emplace(source.entry, std::move(source));
      }
    }
    std::vector<KernelSource> list;
    for (auto& [entry, source] : sources) list.push_back(std::move(source));
    const double begin = Seconds();
    LATHE_RETURN_IF_ERROR(measurer.PrepareKernels(list));
    std::printf("prompt: %zu kernels compiled in %.1f s\n", list.size(), Seconds() - begin);
    Json rows = Json::array();
    for (const GemmProblem& p : problems) LATHE_RETURN_IF_ERROR(PromptOne(p, all, &rows));
    std::printf("prompt: %.1f s\n", Seconds() - begin);
    json[all ? "prompt_all" : "prompt"] = std::move(rows);
    return Status::Ok();
  }

  // The best of the own kernels in turn with the library's, since the chip slows down as it warms; the
  // library's product without SiLU stands beside the fused one.
  Status PromptOne(const GemmProblem& p, bool all, Json* rows) {
    double library_us = 0, own_us = 0;
    GemmTactic best, best_library;
    Json all_us = Json::object();
    GemmProblem plain = p;
    plain.epilogue = GemmEpilogue::kBf16;
    for (int i = 0; i < 6; ++i) {
      const GemmTactic t{.kind = GemmKind::kCublasLt, .algorithm = i};
      const Expected<double> us = measurer.Time(plain, t);
      if (!us.ok()) break;
      all_us[ToString(t)] = std::round(*us * 100) / 100;
      if (library_us == 0 || *us < library_us) library_us = *us, best_library = t;
    }
    for (const GemmTactic& t : PromptTacticsOf(p, all)) {
      LATHE_ASSIGN_OR_RETURN(const double us, measurer.Time(p, t));
      all_us[ToString(t)] = std::round(us * 100) / 100;
      if (own_us == 0 || us < own_us) own_us = us, best = t;
    }
    std::vector<double> own_times, library_times;
    for (int i = 0; i < 5; ++i) {
      LATHE_ASSIGN_OR_RETURN(const double theirs, measurer.Time(plain, best_library));
      LATHE_ASSIGN_OR_RETURN(const double ours, measurer.Time(p, best));
      library_times.push_back(theirs);
      own_times.push_back(ours);
    }
    std::sort(own_times.begin(), own_times.end());
    std::sort(library_times.begin(), library_times.end());
    own_us = own_times[2], library_us = library_times[2];
    std::map<std::string, double> worst;
    if (p.m <= 1024) LATHE_RETURN_IF_ERROR(CheckOne(p, best, 32, &worst));
    std::printf("%-4s %-4s %6d %5d %5d | %9.2f %6.0f TFLOP/s %-30s | lib %9.2f | x %.3f | model %s\n",
                Name(p.type), Name(p.epilogue), p.n, p.k, p.m, own_us, p.flops() / own_us / 1e6,
                ToString(best).c_str(), library_us, library_us / own_us,
                ToString(DefaultGemmTactic(p, chip)).c_str());
    rows->push_back({{"type", Name(p.type)},
                     {"epilogue", Name(p.epilogue)},
                     {"m", p.m},
                     {"n", p.n},
                     {"k", p.k},
                     {"own_us", own_us},
                     {"own_tactic", ToString(best)},
                     {"library_us", library_us},
                     {"all_us", std::move(all_us)}});
    return Status::Ok();
  }

  Status Step() {
    Json rows = Json::array();
    for (const GemmType type : {GemmType::kBf16, GemmType::kE4m3}) {
      for (const int m : {1, 2, 4, 8, 16, 32, 64}) LATHE_RETURN_IF_ERROR(StepOf(type, m, &rows));
    }
    json["step"] = std::move(rows);
    return Status::Ok();
  }

  // All products of a decode step of Llama-3.1-8B, each layer with weights of its own; the head in bf16.
  Status StepOf(GemmType type, int m, Json* rows) {
    struct Part {
      GemmProblem problem;
      GemmTactic tactic;
    };
    std::vector<Part> parts;
    std::vector<GemmProblem> layer, head;
    double bytes = 0;
    for (const Shape& shape : kShapes) {
      const bool is_head = std::strcmp(shape.name, "head") == 0;
      const GemmProblem p{is_head ? GemmType::kBf16 : type, shape.step_epilogue, m, shape.n, shape.k};
      (is_head ? head : layer).push_back(p);
      bytes += p.bytes() * (is_head ? 1 : kLayers);
    }
    double layer_us = 0, head_us = 0;
    LATHE_ASSIGN_OR_RETURN(const auto layer_tactics, measurer.TuneSequence(layer, kLayers / 2, 8, &layer_us));
    LATHE_ASSIGN_OR_RETURN(const auto head_tactics, measurer.TuneSequence(head, 4, 3, &head_us));
    for (size_t i = 0; i < layer.size(); ++i) parts.push_back({layer[i], layer_tactics[i]});
    parts.push_back({head[0], head_tactics[0]});
    double us[2];
    for (const bool overlap : {false, true}) {
      std::vector<std::pair<GemmProblem, GemmTactic>> launches;
      for (int layer = 0; layer < kLayers; ++layer) {
        for (size_t i = 0; i + 1 < parts.size(); ++i) launches.push_back({parts[i].problem, parts[i].tactic});
      }
      launches.push_back({parts.back().problem, parts.back().tactic});
      LATHE_ASSIGN_OR_RETURN(us[overlap ? 1 : 0], measurer.TimeSequence(launches, overlap));
    }
    std::printf("step %-5s M %2d: %7.3f ms, with overlap %7.3f ms (%.0f GB/s, %.0f%% of reading)", Name(type),
                m, us[0] / 1e3, us[1] / 1e3, bytes / us[1] / 1e3, bytes / us[1] / 1e1 / read_gbps);
    Json tactics = Json::array();
    for (const Part& part : parts) {
      tactics.push_back(ToString(part.tactic));
      std::printf(" %s", ToString(part.tactic).c_str());
    }
    std::printf("\n");
    rows->push_back({{"type", Name(type)},
                     {"m", m},
                     {"us", us[0]},
                     {"overlap_us", us[1]},
                     {"tactics", std::move(tactics)}});
    return Status::Ok();
  }
};

Status Run(int argc, char** argv) {
  LATHE_ASSIGN_OR_RETURN(const Driver* driver, Driver::Load());
  LATHE_ASSIGN_OR_RETURN(const std::unique_ptr<Device> device, Device::Open(*driver, 0));
  LATHE_ASSIGN_OR_RETURN(const Nvrtc* nvrtc, Nvrtc::Load());
  const Expected<std::unique_ptr<CublasLt>> lt = CublasLt::Open();
  std::printf("%s, driver %s, NVRTC %s, cuBLASLt %s\n", device->info().name.c_str(),
              VersionText(driver->version()).c_str(), VersionText(nvrtc->version()).c_str(),
              lt.ok() ? "found" : lt.status().message().c_str());
  GemmMeasureOptions options;
  options.weight_pool_bytes = 18ll << 30;
  LATHE_ASSIGN_OR_RETURN(
      const std::unique_ptr<GemmMeasurer> measurer,
      GemmMeasurer::Create(*device, *nvrtc, lt.ok() ? lt->get() : nullptr, 8192, 128256, 14336, options));
  Bench bench{*device, *nvrtc, *measurer, ChipOf(device->info()), Json::object(), 0, 0};
  LATHE_ASSIGN_OR_RETURN(bench.read_gbps, measurer->ReadBandwidth());
  std::printf("reading: %.0f GB/s\n", bench.read_gbps);
  bench.json["read_gbps"] = bench.read_gbps;
  const auto wanted = [&](const char* name) {
    return argc == 2 ||
           std::any_of(argv + 2, argv + argc, [&](const char* a) { return std::strcmp(a, name) == 0; });
  };
  Status status;
  const bool half = argc > 2 && wanted("half");
  if (wanted("check") || half) status = bench.Check(half);
  if (status.ok() && half) status = bench.TimeHalf();
  if (status.ok() && wanted("prompt")) status = bench.Prompt(false);
  if (status.ok() && argc > 2 && wanted("prompt_all")) status = bench.Prompt(true);
  if (status.ok() && wanted("step")) status = bench.Step();
  if (status.ok() && wanted("sweep")) status = bench.Sweep();
  LATHE_RETURN_IF_ERROR(WriteFileAtomic(argv[1], DumpJson(bench.json, 1)));
  LATHE_RETURN_IF_ERROR(status);
  if (bench.failures == 0) return status;
  return Error(StatusCode::kInternal, "%d results are wrong", bench.failures);
}

}  // namespace
}  // namespace lathe::cuda

int main(int argc, char** argv) {
  return lathe::cuda::LabMain(argc, argv, "gemm_bench OUT.json [check|half|step|sweep|prompt|prompt_all ...]",
                              [](int n, char** args) {
                                const lathe::Status status = lathe::cuda::Run(n, args);
                                if (!status.ok())
                                  std::fprintf(stderr, "gemm_bench: %s\n", status.message().c_str());
                                return status.ok() ? 0 : 1;
                              });
}
