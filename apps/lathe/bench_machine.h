// What a benchmark runs on, and how fast that reads memory, measured in the benchmark's own run.
#pragma once

#include <string>

#include "base/json.h"
#include "model_options.h"

namespace lathe::cli {

// Whether this MODEL runs on a GPU; faults are for OpenModel to report.
bool IsForGpu(const ModelOptions& model);

class BenchMachine {
 public:
  // The GPU for an engine, or a target, that is for one; else the CPU. Measures for about a second, before
  // an engine has taken the memory.
  static BenchMachine Measure(const ModelOptions& model);
  // A CPU once more, with the engine asleep, keeping the better figures: a virtual machine's bandwidth comes
  // and goes.
  void MeasureAgain();

  // GB/s; 0 when it could not be measured (a GPU without its compiler).
  double read_gbps() const { return read_gbps_; }
  // "2 threads", "NVIDIA H200"
  const std::string& name() const { return name_; }
  Json ToJson() const;

 private:
  int threads_ = 0;
  bool gpu_ = false;
  double read_gbps_ = 0;
  std::string name_;
  Json json_;
};

}  // namespace lathe::cli
