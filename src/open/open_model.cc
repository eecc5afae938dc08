#include "open/open_model.h"

#include <unistd.h>

#include "base/file.h"
#include "compiler/cache.h"
#include "compiler/option_words.h"

namespace lathe {
namespace {

Expected<std::string> Resolve(const OpenOptions& options, const OpenEvents& events) {
  BuildOptions build;
  build.threads = options.engine.threads;
  build.target = options.target;
  build.cuda.device = options.engine.device;
  if (options.dtype) {
    LATHE_ASSIGN_OR_RETURN(build.dtype, ParseEngineType(*options.dtype));
  }
  build.progress = events.build;
  build.cancelled = events.cancelled;
  BuildReport report;
  auto path = ResolveEngine(options.model, build, &report);
  if (events.resolved) events.resolved();
  LATHE_RETURN_IF_ERROR(path.status());
  for (const std::string& warning : report.warnings) {
    if (events.warning) events.warning(warning);
  }
  if (!report.path.empty() && events.built) events.built(report);
  return path;
}

}  // namespace

Status CheckOpenOptions(const OpenOptions& options) {
  const EngineOptions& engine = options.engine;
  if (options.dtype) LATHE_RETURN_IF_ERROR(ParseEngineType(*options.dtype).status());
  if (engine.threads < 0 || engine.threads > 4096) {
    return Error(StatusCode::kInvalidArgument, "threads must be in [0, 4096], but is %d", engine.threads);
  }
  if (engine.device < 0) {
    return Error(StatusCode::kInvalidArgument, "device must be 0 or more, but is %d", engine.device);
  }
  if (!(engine.gpu_memory_fraction >= 0 && engine.gpu_memory_fraction <= 1)) {
    return Error(StatusCode::kInvalidArgument, "gpu_memory_fraction must be in [0, 1], but is %g",
                 engine.gpu_memory_fraction);
  }
  if (engine.max_context < 0) {
    return Error(StatusCode::kInvalidArgument, "context must be 0 or more, but is %d", engine.max_context);
  }
  return Status::Ok();
}

Expected<OpenedModel> OpenModel(const OpenOptions& options, const OpenEvents& events) {
  LATHE_RETURN_IF_ERROR(CheckOpenOptions(options));
  LATHE_ASSIGN_OR_RETURN(std::string path, Resolve(options, events));
  auto engine = Engine::Load(path, options.engine);
  if (engine.status().code() == StatusCode::kMismatch && DirExists(options.model)) {
    // Left by another build of this version, with other kernels: it is ours to replace.
    if (events.rebuilding) events.rebuilding(engine.status().message());
    if (unlink(path.c_str()) == 0) {
      LATHE_ASSIGN_OR_RETURN(path, Resolve(options, events));
      engine = Engine::Load(path, options.engine);
    }
  }
  LATHE_RETURN_IF_ERROR(engine.status());
  return OpenedModel{.engine = *std::move(engine), .path = std::move(path)};
}

}  // namespace lathe
