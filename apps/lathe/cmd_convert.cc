// `lathe convert`: a normalised checkpoint, cut for a number of ranks.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "base/status.h"
#include "build_progress.h"
#include "commands.h"
#include "hub_model.h"
#include "model/convert.h"
#include "next_step.h"
#include "terminal/cleanup.h"
#include "terminal/progress.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string dir, out;
  std::optional<std::string> dtype;
  int tp = 1, pp = 1;
};

Expected<int> Run(Options options) {
  LATHE_ASSIGN_OR_RETURN(options.dir, LocalPath({.model = options.dir, .want = hub::Want::kWeights}));
  ConvertOptions convert;
  convert.tp = options.tp;
  convert.pp = options.pp;
  if (options.dtype) {
    LATHE_ASSIGN_OR_RETURN(convert.dtype, ParseWeightType(*options.dtype));
  }
  const CleanUpOnSignal cleanup(FolderOf(options.out));
  Progress progress(STDERR_FILENO);
  convert.progress = [&](uint64_t done, uint64_t total) {
    progress.Update("converting", done, total, Unit::kBytes);
  };
  const Status status = ConvertCheckpoint(options.dir, options.out, convert);
  progress.Clear();
  if (!status.ok()) return status;
  std::printf("wrote %s\n", options.out.c_str());
  SuggestNext("lathe build " + options.out + " -o model.lathe");
  return kExitOk;
}

}  // namespace

void AddConvert(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("convert", "Write a normalised checkpoint, cut for a number of ranks (optional)",
                             "lathe convert models/tales-16m -o ckpt --tp 2");
  command.Argument("DIR", &options->dir, "A model's directory, as Hugging Face has it, or ORG/NAME of a hub");
  command.Option("-o,--output", &options->out, "Directory to write; must not exist", /*required=*/true);
  command.Option("--dtype", &options->dtype, "Weights: bf16, fp16 or f32", "the checkpoint's");
  command.Option("--tp", &options->tp, "Tensor-parallel ranks");
  command.Option("--pp", &options->pp, "Pipeline stages");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
