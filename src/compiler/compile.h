// From a checkpoint directory to an engine file: the whole build.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "kernels/api/kernel.h"
#include "tensor/dtype.h"

namespace lathe {

// What the build is doing; `total` is 0 where it cannot be known beforehand, otherwise both are bytes.
struct BuildProgress {
  std::string_view stage;  // "reading", "measuring", "packing", "verifying", "waiting for another build"
  uint64_t done = 0, total = 0;
};

struct BuildOptions {
  std::string output;  // the .lathe file
  // Type of the weights: bf16 (default, whatever the checkpoint has: f32 is twice the bytes per token) or
  // f32.
  std::optional<DType> dtype;
  std::string target = "cpu";  // "cpu": the best of this machine; "cpu:avx2", ...
  int threads = 0;             // used for the build, and what kernels are measured with; 0: usable CPUs
  bool tune = true;            // false: default kernels, nothing is measured
  std::string timing_cache;    // file of earlier measurements, read and added to; "": none
  int tp = 1, pp = 1;
  // bf16 only: how products are formed. Absent: measured, or by instruction set when not tuning.
  std::optional<NumericClass> numeric;
  std::set<std::string> disabled_passes;
  std::string dump_ir_dir;  // see PipelineOptions::dump_dir; "": the one LATHE_DUMP_IR names, if it is set
  std::function<void(const BuildProgress&)> progress;  // called on the caller's thread
};

struct BuildReport {
  std::string path;
  uint64_t file_bytes = 0;
  uint64_t weight_bytes = 0;  // of all ranks
  double seconds = 0;
  Json build_info;  // as stored in the engine: time of each stage, roofs, passes, memory
  std::vector<std::string> warnings;
};

// Builds the engine of the checkpoint `dir` (Hugging Face, or converted). The output appears whole and
// verified or not at all. Memory: mapped source pages apart, about 40 MiB and the graph. Errors: those of the
// import (nothing is measured before it succeeded); kInvalidArgument for options out of range; kUnsupported
// for a target this machine cannot measure on (build it with tune = false); kResourceExhausted when the disk
// has no room for the engine; kIo.
Expected<BuildReport> BuildEngine(const std::string& dir, const BuildOptions& options);

// The instruction set `target` stands for, and whether this machine runs it. kInvalidArgument for anything
// but "cpu" and "cpu:<isa>".
struct BuildTarget {
  Isa isa = Isa::kPortable;
  bool runs_here = true;
};
Expected<BuildTarget> ParseTarget(const std::string& target);

// The last part of a path: what the model is called.
std::string ModelNameOf(const std::string& dir);

}  // namespace lathe
