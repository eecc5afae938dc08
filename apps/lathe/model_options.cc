#include "model_options.h"

#include <unistd.h>

#include <cstdio>

#include "base/file.h"
#include "base/status.h"
#include "build_progress.h"
#include "compiler/cache.h"
#include "terminal/cleanup.h"
#include "terminal/format.h"
#include "terminal/progress.h"
#include "terminal/terminal.h"
#include "trace.h"

namespace lathe::cli {
namespace {

Status CheckEngineOptions(const EngineOptions& options) {
  if (options.threads < 0 || options.threads > 4096) {
    return Error(StatusCode::kInvalidArgument, "--threads must be in [0, 4096], but is %d", options.threads);
  }
  if (options.device < 0 || !(options.gpu_memory_fraction >= 0 && options.gpu_memory_fraction <= 1)) {
    return Error(StatusCode::kInvalidArgument,
                 "--device must be 0 or more and --gpu-memory-fraction in [0, 1], but they are %d and %g",
                 options.device, options.gpu_memory_fraction);
  }
  if (options.max_context < 0) {
    return Error(StatusCode::kInvalidArgument, "--context must be 0 or more, but is %d", options.max_context);
  }
  return {};
}

// The engine's path. Says what it does only when there is something to do.
Expected<std::string> Resolve(const ModelOptions& options) {
  BuildOptions build;
  build.threads = options.engine.threads;
  build.target = options.target;
  build.cuda.device = options.engine.device;
  if (options.dtype) {
    LATHE_ASSIGN_OR_RETURN(build.dtype, ParseEngineType(*options.dtype));
  }
  BuildBar bar;
  const bool interactive = DescribeTerminal(STDERR_FILENO).interactive;
  bool announced = interactive;            // the bar speaks for itself
  std::optional<CleanUpOnSignal> cleanup;  // only while there is something to build
  build.progress = [&, draw = bar.Callback()](const BuildProgress& now) {
    if (!cleanup) cleanup.emplace(CacheDir().ok() ? *CacheDir() : ".");
    if (!announced) {
      std::fprintf(stderr, "lathe: building an engine of %s for this machine (once)\n", options.path.c_str());
      announced = true;
    }
    draw(now);
  };
  BuildReport report;
  auto path = ResolveEngine(options.path, build, &report);
  cleanup.reset();
  bar.Clear();
  LATHE_RETURN_IF_ERROR(path.status());
  for (const std::string& warning : report.warnings) {
    std::fprintf(stderr, "lathe: warning: %s\n", warning.c_str());
  }
  if (!report.path.empty()) {
    const std::string line =
        StrFormat("built %s in %s", FormatBytes(static_cast<double>(report.file_bytes)).c_str(),
                  FormatSeconds(report.seconds).c_str());
    std::fprintf(stderr, "lathe: %s\n", line.c_str());
  }
  return path;
}

// With a bar for what takes long on a GPU: its weights.
Expected<std::unique_ptr<Engine>> Load(const std::string& path, EngineOptions options) {
  Progress bar(STDERR_FILENO);
  options.load_progress = [&bar](uint64_t done, uint64_t total) {
    bar.Update("loading", done, total, Unit::kBytes);
  };
  return Engine::Load(path, options);
}

}  // namespace

void ModelOptions::Declare(Command& command) {
  command.Argument("MODEL", &path, "An engine file, or a model's directory (built once into the cache)");
  command.Option("--dtype", &dtype, "Weights of a directory's engine: bf16, f32 (CPU) or fp8 (GPU)", "bf16");
  command.Option(
      "--target", &target,
      "What a directory's engine is for: auto (a GPU that is here, else the CPU), or as of lathe build");
  command.Option("--threads", &engine.threads, "Compute threads; 0: usable CPUs");
  command.Bytes("--kv-bytes", &engine.kv_bytes, "Memory for keys and values, e.g. 512M",
                "fits a few sequences");
  command.Option("--context", &engine.max_context, "Longest sequence in tokens; 0: the model's");
  command.Option("--device", &engine.device, "Which GPU, as lathe devices counts them");
  command.Option("--gpu-memory-fraction", &engine.gpu_memory_fraction,
                 "Of what the GPU has free beside weights and buffers, for keys and values; 0: 0.9");
  command.Flag("--deterministic", &engine.deterministic,
               "On a GPU: the same bits for a request whatever runs beside it (slower; CPUs do it always)");
}

Expected<std::unique_ptr<Engine>> OpenModel(const ModelOptions& options) {
  LATHE_RETURN_IF_ERROR(CheckEngineOptions(options.engine));
  LATHE_ASSIGN_OR_RETURN(const std::string path, Resolve(options));
  TraceStage("engine file found");
  auto engine = Load(path, options.engine);
  if (engine.status().code() != StatusCode::kMismatch || !DirExists(options.path)) return engine;
  // Left by another build of this version, with other kernels: it is ours to replace.
  std::fprintf(stderr, "lathe: building the cached engine again: %s\n", engine.status().message().c_str());
  if (unlink(path.c_str()) != 0) return engine;
  LATHE_ASSIGN_OR_RETURN(const std::string again, Resolve(options));
  return Load(again, options.engine);
}

}  // namespace lathe::cli
