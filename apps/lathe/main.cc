#include "commands.h"
#include "flags.h"
#include "terminal/cleanup.h"
#include "trace.h"

namespace {

int Run(int argc, char** argv) {
  using lathe::cli::Command;
  lathe::cli::CommandLine line(
      "lathe compiles a large language model for the machine that runs it, and runs it.",
      "lathe run models/tales-16m \"Once upon a time\"");
  Command root = line.Root();
  lathe::cli::AddPull(root);
  lathe::cli::AddPush(root);
  lathe::cli::AddConvert(root);
  lathe::cli::AddBuild(root);
  lathe::cli::AddInspect(root);
  lathe::cli::AddPlan(root);
  lathe::cli::AddRun(root);
  lathe::cli::AddChat(root);
  lathe::cli::AddServe(root);
  lathe::cli::AddKeys(root);
  lathe::cli::AddHealth(root);
  lathe::cli::AddPackage(root);
  lathe::cli::AddDeploy(root);
  Command bench = root.Sub("bench", "Measure latency or throughput", "lathe bench latency model.lathe");
  lathe::cli::AddBenchLatency(bench);
  lathe::cli::AddBenchThroughput(bench);
  lathe::cli::AddBenchServing(bench);
  lathe::cli::AddBenchCompare(bench);
  lathe::cli::AddBenchWorker(bench);
  Command eval = root.Sub("eval", "Measure how well a model predicts a text",
                          "lathe eval perplexity model.lathe text.txt");
  lathe::cli::AddEvalPerplexity(eval);
  lathe::cli::AddSynth(root);
  lathe::cli::AddMachine(root);
  lathe::cli::AddDevices(root);
  lathe::cli::AddVersion(root);
  return line.Run(argc, argv);
}

}  // namespace

int main(int argc, char** argv) {
  lathe::cli::StartTrace();
  lathe::cli::EndOnSignalsAsFirstProcess();
  const int code = Run(argc, argv);
  lathe::cli::TraceStage("done");
  return code;
}
