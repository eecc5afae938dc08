#include "model_options.h"

#include <unistd.h>

#include <cstdio>

#include "base/status.h"
#include "build_progress.h"
#include "compiler/cache.h"
#include "hub_model.h"
#include "open/open_model.h"
#include "sampling_options.h"
#include "terminal/cleanup.h"
#include "terminal/format.h"
#include "terminal/progress.h"
#include "terminal/terminal.h"
#include "trace.h"

namespace lathe::cli {
namespace {

// The bar, its clean-up, and what is told of a build on stderr.
class BuildTold {
 public:
  explicit BuildTold(const std::string& model) : model_(model) {}

  void Build(const BuildProgress& now) {
    // Only while there is something to build.
    if (!cleanup_) cleanup_.emplace(CacheDir().ok() ? *CacheDir() : ".");
    if (!announced_) {
      std::fprintf(stderr, "lathe: building an engine of %s for this machine (once)\n", model_.c_str());
      announced_ = true;
    }
    draw_(now);
  }
  void Resolved() {
    cleanup_.reset();
    bar_.Clear();
    TraceStage("engine file found");
  }
  static void Built(const BuildReport& report) {
    const std::string line =
        StrFormat("built %s in %s", FormatBytes(static_cast<double>(report.file_bytes)).c_str(),
                  FormatSeconds(report.seconds).c_str());
    std::fprintf(stderr, "lathe: %s\n", line.c_str());
  }

 private:
  const std::string& model_;
  BuildBar bar_;
  std::function<void(const BuildProgress&)> draw_ = bar_.Callback();
  bool announced_ = DescribeTerminal(STDERR_FILENO).interactive;  // the bar speaks for itself
  std::optional<CleanUpOnSignal> cleanup_;
};

}  // namespace

void ModelOptions::Declare(Command& command) {
  command.Argument("MODEL", &path,
                   "An engine file, a model's directory (built once into the cache), or ORG/NAME of a hub");
  command.Option("--dtype", &dtype,
                 "Weights of a directory's engine: auto, bf16, f32 (CPU), fp16 or fp8 (GPU)",
                 "fp16 of an fp16 checkpoint on a GPU, else bf16");
  command.Option(
      "--target", &target,
      "What a directory's engine is for: auto (a GPU that is here, else the CPU), or as of lathe build");
  command.Option("--threads", &engine.threads, "Compute threads; 0: usable CPUs");
  command.Bytes("--kv-bytes,--kv-memory", &engine.kv_bytes, "Memory for keys and values, e.g. 512M",
                "fits a few sequences");
  command.Bytes("--host-kv-memory", &engine.host_kv_bytes,
                "Host memory for keys and values that are not in use and had to leave, e.g. 8G", "none");
  command.Option("--context", &engine.max_context, "Longest sequence in tokens; 0: the model's");
  command.Option("--device", &engine.device, "Which GPU, as lathe devices counts them");
  command.Option("--gpu-memory-fraction", &engine.gpu_memory_fraction,
                 "Of what the GPU has free beside weights and buffers, for keys and values; 0: 0.9");
  command.Flag("--deterministic", &engine.deterministic,
               "On a GPU: the same bits for a request whatever runs beside it (slower; CPUs do it always)");
}

std::vector<std::string> ModelOptions::ToArgs() const {
  std::vector<std::string> out{path};
  const auto add = [&out](const char* name, const std::string& value) {
    out.insert(out.end(), {name, value});
  };
  if (dtype) add("--dtype", *dtype);
  if (target != "auto") add("--target", target);
  if (engine.threads > 0) add("--threads", std::to_string(engine.threads));
  if (engine.kv_bytes > 0) add("--kv-bytes", std::to_string(engine.kv_bytes));
  if (engine.host_kv_bytes > 0) add("--host-kv-memory", std::to_string(engine.host_kv_bytes));
  if (engine.max_context > 0) add("--context", std::to_string(engine.max_context));
  if (engine.device > 0) add("--device", std::to_string(engine.device));
  if (engine.gpu_memory_fraction > 0)
    add("--gpu-memory-fraction", StrFormat("%.6g", engine.gpu_memory_fraction));
  if (engine.deterministic) out.push_back("--deterministic");
  return out;
}

Status ModelOptions::Fetch() {
  LATHE_ASSIGN_OR_RETURN(
      path, LocalPath({.model = path, .dtype = dtype, .target = target, .device = engine.device}));
  return {};
}

Expected<std::unique_ptr<Engine>> OpenModel(const ModelOptions& named) {
  ModelOptions options = named;
  LATHE_RETURN_IF_ERROR(options.Fetch());
  OpenOptions open{
      .model = options.path, .dtype = options.dtype, .target = options.target, .engine = options.engine};
  BuildTold told(named.path);
  const OpenEvents events{
      .build = [&](const BuildProgress& now) { told.Build(now); },
      .cancelled = {},
      .resolved = [&] { told.Resolved(); },
      .warning = [](const std::string& text) { std::fprintf(stderr, "lathe: warning: %s\n", text.c_str()); },
      .built = BuildTold::Built,
      .rebuilding =
          [](const std::string& why) {
            std::fprintf(stderr, "lathe: building the cached engine again: %s\n", why.c_str());
          }};
  // A bar for what takes long on a GPU: its weights.
  Progress bar(STDERR_FILENO);
  open.engine.load_progress = [&bar](uint64_t done, uint64_t total) {
    bar.Update("loading", done, total, Unit::kBytes);
  };
  auto opened = lathe::OpenModel(open, events);
  if (!opened.ok()) return WithFlagNames(opened.status());
  return std::move(opened->engine);
}

}  // namespace lathe::cli
