// `lathe build`: from a checkpoint to an engine file.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "base/status.h"
#include "build_progress.h"
#include "commands.h"
#include "compiler/compile.h"
#include "compiler/option_words.h"
#include "hub_model.h"
#include "next_step.h"
#include "sampling_options.h"
#include "terminal/cleanup.h"
#include "terminal/format.h"
#include "terminal/terminal.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string dir;
  std::optional<std::string> output;
  BuildWords words;
  BuildOptions build;
  std::optional<int> device;
  bool no_tune = false, quiet = false;
};

Expected<int> Run(Options options) {
  LATHE_ASSIGN_OR_RETURN(options.dir, LocalPath({.model = options.dir, .want = hub::Want::kWeights}));
  BuildOptions build = options.build;
  build.tune = !options.no_tune;
  build.output = options.output.value_or(ModelNameOf(options.dir) + ".lathe");
  build.cuda.device = options.device.value_or(-1);
  LATHE_RETURN_IF_ERROR(WithFlagNames(SetFromWords(options.words, &build)));
  const CleanUpOnSignal cleanup(FolderOf(build.output));
  BuildBar bar;
  if (!options.quiet) build.progress = bar.Callback();
  const auto report = BuildEngine(options.dir, build);
  bar.Clear();
  LATHE_RETURN_IF_ERROR(report.status());
  for (const std::string& warning : report->warnings) {
    std::fprintf(stderr, "lathe: warning: %s\n", warning.c_str());
  }
  if (options.quiet) return kExitOk;
  std::printf("built %s: %s (%s of weights) in %s\n", report->path.c_str(),
              FormatBytes(static_cast<double>(report->file_bytes)).c_str(),
              FormatBytes(static_cast<double>(report->weight_bytes)).c_str(),
              FormatSeconds(report->seconds).c_str());
  SuggestNext("lathe run " + report->path + " \"Once upon a time\"");
  return kExitOk;
}

}  // namespace

void AddBuild(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("build", "Compile a model into an engine for this machine",
                             "lathe build models/tales-16m -o tales.lathe");
  command.Argument("DIR", &options->dir,
                   "A model's directory (Hugging Face), what lathe convert wrote, or ORG/NAME of a hub");
  command.Option("-o,--output", &options->output, "The engine file", "NAME.lathe, in the current directory");
  command.Option("--dtype", &options->words.dtype, "Weights: auto, bf16, f32 (CPU), fp16 or fp8 (GPU)",
                 "fp16 of an fp16 checkpoint on a GPU, else bf16");
  command.Option("--kv-dtype", &options->words.kv_dtype,
                 "Keys and values on a GPU: auto (as computed) or fp8", "auto");
  command.Option("--fp8-scales", &options->words.fp8_scales,
                 "Scales of fp8 weights: one a channel or a tensor", "channel");
  command.Option("--fp8-keep", &options->words.fp8_keep,
                 "Matrices that an fp8 engine keeps in 16 bits: first, last (layer), qkv, o, gate_up, down",
                 "none");
  command.Option(
      "--target", &options->build.target,
      "cpu (the best of this machine), cpu:portable, cpu:avx2, cpu:avx512, cpu:avx512bf16; cuda (the "
      "GPU here), cuda:sm_80, 86, 89, 90a, 100a, 120a; auto (cuda or else cpu)");
  command.Option("--device", &options->device, "Which GPU, as lathe devices counts them", "the first usable");
  command.Option("--timing-cache", &options->build.timing_cache,
                 "File of earlier measurements, read and added to");
  command.Flag("--no-tune", &options->no_tune,
               "Measure nothing and take default kernels (for another machine)");
  command.Option("--numeric", &options->words.numeric, "How bf16 products are formed: bf16-fma or bf16-dot",
                 "the faster one");
  command.Option("--threads", &options->build.threads, "Threads that build and measure; 0: usable CPUs");
  command.Option("--tp", &options->build.tp, "Tensor-parallel ranks");
  command.Option("--pp", &options->build.pp, "Pipeline stages");
  command.Repeated("--disable-pass", "NAME", "Leave out an optimisation (lathe inspect --plan lists them)",
                   [options = options.get()](const std::string& name) {
                     options->build.disabled_passes.insert(name);
                     return Status();
                   });
  command.Option("--dump-ir", &options->build.dump_ir_dir,
                 "Write the graph before and after each pass into this directory");
  command.Flag("-q,--quiet", &options->quiet, "Print faults and warnings alone");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
