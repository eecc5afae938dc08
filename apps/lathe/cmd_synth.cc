// `lathe synth`: a checkpoint with random weights.
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "commands.h"
#include "model/synth.h"
#include "next_step.h"
#include "terminal/cleanup.h"
#include "terminal/progress.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string config, out;
  std::optional<uint64_t> seed;
  bool random_vectors = false;
};

Expected<int> Run(const Options& options) {
  const CleanUpOnSignal cleanup(FolderOf(options.out));
  Progress progress(STDERR_FILENO);
  SynthOptions synth;
  synth.seed = options.seed.value_or(0);
  synth.random_vectors = options.random_vectors;
  synth.progress = [&](uint64_t done, uint64_t total) {
    progress.Update("writing weights", done, total, Unit::kBytes);
  };
  const Status status = WriteSyntheticCheckpoint(options.config, options.out, synth);
  progress.Clear();
  if (!status.ok()) return status;
  std::printf("wrote %s\n", options.out.c_str());
  SuggestNext("lathe build " + options.out + " -o model.lathe");
  return kExitOk;
}

}  // namespace

void AddSynth(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("synth", "Write a Hugging Face checkpoint of any shape with random weights",
                             "lathe synth --config config.json -o random-model");
  command.Option("--config", &options->config, "A Hugging Face config.json", /*required=*/true);
  command.Option("-o,--output", &options->out, "Directory to write; must not exist", /*required=*/true);
  command.Option("--seed", &options->seed, "Equal seeds give equal weights", "0");
  command.Flag("--random-vectors", &options->random_vectors,
               "Random norms and biases too, so that a test notices one that is left out");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
