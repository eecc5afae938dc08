// `lathe plan`: what loading an engine takes.
#include <cstdio>
#include <memory>

#include "base/json.h"
#include "base/status.h"
#include "commands.h"
#include "hub_model.h"
#include "runtime/engine/load_plan.h"
#include "terminal/format.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string path;
  EngineOptions engine;
  uint64_t memory = 0;
  bool json = false;
};

Json ToJson(const LoadPlan& plan) {
  return {{"target", plan.target},
          {"max_step_tokens", plan.max_step_tokens},
          {"max_sequences", plan.max_sequences},
          {"context", plan.max_context},
          {"weight_bytes", plan.weight_bytes},
          {"buffer_bytes", plan.buffer_bytes},
          {"workspace_bytes", plan.workspace_bytes},
          {"cuda_bytes", plan.cuda_bytes},
          {"kv_bytes", plan.kv_bytes},
          {"host_kv_bytes", plan.host_kv_bytes},
          {"kv_bytes_per_token", plan.kv_bytes_per_token},
          {"kv_tokens", int64_t{plan.n_pages} * plan.page_size},
          {"total_bytes", plan.total()}};
}

void PrintLine(const char* what, uint64_t bytes, const std::string& note) {
  std::printf("%-16s %12s  %s\n", what, FormatBytes(static_cast<double>(bytes)).c_str(), note.c_str());
}

Expected<int> Run(const Options& options) {
  LATHE_ASSIGN_OR_RETURN(const std::string path, EnginePath(options.path, options.engine.device));
  LATHE_ASSIGN_OR_RETURN(const LoadPlan plan, PlanLoad(path, options.engine, options.memory));
  if (options.json) {
    std::printf("%s\n", DumpJson(ToJson(plan), 2).c_str());
    return kExitOk;
  }
  const long long tokens = static_cast<long long>(plan.n_pages) * plan.page_size;
  PrintLine("weights", plan.weight_bytes, plan.target);
  PrintLine("buffers", plan.buffer_bytes,
            StrFormat("steps of %d rows, %d sequences", plan.max_step_tokens, plan.max_sequences));
  if (plan.workspace_bytes > 0) PrintLine("workspaces", plan.workspace_bytes, "");
  if (plan.cuda_bytes > 0) PrintLine("CUDA itself", plan.cuda_bytes, "its context, kernels and graphs");
  PrintLine("keys and values", plan.kv_bytes,
            StrFormat("%lld tokens of %s: %lld sequences of %d, the longest", tokens,
                      FormatBytes(static_cast<double>(plan.kv_bytes_per_token)).c_str(),
                      tokens / plan.max_context, plan.max_context));
  PrintLine("all", plan.total(), "");
  if (plan.host_kv_bytes > 0)
    PrintLine("host memory", plan.host_kv_bytes,
              StrFormat("%lld tokens that are not in use",
                        static_cast<long long>(plan.host_kv_bytes / plan.kv_bytes_per_token)));
  return kExitOk;
}

}  // namespace

void AddPlan(Command& root) {
  auto options = std::make_shared<Options>();
  Command command = root.Sub("plan", "Show the memory that loading an engine takes, without loading it",
                             "lathe plan model.lathe --context 8192 --memory 24G");
  command.Argument("ENGINE", &options->path, "An engine file, or ORG/NAME of a hub");
  command.Option("--context", &options->engine.max_context, "Longest sequence in tokens; 0: the model's");
  command.Option("--max-sequences", &options->engine.max_sequences, "Sequences at once; 0: 256");
  command.Option("--max-step-tokens", &options->engine.max_step_tokens,
                 "Rows of one step; 0: the engine's choice");
  command.Bytes("--kv-bytes,--kv-memory", &options->engine.kv_bytes, "Memory for keys and values",
                "as lathe run chooses");
  command.Bytes("--host-kv-memory", &options->engine.host_kv_bytes,
                "Host memory for keys and values that are not in use", "none");
  command.Option("--gpu-memory-fraction", &options->engine.gpu_memory_fraction,
                 "Of what the GPU has free beside weights and buffers, for keys and values; 0: 0.9");
  command.Option("--device", &options->engine.device, "Which GPU, as lathe devices counts them");
  command.Flag("--deterministic", &options->engine.deterministic, "As for lathe run");
  command.Bytes("--memory", &options->memory, "Plan for a GPU with this much free before lathe starts",
                "what --device has free now");
  command.Flag("--json", &options->json, "Print JSON");
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
