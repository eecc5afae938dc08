#include "runtime/exec/profile.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "kernels/api/kernel.h"

namespace lathe {
namespace {

// Steps of similar size share a line.
std::string RowsLabel(int rows) {
  if (rows <= 2) return std::to_string(rows);
  int top = 4;
  while (top < rows) top *= 2;
  return ".." + std::to_string(top);
}

// "layers.3.qkv" -> "qkv"
std::string Suffix(const std::string& name) { return name.substr(name.rfind('.') + 1); }

}  // namespace

std::unique_ptr<StepProfile> StepProfile::FromEnvironment(const Plan& plan) {
  const char* value = std::getenv("LATHE_PROFILE");
  if (value == nullptr || std::string(value) != "1") return nullptr;
  return std::unique_ptr<StepProfile>(new StepProfile(plan));
}

void StepProfile::Add(const PlanOp& op, int rows, double seconds) {
  std::string name = ToString(op.kind);
  Line cost;
  if (op.kind == PlanOpKind::kGemm) {
    const WeightDef& w = plan_.weights[static_cast<size_t>(op.weight)];
    name += " " + Suffix(w.name);
    const Cost c = CostOf({.M = rows,
                           .N = static_cast<int>(w.N),
                           .K = static_cast<int>(w.K),
                           .y_type = DType::kF32,
                           .silu_mul = op.silu_mul},
                          plan_.numeric);
    cost.bytes = c.bytes;
    cost.flops = c.flops;
  }
  Line& line = AddTo(name, rows, seconds);
  line.bytes = cost.bytes;
  line.flops = cost.flops;
}

void StepProfile::Add(const std::string& name, int rows, double seconds) { AddTo(name, rows, seconds); }

StepProfile::Line& StepProfile::AddTo(const std::string& name, int rows, double seconds) {
  Line& line = lines_[name + ", rows " + RowsLabel(rows)];
  ++line.calls;
  line.seconds += seconds;
  line.best = std::min(line.best, seconds);
  return line;
}

StepProfile::~StepProfile() {
  double total = 0;
  for (const auto& [name, line] : lines_) total += line.seconds;
  std::fprintf(stderr, "%-28s %8s %9s %6s %10s %10s %8s %9s\n", "op", "calls", "ms", "%", "mean us",
               "best us", "GB/s", "GFLOP/s");
  for (const auto& [name, line] : lines_) {
    const double mean = line.seconds / line.calls;
    std::fprintf(stderr, "%-28s %8d %9.2f %6.1f %10.1f %10.1f %8.1f %9.1f\n", name.c_str(), line.calls,
                 line.seconds * 1e3, 100 * line.seconds / total, mean * 1e6, line.best * 1e6,
                 line.bytes / mean / 1e9, line.flops / mean / 1e9);
  }
}

}  // namespace lathe
