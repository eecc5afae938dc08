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
#include "compiler/fp8_keep.h"
#include "compiler/pack_weights.h"
#include "compiler/target.h"
#include "kernels/api/kernel.h"
#include "tensor/dtype.h"

namespace lathe {

// What the build is doing; `total` is 0 where it cannot be known beforehand.
struct BuildProgress {
  // "reading", "measuring", "packing" (bytes), "measuring kernels" (counted), "compiling kernels",
  // "verifying", "waiting for another build"
  std::string_view stage;
  uint64_t done = 0, total = 0;
  bool counted = false;  // things, not bytes
};

struct BuildOptions {
  std::string output;  // the .lathe file
  // Type of the weights. On CPUs bf16 (default, whatever the checkpoint has: f32 is twice the bytes per
  // token) or f32. On CUDA bf16, f16 or e4m3, which is the layers' matrices, those of embedding and head keep
  // 16 bits. There the 16-bit type is, unless it is said, the checkpoint's own: f16 for one in f16, else
  // bf16.
  std::optional<DType> dtype;
  Fp8Scales fp8_scales = Fp8Scales::kChannel;  // of e4m3 weights
  Fp8Keep fp8_keep;                            // layers' matrices that keep 16 bits where dtype is e4m3
  std::optional<DType> kv_dtype;  // of keys and values: 16 bits or e4m3 (CUDA); absent: as computed
  std::string target = "cpu";     // see ParseTarget
  CudaTools cuda;
  int threads = 0;           // used for the build, and what kernels are measured with; 0: usable CPUs
  bool tune = true;          // false: default kernels, nothing is measured
  std::string timing_cache;  // file of earlier measurements, read and added to; "": none
  int tp = 1, pp = 1;
  // bf16 only: how products are formed. Absent: measured, or by instruction set when not tuning.
  std::optional<NumericClass> numeric;
  std::set<std::string> disabled_passes;
  std::string dump_ir_dir;  // see PipelineOptions::dump_dir; "": the one LATHE_DUMP_IR names, if it is set
  std::function<void(const BuildProgress&)> progress;  // called on the caller's thread
  // Asked between stages and while weights are packed, likewise; true ends the build with kCancelled.
  std::function<bool()> cancelled;
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
// import (nothing is measured before it succeeded) and of ParseTarget; kInvalidArgument for options out of
// range; kUnsupported for a target this machine cannot measure on (build it with tune = false) and for a
// model that the target has no kernels for; kNotFound without NVRTC, for CUDA; kResourceExhausted when the
// disk has no room for the engine; kIo.
Expected<BuildReport> BuildEngine(const std::string& dir, const BuildOptions& options);

// The last part of a path: what the model is called; of a snapshot in the cache of a hub, its repository's
// name.
std::string ModelNameOf(const std::string& dir);

}  // namespace lathe
