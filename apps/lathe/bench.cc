#include "bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "lathe/version.h"

namespace lathe::cli {

std::vector<TokenId> RandomIds(Rng& rng, int n, int vocab) {
  std::vector<TokenId> ids(static_cast<size_t>(n));
  for (TokenId& id : ids) id = static_cast<TokenId>(rng.Below(static_cast<uint64_t>(vocab)));
  return ids;
}

Request MakeBenchRequest(const BenchRequest& request) {
  Request out;
  out.prompt = Prompt::Ids(request.ids);
  out.sampling.temperature = 0;
  out.sampling.ignore_eos = true;
  out.sampling.max_tokens = request.output_tokens;
  out.allow_cache = false;
  return out;
}

Expected<std::vector<BenchTimes>> RunBatch(Engine& engine, const std::vector<BenchRequest>& requests) {
  // Each element is written by the engine's thread alone until WaitIdle has returned.
  std::vector<BenchTimes> times(requests.size());
  Status submit;
  for (size_t i = 0; i < requests.size() && submit.ok(); ++i) {
    BenchTimes* const mine = &times[i];
    mine->submitted = NowSeconds();
    const auto id = engine.Submit(MakeBenchRequest(requests[i]), [mine](const OutputDelta& delta) {
      if (!delta.tokens.empty()) {
        mine->last = NowSeconds();
        if (mine->tokens == 0) mine->first = mine->last;
        mine->tokens += static_cast<int>(delta.tokens.size());
      }
      if (delta.finish == FinishReason::kError) mine->error = delta.error;
    });
    submit = id.status();
  }
  engine.WaitIdle();
  LATHE_RETURN_IF_ERROR(submit);
  for (size_t i = 0; i < times.size(); ++i) {
    LATHE_RETURN_IF_ERROR(times[i].error);
    if (times[i].tokens != requests[i].output_tokens) {
      return Error(StatusCode::kInternal, "request %zu gave %d tokens, expected %d", i, times[i].tokens,
                   requests[i].output_tokens);
    }
  }
  return times;
}

Json ModelToJson(const ModelInfo& model) {
  return Json{{"name", model.name},
              {"family", model.family},
              {"dtype", model.dtype},
              {"vocab", model.vocab},
              {"max_context", model.max_context},
              {"weight_bytes", model.weight_bytes},
              {"kv_bytes_per_token", model.kv_bytes_per_token}};
}

Status WriteBenchJson(const std::string& path, Json result, const Json& machine) {
  if (path.empty()) return {};
  result["machine"] = machine;
  result["version"] = kVersionString;
  return WriteFileAtomic(path, DumpJson(result, 2) + "\n");
}

Status CheckRange(const char* flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return {};
  return Error(StatusCode::kInvalidArgument, "%s must be in [%lld, %lld], but is %lld", flag,
               static_cast<long long>(low), static_cast<long long>(high), static_cast<long long>(value));
}

}  // namespace lathe::cli
