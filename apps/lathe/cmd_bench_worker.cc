// `lathe bench worker`: this engine as a contender of `lathe bench compare` (compare/contender.h says what it
// reads and writes). A process of its own, so that start-up and memory are a user's.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "base/status.h"
#include "bench.h"
#include "bench_machine.h"
#include "commands.h"
#include "lathe/version.h"
#include "machine.h"
#include "platform/cuda/driver.h"

namespace lathe::cli {
namespace {

constexpr int kMostPrompts = 4096;

Expected<std::vector<BenchRequest>> ParseQuestion(const std::string& line, const ModelInfo& model) {
  const char* const where = "standard input";
  LATHE_ASSIGN_OR_RETURN(const Json json, ParseJson(line, where));
  if (!json.is_object()) return Error(StatusCode::kInvalidArgument, "%s: expected an object", where);
  LATHE_ASSIGN_OR_RETURN(const int64_t output, JsonInt(json, "output", where));
  LATHE_RETURN_IF_ERROR(CheckRange("output", output, 1, model.max_context));
  const auto prompts = json.find("prompts");
  if (prompts == json.end() || !prompts->is_array() || prompts->empty() || prompts->size() > kMostPrompts) {
    return Error(StatusCode::kInvalidArgument, "%s: \"prompts\" must be a list of 1 to %d lists of ids",
                 where, kMostPrompts);
  }
  std::vector<BenchRequest> out;
  for (const Json& prompt : *prompts) {
    BenchRequest& request = out.emplace_back();
    request.output_tokens = static_cast<int>(output);
    for (const Json& id : prompt) {
      if (!id.is_number_integer())
        return Error(StatusCode::kInvalidArgument, "%s: a prompt holds what is no id", where);
      LATHE_RETURN_IF_ERROR(CheckRange("a token id", id.get<int64_t>(), 0, model.vocab - 1));
      request.ids.push_back(id.get<TokenId>());
    }
  }
  return out;
}

// Resident memory at its peak; of a GPU what is in use there now. 0: unknown.
uint64_t MemoryBytes(bool gpu, int ordinal) {
  if (!gpu) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  }
  const auto driver = cuda::Driver::Load();
  if (!driver.ok()) return 0;
  const auto device = cuda::Device::Open(**driver, ordinal);
  if (!device.ok()) return 0;
  const auto memory = (*device)->MemoryNow();
  return memory.ok() ? static_cast<uint64_t>(memory->total_bytes - memory->free_bytes) : 0;
}

void Answer(const Json& answer) {
  std::fputs((DumpJson(answer) + "\n").c_str(), stdout);
  std::fflush(stdout);
}

Expected<Json> AnswerOf(Engine& engine, const std::string& line, bool gpu, int ordinal) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<BenchRequest> requests, ParseQuestion(line, engine.model()));
  LATHE_ASSIGN_OR_RETURN(const std::vector<BenchTimes> times, RunBatch(engine, requests));
  double begin = times[0].submitted, first = 0, last = 0;
  Json first_tokens = Json::array();
  for (const BenchTimes& t : times) {
    begin = std::min(begin, t.submitted);
    first = std::max(first, t.first);
    last = std::max(last, t.last);
    first_tokens.push_back(t.first_token);
  }
  return Json{{"first_ms", (first - begin) * 1e3},
              {"total_ms", (last - begin) * 1e3},
              {"memory_bytes", MemoryBytes(gpu, ordinal)},
              {"first_tokens", std::move(first_tokens)}};
}

Expected<int> Run(ModelOptions options) {
  const Status fetched = options.Fetch();
  const bool gpu = IsForGpu(options);
  auto engine = fetched.ok() ? OpenModel(options) : fetched;
  if (!engine.ok()) {
    Answer(Json{{"error", engine.status().message()}});
    return kExitFault;
  }
  const ModelInfo& model = (*engine)->model();
  const EngineStats stats = (*engine)->Stats();
  Answer(Json{
      {"ready", true},
      {"name", std::string("lathe ") + kVersionString},
      {"detail",
       model.dtype + (gpu ? ", GPU" : StrFormat(", %d threads", ResolveThreads(options.engine.threads)))},
      {"vocab", model.vocab},
      {"max_context", model.max_context},
      {"fill_tokens", static_cast<int64_t>(stats.pages_total) * stats.page_size}});
  for (std::string line; std::getline(std::cin, line);) {
    const auto answer = AnswerOf(**engine, line, gpu, options.engine.device);
    Answer(answer.ok() ? *answer : Json{{"error", answer.status().message()}});
  }
  return kExitOk;
}

}  // namespace

void AddBenchWorker(Command& bench) {
  auto options = std::make_shared<ModelOptions>();
  Command command =
      bench.Sub("worker", "What lathe bench compare runs: cases in, times out, as lines of JSON",
                "lathe bench worker model.lathe");
  options->Declare(command);
  command.OnRun([options] { return Run(*options); });
}

}  // namespace lathe::cli
