// `lathe inspect`: what an engine file is.
#include <cstdio>
#include <memory>

#include "base/status.h"
#include "commands.h"
#include "compiler/inspect.h"
#include "hub_model.h"
#include "next_step.h"
#include "terminal/format.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string path;
  bool plan = false, tuning = false, kernels = false, json = false, verify = false;
};

Expected<int> Run(Options options) {
  LATHE_ASSIGN_OR_RETURN(options.path, EnginePath(options.path));
  LATHE_ASSIGN_OR_RETURN(const EngineReader engine, EngineReader::Open(options.path));
  if (options.verify) LATHE_RETURN_IF_ERROR(engine.VerifyWeights());
  if (options.json) {
    LATHE_ASSIGN_OR_RETURN(const Json description, DescribeEngine(engine));
    std::printf("%s\n", DumpJson(description, 2).c_str());
    return kExitOk;
  }
  const bool chosen = options.plan || options.tuning || options.kernels;
  std::string out;
  if (!chosen) {
    LATHE_ASSIGN_OR_RETURN(out, IdentityTable(engine));
  }
  if (options.plan) {
    LATHE_ASSIGN_OR_RETURN(const std::string table, MemoryTable(engine));
    out += table;
  }
  if (options.tuning) {
    LATHE_ASSIGN_OR_RETURN(const std::string table, TuningTable(engine));
    out += out.empty() ? table : "\n" + table;
  }
  if (options.kernels) {
    LATHE_ASSIGN_OR_RETURN(const std::string table, KernelTable(engine));
    out += out.empty() ? table : "\n" + table;
  }
  if (options.verify) {
    out += StrFormat("every checksum of %s agrees\n",
                     FormatBytes(static_cast<double>(engine.file_bytes())).c_str());
  }
  std::fputs(out.c_str(), stdout);
  if (!chosen) SuggestNext("lathe inspect --plan --tuning " + options.path);
  return kExitOk;
}

}  // namespace

void AddInspect(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("inspect", "Show what an engine file is, holds and measured",
                             "lathe inspect model.lathe --tuning");
  command.Argument("ENGINE", &options->path, "An engine file, or ORG/NAME of a hub");
  command.Flag("--plan", &options->plan, "The memory plan: weights, buffers, keys and values");
  command.Flag("--tuning", &options->tuning,
               "The kernel chosen for each matmul, its measured time and its share of the roof");
  command.Flag("--kernels", &options->kernels,
               "The compiled kernels of an engine for GPUs: registers, spills, shared memory");
  command.Flag("--json", &options->json, "Everything, as JSON");
  command.Flag("--verify", &options->verify, "Check the checksums of the weights too");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
