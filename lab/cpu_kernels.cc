// Every GEMM tactic, attention and sampling on the shapes of real models, as a share of this machine's roofs.
//
//   lab_cpu_kernels [--threads N] [--class bf16-fma|bf16-dot|f32] [--m 1,16,512] [--only SUBSTRING] [--runs
//   N]
//
// Times are the minimum and the median over many short runs on weight copies that rotate through memory, as
// decode reads them. Roofs are measured before and after, since shared machines change under one's feet.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/clock.h"
#include "kernels/cpu/registry.h"
#include "kernels/cpu/sample.h"
#include "kernels/cpu/workers.h"
#include "kernels/pack/pack.h"
#include "kernels/tune/tune.h"

namespace {

using namespace lathe;  // NOLINT: a program, not a header

struct NamedShape {
  const char* name;
  GemmShape shape;
};

// 1.1 B Llama (hidden 2048, FFN 8192, 32/8 heads of 64, vocabulary 32000) and tales-16m (384, 1024, 6/2 of
// 64, 8192).
constexpr NamedShape kShapes[] = {
    {"1.1B qkv", {3072, 2048, false, DType::kF32}},      {"1.1B o", {2048, 2048, false, DType::kF32}},
    {"1.1B gate+up", {16384, 2048, true, DType::kBf16}}, {"1.1B down", {2048, 8192, false, DType::kF32}},
    {"1.1B head", {32000, 2048, false, DType::kF32}},    {"16m qkv", {640, 384, false, DType::kF32}},
    {"16m o", {384, 384, false, DType::kF32}},           {"16m gate+up", {2048, 384, true, DType::kBf16}},
    {"16m down", {384, 1024, false, DType::kF32}},       {"16m head", {8192, 384, false, DType::kF32}},
};

struct Options {
  int threads = 0;
  int runs = 0;
  std::vector<int> ms = {1, 2, 4, 8, 16, 64, 512};
  std::string only;
  std::vector<NumericClass> classes = {NumericClass::kBf16Fma, NumericClass::kBf16Dot};
};

Options Parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--threads") o.threads = std::atoi(value.c_str());
    if (flag == "--runs") o.runs = std::atoi(value.c_str());
    if (flag == "--only") o.only = value;
    if (flag == "--m") {
      o.ms.clear();
      for (size_t at = 0; at < value.size();
           at = value.find(',', at) == std::string::npos ? value.size() : value.find(',', at) + 1)
        o.ms.push_back(std::atoi(value.c_str() + at));
    }
    if (flag == "--class") {
      o.classes.clear();
      for (NumericClass c : {NumericClass::kF32, NumericClass::kBf16Fma, NumericClass::kBf16Dot})
        if (ToString(c) == value) o.classes.push_back(c);
    }
  }
  return o;
}

void PrintRoofs(const char* when, const MachineRoofs& roofs, int threads) {
  std::printf("roofs %s: read %.1f GB/s, f32 fma %.0f GFLOP/s, bf16 dot %.0f GFLOP/s (%d threads)\n", when,
              roofs.read_gbps, roofs.peak.f32_fma, roofs.peak.bf16_dot, threads);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  Team team({.threads = options.threads});
  Workers workers(team);
  const Isa isa = SelectIsa().value();
  const MachineRoofs roofs = MeasureRoofs(team, 1500);
  std::printf("%s, %s\n", GetCpuInfo().model.c_str(), std::string(ToString(isa)).c_str());
  PrintRoofs("before", roofs, team.size());
  for (const NamedShape& named : kShapes) {
    if (!options.only.empty() && std::string(named.name).find(options.only) == std::string::npos) continue;
    for (NumericClass numeric : options.classes) {
      if (FindOps(isa, numeric) == nullptr) continue;
      for (const int m : options.ms)
        for (const GemmTiming& t :
             TimeGemmTactics(isa, numeric, named.shape, m, workers, roofs, options.runs))
          std::printf(
              "%-13s %-8s M %-4d %-28s min %9.1f us  median %9.1f us  %6.1f GB/s %7.1f GFLOP/s  %5.1f %% of "
              "roof\n",
              named.name, std::string(ToString(numeric)).c_str(), m, std::string(t.kernel).c_str(), t.min_us,
              t.median_us, t.gbps, t.gflops, t.percent_of_roof);
      std::fflush(stdout);
    }
  }
  PrintRoofs("after", MeasureRoofs(team, 1500), team.size());
  return 0;
}
